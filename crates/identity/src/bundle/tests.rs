//! For whom a bundle vouches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use meshgate_testkit::ca::{TestCa, Wish};

use super::*;
use crate::manifest::SnapshotKey;
use crate::tests::{bundle, ca, id, wish};

fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn a_bundle_vouches_for_its_own_parts() {
    let ca = ca();
    let peer = bundle(&ca)
        .vouches_for(&ca.issue("/gateway/main").chain, now())
        .unwrap();
    assert_eq!(peer.id(), &id("/gateway/main"));
}

#[test]
fn a100_another_root_another_domain_and_another_time_are_not_vouched_for() {
    let (ca, twin) = (ca(), ca());
    let bundle = bundle(&ca);
    let judge = |chain: &[CertificateDer<'static>]| bundle.vouches_for(chain, now());
    assert!(matches!(
        judge(&twin.issue("/gateway/main").chain),
        Err(TrustError::Chain(_))
    ));
    assert!(matches!(
        judge(&wish("/gateway/main").self_signed().chain),
        Err(TrustError::Chain(_))
    ));
    let foreign = TestCa::new("other.example").issue("/gateway/main");
    assert_eq!(
        judge(&foreign.chain),
        Err(TrustError::Domain("other.example".to_owned()))
    );
    // Our own root, made to sign for another domain.
    let misused = ca.issue_as(&Wish::of("spiffe://other.example/gateway/main"));
    assert_eq!(
        judge(&misused.chain),
        Err(TrustError::Domain("other.example".to_owned()))
    );
    assert!(matches!(
        judge(&ca.issue_as(&wish("/gateway/main").expired()).chain),
        Err(TrustError::Chain(_))
    ));
    assert!(matches!(
        judge(&ca.issue_as(&wish("/gateway/main").not_yet()).chain),
        Err(TrustError::Chain(_))
    ));
    assert_eq!(judge(&[]), Err(TrustError::Leaf(LeafError::Missing)));
    let mut alone = ca.issue("/gateway/main").chain;
    alone.truncate(1);
    assert!(
        matches!(judge(&alone), Err(TrustError::Chain(_))),
        "without its intermediate"
    );
}

#[test]
fn an_intermediate_cannot_vouch_for_hosts_of_others() {
    let ca = ca();
    let mut wish = wish("/gateway/main");
    wish.hosts.push("www.elsewhere.example".to_owned());
    let refused = bundle(&ca).vouches_for(&ca.issue_as(&wish).chain, now());
    assert!(matches!(refused, Err(TrustError::Chain(_))), "{refused:?}");
}

#[test]
fn a_bundle_has_a_root_and_no_more_than_the_limit() {
    let root = ca().root();
    let with = |roots: usize, keys: usize| {
        let key = SnapshotKey::generate().unwrap().public();
        TrustBundle::new(
            "corp.example".parse().unwrap(),
            vec![root.clone(); roots],
            vec![key; keys],
        )
        .map(drop)
    };
    assert!(matches!(with(0, 1), Err(BundleError::Empty)));
    assert!(with(1, 0).is_ok());
    assert!(with(BUNDLE_ROOTS_MAX - 1, BUNDLE_SNAPSHOT_KEYS_MAX - 1).is_ok());
    assert!(with(BUNDLE_ROOTS_MAX, BUNDLE_SNAPSHOT_KEYS_MAX).is_ok());
    assert!(matches!(with(BUNDLE_ROOTS_MAX + 1, 1), Err(BundleError::Roots(_))));
    assert!(matches!(
        with(1, BUNDLE_SNAPSHOT_KEYS_MAX + 1),
        Err(BundleError::Keys(_))
    ));
    let garbage = TrustBundle::new(
        "corp.example".parse().unwrap(),
        vec![root, vec![1, 2, 3].into()],
        Vec::new(),
    );
    assert!(matches!(garbage, Err(BundleError::Root { index: 1, .. })));
}

#[test]
fn two_roots_vouch_while_one_takes_the_place_of_the_other() {
    let (old, new) = (ca(), ca());
    let both = TrustBundle::new(
        "corp.example".parse().unwrap(),
        vec![old.root(), new.root()],
        Vec::new(),
    )
    .unwrap();
    for ca in [&old, &new] {
        assert!(both.vouches_for(&ca.issue("/gateway/main").chain, now()).is_ok());
        assert!(both.has_root(&root_digest(&ca.root())));
    }
    assert!(!both.has_root(&[0; 32]));
    assert!(
        bundle(&new)
            .vouches_for(&old.issue("/gateway/main").chain, now())
            .is_err()
    );
}

#[test]
fn times_are_the_callers() {
    let ca = ca();
    let ended = ca.issue_as(&wish("/gateway/main").expired());
    let at = now() - Duration::from_secs(2 * 3600);
    assert!(bundle(&ca).vouches_for(&ended.chain, at).is_ok());
}
