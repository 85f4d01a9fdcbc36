//! Who is on the list.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::tests::{ca, id, peer, svid};

#[test]
fn a105_a_part_is_denied_by_name_and_a_certificate_by_number() {
    let ca = ca();
    let (first, second, other) = (
        svid(&ca, "/gateway/main"),
        svid(&ca, "/gateway/main"),
        svid(&ca, "/gateway/b"),
    );
    let by_id = Denied::new([(Subject::Id(id("/gateway/main")), "lost".into())]).unwrap();
    assert_eq!(by_id.reason(&peer(&first)).map(|r| &**r), Some("lost"));
    assert_eq!(by_id.reason(&peer(&second)).map(|r| &**r), Some("lost"));
    assert_eq!(by_id.reason(&peer(&other)), None);
    let by_serial = Denied::new([(Subject::Serial(first.serial().into()), "stolen".into())]).unwrap();
    assert_eq!(by_serial.reason(&peer(&first)).map(|r| &**r), Some("stolen"));
    assert_eq!(by_serial.reason(&peer(&second)), None);
    assert!(Denied::default().is_empty() && Denied::default().reason(&peer(&first)).is_none());
}

#[test]
fn the_list_is_as_long_as_its_limit_and_no_longer() {
    let list = |length: usize| Denied::new((0..length).map(|n| (Subject::Serial(format!("{n:x}").into()), "x".into())));
    assert_eq!(list(DENIED_ENTRIES_MAX - 1).unwrap().len(), DENIED_ENTRIES_MAX - 1);
    assert_eq!(list(DENIED_ENTRIES_MAX).unwrap().len(), DENIED_ENTRIES_MAX);
    assert_eq!(list(DENIED_ENTRIES_MAX + 1), Err(TooManyDenied(DENIED_ENTRIES_MAX + 1)));
}
