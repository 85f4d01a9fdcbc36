//! Who is there, who is awaited, and what a stranger's word can change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn id(part: &str) -> SpiffeId {
    format!("spiffe://corp.mesh/{part}").parse().unwrap()
}

fn instance(n: u64) -> NonZeroU64 {
    NonZeroU64::new(n).unwrap()
}

fn at(port: u16) -> Option<std::net::SocketAddr> {
    Some(([127, 0, 0, 1], port).into())
}

fn report(state: State, draining: bool) -> Report {
    Report {
        state,
        draining,
        ..Report::default()
    }
}

fn listed(directory: &Directory) -> Vec<(String, u64, u16)> {
    let places = directory.places().endpoints;
    let all = places
        .iter()
        .flat_map(|(group, all)| all.iter().map(move |one| (group, one)));
    all.map(|(group, one)| (group.to_string(), one.instance.get(), one.address.port()))
        .collect()
}

#[test]
fn a_sidecar_takes_calls_while_its_server_is_up_and_it_does_not_drain() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let sidecar = id("server/documents/v1");
    assert!(
        !directory.joined(&sidecar, instance(1), at(1)),
        "not before it says that it is up"
    );
    assert!(listed(&directory).is_empty());
    assert!(directory.reported(&sidecar, instance(1), &report(State::Up, false)));
    assert!(
        !directory.reported(&sidecar, instance(1), &report(State::Up, false)),
        "no news"
    );
    assert_eq!(listed(&directory), [("server/documents".into(), 1, 1)]);
    assert!(directory.reported(&sidecar, instance(1), &report(State::Up, true)));
    assert!(listed(&directory).is_empty());
    assert!(directory.reported(&sidecar, instance(1), &report(State::Up, false)));
    assert!(directory.reported(&sidecar, instance(1), &report(State::Away, false)));
    assert!(
        !directory.left(&sidecar, instance(1), Duration::ZERO),
        "it was not listed"
    );
    let edge = id("gateway/main");
    assert!(
        directory.joined(&edge, instance(2), at(2)),
        "a gateway is there as soon as it is"
    );
    assert!(directory.left(&edge, instance(2), Duration::ZERO));
    for unreachable in [
        None,
        Some(([0, 0, 0, 0], 1).into()),
        at(0),
        Some(([224, 0, 0, 1], 1).into()),
    ] {
        assert!(!directory.joined(&edge, instance(3), unreachable));
    }
}

#[test]
fn a_proxy_that_comes_back_over_another_stream_is_not_taken_away_between() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let sidecar = id("server/documents/v1");
    directory.joined(&sidecar, instance(1), at(1));
    directory.reported(&sidecar, instance(1), &report(State::Up, false));
    assert!(!directory.joined(&sidecar, instance(1), at(1)));
    assert_eq!(listed(&directory).len(), 1);
    assert!(
        directory.joined(&sidecar, instance(1), at(9)),
        "another address is news"
    );
}

#[test]
fn a142_of_two_that_claim_one_instance_the_first_is_believed() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let (first, second) = (id("server/documents/v1"), id("server/documents/v0"));
    for (sidecar, port) in [(&first, 1), (&second, 2)] {
        directory.joined(sidecar, instance(7), at(port));
        directory.reported(sidecar, instance(7), &report(State::Up, false));
    }
    assert_eq!(listed(&directory), [("server/documents".into(), 7, 1)]);
    directory.reported(&second, instance(7), &report(State::Away, false));
    directory.left(&second, instance(7), Duration::ZERO);
    assert_eq!(listed(&directory), [("server/documents".into(), 7, 1)]);
}

#[test]
fn a_start_where_there_were_proxies_is_unsettled_until_each_had_time_to_come_back() {
    let first = Directory::new(false, Duration::ZERO);
    assert!(first.places().settled, "the first start awaits nobody");
    assert_eq!(first.settles_at(), None);

    let mut after = Directory::new(true, Duration::from_secs(100));
    let sidecar = id("server/documents/v1");
    after.joined(&sidecar, instance(1), at(1));
    after.reported(&sidecar, instance(1), &report(State::Up, false));
    assert!(
        !after.places().settled,
        "nobody knows whether it is the only one, so that it is back says nothing"
    );
    assert_eq!(after.settles_at(), Some(Duration::from_secs(160)));
    assert!(!after.settle(Duration::from_millis(159_999)));
    assert!(after.settle(Duration::from_secs(160)));
    assert!(after.places().settled);
    assert!(!after.settle(Duration::from_secs(161)), "told once");
    assert_eq!(after.settles_at(), None);
}

#[test]
fn a_sidecar_that_lost_its_stream_is_named_for_a_minute_and_one_that_drained_is_not() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let (lost, drained) = (id("server/documents/v1"), id("server/projects/v1"));
    for (n, sidecar) in (1..).zip([&lost, &drained]) {
        directory.joined(sidecar, instance(n), at(1));
        directory.reported(sidecar, instance(n), &report(State::Up, false));
    }
    directory.reported(&drained, instance(2), &report(State::Up, true));
    let now = Duration::from_secs(10);
    assert!(!directory.left(&drained, instance(2), now), "it was not named any more");
    assert!(!directory.left(&lost, instance(1), now));
    assert_eq!(listed(&directory), [("server/documents".into(), 1, 1)]);
    assert_eq!(directory.settles_at(), Some(Duration::from_secs(70)));

    assert!(!directory.settle(Duration::from_millis(69_999)));
    assert_eq!(listed(&directory).len(), 1);
    assert!(directory.settle(Duration::from_secs(70)));
    assert!(listed(&directory).is_empty());

    directory.joined(&lost, instance(1), at(1));
    directory.reported(&lost, instance(1), &report(State::Up, false));
    directory.left(&lost, instance(1), now);
    assert!(
        !directory.joined(&lost, instance(1), at(1)),
        "it is back, and was never away"
    );
    assert_eq!(directory.settles_at(), None);
    assert_eq!(listed(&directory).len(), 1);
    directory.left(&lost, instance(1), now);
    directory.denied(|id| *id == lost);
    assert!(listed(&directory).is_empty(), "one that is cut off is not awaited");
}

#[test]
fn who_takes_the_address_of_one_that_is_awaited_replaces_it_and_nobody_else_can() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let (sidecar, other) = (id("server/documents/v1"), id("server/documents/v2"));
    directory.joined(&sidecar, instance(1), at(1));
    directory.reported(&sidecar, instance(1), &report(State::Up, false));
    directory.joined(&sidecar, instance(2), at(1));
    assert_eq!(listed(&directory).len(), 1, "the first has its stream still");
    directory.left(&sidecar, instance(2), Duration::ZERO);
    directory.left(&sidecar, instance(1), Duration::ZERO);

    assert!(!directory.joined(&other, instance(3), at(1)), "another identity");
    assert!(!directory.joined(&sidecar, instance(4), at(2)), "another address");
    assert_eq!(listed(&directory), [("server/documents".into(), 1, 1)]);
    assert!(directory.joined(&sidecar, instance(5), at(1)));
    assert!(listed(&directory).is_empty(), "and it takes calls when it says so");
}

#[test]
fn where_there_is_no_room_for_all_those_that_are_here_go_before_those_that_are_awaited() {
    let mut directory = Directory::new(false, Duration::ZERO);
    let sidecar = id("server/documents/v1");
    let most = u64::try_from(meshgate_sync::limits::ENDPOINTS_MAX).unwrap();
    for n in 1..=most + 1 {
        directory.joined(&sidecar, instance(n), at(u16::try_from(n).unwrap()));
        directory.reported(&sidecar, instance(n), &report(State::Up, false));
    }
    directory.left(&sidecar, instance(1), Duration::ZERO);
    let named: Vec<u64> = listed(&directory)
        .into_iter()
        .map(|(_, instance, _)| instance)
        .collect();
    assert_eq!(named.len(), meshgate_sync::limits::ENDPOINTS_MAX);
    assert!(!named.contains(&1) && named.contains(&(most + 1)));
}

#[test]
fn what_is_noted_is_named_after_a_start_and_noise_in_the_notes_is_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let notes = scratch.path().join("sidecars");
    let (sidecar, starting, edge) = (id("server/documents/v1"), id("server/projects/v1"), id("gateway/main"));
    let mut before = Directory::new(false, Duration::ZERO);
    for (n, proxy) in (1..).zip([&sidecar, &starting, &edge]) {
        before.joined(proxy, instance(n), at(1));
    }
    before.reported(&sidecar, instance(1), &report(State::Up, false));
    assert_eq!(
        before.notes(),
        "0000000000000001 127.0.0.1:1 spiffe://corp.mesh/server/documents/v1\n"
    );
    let noise = "x\n0 127.0.0.1:1 spiffe://corp.mesh/server/a/v1\n1 0.0.0.0:1 spiffe://corp.mesh/server/a/v1\n\
                 2 127.0.0.1:1 https://corp.mesh\n3 127.0.0.1:1 spiffe://corp.mesh/gateway/main\n\n";
    std::fs::write(&notes, format!("{noise}{}", before.notes())).unwrap();

    let mut after = Directory::new(true, Duration::ZERO);
    after.recall(&notes, Duration::ZERO);
    assert_eq!(listed(&after), [("server/documents".into(), 1, 1)]);
    assert!(!after.joined(&sidecar, instance(1), at(1)), "it takes calls, as it did");
    after.settle(Duration::from_secs(60));
    assert_eq!(listed(&after).len(), 1);

    let mut after = Directory::new(true, Duration::ZERO);
    after.recall(&notes, Duration::ZERO);
    assert!(after.settle(Duration::from_secs(60)), "it did not come back");
    assert!(listed(&after).is_empty());
    after.recall(&scratch.path().join("none"), Duration::ZERO);
    assert!(listed(&after).is_empty());
}
