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
    let mut directory = Directory::open(None, Duration::ZERO);
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
    assert!(!directory.left(&sidecar, instance(1)), "it was not listed");
    let edge = id("gateway/main");
    assert!(
        directory.joined(&edge, instance(2), at(2)),
        "a gateway is there as soon as it is"
    );
    assert!(directory.left(&edge, instance(2)));
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
    let mut directory = Directory::open(None, Duration::ZERO);
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
    let mut directory = Directory::open(None, Duration::ZERO);
    let (first, second) = (id("server/documents/v1"), id("server/documents/v0"));
    for (sidecar, port) in [(&first, 1), (&second, 2)] {
        directory.joined(sidecar, instance(7), at(port));
        directory.reported(sidecar, instance(7), &report(State::Up, false));
    }
    assert_eq!(listed(&directory), [("server/documents".into(), 7, 1)]);
    directory.reported(&second, instance(7), &report(State::Away, false));
    directory.left(&second, instance(7));
    assert_eq!(listed(&directory), [("server/documents".into(), 7, 1)]);
}

#[test]
fn what_was_known_is_awaited_for_thirty_seconds_or_until_all_are_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxies");
    let sidecars = [id("server/documents/v1"), id("server/projects/v2")];
    let mut before = Directory::open(Some(file.clone()), Duration::ZERO);
    assert!(before.places().settled, "the first start awaits nobody");
    for (n, sidecar) in (1..).zip(&sidecars) {
        before.joined(sidecar, instance(n), at(1));
    }
    let (path, text) = before.note().unwrap();
    std::fs::write(path, text).unwrap();

    let mut after = Directory::open(Some(file.clone()), Duration::from_secs(100));
    assert!(!after.places().settled);
    assert!(!after.joined(&sidecars[0], instance(1), at(1)) || !after.places().settled);
    assert!(
        after.joined(&sidecars[1], instance(2), at(1)),
        "the last one settles it"
    );
    assert!(after.places().settled);

    let mut after = Directory::open(Some(file), Duration::from_secs(100));
    assert_eq!(after.settles_at(), Some(Duration::from_secs(130)));
    assert!(!after.settle(Duration::from_millis(129_999)));
    assert!(after.settle(Duration::from_secs(130)));
    assert!(!after.settle(Duration::from_secs(131)), "told once");
    std::fs::write(directory.path().join("noise"), "x y\n0 z\n\n").unwrap();
    assert!(
        Directory::open(Some(directory.path().join("noise")), Duration::ZERO)
            .places()
            .settled
    );
}
