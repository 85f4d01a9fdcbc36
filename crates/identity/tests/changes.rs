//! Identities that change while connections are made: rotation, new roots, enrolment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use meshgate_identity::enrolment::{self, Trusted};
use meshgate_identity::identity::{Expect, IdentityError};
use meshgate_identity::{Admit, Identity, Peer, TrustBundle, bundle::root_digest};
use meshgate_testkit::ca::TestCa;
use meshgate_testkit::intruder;

const SIDECAR: &str = "/server/documents/v1";

#[tokio::test]
async fn d26_handshakes_go_on_while_both_sides_rotate() {
    let ca = TestCa::new(DOMAIN);
    let (gateway, sidecar) = (identity(&ca, "/gateway/main"), identity(&ca, SIDECAR));
    let door = Door::guarded(&sidecar, Admit::Gateways).await;
    let expect = Expect::Exactly(id(SIDECAR));
    let mut first = knock(door.address, gateway.client_config(&expect).0).await.unwrap();
    let mut shown = std::collections::HashSet::new();
    for _ in 0..40 {
        gateway.replace_svid(svid(&ca.issue("/gateway/main"))).unwrap();
        sidecar.replace_svid(svid(&ca.issue(SIDECAR))).unwrap();
        let (config, used) = gateway.client_config(&expect);
        assert_eq!(used.serial(), gateway.current().serial());
        let stream = knock(door.address, config).await.unwrap();
        let peer = Peer::of(stream.get_ref().1.peer_certificates()).unwrap();
        assert_eq!(peer.serial(), sidecar.current().serial(), "the newest is shown");
        shown.insert(peer.serial().to_owned());
    }
    assert_eq!(shown.len(), 40);
    ping(&mut first).await.expect("the first connection lives on");
    assert_eq!(*door.refused.borrow(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d26_a_rotation_in_the_middle_of_handshakes_harms_none() {
    let ca = Arc::new(TestCa::new(DOMAIN));
    let (gateway, sidecar) = (identity(&ca, "/gateway/main"), identity(&ca, SIDECAR));
    let door = Door::guarded(&sidecar, Admit::Gateways).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (gateway, done, address) = (Arc::clone(&gateway), Arc::clone(&done), door.address);
        tasks.spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let (config, _) = gateway.client_config(&Expect::Exactly(id(SIDECAR)));
                knock(address, config).await.unwrap();
            }
        });
    }
    for _ in 0..60 {
        gateway.replace_svid(svid(&ca.issue("/gateway/main"))).unwrap();
        sidecar.replace_svid(svid(&ca.issue(SIDECAR))).unwrap();
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(*door.refused.borrow(), 0);
}

#[tokio::test]
async fn a_root_is_replaced_in_three_steps_without_a_refusal() {
    let (old, new) = (TestCa::new(DOMAIN), TestCa::new(DOMAIN));
    let (gateway, sidecar) = (identity(&old, "/gateway/main"), identity(&old, SIDECAR));
    let door = Door::guarded(&sidecar, Admit::Gateways).await;
    let both = || TrustBundle::new(DOMAIN.parse().unwrap(), vec![old.root(), new.root()], Vec::new()).unwrap();
    let knocks = async |gateway: &Arc<Identity>| {
        knock(door.address, gateway.client_config(&Expect::Exactly(id(SIDECAR))).0)
            .await
            .map(drop)
    };
    let mut changes = gateway.changes();
    // The new root is known everywhere before anything is signed by it.
    for identity in [&gateway, &sidecar] {
        assert!(
            identity.replace_bundle(both()).unwrap(),
            "the old SVID is still vouched for"
        );
        knocks(&gateway).await.unwrap();
    }
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    gateway.replace_svid(svid(&new.issue("/gateway/main"))).unwrap();
    knocks(&gateway).await.unwrap();
    sidecar.replace_svid(svid(&new.issue(SIDECAR))).unwrap();
    knocks(&gateway).await.unwrap();
    for identity in [&gateway, &sidecar] {
        assert!(identity.replace_bundle(bundle(&new)).unwrap());
        knocks(&gateway).await.unwrap();
    }
    assert_eq!(*door.refused.borrow(), 0);
    // What the old root signed is worth nothing now.
    let late = identity(&old, "/gateway/main");
    late.replace_bundle(both()).unwrap();
    assert!(knocks(&late).await.is_err());
}

#[tokio::test]
async fn what_does_not_fit_leaves_an_identity_as_it_is() {
    let (ca, other) = (TestCa::new(DOMAIN), TestCa::new(DOMAIN));
    let gateway = identity(&ca, "/gateway/main");
    let serial = gateway.current().serial().to_owned();
    let wrong = gateway.replace_svid(svid(&ca.issue("/gateway/other")));
    assert!(matches!(wrong, Err(IdentityError::Another { .. })));
    let foreign = gateway.replace_svid(svid(&other.issue("/gateway/main")));
    assert!(matches!(foreign, Err(IdentityError::NotVouched { .. })));
    let elsewhere = gateway.replace_bundle(bundle(&TestCa::new("other.example")));
    assert!(matches!(elsewhere, Err(IdentityError::Another { .. })));
    assert_eq!(gateway.current().serial(), serial);
    assert_eq!(gateway.id(), id("/gateway/main"));
    assert!(Identity::new(svid(&ca.issue("/gateway/main")), bundle(&other)).is_err());
    // A bundle of our own domain that retires our root is taken, and says that a new SVID is due.
    assert!(!gateway.replace_bundle(bundle(&other)).unwrap());
}

#[tokio::test]
async fn a_part_without_a_svid_believes_the_control_plane_its_token_names_and_no_other() {
    let (ca, twin) = (TestCa::new(DOMAIN), TestCa::new(DOMAIN));
    let control = identity(&ca, "/control");
    let door = Door::open(control.enrolment_acceptor_config()).await;
    let pin = |ca: &TestCa| enrolment::client_config(&Trusted::Root(root_digest(&ca.root()))).unwrap();
    knock(door.address, pin(&ca)).await.unwrap();
    assert!(connect(door.address, pin(&twin)).await.is_err());
    let held = |ca: &TestCa| enrolment::client_config(&Trusted::Bundle(Arc::new(bundle(ca)))).unwrap();
    knock(door.address, held(&ca)).await.unwrap();
    assert!(connect(door.address, held(&twin)).await.is_err());
    // Another part of the same mesh is no control plane, whatever roots it shows.
    for path in ["/gateway/main", SIDECAR, "/operator/alma"] {
        let impostor = Door::open(identity(&ca, path).enrolment_acceptor_config()).await;
        assert!(connect(impostor.address, pin(&ca)).await.is_err(), "{path}");
        assert!(connect(impostor.address, held(&ca)).await.is_err(), "{path}");
    }
    // Who shows the right root behind a chain of another one.
    let thief = identity(&twin, "/control");
    let both = TrustBundle::new(DOMAIN.parse().unwrap(), vec![twin.root(), ca.root()], Vec::new()).unwrap();
    thief.replace_bundle(both).unwrap();
    let thief = Door::open(thief.enrolment_acceptor_config()).await;
    assert!(connect(thief.address, pin(&ca)).await.is_err());
}

#[tokio::test]
async fn the_door_to_enrol_at_judges_a_certificate_that_is_shown() {
    let ca = TestCa::new(DOMAIN);
    let control = identity(&ca, "/control");
    let door = Door::guarded_enrolment(&control).await;
    let member = identity(&ca, "/gateway/main");
    let stream = knock(door.address, member.client_config(&Expect::Control).0)
        .await
        .unwrap();
    assert_eq!(
        Peer::of(stream.get_ref().1.peer_certificates()).unwrap().id(),
        &id("/control")
    );
    let expired = ca.issue_as(&wish("/gateway/main").expired());
    let config = Arc::new(intruder::client_config(Some(&expired), &[&rustls::version::TLS13]));
    assert!(knock(door.address, config).await.is_err());
    door.has_refused(1).await;
    assert_eq!(door.reached(), 1);
}
