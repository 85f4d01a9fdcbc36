//! The mesh port of a whole sidecar, and everybody who should not get in: no answer, and nothing reaches the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, SystemTime};

use common::inside;
use common::inside::{Caller, DOMAIN, GATEWAY, PATIENCE, SERVER, id, identity, identity_as};
use common::intruder::{ECHO, Scene, bare, intrude, slow};
use meshgate_identity::denied::{Denied, Subject};
use meshgate_testkit::ca::{Issued, TestCa, Wish};
use meshgate_testkit::intruder::client_config;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn wish(path: &str) -> Wish {
    Wish::of(&format!("spiffe://{DOMAIN}{path}"))
}

/// The one who should gets in, so that the refusals before it meant something.
async fn opens_to_its_gateway(scene: &Scene) {
    let gateway = scene.sidecar.gateway().await;
    let answer = gateway.send(scene.ask()).await;
    // The context was made for another connection of the same gateway, with another key.
    answer.unwrap().refused("overheard", "unauthenticated", "mesh/context");
    let before = scene.calls();
    let answer = gateway.call("tools/call", ECHO).await;
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    assert_eq!(scene.calls(), before + 1);
}

#[tokio::test]
async fn d23_whoever_connects_to_a_sidecar_without_tls_or_a_certificate_reaches_nothing() {
    let scene = Scene::open().await;
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
    let http1 = format!(
        "POST /mcp HTTP/1.1\r\nhost: sidecar\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for bytes in [
        http1.as_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        body.as_bytes(),
        &[0; 512],
    ] {
        let mut stream = TcpStream::connect(scene.sidecar.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the end");
        assert!(answer.len() <= 7, "an alert at most: {}", answer.escape_ascii());
    }
    scene.refuses(None, "a client without a certificate").await;
    opens_to_its_gateway(&scene).await;
}

#[tokio::test]
async fn a100_every_wrong_certificate_is_turned_away_and_nothing_reaches_the_server() {
    let scene = Scene::open().await;
    let ca = scene.sidecar.ca.clone();
    let gateway = wish(GATEWAY);
    let mut authority = gateway.clone();
    authority.authority = true;
    let mut signs = gateway.clone();
    signs.signs = true;
    let mut server_only = gateway.clone();
    server_only.client = false;
    let stolen = Issued {
        chain: ca.issue_as(&gateway).chain,
        key: ca.issue(GATEWAY).key,
    };
    let wrong = [
        ("a self-signed one", gateway.self_signed()),
        ("one of a twin of the authority", TestCa::new(DOMAIN).issue_as(&gateway)),
        ("one of another trust domain", TestCa::new("other.mesh").issue(GATEWAY)),
        (
            "another domain under our root",
            ca.issue_as(&Wish::of("spiffe://other.mesh/gateway/main")),
        ),
        ("/gateway-evil", ca.issue_as(&wish("/gateway-evil"))),
        ("/gateway/../x", ca.issue_as(&wish("/gateway/../x"))),
        ("/gateway%2f", ca.issue_as(&wish("/gateway%2f"))),
        ("/gateway%2fmain", ca.issue_as(&wish("/gateway%2fmain"))),
        ("/Gateway/main", ca.issue_as(&wish("/Gateway/main"))),
        (
            "two names",
            ca.issue_as(&gateway.clone().and_uri("spiffe://test.mesh/gateway/other")),
        ),
        (
            "a name and an address",
            ca.issue_as(&gateway.clone().and_uri("https://test.mesh/")),
        ),
        ("a common name only", ca.issue_as(&gateway.clone().as_common_name())),
        ("an expired one", ca.issue_as(&gateway.clone().expired())),
        ("one that has not begun", ca.issue_as(&gateway.clone().not_yet())),
        ("an authority", ca.issue_as(&authority)),
        ("one that may sign", ca.issue_as(&signs)),
        ("one for servers only", ca.issue_as(&server_only)),
        ("another one's certificate", stolen),
    ];
    for (what, shown) in &wrong {
        scene.refuses(Some(shown), what).await;
    }
    opens_to_its_gateway(&scene).await;
}

#[tokio::test]
async fn a101_another_sidecar_the_control_plane_or_an_operator_gets_no_answer() {
    let scene = Scene::open().await;
    let ca = scene.sidecar.ca.clone();
    for path in [
        "/server/projects/v1",
        "/server/only/v2",
        SERVER,
        "/control",
        "/operator/alma",
    ] {
        scene.refuses(Some(&ca.issue(path)), path).await;
    }
    opens_to_its_gateway(&scene).await;
}

#[tokio::test]
async fn a105_a_denied_gateway_is_cut_off_in_the_middle_of_a_call_and_not_let_in_again() {
    let scene = Scene::open().await;
    let (stolen, sound) = (
        identity(&scene.sidecar.ca, GATEWAY),
        identity(&scene.sidecar.ca, GATEWAY),
    );
    let gateway = Caller::open(&scene.sidecar, &stolen).await.unwrap();
    let token = gateway.context(&inside::local());
    let ask = slow().context(&token);
    let waiting = tokio::spawn(async move { (gateway.send(ask).await.map(drop), gateway) });
    while scene.calls() == 0 {
        tokio::task::yield_now().await;
    }
    let serial = Subject::Serial(stolen.current().serial().into());
    let denied = Denied::new([(serial, "the key was stolen".into())]).unwrap();
    scene.sidecar.identity.replace_denied(denied);
    let limit = Duration::from_secs(5);
    let (ended, gateway) = tokio::time::timeout(limit, waiting)
        .await
        .expect("cut within 5 s")
        .unwrap();
    assert!(ended.is_err(), "the call in flight is broken off");
    assert!(gateway.send(bare().context(&token)).await.is_err());
    let again = Caller::open(&scene.sidecar, &stolen).await;
    if let Ok(again) = again {
        assert!(
            again.send(bare().context(&token)).await.is_err(),
            "TLS 1.3 tells a client late"
        );
    }
    assert_eq!(scene.calls(), 1);
    // Another certificate of the same gateway is not the stolen one.
    let sound = Caller::open(&scene.sidecar, &sound).await.unwrap();
    assert_eq!(sound.call("tools/call", ECHO).await.status, 200);
}

#[tokio::test]
async fn a107_a_certificate_that_ends_lets_the_call_finish_and_makes_no_new_connection() {
    let scene = Scene::open().await;
    let now = SystemTime::now();
    let brief = wish(GATEWAY).between(now - Duration::from_secs(120), now + Duration::from_secs(3));
    let identity = identity_as(&scene.sidecar.ca, &brief);
    let gateway = Caller::open(&scene.sidecar, &identity).await.unwrap();
    let token = gateway.context(&inside::local());
    let ask = slow().context(&token);
    let waiting = tokio::spawn(async move { gateway.send(ask).await });
    let over = identity.current().not_after() + Duration::from_secs(1);
    while SystemTime::now() < over {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!waiting.is_finished(), "not cut");
    if let Ok(late) = Caller::open(&scene.sidecar, &identity).await {
        assert!(late.send(bare().context(&token)).await.is_err());
    }
    let other = scene.sidecar.gateway().await;
    other
        .call("tools/call", r#""name":"echo","arguments":{"say":"release"}"#)
        .await;
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.result()["content"][0]["text"], "hi");
    assert_eq!(scene.calls(), 2);
}

#[tokio::test]
async fn a108_a_sidecar_speaks_tls_1_3_and_http_2_and_nothing_else() {
    let scene = Scene::open().await;
    let issued = scene.sidecar.ca.issue(GATEWAY);
    let old = client_config(Some(&issued), &[&TLS12]);
    assert!(intrude(scene.sidecar.address, old, scene.ask()).await.is_err());
    for alpn in [vec![b"http/1.1".to_vec()], vec![b"spdy/3".to_vec()], Vec::new()] {
        let mut config = client_config(Some(&issued), &[&TLS13]);
        config.alpn_protocols = alpn.clone();
        let answer = intrude(scene.sidecar.address, config, scene.ask()).await;
        assert!(answer.is_err(), "{alpn:?}: {answer:?}");
    }
    assert_eq!(scene.calls(), 0);
    assert_eq!(id(SERVER), scene.sidecar.identity.id());
    opens_to_its_gateway(&scene).await;
}

#[tokio::test]
async fn a109_a_sidecar_gives_no_ticket_and_takes_no_early_data() {
    let scene = Scene::open().await;
    let issued = scene.sidecar.ca.issue(GATEWAY);
    let mut config = client_config(Some(&issued), &[&TLS13]);
    config.enable_early_data = true;
    let config = std::sync::Arc::new(config);
    for _ in 0..2 {
        let name = meshgate_identity::identity::server_name();
        let mut early = rustls::ClientConnection::new(config.clone(), name).unwrap();
        assert!(early.early_data().is_none(), "there is nothing to come back with");
        let answer = intrude(scene.sidecar.address, (*config).clone(), scene.ask())
            .await
            .unwrap();
        assert!(answer.1.contains("mesh/context"), "{answer:?}");
    }
    assert_eq!(scene.calls(), 0);
}
