//! Each rule at its edge.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

/// A mesh that nothing is wrong with.
fn sound() -> Facts {
    let part = |kind: &str, name: &str, version: Option<&str>| Part {
        identity: format!("spiffe://test.mesh/{kind}/{name}"),
        kind: kind.into(),
        name: name.into(),
        version: version.map(Into::into),
        program: Some("1.4.2".into()),
        address: Some(("10.0.0.7:7320".into(), None)),
        is_connected: true,
        revision: 7,
        is_current: true,
        certificate_ends: Some(NOW + DAY),
        ..Part::default()
    };
    Facts {
        now: NOW,
        control_now: NOW,
        control_version: "1.4.0".into(),
        revision: 7,
        revision_seconds: 3_600,
        settled: true,
        root_ends: NOW + 400 * DAY,
        certificate_life: 3 * DAY / 2,
        parts: vec![part("gateway", "edge", None), part("server", "ledger", Some("v1"))],
        servers: vec![Server {
            name: "ledger".into(),
            version: Some("v1".into()),
            is_shown: true,
        }],
        ..Facts::default()
    }
}

/// The codes found after a change of a sound mesh.
fn after(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
    let mut facts = sound();
    change(&mut facts);
    judge(&facts).iter().map(|found| found.code.code).collect()
}

#[test]
fn a_sound_mesh_has_no_findings() {
    assert_eq!(judge(&sound()), []);
}

#[test]
fn clocks_may_be_five_seconds_apart() {
    assert_eq!(after(|facts| facts.now = NOW + 5), [""; 0]);
    assert_eq!(after(|facts| facts.now = NOW + 6), ["MG2001"]);
    assert_eq!(after(|facts| facts.now = NOW - 6), ["MG2001"]);
}

#[test]
fn a_certificate_is_late_after_two_thirds_and_expired_at_its_end() {
    let at = |ends: u64| {
        after(move |facts| {
            facts.certificate_life = 300;
            facts
                .parts
                .iter_mut()
                .for_each(|part| part.certificate_ends = Some(NOW + 200));
            facts.parts[1].certificate_ends = Some(ends);
        })
    };
    assert_eq!(at(NOW + 100), [""; 0]);
    assert_eq!(at(NOW + 99), ["MG2101"]);
    assert_eq!(at(NOW + 1), ["MG2101"]);
    assert_eq!(at(NOW), ["MG2102"]);
}

#[test]
fn the_authority_is_looked_at_before_it_ends() {
    assert_eq!(after(|facts| facts.root_ends = NOW + 60 * DAY), [""; 0]);
    assert_eq!(after(|facts| facts.root_ends = NOW + 60 * DAY - 1), ["MG2103"]);
    assert_eq!(after(|facts| facts.rotation_waits = Some("a proxy".into())), ["MG2105"]);
    assert_eq!(
        after(|facts| facts.alarms = vec![(codes::TOKEN_REUSED, "x".into())]),
        ["MG2106"]
    );
    assert_eq!(after(|facts| facts.settled = false), ["MG2002"]);
}

#[test]
fn a_proxy_that_refuses_is_named_with_the_resource_and_one_that_lags_gets_ten_seconds() {
    let mut facts = sound();
    facts.parts[1].is_current = false;
    facts.parts[1].nack = Some("Server/ledger: no".into());
    let found = judge(&facts);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].message,
        "`spiffe://test.mesh/server/ledger` refuses Server/ledger: no"
    );
    let lag = |seconds| {
        after(move |facts| {
            facts.parts[0].is_current = false;
            facts.revision_seconds = seconds;
        })
    };
    assert_eq!(lag(10), [""; 0]);
    assert_eq!(lag(11), ["MG2202"]);
}

#[test]
fn neighbouring_minor_versions_are_fine() {
    let runs = |version: &'static str| after(move |facts| facts.parts[0].program = Some(version.into()));
    assert_eq!(runs("1.3.9"), [""; 0]);
    assert_eq!(runs("1.5.0"), [""; 0]);
    assert_eq!(runs("1.6.0"), ["MG2203"]);
    assert_eq!(runs("2.4.0"), ["MG2203"]);
}

#[test]
fn a_server_without_a_sidecar_of_its_version_is_unreached() {
    assert_eq!(after(|facts| facts.parts[1].is_connected = false), ["MG2204", "MG2301"]);
    assert_eq!(
        after(|facts| facts.servers[0].version = Some("v2".into())),
        ["MG2301", "MG2303"]
    );
    let restarted = after(|facts| {
        let before = Part {
            is_connected: false,
            ..facts.parts[1].clone()
        };
        facts.parts.push(before);
    });
    assert_eq!(restarted, [""; 0], "another start of it is there");
    let removed = after(|facts| {
        facts.parts[1].is_connected = false;
        facts.servers.clear();
    });
    assert_eq!(removed, [""; 0], "nobody wants it any more");
    assert_eq!(after(|facts| facts.servers[0].is_shown = false), ["MG2304"]);
    let direct = after(|facts| {
        facts.servers[0].version = None;
        facts.parts.remove(1);
    });
    assert_eq!(direct, [""; 0], "a gateway reaches it by itself");
}

#[test]
fn what_cannot_be_reached_or_does_not_reach_its_server_is_said() {
    let refused = Some(("10.0.0.7:7320".to_owned(), Some("connection refused".to_owned())));
    assert_eq!(after(|facts| facts.parts[1].address = refused), ["MG2205"]);
    assert_eq!(after(|facts| facts.parts[1].away = Some("exited".into())), ["MG2302"]);
    assert_eq!(after(|facts| drop(facts.parts.remove(0))), ["MG2305"]);
}
