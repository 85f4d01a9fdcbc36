//! What a caller context is worth at a whole sidecar: on its connection, for its server, now, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use common::inside::{Ask, Caller, GATEWAY, RunningSidecar, authority, caller, id, identity, local};
use common::intruder::{ECHO, Scene, bare, beside, calls, server};
use common::{compiled, mesh};
use meshgate_identity::context;

const MINUTES: Duration = Duration::from_secs(300);

/// Sees that a request with these values of the header gets nowhere.
async fn disbelieved(scene: &Scene, gateway: &Caller, case: &str, tokens: &[&str]) {
    let before = scene.calls();
    let ask = tokens.iter().fold(bare(), |ask, token| ask.context(token));
    let answer = gateway.send(ask).await.unwrap();
    answer.refused(case, "unauthenticated", "mesh/context");
    assert_eq!(answer.status, 401, "{case}");
    assert!(!answer.headers.contains_key("www-authenticate"), "{case}");
    assert_eq!(scene.calls(), before, "{case}");
}

/// A context whose claims say something else, beside the signature that it had.
fn forged(token: &str, from: &str, to: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let claims = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap();
    assert!(claims.contains(from), "{claims}");
    [parts[0], &BASE64.encode(claims.replace(from, to)), parts[2]].join(".")
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
    let server = server().await;
    let both = [id(GATEWAY), id("/gateway/other")].into_iter().collect();
    let sidecar = RunningSidecar::start_with(&compiled(&beside(&server)), authority(), both).await;
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
    assert_eq!(calls(&server), 2);
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
    disbelieved(&scene, &gateway, "padded", &[&format!("{token}=")]).await;
    disbelieved(&scene, &gateway, "with space", &[&format!("{token} ")]).await;
    disbelieved(&scene, &gateway, "too long", &[&"a".repeat(8 * 1024 + 1)]).await;
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
    disbelieved(&scene, &gateway, "unsigned", &[&token[..=dot]]).await;
    for (case, from, to) in [
        ("another application", "local", "admin"),
        ("another view", "default", "everything"),
        ("for itself", r#""view""#, r#""gateway":true,"view""#),
    ] {
        disbelieved(&scene, &gateway, case, &[&forged(&token, from, to)]).await;
    }
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

#[tokio::test]
async fn a_context_that_was_believed_once_is_decided_by_what_holds_now() {
    let Scene { server, sidecar, .. } = Scene::open().await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&caller("local", "default"));
    assert_eq!(gateway.send(bare().context(&token)).await.unwrap().status, 200);
    let without = "kind: View\nmetadata: {name: default}\nspec: {servers: []}";
    sidecar.reload(&mesh(&[("only", &server.url())], without));
    let refused = gateway.send(bare().context(&token)).await.unwrap();
    refused.refused("the view has gone", "forbidden", "mesh/view");
    sidecar.reload(&beside(&server));
    assert_eq!(gateway.send(bare().context(&token)).await.unwrap().status, 200);
}

#[tokio::test]
async fn contexts_of_more_callers_than_are_remembered_are_all_believed() {
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
    // One more than a connection remembers, then the first again: verified anew, and no other answer.
    let person = |number: usize| context::Caller::Application {
        application: "local".to_owned(),
        user: Some(format!("user-{number}")),
        groups: Vec::new(),
        scopes: Vec::new(),
        view: "default".to_owned(),
    };
    let remembered = meshgate_proxy::limits::Limits::default().contexts_per_connection;
    let list = || Ask::new("7", "tools/list", "");
    for number in (0..=remembered).chain([0]) {
        let token = gateway.context(&person(number));
        assert_eq!(
            gateway.send(list().context(&token)).await.unwrap().status,
            200,
            "{number}"
        );
    }
}

#[tokio::test]
async fn an_anonymous_caller_is_believed_where_the_view_is_open_to_anybody() {
    let server = server().await;
    let open = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], anonymous: true}";
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], open)).await;
    let gateway = sidecar.gateway().await;
    let anybody = meshgate_proxy::call::Caller::anonymous().to_context(Some("default"));
    assert_eq!(gateway.call_as(&anybody, "tools/call", ECHO).await.status, 200);
    let elsewhere = meshgate_proxy::call::Caller::anonymous().to_context(Some("others"));
    let refused = gateway.call_as(&elsewhere, "tools/call", ECHO).await;
    refused.refused("another view", "forbidden", "mesh/view");
}

#[tokio::test]
async fn a_sidecar_takes_no_context_of_a_part_that_is_no_gateway_whatever_its_certificate() {
    let server = server().await;
    let ca = authority();
    // The configuration names a part that is no gateway, by mistake: it does not come through the door all the same.
    let named = [id("/server/others/v1"), id("/control")].into_iter().collect();
    let snapshot = compiled(&beside(&server));
    let sidecar = RunningSidecar::start_with(&snapshot, ca, named).await;
    for path in ["/server/others/v1", "/control", "/operator/ann"] {
        let opened = Caller::open(&sidecar, &identity(&sidecar.ca, path)).await;
        let Ok(part) = opened else { continue };
        assert!(part.send(bare()).await.is_err(), "{path}");
    }
    assert_eq!(calls(&server), 0);
}
