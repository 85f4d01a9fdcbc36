//! What a caller context is worth at a whole sidecar: on its connection, for its server, now, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, SystemTime};

use common::inside::{Caller, GATEWAY, RunningSidecar, id, identity, local};
use common::intruder::{Scene, bare};
use meshgate_identity::context;
use meshgate_testkit::ca::TestCa;

const MINUTES: Duration = Duration::from_secs(300);

/// Sees that a request with these values of the header gets nowhere.
async fn disbelieved(scene: &Scene, gateway: &Caller, case: &str, tokens: &[&str]) {
    let before = scene.calls();
    let ask = tokens.iter().fold(bare(), |ask, token| ask.context(token));
    let answer = gateway.send(ask).await.unwrap();
    answer.refused(case, "unauthenticated", "mesh/context");
    assert_eq!(scene.calls(), before, "{case}");
}

async fn believed(scene: &Scene, gateway: &Caller, token: &str) {
    let before = scene.calls();
    let answer = gateway.send(bare().context(token)).await.unwrap();
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    assert_eq!(scene.calls(), before + 1);
}

#[tokio::test]
async fn d25_a_context_is_good_again_on_its_own_certificate_and_replayed_nowhere_else() {
    let scene = Scene::open().await;
    let own = identity(&scene.sidecar.ca, GATEWAY);
    let first = Caller::open(&scene.sidecar, &own).await.unwrap();
    let token = first.context(&local());
    believed(&scene, &first, &token).await;
    believed(&scene, &first, &token).await;
    // Another connection of the same certificate.
    let second = Caller::open(&scene.sidecar, &own).await.unwrap();
    believed(&scene, &second, &token).await;
    // Another replica of the same gateway, which holds its own key.
    let replica = scene.sidecar.gateway().await;
    disbelieved(&scene, &replica, "another replica", &[&token]).await;
    // The same gateway after a rotation, on the new connection; the old one goes on.
    own.replace_svid(common::inside::svid(&scene.sidecar.ca.issue(GATEWAY)))
        .unwrap();
    let rotated = Caller::open(&scene.sidecar, &own).await.unwrap();
    disbelieved(&scene, &rotated, "after a rotation", &[&token]).await;
    believed(&scene, &rotated, &rotated.context(&local())).await;
    believed(&scene, &first, &token).await;
}

#[tokio::test]
async fn d25_a_context_of_another_gateway_is_refused_though_both_are_named() {
    let server = meshgate_testkit::ScriptedServer::modern()
        .tool("echo", "{}")
        .start()
        .await;
    let snapshot = common::compiled(&common::mesh(&[("only", &server.url())], common::UNHURRIED));
    let ca = std::sync::Arc::new(TestCa::new(common::inside::DOMAIN));
    let both = [id(GATEWAY), id("/gateway/other")].into_iter().collect();
    let sidecar = RunningSidecar::start_with(&snapshot, ca, both).await;
    let main = sidecar.gateway().await;
    let other = Caller::open(&sidecar, &identity(&sidecar.ca, "/gateway/other"))
        .await
        .unwrap();
    let (of_main, of_other) = (main.context(&local()), other.context(&local()));
    for (case, caller, token) in [("main", &main, &of_main), ("other", &other, &of_other)] {
        let answer = caller.send(bare().context(token)).await.unwrap();
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
    }
    for (case, caller, token) in [
        ("main's at other", &other, &of_main),
        ("other's at main", &main, &of_other),
    ] {
        let answer = caller.send(bare().context(token)).await.unwrap();
        answer.refused(case, "unauthenticated", "mesh/context");
    }
    let calls = server
        .recorded()
        .into_iter()
        .filter(|r| r.method() == "tools/call")
        .count();
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a104_a_context_that_is_missing_doubled_foreign_old_early_or_changed_is_refused() {
    let scene = Scene::open().await;
    let mut gateway = scene.sidecar.gateway().await;
    let token = gateway.context(&local());
    disbelieved(&scene, &gateway, "none", &[]).await;
    disbelieved(&scene, &gateway, "empty", &[""]).await;
    disbelieved(&scene, &gateway, "twice", &[&token, &token]).await;
    disbelieved(&scene, &gateway, "two in one", &[&format!("{token}, {token}")]).await;
    disbelieved(&scene, &gateway, "as a bearer token", &[&format!("Bearer {token}")]).await;
    for (case, at) in [
        ("five minutes old", SystemTime::now() - MINUTES),
        ("91 seconds old", SystemTime::now() - Duration::from_secs(91)),
        ("35 seconds early", SystemTime::now() + Duration::from_secs(35)),
        ("five minutes early", SystemTime::now() + MINUTES),
    ] {
        disbelieved(&scene, &gateway, case, &[&gateway.context_at(&local(), at)]).await;
    }
    for path in ["/server/only/v2", "/server/projects/v1", GATEWAY] {
        gateway.audience = id(path);
        disbelieved(&scene, &gateway, path, &[&gateway.context(&local())]).await;
    }
    gateway.audience = id(common::inside::SERVER);
    // One byte of the claims, in the middle and at both ends, and of the signature.
    let dot = token.rfind('.').unwrap();
    for at in [60, dot / 2, dot - 2, dot + 1, dot + 40] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        disbelieved(&scene, &gateway, &format!("changed at {at}"), &[&changed]).await;
    }
    let other_head = token.replacen(
        "eyJ0eXAiOiJ0eG50b2tlbitqd3QiLCJhbGciOiJFUzI1NiJ9",
        "eyJhbGciOiJub25lIn0",
        1,
    );
    disbelieved(&scene, &gateway, "another head", &[&other_head]).await;
    // A context beside it that is sound does not make up for one that is not, in either order.
    disbelieved(&scene, &gateway, "unsound, then sound", &["x", &token]).await;
    disbelieved(&scene, &gateway, "sound, then unsound", &[&token, "x"]).await;
    let stranger = bare()
        .and("authorization", &format!("Bearer {token}"))
        .and("x-txn-token", &token);
    let answer = gateway.send(stranger).await.unwrap();
    answer.refused("elsewhere", "unauthenticated", "mesh/context");
    believed(&scene, &gateway, &token).await;
    assert_eq!(scene.calls(), 1);
}

#[tokio::test]
async fn a104_limits_of_a_context_hold_at_the_door() {
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
    let named = |length: usize| context::Caller::Application {
        application: "local".to_owned(),
        user: None,
        groups: vec!["g".repeat(length)],
        scopes: Vec::new(),
        view: "default".to_owned(),
    };
    // The longest that a gateway writes is taken: no limit of heads lies below it.
    let longest = (1..8192)
        .rev()
        .find(|length| {
            let life = Duration::from_secs(60);
            context::sign(
                &gateway.svid,
                &gateway.audience,
                &named(*length),
                "txn-1",
                SystemTime::now(),
                life,
            )
            .is_ok()
        })
        .unwrap();
    believed(&scene, &gateway, &gateway.context(&named(longest))).await;
}
