#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use super::{Caps, Slot};
use crate::limits::Limits;

fn caps(connections: usize, connections_per_address: usize) -> Arc<Caps> {
    Caps::new(&Limits {
        connections,
        connections_per_address,
        ..Limits::default()
    })
}

fn take(caps: &Arc<Caps>, address: &str) -> Option<Slot> {
    caps.take(address.parse().unwrap())
}

#[test]
fn the_total_is_kept_whoever_connects() {
    let caps = caps(2, 2);
    let first = take(&caps, "192.0.2.1").unwrap();
    let _second = take(&caps, "192.0.2.2").unwrap();
    assert!(take(&caps, "192.0.2.3").is_none());
    assert_eq!(caps.refused().counts()[0], ("connections", 1));
    first.prove();
    assert!(take(&caps, "192.0.2.3").is_none(), "a proven connection is still one");
    drop(first);
    assert!(take(&caps, "192.0.2.3").is_some());
}

#[test]
fn the_share_of_an_address_ends_when_its_caller_is_known() {
    let caps = caps(10, 1);
    let first = take(&caps, "192.0.2.1").unwrap();
    assert!(take(&caps, "192.0.2.1").is_none());
    first.prove();
    first.prove();
    let second = take(&caps, "192.0.2.1").unwrap();
    assert!(take(&caps, "192.0.2.1").is_none());
    drop(first);
    assert!(
        take(&caps, "192.0.2.1").is_none(),
        "its place was given back once already"
    );
    drop(second);
    assert_eq!(caps.open(), 0);
    assert!(take(&caps, "192.0.2.1").is_some());
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    let caps = caps(10, 1);
    let _first = take(&caps, "2001:db8:0:1::1").unwrap();
    assert!(take(&caps, "2001:db8:0:1:ffff::2").is_none());
    assert!(take(&caps, "2001:db8:0:2::1").is_some());
    let _mapped = take(&caps, "::ffff:192.0.2.1").unwrap();
    assert!(
        take(&caps, "192.0.2.1").is_none(),
        "a mapped address is the address it maps"
    );
}
