//! Certificates that change on both sides of the hop while calls are made: no call notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::inside::{Caller, GATEWAY, PATIENCE, SERVER, identity, svid};
use common::intruder::Scene;
use meshgate_identity::TrustBundle;
use meshgate_testkit::ca::TestCa;

const ECHO: &str = r#""name":"echo","arguments":{}"#;

/// Calls until told to stop, some times on each connection; every answer must be the server's.
async fn busy(scene: &Scene, own: &Arc<meshgate_identity::Identity>, done: &AtomicBool, calls: &AtomicUsize) {
    while !done.load(Ordering::SeqCst) {
        let gateway = Caller::open(&scene.sidecar, own).await.expect("a connection");
        for _ in 0..5 {
            let answer = gateway.call("tools/call", ECHO).await;
            assert_eq!(answer.result()["content"][0]["text"], "hi");
            calls.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// What rotates while calls are made.
async fn under_load(scene: &Scene, own: &Arc<meshgate_identity::Identity>, rotate: impl AsyncFnOnce(&AtomicUsize)) {
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    // On the heap: three clients with all they hold are large.
    let work = Box::pin(async {
        tokio::join!(
            busy(scene, own, &done, &calls),
            busy(scene, own, &done, &calls),
            busy(scene, own, &done, &calls),
            async {
                rotate(&calls).await;
                done.store(true, Ordering::SeqCst);
            }
        )
    });
    tokio::time::timeout(3 * PATIENCE, work).await.expect("the load ends");
    assert_eq!(scene.calls(), calls.load(Ordering::SeqCst), "each call ran once");
}

/// Waits until so many more calls have been answered.
async fn more(calls: &AtomicUsize, count: usize) {
    let wanted = calls.load(Ordering::SeqCst) + count;
    while calls.load(Ordering::SeqCst) < wanted {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn d26_both_ends_get_new_certificates_under_load_and_no_call_fails() {
    let scene = Scene::open().await;
    let own = identity(&scene.sidecar.ca, GATEWAY);
    let first = Caller::open(&scene.sidecar, &own).await.unwrap();
    Box::pin(under_load(&scene, &own, async |calls| {
        for _ in 0..40 {
            own.replace_svid(svid(&scene.sidecar.ca.issue(GATEWAY))).unwrap();
            scene
                .sidecar
                .identity
                .replace_svid(svid(&scene.sidecar.ca.issue(SERVER)))
                .unwrap();
            more(calls, 3).await;
        }
    }))
    .await;
    let answer = first.call("tools/call", ECHO).await;
    assert_eq!(
        answer.status, 200,
        "the first connection lives on, and its contexts are of its own key"
    );
}

#[tokio::test]
async fn a143_a_root_is_replaced_under_load_and_the_old_one_is_worth_nothing_after() {
    let scene = Scene::open().await;
    let (old, new) = (scene.sidecar.ca.clone(), TestCa::new(common::inside::DOMAIN));
    let (own, late) = (identity(&old, GATEWAY), identity(&old, GATEWAY));
    let domain = || common::inside::DOMAIN.parse().unwrap();
    let both = || TrustBundle::new(domain(), vec![old.root(), new.root()], Vec::new()).unwrap();
    let only = || TrustBundle::new(domain(), vec![new.root()], Vec::new()).unwrap();
    late.replace_bundle(both()).unwrap();
    Box::pin(under_load(&scene, &own, async |calls| {
        let ends = [&own, &scene.sidecar.identity];
        for end in ends {
            assert!(end.replace_bundle(both()).unwrap());
            more(calls, 10).await;
        }
        for (end, path) in ends.into_iter().zip([GATEWAY, SERVER]) {
            end.replace_svid(svid(&new.issue(path))).unwrap();
            more(calls, 10).await;
        }
        for end in ends {
            assert!(end.replace_bundle(only()).unwrap());
            more(calls, 10).await;
        }
    }))
    .await;
    let before = scene.calls();
    if let Ok(late) = Caller::open(&scene.sidecar, &late).await {
        let token = late.context(&common::inside::local());
        assert!(late.send(common::intruder::bare().context(&token)).await.is_err());
    }
    assert_eq!(scene.calls(), before);
}
