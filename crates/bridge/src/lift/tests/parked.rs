//! The table of parked calls, with time and randomness held still.

use std::time::{Duration, Instant};

use crate::lift::{Full, Gone, ParkLimits, Parking};

const LIMITS: ParkLimits = ParkLimits {
    per_caller_max: 2,
    per_server_max: 3,
    rounds_max: 10,
    life: Duration::from_secs(300),
};

fn parking() -> (Parking<&'static str, u32>, Instant) {
    (Parking::new(7, LIMITS), Instant::now())
}

#[test]
fn a_parked_call_is_found_once_by_its_caller_and_by_nobody_else() {
    let (mut parking, now) = parking();
    let place = parking.park("ada", 1, 42, now, 5).unwrap();
    assert_eq!(&*place.state, "0000000000000007.00000000000000000000000000000005");
    assert_eq!(parking.take(&place.state, &"eve", now).unwrap_err(), Gone::Unknown);
    let taken = parking.take(&place.state, &"ada", now).unwrap();
    assert_eq!((taken.parked, taken.round), (42, 2));
    assert_eq!(parking.take(&place.state, &"ada", now).unwrap_err(), Gone::Unknown);
    assert!(parking.is_empty());
}

#[test]
fn a_state_of_another_process_or_another_spelling_finds_nothing() {
    let (mut parking, now) = parking();
    let place = parking.park("ada", 1, 42, now, 0xab).unwrap();
    let other = place.state.replacen('7', "8", 1);
    assert_eq!(parking.take(&other, &"ada", now).unwrap_err(), Gone::Elsewhere);
    for bent in [
        String::new(),
        ".".to_owned(),
        place.state.to_uppercase(),
        format!("{}0", place.state),
        format!("+{}", place.state.get(1..).unwrap()),
        place.state.replace('.', "-"),
        place.state.replacen('0', "", 1),
    ] {
        assert_eq!(parking.take(&bent, &"ada", now).unwrap_err(), Gone::Unknown, "{bent}");
    }
    assert_eq!(parking.len(), 1);
}

#[test]
fn a_call_waits_to_the_moment_of_its_end_and_no_longer() {
    let (mut parking, now) = parking();
    let place = parking.park("ada", 1, 42, now, 5).unwrap();
    let end = now + LIMITS.life;
    assert_eq!(place.until, end);
    assert!(parking.expire(end - Duration::from_nanos(1)).is_empty());
    let taken = parking
        .take(&place.state, &"ada", end - Duration::from_nanos(1))
        .unwrap();
    assert_eq!(parking.put_back(taken), place);
    assert_eq!(parking.take(&place.state, &"ada", end).unwrap_err(), Gone::Expired);
    assert_eq!(parking.expire(end), [42]);
    assert_eq!(parking.take(&place.state, &"ada", end).unwrap_err(), Gone::Unknown);
}

#[test]
fn callers_and_the_server_have_so_many_parked_calls_and_not_one_more() {
    let (mut parking, now) = parking();
    parking.park("ada", 1, 1, now, 1).unwrap();
    let second = parking.park("ada", 1, 2, now, 2).unwrap();
    assert_eq!(parking.park("ada", 1, 3, now, 3).unwrap_err(), Full::Caller);
    parking.park("bob", 1, 4, now, 4).unwrap();
    assert_eq!(parking.park("eve", 1, 5, now, 5).unwrap_err(), Full::Server);
    assert_eq!(parking.remove(second.nonce), Some(2));
    assert_eq!(parking.remove(second.nonce), None);
    parking.park("eve", 1, 5, now, 5).unwrap();
    assert_eq!((parking.len(), parking.of(&"ada")), (3, 1));
    assert_eq!(parking.drain().len(), 3);
}

#[test]
fn a_call_has_so_many_rounds_and_putting_it_back_costs_none() {
    let (mut parking, now) = parking();
    parking.park("ada", 8, 1, now, 1).unwrap();
    let place = parking.park("ada", 9, 1, now, 2).unwrap();
    assert_eq!(parking.park("bob", 10, 1, now, 3).unwrap_err(), Full::Rounds);
    let taken = parking.take(&place.state, &"ada", now).unwrap();
    assert_eq!(taken.round, 10);
    let (taken, kept) = taken.map(9);
    assert_eq!(kept, 1);
    parking.put_back(taken);
    let taken = parking.take(&place.state, &"ada", now).unwrap();
    assert_eq!((taken.round, taken.parked), (10, 9));
}

#[test]
fn two_calls_never_share_a_name() {
    let (mut parking, now) = parking();
    let first = parking.park("ada", 1, 1, now, u128::MAX).unwrap();
    let second = parking.park("ada", 1, 2, now, u128::MAX).unwrap();
    assert_ne!(first.state, second.state);
    assert_eq!(parking.take(&second.state, &"ada", now).unwrap().parked, 2);
}
