//! Certificates that change on both sides of the hop while calls are made: no call notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use common::inside::{Caller, DOMAIN, GATEWAY, PATIENCE, SERVER, bundle, identity, svid};
use common::intruder::Scene;
use common::meshed::{Meshed, behind_sidecars};
use common::{RunningGateway, compiled};
use meshgate_identity::limits::CERTIFICATE_BACKDATED;
use meshgate_identity::{Identity, KeyRing, Svid, TrustBundle};
use meshgate_proxy::gateway::MeshParts;
use meshgate_proxy::hop::{HopLimits, HopOptions};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::ca::{TestCa, Wish};
use tokio::task::JoinSet;

const HI: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#;
const ECHO: &str = r#""name":"echo","arguments":{}"#;

/// Calls until told to stop, some times on each connection; every answer must be the server's.
async fn busy(scene: &Scene, own: &Arc<Identity>, done: &AtomicBool, calls: &AtomicUsize) {
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
async fn under_load(scene: &Scene, own: &Arc<Identity>, rotate: impl AsyncFnOnce(&AtomicUsize)) {
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
    let (old, new) = (scene.sidecar.ca.clone(), TestCa::new(DOMAIN));
    let (own, late) = (identity(&old, GATEWAY), identity(&old, GATEWAY));
    let domain = || DOMAIN.parse().unwrap();
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

async fn echoing() -> ScriptedServer {
    ScriptedServer::modern().tool("echo", HI).start().await
}

/// How long certificates live in a mesh that is in a hurry, and how often they are renewed: at a third, as ever.
const HASTY_LIFE: Duration = Duration::from_secs(3);
const HASTY_ROTATION: Duration = Duration::from_secs(1);

/// Calls a second in a mesh in a hurry, whether those before are answered or not.
const HASTY_RATE: u32 = 50;
/// Calls that may be on their way at once: with more of them the machine does not keep up, and the rate is not what is said.
const ON_THE_WAY_MAX: usize = 512;

/// Makes so many calls a second until told to stop, and answers how many; each must be answered by the server.
async fn steady(gateway: Arc<RunningGateway>, rate: u32, done: Arc<AtomicBool>) -> usize {
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    let (mut calls, mut made) = (JoinSet::new(), 0);
    while !done.load(Ordering::SeqCst) {
        // What is late is made up for.
        due.tick().await;
        let gateway = gateway.clone();
        calls.spawn(async move {
            let answer = gateway.modern("/mcp", "1", "tools/call", ECHO).await;
            assert_eq!(answer.json()["result"]["content"][0]["text"], "hi", "{}", answer.text());
        });
        made += 1;
        while let Some(ended) = calls.try_join_next() {
            ended.expect("a call failed");
        }
        assert!(calls.len() <= ON_THE_WAY_MAX, "{rate} calls a second are too many here");
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("a call failed");
    }
    made
}

/// The certificate of a part of that mesh.
fn hasty(ca: &TestCa, path: &str) -> Svid {
    let now = SystemTime::now();
    let wish = Wish::of(&format!("spiffe://{DOMAIN}{path}"));
    svid(&ca.issue_as(&wish.between(now - CERTIFICATE_BACKDATED, now + HASTY_LIFE)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d26_a106_a_gateway_and_a_sidecar_outlive_their_certificates_under_load_without_a_failed_call() {
    let rounds = std::env::var("MESHGATE_ROTATIONS").map_or(7, |rounds| rounds.parse().unwrap());
    let rate = std::env::var("MESHGATE_ROTATION_RATE").map_or(HASTY_RATE, |rate| rate.parse().unwrap());
    let (mesh, server) = (Meshed::new(), echoing().await);
    let sidecar = mesh.sidecar(&server).await;
    mesh.sidecars(&[(11, &sidecar)]);
    sidecar.identity.replace_svid(hasty(&mesh.ca, SERVER)).unwrap();
    let own = Arc::new(Identity::new(hasty(&mesh.ca, GATEWAY), bundle(&mesh.ca)).unwrap());
    let hop = HopOptions {
        identity: own.clone(),
        endpoints: mesh.endpoints.clone(),
        instance: 1,
        limits: HopLimits::default(),
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let keys = Arc::new(KeyRing::from_entropy().unwrap());
    let snapshot = compiled(&behind_sidecars());
    let parts = Some(MeshParts { hop, address });
    let gateway = RunningGateway::start_in(snapshot, keys, SupervisorProgram::default(), parts).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    load.spawn(steady(Arc::new(gateway), rate, done.clone()));
    let first = own.current();
    for _ in 0..rounds {
        tokio::time::sleep(HASTY_ROTATION).await;
        own.replace_svid(hasty(&mesh.ca, GATEWAY)).unwrap();
        sidecar.identity.replace_svid(hasty(&mesh.ca, SERVER)).unwrap();
        assert!(load.try_join_next().is_none(), "a call failed");
    }
    assert!(first.not_after() < SystemTime::now(), "what it began with has ended");
    done.store(true, Ordering::SeqCst);
    let made = load.join_next().await.unwrap().unwrap();
    let calls = server.received("tools/call").len();
    assert_eq!(calls, made, "each call ran once");
    // The rate is kept, but for what the last renewals took.
    assert!(calls >= rounds * rate as usize * 9 / 10, "there was a load: {calls}");
    println!(
        "rotation: {calls} calls, {rate} a second, while both certificates were renewed {rounds} times, and none failed"
    );
}
