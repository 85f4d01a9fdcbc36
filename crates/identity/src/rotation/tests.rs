//! The plan of a renewal, over days that pass in no time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(after: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + after
}

/// A certificate of 36 hours made at zero.
fn plan(jitter: u64) -> Rotation {
    Rotation::new(at(Duration::ZERO) - CERTIFICATE_BACKDATED, at(36 * HOUR), jitter)
}

#[test]
fn a_svid_is_renewed_at_a_third_of_its_life_give_or_take_a_tenth() {
    assert_eq!(plan(0).due(), at(12 * HOUR - HOUR * 12 / 10));
    let latest = plan(u64::MAX).due();
    assert!(
        latest <= at(12 * HOUR + HOUR * 12 / 10) && latest > at(13 * HOUR),
        "{latest:?}"
    );
    assert_eq!(plan(1 << 63).due(), at(12 * HOUR));
}

#[test]
fn it_is_due_once_until_the_attempt_has_ended() {
    let mut plan = plan(1 << 63);
    assert_eq!(plan.step(at(HOUR)), Step::Wait(ROTATION_LOOK_EVERY));
    let second = Duration::from_secs(1);
    assert_eq!(plan.step(at(12 * HOUR - second)), Step::Wait(second));
    assert_eq!(plan.step(at(12 * HOUR)), Step::Renew);
    assert_eq!(plan.step(at(12 * HOUR)), Step::Wait(ROTATION_LOOK_EVERY));
    assert_eq!(plan.step(at(13 * HOUR)), Step::Wait(ROTATION_LOOK_EVERY));
}

#[test]
fn failures_are_repeated_with_growing_pauses_up_to_the_limit() {
    let mut plan = plan(1 << 63);
    let mut now = at(12 * HOUR);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(plan.step(now), Step::Renew);
        plan.failed(now, u64::MAX);
        let begun = now;
        while let Step::Wait(wait) = plan.clone().step(now) {
            now += wait;
        }
        pauses.push(now.duration_since(begun).unwrap().as_secs_f64().round() as u64);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn jitter_shortens_a_pause_by_a_half_at_most() {
    let mut plan = plan(1 << 63);
    assert_eq!(plan.step(at(12 * HOUR)), Step::Renew);
    plan.failed(at(12 * HOUR), 0);
    assert_eq!(plan.step(at(12 * HOUR)), Step::Wait(ROTATION_RETRY_FIRST / 2));
}

#[test]
fn a_host_that_slept_is_late_at_once_and_comes_back_by_its_key() {
    let mut slept = plan(7);
    assert_eq!(slept.step(at(HOUR)), Step::Wait(ROTATION_LOOK_EVERY));
    assert_eq!(slept.step(at(48 * HOUR)), Step::RenewHeld);
    assert_eq!(slept.alarm(at(48 * HOUR)), Alarm::Ended);
    let last = at(36 * HOUR) + HELD_RENEWAL;
    assert_eq!(plan(7).step(last), Step::RenewHeld);
    assert_eq!(plan(7).step(last + Duration::from_secs(1)), Step::Lost);
}

#[test]
fn somebody_should_know_from_two_thirds_on() {
    let plan = plan(7);
    assert_eq!(plan.alarm(at(24 * HOUR) - Duration::from_secs(1)), Alarm::None);
    assert_eq!(plan.alarm(at(24 * HOUR)), Alarm::Late);
    assert_eq!(plan.alarm(at(36 * HOUR)), Alarm::Ended);
}

#[test]
fn a_clock_that_goes_back_delays_no_attempt() {
    let mut plan = plan(1 << 63);
    assert_eq!(plan.step(at(20 * HOUR)), Step::Renew);
    plan.failed(at(20 * HOUR), 3);
    assert_eq!(
        plan.step(at(19 * HOUR)),
        Step::Renew,
        "an hour back is no hour of pause"
    );
}

#[test]
fn a_retired_root_hastens_the_renewal() {
    let mut plan = plan(7);
    assert!(matches!(plan.step(at(HOUR)), Step::Wait(_)));
    plan.hasten();
    assert_eq!(plan.step(at(HOUR)), Step::Renew);
    assert!(matches!(plan.step(at(HOUR)), Step::Wait(_)));
}

#[test]
fn a_clock_that_is_a_day_ahead_asks_once_a_minute_and_not_without_a_pause() {
    let day = 24 * HOUR;
    let mut taken = plan(7).taken(at(day));
    let mut waited = Duration::ZERO;
    while let Step::Wait(wait) = taken.clone().step(at(day) + waited) {
        waited += wait;
    }
    assert_eq!(waited, ROTATION_RETRY_MAX);
    assert_eq!(taken.step(at(day) + waited), Step::Renew);
    // The pause is no longer than what is due by age anyway, however short the life.
    let made = at(Duration::ZERO);
    let mut short = Rotation::new(made - CERTIFICATE_BACKDATED, made + Duration::from_secs(6), 1 << 63).taken(made);
    assert_eq!(short.step(made), Step::Wait(Duration::from_secs(2)));
    assert_eq!(short.step(made + Duration::from_secs(2)), Step::Renew);
}

#[test]
fn a_life_of_seconds_counts_from_the_making() {
    let made = at(Duration::ZERO);
    let short = Rotation::new(made - CERTIFICATE_BACKDATED, made + Duration::from_secs(6), 1 << 63);
    assert_eq!(short.due(), made + Duration::from_secs(2));
    // A certificate that was not back-dated counts from its beginning.
    let plain = Rotation::new(made, made + Duration::from_secs(60), 1 << 63);
    assert_eq!(plain.due(), made + Duration::from_secs(20));
}

proptest! {
    /// However the clock jumps: nothing is waited for longer than one look, and two attempts never run at once.
    #[test]
    fn no_clock_makes_two_attempts_or_a_long_sleep(
        jitter: u64,
        jumps in proptest::collection::vec((0_u64..80 * 3600, any::<bool>(), any::<u64>()), 1..60),
    ) {
        let mut plan = plan(jitter);
        let mut under_way = false;
        for (seconds, fails, random) in jumps {
            let now = at(Duration::from_secs(seconds));
            match plan.step(now) {
                Step::Wait(wait) => prop_assert!(wait <= ROTATION_LOOK_EVERY),
                Step::Renew | Step::RenewHeld => {
                    prop_assert!(!under_way, "asked for twice");
                    under_way = true;
                }
                Step::Lost => prop_assert!(false, "within 30 days"),
            }
            if under_way && fails {
                plan.failed(now, random);
                under_way = false;
            }
        }
    }
}
