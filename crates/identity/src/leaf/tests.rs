//! Which certificates name a part of a mesh, and which only look as if they did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::tests::{ca, id, wish};

#[test]
fn a_certificate_of_the_mesh_is_read_whole() {
    let ca = ca();
    let mut wish = wish("/server/documents/v1");
    wish.serial = Some(vec![0x0a, 0x00, 0xff]);
    let issued = ca.issue_as(&wish);
    let peer = Peer::of(Some(&issued.chain)).unwrap();
    assert_eq!(peer.id(), &id("/server/documents/v1"));
    assert_eq!(peer.serial(), "a00ff");
    assert_eq!(peer.public_key().len(), 65);
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds(peer.not_after()), seconds(wish.not_after));
    assert_eq!(seconds(peer.not_before()), seconds(wish.not_before));
    assert_eq!(Peer::read_for(Side::Client, &issued.chain[0]).unwrap(), peer);
    assert_eq!(Peer::read_for(Side::Server, &issued.chain[0]).unwrap(), peer);
}

#[test]
fn a100_a_certificate_that_names_no_part_or_two_is_none() {
    let ca = ca();
    let read = |wish: &meshgate_testkit::ca::Wish| Peer::read(&ca.issue_as(wish).chain[0]);
    let gateway = wish("/gateway/main");
    assert_eq!(
        read(&gateway.clone().and_uri("spiffe://corp.example/gateway/other")),
        Err(LeafError::Names(2))
    );
    assert_eq!(
        read(&gateway.clone().and_uri("https://corp.example/")),
        Err(LeafError::Names(2))
    );
    assert_eq!(
        read(&gateway.clone().and_uri("spiffe://corp.example/gateway/main")),
        Err(LeafError::Names(2)),
        "the same twice is still two"
    );
    assert_eq!(read(&gateway.clone().as_common_name()), Err(LeafError::Names(0)));
    for path in [
        "/gateway-evil",
        "/gateway/../x",
        "/gateway%2f",
        "/gateway%2fmain",
        "/gateway/main/",
        "//gateway/main",
    ] {
        let refused = read(&wish(path));
        assert!(matches!(refused, Err(LeafError::Id { .. })), "{path}: {refused:?}");
    }
    let mut host_only = gateway.clone();
    host_only.uris.clear();
    host_only.hosts.push("gateway.corp.example".to_owned());
    assert_eq!(read(&host_only), Err(LeafError::Names(0)));
    assert_eq!(Peer::of(None), Err(LeafError::Missing));
    assert_eq!(Peer::of(Some(&[])), Err(LeafError::Missing));
}

#[test]
fn a100_an_authority_is_no_part_of_a_mesh() {
    let ca = ca();
    let mut authority = wish("/gateway/main");
    authority.authority = true;
    assert_eq!(Peer::read(&ca.issue_as(&authority).chain[0]), Err(LeafError::Authority));
    let mut signs = wish("/gateway/main");
    signs.signs = true;
    assert_eq!(Peer::read(&ca.issue_as(&signs).chain[0]), Err(LeafError::Authority));
    assert_eq!(Peer::read(&ca.root()), Err(LeafError::Authority));
}

#[test]
fn a_certificate_is_taken_for_the_side_it_is_for() {
    let ca = ca();
    for (client, server) in [(true, false), (false, true), (false, false)] {
        let mut wish = wish("/gateway/main");
        (wish.client, wish.server) = (client, server);
        let issued = ca.issue_as(&wish);
        assert_eq!(Peer::read_for(Side::Client, &issued.chain[0]).is_ok(), client);
        assert_eq!(Peer::read_for(Side::Server, &issued.chain[0]).is_ok(), server);
    }
}

#[test]
fn what_follows_a_certificate_or_cuts_it_is_refused() {
    let issued = ca().issue("/gateway/main");
    let whole = issued.chain[0].to_vec();
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(Peer::read(&longer), Err(LeafError::Malformed));
    for cut in 0..whole.len() {
        assert!(Peer::read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(
        Peer::read(&vec![0x30; CERTIFICATE_BYTES_MAX + 1]),
        Err(LeafError::Malformed)
    );
}

#[test]
fn a_serial_number_has_one_way_to_be_written() {
    for (bytes, text) in [
        (&[0x01][..], "1"),
        (&[0x00, 0x80][..], "80"),
        (&[0xab, 0x0c][..], "ab0c"),
        (&[0x00][..], "0"),
        (&[][..], "0"),
    ] {
        assert_eq!(serial_text(bytes), text);
    }
}

#[test]
fn a_connection_ends_by_its_age_and_no_later_than_a_certificate() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let hours = |hours: u64| now + Duration::from_secs(hours * 3600);
    let life = |ends, jitter| connection_life(now, ends, jitter);
    assert_eq!(life([hours(30), hours(20)], 0), Duration::from_secs(3240));
    assert!(life([hours(30), hours(20)], u64::MAX) <= Duration::from_secs(3960));
    assert!(life([hours(30), hours(20)], u64::MAX) > Duration::from_secs(3959));
    assert_eq!(
        life([hours(30), now + Duration::from_secs(10)], 7),
        Duration::from_secs(10)
    );
    assert_eq!(life([now - Duration::from_secs(1), hours(1)], 7), Duration::ZERO);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever URIs a certificate names, a part is read out of it exactly when there is one and it is one, byte for byte.
    #[test]
    fn the_name_is_the_only_uri_or_there_is_none(uris in proptest::collection::vec(uri(), 0..4)) {
        let ca = ca();
        let mut wish = wish("/gateway/main");
        wish.uris = uris.clone();
        wish.hosts = vec!["x.corp.example".to_owned()];
        let read = Peer::read(&ca.issue_as(&wish).chain[0]).map(|peer| peer.id().as_str().to_owned());
        let expected = match &uris[..] {
            [only] if only.parse::<SpiffeId>().is_ok() => Some(only.clone()),
            _ => None,
        };
        prop_assert_eq!(read.ok(), expected);
    }
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("spiffe://corp.example/gateway/main".to_owned()),
        Just("spiffe://corp.example/server/documents/v1".to_owned()),
        "spiffe://[a-z.]{1,8}/(gateway|server|control|operator)[/a-z0-9%.-]{0,12}",
        "[a-z]{1,6}:[!-~]{0,20}",
    ]
}
