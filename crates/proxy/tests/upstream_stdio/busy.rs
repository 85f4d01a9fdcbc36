//! A server that has more calls than it may, and tools with deadlines of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use libtest_mimic::Trial;
use meshgate_model::{Concurrency, Deadlines};
use meshgate_proxy::call::{Caller, Outbound, Reply};
use meshgate_proxy::refusal::{Executed, Reason};
use meshgate_proxy::upstream::{State, Upstream, UpstreamOptions};
use serde_json::json;

use super::common::{Post, RunningGateway, TOKEN};
use super::facade::{one, outbound, server};
use super::{soon, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "f06_a_hung_server_turns_calls_away_unsent_and_says_when_to_come_back",
            turned_away,
        ),
        trial("f19_a_caller_with_few_calls_is_served_beside_one_with_many", fair),
        trial("a_client_that_leaves_gives_its_place_in_the_queue_back", leaves),
        trial(
            "f06_a_tool_has_a_deadline_of_its_own_and_its_server_is_told",
            own_deadline,
        ),
        trial("f06_progress_never_moves_the_hard_deadline_of_a_tool", hard_deadline),
        trial(
            "a_child_that_ends_again_and_again_is_waited_for_longer_each_time",
            crash_loop,
        ),
        trial(
            "a158_a_flood_of_progress_arrives_as_a_few_steps_and_the_answer",
            a158_progress,
        ),
    ]
}

fn busy(what: &[&str], max: usize, queue: usize) -> Arc<Upstream> {
    let server = server(what, |server| {
        server.concurrency = Concurrency {
            max,
            queue,
            queue_time: Duration::from_secs(30),
        };
    });
    Upstream::start(server, UpstreamOptions::default())
}

fn of(application: &str, id: u64, method: &str) -> Outbound {
    Outbound {
        caller: Some(Arc::new(Caller::new(Some(application.into()), None))),
        ..outbound(id, method)
    }
}

async fn turned_away() {
    let me = std::env::current_exe().unwrap();
    let head = "apiVersion: meshgate.dev/v1alpha1\n";
    let yaml = format!(
        "{head}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '127.0.0.1:0'}}]}}\n---\n{head}kind: Server\nmetadata: {{name: only}}\nspec: {{stdio: {{command: '{}', args: [child, bad, hangs]}}, concurrency: {{max: 2, queue: 1, queueTime: 2s}}}}\n",
        me.display()
    );
    let gateway = RunningGateway::start(&yaml).await;
    let call = || Post::modern("1", "tools/call", r#""name":"t""#).token(TOKEN);
    let in_flight = |count: usize| {
        let upstream = gateway.catalogues.upstreams()[0].1.clone();
        move || upstream.status().in_flight == count
    };
    let mut held = Vec::new();
    for count in 1..=2 {
        held.push(call().open(&gateway).await);
        soon("the call to be in flight", in_flight(count)).await;
    }
    // The third waits, the fourth finds the queue full: both are turned away, and neither was sent.
    let waiting = call();
    let (third, fourth) = tokio::join!(waiting.to(&gateway), async {
        let upstream = gateway.catalogues.upstreams()[0].1.clone();
        soon("the third to wait", || upstream.status().waiting == 1).await;
        call().to(&gateway).await
    });
    for answer in [third, fourth] {
        super::common::refused("a busy server", &answer, 503, -33013);
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&after));
    }
    // A client that leaves frees its place, and the gateway's own calls never needed one.
    drop(held);
    soon("the places to be free", in_flight(0)).await;
}

async fn fair() {
    // A server that does one thing at a time, and takes its time.
    let upstream = busy(&["bad", "naps"], 1, 64);
    upstream.discover().await.unwrap();
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut calls = tokio::task::JoinSet::new();
    let mut begin = |id: u64, name: &'static str| {
        let (shared, order) = (Arc::clone(&upstream), Arc::clone(&order));
        calls.spawn(async move {
            assert_eq!(one(shared.call(of(name, id, "tools/call")).await.unwrap())["id"], id);
            order.lock().push(name);
        });
    };
    (1..=20).for_each(|id| begin(id, "noisy"));
    soon("the noisy caller's calls to wait", || upstream.status().waiting >= 10).await;
    begin(21, "quiet");
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    let order = order.lock();
    let quiet = order.iter().position(|name| *name == "quiet").unwrap();
    assert!(
        order.len() == 21 && quiet < 18,
        "who came last was served last: {order:?}"
    );
}

async fn leaves() {
    let upstream = busy(&["bad", "hangs"], 1, 1);
    upstream.discover().await.unwrap();
    let call = |id| {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move { upstream.call(of("a", id, "tools/call")).await.map(drop) })
    };
    let held = call(1);
    soon("the first call", || upstream.status().in_flight == 1).await;
    let waiting = call(2);
    soon("the second call", || upstream.status().waiting == 1).await;
    waiting.abort();
    soon("the place to be free", || upstream.status().waiting == 0).await;
    held.abort();
    soon("the turn to be given back", || upstream.status().in_flight == 0).await;
}

fn with_tool(what: &[&str], silence: Duration, hard: Duration) -> Arc<Upstream> {
    let server = server(what, |server| {
        server.tools.insert("tool".into(), Deadlines { silence, hard });
    });
    Upstream::start(server, UpstreamOptions::default())
}

async fn own_deadline() {
    let upstream = with_tool(&["bad", "hangs"], Duration::from_millis(200), Duration::from_secs(600));
    upstream.discover().await.unwrap();
    let began = Instant::now();
    let refusal = upstream.call(of("a", 5, "tools/call")).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    assert!(
        (200..10_000).contains(&began.elapsed().as_millis()),
        "the server's own deadline is a minute"
    );
    assert_eq!(upstream.status().in_flight, 0);
    soon("the cancellation", || {
        let stderr = upstream.status().stderr;
        stderr
            .iter()
            .any(|line| line.contains("notifications/cancelled") && line.contains('5'))
    })
    .await;
}

/// A call that wants progress.
fn with_progress(id: u64) -> Outbound {
    let mut out = of("a", id, "tools/call");
    let meta = json!({"progressToken": id, "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let request =
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "tool", "_meta": meta}});
    out.body = request.to_string().into();
    out
}

async fn hard_deadline() {
    let upstream = with_tool(&["bad", "ticks"], Duration::from_secs(60), Duration::from_secs(1));
    upstream.discover().await.unwrap();
    let began = Instant::now();
    let Reply::Stream(messages) = upstream.call(with_progress(5)).await.unwrap() else {
        panic!("one message")
    };
    let messages: Vec<_> = messages.collect().await;
    let (last, progress) = messages.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().reason, Reason::Deadline);
    assert!(progress.len() > 2 && progress.iter().all(Result::is_ok));
    assert!((1_000..20_000).contains(&began.elapsed().as_millis()));
}

async fn crash_loop() {
    let upstream = Upstream::start(server(&["bad", "loops"], |_| {}), UpstreamOptions::default());
    soon("the second failure", || {
        let status = upstream.status();
        status.failures >= 2 && status.next_attempt.is_some()
    })
    .await;
    let status = upstream.status();
    assert!(
        matches!(status.state, State::Away { ref why, .. } if why.contains("exit code 3")),
        "{:?}",
        status.state
    );
    let refusal = upstream.call(of("a", 1, "tools/call")).await.unwrap_err();
    // At once, as it says itself: a call is not kept for a server that may never come.
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert!(refusal.retry.is_some(), "{refusal:?}");
    assert_eq!(upstream.status().in_flight, 0);
}

async fn a158_progress() {
    let upstream = busy(&["bad", "counts"], 4, 4);
    upstream.discover().await.unwrap();
    let began = Instant::now();
    let messages: Vec<_> = match upstream.call(with_progress(5)).await.unwrap() {
        Reply::Stream(messages) => messages.collect().await,
        Reply::One(_) => panic!("one message"),
    };
    let most = 20 + 10 * (began.elapsed().as_secs() + 1) + 2;
    assert!(
        u64::try_from(messages.len()).unwrap() <= most,
        "{} messages",
        messages.len()
    );
    let last: serde_json::Value = serde_json::from_slice(messages.last().unwrap().as_ref().unwrap()).unwrap();
    assert_eq!(last["result"]["said"], "counted");
}
