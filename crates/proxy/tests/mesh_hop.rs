//! The hop to sidecars, against sidecars that do what they are told, over real mutual TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod mesh_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt as _;
use meshgate_identity::Denied;
use meshgate_identity::context::{self, Caller as Named};
use meshgate_identity::denied::Subject;
use meshgate_proxy::hop::{Answer, Carries, HopLimits, Sidecars};
use meshgate_proxy::refusal::{By, Executed, Reason, Refusal};
use tokio::task::JoinHandle;

use self::mesh_support::{Mesh, Scripted, ask, ask_with, by, call, svid, until, within};

const LONG: Duration = Duration::from_secs(20);

/// Quick to look again, so that no test waits for a pause.
fn limits() -> HopLimits {
    HopLimits {
        pause_min: Duration::from_millis(20),
        pause_max: Duration::from_millis(40),
        ..HopLimits::default()
    }
}

/// A sidecar and the way to it, which is open.
async fn one(limits: HopLimits) -> (Mesh, Scripted, Arc<Sidecars>) {
    let mesh = Mesh::new();
    let sidecar = mesh.scripted(1).await;
    mesh.there(&[&sidecar]);
    let hop = Arc::new(mesh.sidecars(limits));
    within(hop.ready()).await.unwrap();
    (mesh, sidecar, hop)
}

/// Two sidecars and the way to them, which is open to both.
async fn two(limits: HopLimits) -> (Mesh, [Scripted; 2], Arc<Sidecars>) {
    let mesh = Mesh::new();
    let both = [mesh.scripted(1).await, mesh.scripted(2).await];
    mesh.there(&both.each_ref());
    let hop = Arc::new(mesh.sidecars(limits));
    let is_open = || hop.status().len() == 2 && hop.status().iter().all(|end| end.connections == 1);
    until("both are open", is_open).await;
    (mesh, both, hop)
}

/// A call that waits at the sidecar.
async fn waiting(hop: &Arc<Sidecars>, sidecar: &Scripted) -> JoinHandle<Result<(u64, Answer), Refusal>> {
    let hop = hop.clone();
    let waits = tokio::spawn(async move { call(&hop, "wait").await });
    sidecar.is_waiting(1).await;
    waits
}

fn body_of(answer: Answer) -> Bytes {
    match answer {
        Answer::One { status, json, body } => {
            assert!(status.is_success() && json);
            body
        }
        Answer::Stream(_) => panic!("a stream"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_carries_a_context_that_only_its_connections_peer_can_have_made() {
    let mesh = Mesh::new();
    let sidecar = mesh.scripted(5).await;
    mesh.there(&[&sidecar]);
    let hop = mesh.sidecars(limits());
    within(hop.ready()).await.unwrap();
    assert_eq!(by(within(call(&hop, "echo")).await), 5);
    assert_eq!(by(within(call(&hop, "echo")).await), 5);
    let heads = sidecar.seen.heads.lock();
    let (head, peer) = &heads[0];
    let token = head["txn-token"].to_str().unwrap();
    let claims = context::verify(token, peer, &sidecar.id.parse().unwrap(), SystemTime::now()).unwrap();
    let Named::Application { application, view, .. } = claims.caller else {
        panic!()
    };
    assert_eq!((&*application, &*view), ("assistant", "main"));
    assert_eq!(heads[1].0["txn-token"], token, "made once");
    assert_eq!(sidecar.connections(), 1, "kept open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_refused_goes_to_another_sidecar_and_runs_once() {
    let (_mesh, [one, two], hop) = two(limits()).await;
    let refusal = within(call(&hop, "refuse")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    let asked = one.seen.heads.lock().len() + two.seen.heads.lock().len();
    assert!((2..=limits().attempts).contains(&asked), "each was asked: {asked}");
    assert!(!one.seen.heads.lock().is_empty() && !two.seen.heads.lock().is_empty());
    assert_eq!(one.executed() + two.executed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_broken_off_may_have_run_and_is_not_made_again() {
    let (_mesh, [one, two], hop) = two(limits()).await;
    let refusal = within(call(&hop, "break")).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    assert_eq!(one.executed() + two.executed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_only_reads_is_made_once_more_and_no_oftener() {
    let mesh = Mesh::new();
    let (one, two) = (mesh.scripted(1).await, mesh.scripted(2).await);
    let hop = mesh.sidecars(limits());
    let body = Bytes::from_static(br#"{"reads":true,"id":7}"#);
    for (there, asked) in [(vec![&one, &two], [1, 1]), (vec![&one], [3, 1])] {
        mesh.there(&there);
        until("they are known", || hop.status().len() == there.len()).await;
        within(hop.ready()).await.unwrap();
        let lost = within(ask_with(&hop, ("break", &body), Carries::Calls, None, LONG)).await;
        assert_eq!(lost.unwrap_err().executed, Executed::Unknown);
        assert_eq!([one.executed(), two.executed()], asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_loses_what_it_was_doing_and_nothing_else() {
    let (mesh, [one, two], hop) = two(limits()).await;
    let mut waiting = tokio::task::JoinSet::new();
    for owner in [1, 2, 1, 2, 1, 2] {
        let hop = hop.clone();
        waiting.spawn(async move { (owner, ask(&hop, "wait", Carries::Calls, Some(owner), LONG).await) });
    }
    one.is_waiting(3).await;
    two.is_waiting(3).await;
    let address = one.kill().await;
    // What is sent before the end of a connection has arrived is in flight there like the others.
    until("its end is known", || {
        hop.status().iter().any(|end| end.instance == 1 && end.connections == 0)
    })
    .await;
    for _ in 0..200 {
        assert_eq!(by(within(call(&hop, "echo")).await), 2, "nobody else notices");
    }
    two.seen.go.add_permits(3);
    while let Some(ended) = within(waiting.join_next()).await {
        match ended.unwrap() {
            (1, Err(refusal)) => assert_eq!(refusal.executed, Executed::Unknown),
            (owner, answer) => assert_eq!(by(answer), owner),
        }
    }
    until("it has no calls", || hop.status().iter().any(|end| !end.works)).await;
    let back = Scripted::start_at(address, &mesh, 1, mesh_support::PATH, 1_000).await;
    until("it has calls again", || hop.status().iter().all(|end| end.works)).await;
    while back.executed() == 0 {
        by(within(call(&hop, "echo")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_endpoint_is_never_taken_out() {
    let (_mesh, sidecar, hop) = one(HopLimits {
        failures_to_eject: 2,
        ..limits()
    })
    .await;
    for _ in 0..6 {
        assert_eq!(
            within(call(&hop, "break")).await.unwrap_err().executed,
            Executed::Unknown
        );
    }
    assert_eq!(by(within(call(&hop, "echo")).await), 1);
    assert_eq!(sidecar.executed(), 7, "each reached it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_sends_the_next_call_over_another_connection_and_ends_no_call() {
    let (_mesh, sidecar, hop) = one(limits()).await;
    let waits = waiting(&hop, &sidecar).await;
    for round in 1..5 {
        sidecar.goodbye.send_replace(round);
        for _ in 0..50 {
            assert_eq!(by(within(call(&hop, "echo")).await), 1);
        }
    }
    sidecar.seen.go.add_permits(1);
    assert_eq!(by(within(waits).await.unwrap()), 1);
    assert!(sidecar.connections() > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_connection_opens_at_the_cap_of_streams_and_not_before() {
    let mesh = Mesh::new();
    let sidecar = Scripted::start(&mesh, 1, mesh_support::PATH, 3).await;
    mesh.there(&[&sidecar]);
    let hop = Arc::new(mesh.sidecars(HopLimits {
        connections_per_endpoint: 2,
        ..limits()
    }));
    within(hop.ready()).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    let mut wait = |count: usize| {
        let hop = hop.clone();
        waiting.spawn(async move { call(&hop, "wait").await });
        let sidecar = &sidecar;
        async move {
            sidecar.is_waiting(count).await;
            sidecar.connections()
        }
    };
    assert_eq!(wait(1).await, 1);
    assert_eq!(wait(2).await, 1, "one below the cap that the sidecar allows");
    assert_eq!(wait(3).await, 1, "at the cap");
    assert_eq!(wait(4).await, 2, "one above");
    assert_eq!(wait(5).await, 2);
    assert_eq!(wait(6).await, 2, "both are full");
    let refusal = within(call(&hop, "wait")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::Overloaded, Executed::No));
    assert!(refusal.retry.is_some());
    sidecar.seen.go.add_permits(6);
    while let Some(ended) = within(waiting.join_next()).await {
        by(ended.unwrap());
    }
    assert_eq!(by(within(call(&hop, "echo")).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_holds_up_itself_only() {
    let (_mesh, sidecar, hop) = one(HopLimits {
        stream_buffer_bytes: 64 << 10,
        streams_per_connection: 20,
        ..limits()
    })
    .await;
    let mut stalled = Vec::new();
    // Each has a megabyte to say, the window of which nobody opens.
    for _ in 0..18 {
        stalled.push(within(call(&hop, "events:1000")).await.unwrap());
    }
    for _ in 0..20 {
        let (_, answer) = within(call(&hop, "big:60000")).await.unwrap();
        assert!(body_of(answer).len() > 60_000);
    }
    assert_eq!(sidecar.connections(), 1, "all on one connection");
    let (_, Answer::Stream(mut events)) = stalled.pop().unwrap() else {
        panic!()
    };
    let mut count = 0;
    while let Some(event) = within(events.next()).await {
        event.unwrap();
        count += 1;
    }
    assert_eq!(count, 1001, "it was only waiting");
    drop(stalled);
    until("those that were given up are cancelled", || {
        sidecar.seen.cancelled.load(Ordering::SeqCst) == 17
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_cancelled_there() {
    let (_mesh, sidecar, hop) = one(limits()).await;
    tokio::select! {
        _ = call(&hop, "wait") => panic!("answered"),
        () = sidecar.is_waiting(1) => {}
    }
    until("it is cancelled", || sidecar.seen.cancelled.load(Ordering::SeqCst) == 1).await;
    let refusal = ask(&hop, "wait", Carries::Calls, None, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    until("so is one that is too late", || {
        sidecar.seen.cancelled.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(hop.status()[0].in_flight, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_pass_up_to_their_limit_both_ways() {
    let mesh = Mesh::new();
    let sidecar = mesh.scripted(1).await;
    mesh.there(&[&sidecar]);
    let frame = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","by":1,"text":""}}"#.len();
    let hop = mesh.sidecars(HopLimits {
        response_bytes: 500_000,
        ..limits()
    });
    within(hop.ready()).await.unwrap();
    for length in [499_999, 500_000] {
        let (_, answer) = within(call(&hop, &format!("big:{}", length - frame))).await.unwrap();
        assert_eq!(body_of(answer).len(), length);
    }
    let over = within(call(&hop, &format!("big:{}", 500_001 - frame)))
        .await
        .unwrap_err();
    assert_eq!(
        (over.executed, over.rule.as_deref()),
        (Executed::Unknown, Some("limit/response"))
    );
    let body = Bytes::from(format!(r#"{{"id":7,"pad":"{}"}}"#, "z".repeat(4_000_000)));
    let hop = mesh.sidecars(limits());
    let (_, answer) = within(ask_with(&hop, ("echo", &body), Carries::Calls, None, LONG))
        .await
        .unwrap();
    assert!(body_of(answer).len() > 4_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sidecar_cannot_take_is_tried_once_elsewhere_and_what_it_forbids_is_not() {
    let mesh = Mesh::new();
    let all = [mesh.scripted(1).await, mesh.scripted(2).await, mesh.scripted(3).await];
    mesh.there(&all.iter().collect::<Vec<_>>());
    let hop = mesh.sidecars(limits());
    within(hop.ready()).await.unwrap();
    let asked = || all.iter().map(|sidecar| sidecar.seen.heads.lock().len()).sum::<usize>();
    let refusal = within(call(&hop, "full")).await.unwrap_err();
    assert_eq!(asked(), 2, "once more and not twice");
    assert_eq!(
        (refusal.by, refusal.reason, refusal.executed),
        (By::Sidecar, Reason::Overloaded, Executed::No)
    );
    assert_eq!(refusal.rule.as_deref(), Some("test/full"));
    let refusal = within(call(&hop, "forbidden")).await.unwrap_err();
    assert_eq!(asked(), 3, "a policy is not asked twice");
    assert_eq!((refusal.by, refusal.reason), (By::Sidecar, Reason::Forbidden));
    let refusal = within(call(&hop, "dead")).await.unwrap_err();
    assert_eq!(
        asked(),
        5,
        "another instance was not the one that died before it was given the call"
    );
    assert_eq!(
        (refusal.by, refusal.reason, refusal.executed),
        (By::Server, Reason::ServerBroken, Executed::No)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_goes_to_its_owner_and_elsewhere_only_when_that_is_gone() {
    let (mesh, [_one, two], hop) = two(limits()).await;
    for owner in [1, 2, 2, 1, 1, 1, 2] {
        let answer = within(ask(&hop, "echo", Carries::Calls, Some(owner), LONG)).await;
        assert_eq!(by(answer), owner);
    }
    let full = within(ask(&hop, "full", Carries::Calls, Some(1), LONG))
        .await
        .unwrap_err();
    assert_eq!(full.message, "said by 1", "nobody stands in for an owner that is there");
    mesh.there(&[&two]);
    until("it has left", || hop.status().len() == 1).await;
    assert_eq!(by(within(ask(&hop, "echo", Carries::Calls, Some(1), LONG)).await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_have_connections_of_their_own() {
    let (_mesh, _sidecar, hop) = one(limits()).await;
    let open = within(ask(&hop, "events:1000", Carries::Streams, None, LONG))
        .await
        .unwrap();
    by(within(call(&hop, "echo")).await);
    let status = hop.status();
    assert_eq!((status[0].connections, status[0].stream_connections), (1, 1));
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn d26_certificates_that_are_replaced_under_load_fail_no_call_and_their_connections_go() {
    let (mesh, sidecar, hop) = one(limits()).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (hop, stop) = (hop.clone(), stop.clone());
        callers.spawn(async move {
            let mut made = 0;
            while !stop.is_cancelled() {
                assert_eq!(by(call(&hop, "echo").await), 1);
                made += 1;
            }
            made
        });
    }
    let mut serials = std::collections::HashSet::new();
    for _ in 0..10 {
        let new = svid(&mesh.ca, "/gateway/main");
        let serial = new.serial().to_owned();
        mesh.gateway.replace_svid(new).unwrap();
        until("calls come with the new one", || {
            sidecar
                .seen
                .heads
                .lock()
                .last()
                .is_some_and(|(_, peer)| peer.serial() == serial)
        })
        .await;
        serials.insert(serial);
    }
    stop.cancel();
    let made: usize = within(callers.join_all()).await.into_iter().sum();
    assert_eq!(made, sidecar.executed());
    assert_eq!(serials.len(), 10);
    until("the old ones are gone", || hop.status()[0].connections == 1).await;
    let heads = sidecar.seen.heads.lock();
    for (head, peer) in heads.iter().step_by(50) {
        let token = head["txn-token"].to_str().unwrap();
        context::verify(token, peer, &sidecar.id.parse().unwrap(), SystemTime::now()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_replaced_before_it_goes() {
    let (_mesh, sidecar, hop) = one(HopLimits {
        connection_age: Duration::from_millis(100),
        ..limits()
    })
    .await;
    while sidecar.connections() < 4 {
        assert_eq!(by(within(call(&hop, "echo")).await), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a105_the_connection_to_a_denied_sidecar_is_cut_and_no_new_one_is_made() {
    let (mesh, sidecar, hop) = one(limits()).await;
    let waits = waiting(&hop, &sidecar).await;
    let subject = Subject::Id(sidecar.id.parse().unwrap());
    let denied = Denied::new([(subject, Arc::from("stolen"))]).unwrap();
    mesh.gateway.replace_denied(denied);
    let cut = tokio::time::timeout(Duration::from_secs(5), waits)
        .await
        .expect("cut within 5 s")
        .unwrap();
    assert_eq!(cut.unwrap_err().executed, Executed::Unknown);
    let refusal = within(call(&hop, "echo")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert_eq!(sidecar.executed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_part_at_the_address_of_a_sidecar_never_gets_a_byte_of_a_call() {
    let mesh = Mesh::new();
    for path in ["/server/other/v1", "/server/documents/v2", "/gateway/main", "/control"] {
        let wrong = Scripted::start(&mesh, 1, path, 1_000).await;
        let mut endpoint = wrong.endpoint();
        endpoint.spiffe_id = format!("spiffe://corp.mesh{}", mesh_support::PATH).parse().unwrap();
        mesh.endpoints.set(mesh_support::GROUP, true, vec![endpoint]);
        let hop = mesh.sidecars(limits());
        let refusal = within(call(&hop, "echo")).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerAway, Executed::No),
            "{path}"
        );
        // One that says who it is has no place in the group.
        mesh.there(&[&wrong]);
        until("it is not taken over", || hop.status().is_empty()).await;
        assert!(wrong.seen.heads.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_falls_silent_is_given_up_with_what_it_had_and_another_serves_on() {
    let (_mesh, _both, hop) = two(HopLimits {
        ping_time: Duration::from_millis(100),
        ping_answer_time: Duration::from_millis(300),
        ..limits()
    })
    .await;
    let lost = within(ask(&hop, "freeze", Carries::Calls, Some(1), LONG))
        .await
        .unwrap_err();
    assert_eq!((lost.reason, lost.executed), (Reason::ServerBroken, Executed::Unknown));
    for _ in 0..20 {
        by(within(call(&hop, "echo")).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_that_are_given_up_cost_their_connection_nothing() {
    let (_mesh, sidecar, hop) = one(limits()).await;
    for _ in 0..1_500 {
        // Its events are on their way when it is given up.
        let (_, answer) = within(call(&hop, "events:3")).await.unwrap();
        drop(answer);
    }
    by(within(call(&hop, "echo")).await);
    assert_eq!(sidecar.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_no_one_longer_than_its_deadline_and_has_not_run() {
    let mesh = Mesh::new();
    // Accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sidecar = mesh.scripted(1).await;
    let mut endpoint = sidecar.endpoint();
    endpoint.address = silent.local_addr().unwrap().to_string().into();
    mesh.endpoints.set(mesh_support::GROUP, true, vec![endpoint]);
    let hop = mesh.sidecars(limits());
    until("it is known", || hop.status().len() == 1).await;
    let refusal = ask(&hop, "echo", Carries::Calls, None, Duration::from_millis(100))
        .await
        .unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::Deadline, Executed::No));
}
