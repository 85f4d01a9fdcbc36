//! The mesh port for those who get through the handshake: whom it names, how long they stay, what one connection may carry,
//! and how it all ends. Who does not get through is in `mesh_doors`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::compiled;
use common::inside::{
    Ask, Caller, DOMAIN, GATEWAY, RunningSidecar, authority, bundle, id, identity, local, parts, svid,
};
use common::intruder::{ECHO, Scene, bare, beside, calls, server, slow};
use futures_util::future::join_all;
use meshgate_identity::Identity;
use meshgate_proxy::drain::drain;
use meshgate_proxy::limits::Limits;
use meshgate_proxy::sidecar::{Admission, Sidecar, StartError};
use meshgate_proxy::supervise::SupervisorProgram;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_gateway_that_is_not_named_is_told_so_and_nothing_reaches_the_server() {
    let server = server().await;
    let snapshot = compiled(&beside(&server));
    let sidecar = RunningSidecar::start_with(&snapshot, authority(), Admission::default()).await;
    let gateway = sidecar.gateway().await;
    let refused = gateway.call("tools/call", ECHO).await;
    refused.refused("nobody is named", "forbidden", "mesh/gateway");
    assert_eq!(refused.status, 403);
    sidecar.control.admit([id(GATEWAY)].into_iter().collect());
    assert_eq!(gateway.call("tools/call", ECHO).await.status, 200);
    // Another name is another gateway, however much alike.
    for path in ["/gateway/main2", "/gateway/mai", "/gateway/mainn"] {
        let Ok(other) = Caller::open(&sidecar, &identity(&sidecar.ca, path)).await else {
            continue;
        };
        other
            .call("tools/call", ECHO)
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

#[tokio::test(start_paused = true)]
async fn a_gateway_that_is_no_longer_named_finishes_what_it_has_and_is_cut_after_its_time() {
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
    let token = gateway.context(&local());
    let held = gateway.open_call(slow().context(&token));
    tokio::pin!(held);
    let waiting = async {
        scene.reached(1).await;
        scene.sidecar.control.admit(Admission::default());
        let refused = gateway.send(bare().context(&token)).await.unwrap();
        refused.refused("no longer named", "forbidden", "mesh/gateway");
        scene.release().await;
    };
    let (answer, ()) = tokio::join!(&mut held, waiting);
    assert_eq!(
        answer.unwrap().whole().await.unwrap().status,
        200,
        "what was under way is answered"
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(gateway.send(bare().context(&token)).await.is_err(), "its time is over");
}

#[tokio::test]
async fn a_connection_carries_a_thousand_streams_at_once_and_the_next_one_waits_at_the_gateway() {
    let max = Limits::default().inside().h2_streams;
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
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
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
    let token = gateway.context(&local());
    let max = Limits::default().inside().body_bytes;
    for (bytes, status) in [(max - 1, 200), (max, 200), (max + 1, 413)] {
        let mut call = bare().context(&token);
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
    let scene = Scene::open().await;
    let gateway = scene.sidecar.gateway().await;
    let token = gateway.context(&local());
    let held = join_all((0..50).map(|_| gateway.send(slow().context(&token))));
    let address = scene.sidecar.address;
    let draining = async {
        scene.reached(50).await;
        assert!(scene.sidecar.control.report().in_flight >= 50);
        scene.sidecar.ask_to_end();
        assert!(scene.sidecar.control.report().draining);
        scene.release().await;
        scene.sidecar.stop(Duration::from_secs(10)).await
    };
    let (answers, drained) = tokio::join!(held, draining);
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status == 200));
    assert_eq!(drained.forced, 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn two_sidecars_of_one_process_share_nothing_and_only_a_server_has_one() {
    let (a, b) = (Scene::open().await, Scene::open().await);
    let (first, second) = (&a.sidecar, &b.sidecar);
    assert_ne!(first.address, second.address);
    let stranger = Caller::open(second, &identity(&first.ca, GATEWAY)).await;
    assert!(stranger.is_err(), "another authority is another mesh");
    assert_eq!(first.gateway().await.call("tools/call", ECHO).await.status, 200);
    assert_eq!(second.gateway().await.call("tools/call", ECHO).await.status, 200);
    let ca = authority();
    assert_eq!((a.calls(), b.calls()), (1, 1));
    let snapshot = compiled(&beside(&a.server));
    let gateway = Arc::new(Identity::new(svid(&ca.issue(GATEWAY)), bundle(&ca)).unwrap());
    let made = Sidecar::bind(
        &snapshot,
        parts(&gateway, Admission::default(), SupervisorProgram::default(), drain().1),
    );
    assert!(matches!(made.err().unwrap(), StartError::Identity { .. }));
}
