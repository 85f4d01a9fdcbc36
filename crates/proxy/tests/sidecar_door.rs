//! The mesh port itself: who gets through, how long they stay, what one connection may carry, and how it all ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::inside::{
    Ask, Caller, DOMAIN, GATEWAY, PATIENCE, RunningSidecar, SERVER, authority, bundle, id, identity, local, parts, svid,
};
use common::{UNHURRIED, compiled, mesh};
use futures_util::future::join_all;
use meshgate_identity::Identity;
use meshgate_identity::denied::{Denied, Subject};
use meshgate_proxy::drain::Drain;
use meshgate_proxy::limits::Limits;
use meshgate_proxy::sidecar::{Admission, Sidecar, StartError};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::ca::{TestCa, Wish};
use meshgate_testkit::{Answer, ScriptedServer, Step};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const HI: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#;

fn ask(tool: &str) -> Ask {
    Ask::new("7", "tools/call", &format!(r#""name":"{tool}","arguments":{{}}"#))
}

/// A server with a tool `echo`, and a tool `held` that answers when the server is told `go`.
async fn server() -> ScriptedServer {
    ScriptedServer::modern()
        .tool("echo", HI)
        .tool_as("held", r#"{"name":"held","inputSchema":{"type":"object"}}"#, |_| {
            let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
            Answer::stream([Step::Until("go".to_owned()), Step::message(done)])
        })
        .start()
        .await
}

async fn release(server: &ScriptedServer) {
    let body = r#"{"jsonrpc":"2.0","method":"go"}"#;
    meshgate_testkit::raw::post(
        server.address(),
        "/mcp",
        &[("content-type", "application/json")],
        body.as_bytes(),
    )
    .await;
}

async fn sidecar(server: &ScriptedServer) -> RunningSidecar {
    RunningSidecar::start(&mesh(&[("only", &server.url())], UNHURRIED)).await
}

fn calls(server: &ScriptedServer) -> usize {
    server
        .recorded()
        .iter()
        .filter(|r| r.header("mcp-method") == Some("tools/call"))
        .count()
}

/// Waits until a server has had so many calls.
async fn reached(server: &ScriptedServer, count: usize) {
    let waiting = async {
        while calls(server) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the calls reach the server");
}

#[tokio::test]
async fn a100_d23_nothing_but_a_sound_certificate_of_a_gateway_gets_through() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let ca = &sidecar.ca;
    let at = |path: &str| Wish::of(&format!("spiffe://{DOMAIN}{path}"));
    let (namesake, foreign) = (TestCa::new(DOMAIN), TestCa::new("other.mesh"));
    for (case, by, wish) in [
        ("another root of the same name", &namesake, at(GATEWAY)),
        (
            "another trust domain",
            &foreign,
            Wish::of("spiffe://other.mesh/gateway/main"),
        ),
        ("expired", &**ca, at(GATEWAY).expired()),
        ("not yet", ca, at(GATEWAY).not_yet()),
    ] {
        let identity = Arc::new(Identity::new(svid(&by.issue_as(&wish)), bundle(by)).unwrap());
        // It trusts us where it can, so that it is we who refuse.
        let _ = identity.replace_bundle(bundle(ca));
        if let Ok(client) = Caller::open(&sidecar, &identity).await {
            assert!(client.send(ask("echo")).await.is_err(), "{case}");
        }
    }
    assert_eq!(calls(&server), 0);
    assert_eq!(sidecar.gateway().await.call("tools/list", "").await.status, 200);
}

#[tokio::test]
async fn a100_plain_text_and_tls_without_a_certificate_get_no_answer() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    for bytes in [
        &b"POST /mcp HTTP/1.1\r\nhost: sidecar\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut plain = TcpStream::connect(sidecar.address).await.unwrap();
        plain.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        assert!(answer.len() < 32, "an alert and no more");
    }
}

#[tokio::test]
async fn a101_another_sidecar_does_not_get_through() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    for path in ["/server/others/v1", SERVER] {
        if let Ok(other) = Caller::open(&sidecar, &identity(&sidecar.ca, path)).await {
            assert!(other.send(ask("echo")).await.is_err(), "{path}");
        }
    }
    assert_eq!(calls(&server), 0);
}

#[tokio::test]
async fn a_gateway_that_is_not_named_is_told_so_and_nothing_reaches_the_server() {
    let server = server().await;
    let snapshot = compiled(&mesh(&[("only", &server.url())], UNHURRIED));
    let sidecar = RunningSidecar::start_with(&snapshot, authority(), Admission::default()).await;
    let gateway = sidecar.gateway().await;
    let refused = gateway.call("tools/call", r#""name":"echo","arguments":{}"#).await;
    refused.refused("nobody is named", "forbidden", "mesh/gateway");
    assert_eq!(refused.status, 403);
    sidecar.control.admit([id(GATEWAY)].into_iter().collect());
    assert_eq!(
        gateway
            .call("tools/call", r#""name":"echo","arguments":{}"#)
            .await
            .status,
        200
    );
    // Another name is another gateway, however much alike.
    for path in ["/gateway/main2", "/gateway/mai", "/gateway/mainn"] {
        let Ok(other) = Caller::open(&sidecar, &identity(&sidecar.ca, path)).await else {
            continue;
        };
        other
            .call("tools/call", r#""name":"echo","arguments":{}"#)
            .await
            .refused(path, "forbidden", "mesh/gateway");
    }
    assert_eq!(calls(&server), 1);
    let line = sidecar.lines(1).await.remove(0);
    assert_eq!(
        (&line["rule"], &line["peerIdentity"]),
        (&"mesh/gateway".into(), &format!("spiffe://{DOMAIN}{GATEWAY}").into())
    );
}

#[tokio::test]
async fn a105_a_denied_gateway_is_cut_off_with_what_it_has_in_flight_and_does_not_come_back() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let stolen = identity(&sidecar.ca, GATEWAY);
    let (thief, honest) = (Caller::open(&sidecar, &stolen).await.unwrap(), sidecar.gateway().await);
    let token = thief.context(&local());
    let held = thief.send(ask("held").context(&token));
    let cut = async {
        reached(&server, 1).await;
        let serial = stolen.current().serial().into();
        sidecar
            .identity
            .replace_denied(Denied::new([(Subject::Serial(serial), "stolen".into())]).unwrap());
    };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(held, cut) })
        .await
        .expect("cut within five seconds");
    assert!(ended.is_err(), "what it had in flight is broken off");
    if let Ok(again) = Caller::open(&sidecar, &stolen).await {
        assert!(again.send(ask("echo").context(&token)).await.is_err());
    }
    let honest_call = honest.call("tools/call", r#""name":"echo","arguments":{}"#).await;
    assert_eq!(
        honest_call.status, 200,
        "another certificate of the same gateway is another matter"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_no_longer_named_finishes_what_it_has_and_is_cut_after_its_time() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&local());
    let held = gateway.open_call(ask("held").context(&token));
    tokio::pin!(held);
    let waiting = async {
        reached(&server, 1).await;
        sidecar.control.admit(Admission::default());
        let refused = gateway.send(ask("echo").context(&token)).await.unwrap();
        refused.refused("no longer named", "forbidden", "mesh/gateway");
        release(&server).await;
    };
    let (answer, ()) = tokio::join!(&mut held, waiting);
    assert_eq!(
        answer.unwrap().whole().await.unwrap().status,
        200,
        "what was under way is answered"
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(
        gateway.send(ask("echo").context(&token)).await.is_err(),
        "its time is over"
    );
}

#[tokio::test]
async fn a_connection_carries_a_thousand_streams_at_once_and_the_next_one_waits_at_the_gateway() {
    let max = Limits::default().inside().h2_streams;
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&local());
    let listen = || {
        let listen = Ask::new(
            "7",
            "subscriptions/listen",
            r#""notifications":{"toolsListChanged":true}"#,
        );
        gateway.open_call(listen.context(&token))
    };
    let mut open = Vec::new();
    for number in 0..max {
        let opened = listen().await.unwrap();
        assert_eq!(opened.status, 200, "{number}");
        open.push(opened);
    }
    // The limit is told in SETTINGS, and a client of HTTP/2 keeps to it.
    let mut next = std::pin::pin!(listen());
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut next)
            .await
            .is_err()
    );
    drop(open.pop());
    assert_eq!(next.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_is_taken_at_the_limit_of_the_mesh_and_refused_beyond() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&local());
    let max = Limits::default().inside().body_bytes;
    for (bytes, status) in [(max - 1, 200), (max, 200), (max + 1, 413)] {
        let mut call = ask("echo").context(&token);
        let room = bytes - call.body.len();
        let open = call.body.iter().rposition(|byte| *byte == b'}').unwrap();
        call.body.splice(open..open, std::iter::repeat_n(b' ', room));
        assert_eq!(call.body.len(), bytes);
        let answer = gateway.send(call).await.unwrap();
        assert_eq!(answer.status, status, "{bytes}: {}", answer.text());
    }
}

#[tokio::test]
async fn d42_a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let server = server().await;
    let sidecar = sidecar(&server).await;
    let gateway = sidecar.gateway().await;
    let token = gateway.context(&local());
    let held = join_all((0..50).map(|_| gateway.send(ask("held").context(&token))));
    let address = sidecar.address;
    let draining = async {
        reached(&server, 50).await;
        assert!(sidecar.control.report().in_flight >= 50);
        sidecar.ask_to_end();
        assert!(sidecar.control.report().draining);
        release(&server).await;
        sidecar.stop(Duration::from_secs(10)).await
    };
    let (answers, drained) = tokio::join!(held, draining);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status == 200));
    assert_eq!(drained.forced, 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn two_sidecars_of_one_process_share_nothing_and_only_a_server_has_one() {
    let (a, b) = (server().await, ScriptedServer::modern().tool("other", HI).start().await);
    let (first, second) = (sidecar(&a).await, sidecar(&b).await);
    assert_ne!(first.address, second.address);
    let stranger = Caller::open(&second, &identity(&first.ca, GATEWAY)).await;
    assert!(stranger.is_err(), "another authority is another mesh");
    assert_eq!(
        first
            .gateway()
            .await
            .call("tools/call", r#""name":"echo","arguments":{}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        second
            .gateway()
            .await
            .call("tools/call", r#""name":"other","arguments":{}"#)
            .await
            .status,
        200
    );
    let ca = authority();
    let snapshot = compiled(&mesh(&[("only", &a.url())], UNHURRIED));
    let gateway = Arc::new(Identity::new(svid(&ca.issue(GATEWAY)), bundle(&ca)).unwrap());
    let made = Sidecar::bind(
        &snapshot,
        parts(
            &gateway,
            Admission::default(),
            SupervisorProgram::default(),
            Drain::never(),
        ),
    );
    assert!(matches!(made.err().unwrap(), StartError::Identity { .. }));
}
