//! Caller contexts at a real sidecar: which are believed, and that nothing of the others reaches the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use common::inside::{
    Ask, Caller, DOMAIN, GATEWAY, RunningSidecar, authority, caller, id, identity, identity_as, local,
};
use common::{UNHURRIED, compiled, mesh};
use meshgate_identity::context;
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::ca::Wish;

const HI: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#;
const MINUTE: Duration = Duration::from_secs(60);

fn ask() -> Ask {
    Ask::new("7", "tools/call", r#""name":"echo","arguments":{}"#)
}

async fn sidecar() -> (ScriptedServer, RunningSidecar) {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, sidecar)
}

fn calls(server: &ScriptedServer) -> usize {
    server.recorded().iter().filter(|r| r.method() == "tools/call").count()
}

/// A context whose claims say what `bend` makes of them, signed with the right key all the same.
fn forged(gateway: &Caller, bend: impl Fn(String) -> String) -> String {
    let sound = gateway.context(&local());
    let parts: Vec<&str> = sound.split('.').collect();
    let claims = String::from_utf8(BASE64.decode(parts[1]).unwrap()).unwrap();
    [parts[0], &BASE64.encode(bend(claims)), parts[2]].join(".")
}

#[tokio::test]
async fn a104_each_context_that_is_not_to_be_believed_is_refused_and_nothing_reaches_the_server() {
    let (server, sidecar) = sidecar().await;
    let gateway = sidecar.gateway().await;
    let now = SystemTime::now();
    let sound = gateway.context(&local());
    let signed = |audience: &str, at: SystemTime| {
        context::sign(&gateway.svid, &id(audience), &local(), "t", at, MINUTE).unwrap()
    };
    // The same gateway with another certificate: what it signs is not signed by the key of this connection.
    let renewed = identity(&sidecar.ca, GATEWAY).current();
    let of_renewed = context::sign(&renewed, &id("/server/only/v1"), &local(), "t", now, MINUTE).unwrap();
    let other = identity(&sidecar.ca, "/gateway/other").current();
    let of_other = context::sign(&other, &id("/server/only/v1"), &local(), "t", now, MINUTE).unwrap();
    let mut one_byte = sound.clone().into_bytes();
    let middle = one_byte.len() / 2;
    one_byte[middle] = if one_byte[middle] == b'A' { b'B' } else { b'A' };
    let signature_at = sound.rfind('.').unwrap();
    for (case, token) in [
        ("empty", String::new()),
        ("no token", "Bearer x".to_owned()),
        ("unsigned", sound[..=signature_at].to_owned()),
        (
            "no algorithm",
            sound.replacen(sound.split('.').next().unwrap(), &BASE64.encode(r#"{"alg":"none"}"#), 1),
        ),
        ("one byte of it", String::from_utf8(one_byte).unwrap()),
        ("padded", format!("{sound}=")),
        ("with space", format!("{sound} ")),
        ("twice in one", format!("{sound},{sound}")),
        ("another version", signed("/server/only/v2", now)),
        ("another server", signed("/server/others/v1", now)),
        (
            "over",
            signed("/server/only/v1", now - MINUTE - Duration::from_secs(31)),
        ),
        ("five minutes ago", signed("/server/only/v1", now - 5 * MINUTE)),
        ("in five minutes", signed("/server/only/v1", now + 5 * MINUTE)),
        ("of its next certificate", of_renewed),
        ("of another gateway", of_other),
        (
            "another application",
            forged(&gateway, |claims| claims.replace("local", "admin")),
        ),
        (
            "another view",
            forged(&gateway, |claims| claims.replace("default", "everything")),
        ),
        (
            "for itself",
            forged(&gateway, |claims| {
                claims.replace(r#""view""#, r#""gateway":true,"view""#)
            }),
        ),
        ("too long", "a".repeat(8 * 1024 + 1)),
    ] {
        let answer = gateway.send(ask().context(&token)).await.unwrap();
        assert_eq!(answer.status, 401, "{case}: {}", answer.text());
        answer.refused(case, "unauthenticated", "mesh/context");
        assert!(!answer.headers.contains_key("www-authenticate"), "{case}");
    }
    let missing = gateway.send(ask()).await.unwrap();
    missing.refused("missing", "unauthenticated", "mesh/context");
    let twice = gateway.send(ask().context(&sound).context(&sound)).await.unwrap();
    twice.refused("twice", "unauthenticated", "mesh/context");
    assert_eq!(calls(&server), 0);
    assert_eq!(gateway.send(ask().context(&sound)).await.unwrap().status, 200);
    assert_eq!(calls(&server), 1);
}

#[tokio::test]
async fn a104_d25_a_context_is_good_on_its_own_connection_only_and_there_as_often_as_its_caller_calls() {
    let (server, sidecar) = sidecar().await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&local());
    for _ in 0..3 {
        assert_eq!(gateway.send(ask().context(&token)).await.unwrap().status, 200);
    }
    // Another replica of the same gateway, which has a certificate of its own, and the gateway's own next connection.
    let replica = sidecar.gateway().await;
    let stolen = replica.send(ask().context(&token)).await.unwrap();
    stolen.refused("replayed by another replica", "unauthenticated", "mesh/context");
    let same = identity(&sidecar.ca, GATEWAY);
    let first = Caller::open(&sidecar, &same).await.unwrap();
    let second = Caller::open(&sidecar, &same).await.unwrap();
    let token = first.context(&local());
    assert_eq!(first.send(ask().context(&token)).await.unwrap().status, 200);
    assert_eq!(
        second.send(ask().context(&token)).await.unwrap().status,
        200,
        "one certificate, one holder"
    );
    assert_eq!(calls(&server), 5);
}

#[tokio::test]
async fn a_context_that_was_believed_once_is_decided_by_what_holds_now() {
    let (server, sidecar) = sidecar().await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&caller("local", "default"));
    assert_eq!(gateway.send(ask().context(&token)).await.unwrap().status, 200);
    let without = "kind: View\nmetadata: {name: default}\nspec: {servers: []}";
    sidecar.reload(&mesh(&[("only", &server.url())], without));
    let refused = gateway.send(ask().context(&token)).await.unwrap();
    refused.refused("the view has gone", "forbidden", "mesh/view");
    sidecar.reload(&mesh(&[("only", &server.url())], UNHURRIED));
    assert_eq!(gateway.send(ask().context(&token)).await.unwrap().status, 200);
}

#[tokio::test]
async fn contexts_of_more_callers_than_are_remembered_are_all_believed() {
    let (_server, sidecar) = sidecar().await;
    let gateway = sidecar.gateway().await;
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
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let open = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], anonymous: true}";
    let sidecar = RunningSidecar::start(&mesh(&[("only", &server.url())], open)).await;
    let gateway = sidecar.gateway().await;
    let anybody = meshgate_proxy::call::Caller::anonymous().to_context(Some("default"));
    assert_eq!(
        gateway
            .call_as(&anybody, "tools/call", r#""name":"echo","arguments":{}"#)
            .await
            .status,
        200
    );
    let elsewhere = meshgate_proxy::call::Caller::anonymous().to_context(Some("others"));
    let refused = gateway
        .call_as(&elsewhere, "tools/call", r#""name":"echo","arguments":{}"#)
        .await;
    refused.refused("another view", "forbidden", "mesh/view");
}

#[tokio::test]
async fn a_sidecar_takes_no_context_of_a_part_that_is_no_gateway_whatever_its_certificate() {
    let server = ScriptedServer::modern().tool("echo", HI).start().await;
    let ca = authority();
    // The configuration names a part that is no gateway, by mistake: it does not come through the door all the same.
    let named = [id("/server/others/v1"), id("/control")].into_iter().collect();
    let snapshot = compiled(&mesh(&[("only", &server.url())], UNHURRIED));
    let sidecar = RunningSidecar::start_with(&snapshot, ca, named).await;
    for path in ["/server/others/v1", "/control", "/operator/ann"] {
        let wish = Wish::of(&format!("spiffe://{DOMAIN}{path}"));
        let opened = Caller::open(&sidecar, &identity_as(&sidecar.ca, &wish)).await;
        let Ok(part) = opened else { continue };
        assert!(part.send(ask()).await.is_err(), "{path}");
    }
    assert_eq!(calls(&server), 0);
}
