//! Who has no certificate gets little room.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

#[test]
fn strangers_are_limited_for_each_address_and_together() {
    let strangers: Arc<Strangers> = Arc::default();
    let address = |n: usize| IpAddr::from([10, 0, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap()]);
    let mut of_one: Vec<Stranger> = (0..STRANGERS_OF_ADDRESS_MAX)
        .map_while(|_| strangers.admit(address(0)))
        .collect();
    assert_eq!(of_one.len(), STRANGERS_OF_ADDRESS_MAX);
    assert!(strangers.admit(address(0)).is_none());
    let mapped: IpAddr = "::ffff:10.0.0.0".parse().unwrap();
    assert!(strangers.admit(mapped).is_none(), "the same address in other words");
    of_one.pop();
    of_one.push(strangers.admit(address(0)).unwrap());
    let others: Vec<Stranger> = (1..).map_while(|n| strangers.admit(address(n))).collect();
    assert_eq!(of_one.len() + others.len(), STRANGERS_MAX);
    drop((of_one, others));
    assert!(strangers.of_address.lock().is_empty(), "nobody who left is remembered");
}
