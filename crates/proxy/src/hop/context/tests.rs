#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use meshgate_identity::Peer;
use meshgate_identity::svid::SvidKey;
use meshgate_testkit::ca::TestCa;

use super::*;

fn svid(ca: &TestCa) -> Arc<Svid> {
    let issued = ca.issue("/gateway/main");
    Arc::new(Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), issued.chain).unwrap())
}

fn audience() -> SpiffeId {
    "spiffe://corp.mesh/server/documents/v1".parse().unwrap()
}

fn caller(application: &str) -> Arc<Caller> {
    Arc::new(Caller::new(Some(application.into()), None))
}

fn claims(value: &HeaderValue, svid: &Svid) -> context::ContextClaims {
    let signer = Peer::of(Some(svid.chain())).unwrap();
    context::verify(value.to_str().unwrap(), &signer, &audience(), SystemTime::now()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_is_used_for_half_its_life_and_with_one_certificate() {
    let ca = TestCa::new("corp.mesh");
    let (first, second) = (svid(&ca), svid(&ca));
    let contexts = Contexts::new(10);
    let (caller, view) = (caller("assistant"), Arc::from("main"));
    let make = |svid| contexts.value(Some((&caller, &view)), &audience(), svid).unwrap();
    let made = make(&first);
    assert_eq!(claims(&made, &first).audience, audience());
    tokio::time::advance(USED - Duration::from_millis(1)).await;
    assert_eq!(make(&first), made, "one below the limit");
    let other = make(&second);
    assert_ne!(other, made, "another key signs");
    claims(&other, &second);
    tokio::time::advance(USED).await;
    assert_ne!(make(&second), other, "the limit");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_slept_or_whose_clock_moved_back_makes_a_new_one() {
    let svid = svid(&TestCa::new("corp.mesh"));
    let now = Now {
        passed: Instant::now(),
        wall: SystemTime::now(),
    };
    let entry = Entry {
        caller: None,
        svid: Arc::clone(&svid),
        until: now.passed + USED,
        made: now.wall,
        value: HeaderValue::from_static("x"),
    };
    let at = |wall| entry.is_good(None, &svid, Now { wall, ..now });
    assert!(at(now.wall) && at(now.wall + USED - Duration::from_millis(1)));
    assert!(!at(now.wall + USED), "nothing has passed but the night");
    assert!(!at(now.wall - Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn callers_views_and_the_gateway_itself_are_told_apart_and_so_are_new_groups_of_one_caller() {
    let ca = TestCa::new("corp.mesh");
    let svid = svid(&ca);
    let contexts = Contexts::new(10);
    let value = |from| contexts.value(from, &audience(), &svid).unwrap();
    let (one, two) = (caller("one"), caller("two"));
    let (main, other): (Arc<str>, Arc<str>) = (Arc::from("main"), Arc::from("other"));
    let all = [
        value(Some((&one, &main))),
        value(Some((&one, &other))),
        value(Some((&two, &main))),
        value(None),
    ];
    let named: std::collections::HashSet<_> = all
        .iter()
        .map(|value| format!("{:?}", claims(value, &svid).caller))
        .collect();
    assert_eq!(named.len(), 4);
    assert_eq!(claims(&all[3], &svid).caller, Named::Gateway);
    assert_eq!(value(Some((&one, &main))), all[0]);
    let mut moved = (*one).clone();
    moved.groups = vec!["finance".into()];
    let moved = Arc::new(moved);
    let Named::Application { groups, .. } = claims(&value(Some((&moved, &main))), &svid).caller else {
        panic!()
    };
    assert_eq!(groups, ["finance"], "though it is the same caller");
}

#[tokio::test(start_paused = true)]
async fn as_many_are_kept_as_may_be_and_old_ones_make_room_first() {
    let ca = TestCa::new("corp.mesh");
    let svid = svid(&ca);
    let contexts = Contexts::new(3);
    let view = Arc::from("main");
    let make = |name: &str| {
        contexts
            .value(Some((&caller(name), &view)), &audience(), &svid)
            .unwrap()
    };
    make("a");
    tokio::time::advance(USED / 2).await;
    let b = make("b");
    assert_eq!(contexts.len(), 2, "one below the limit");
    make("c");
    assert_eq!(contexts.len(), 3, "the limit");
    tokio::time::advance(USED / 2).await;
    make("d");
    assert_eq!((contexts.len(), make("b")), (3, b), "the old one went");
    make("e");
    assert_eq!(contexts.len(), 1, "one above: they are made again");
}
