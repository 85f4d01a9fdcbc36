//! The facade over children.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use libtest_mimic::Trial;
use meshgate_mcp::{Era, Method};
use meshgate_model::{Check, EraChoice, Reach, Server};
use meshgate_proxy::call::{Outbound, Reply};
use meshgate_proxy::refusal::{Executed, Reason};
use meshgate_proxy::upstream::{State, Upstream, UpstreamOptions};
use serde_json::{Value, json};

use super::{command, lives, soon, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_modern_child_is_found_and_called", a_modern_child),
        trial("a_legacy_child_is_found_and_lifted", a_legacy_child),
        trial(
            "a_child_that_dies_is_started_again_and_the_call_is_not_repeated",
            a_child_that_dies,
        ),
        trial("f06_a_silent_call_is_given_up_and_cancelled", a_silent_call),
        trial(
            "a_command_that_cannot_be_started_is_told_to_callers_and_in_the_status",
            cannot_start,
        ),
        trial("a_closed_upstream_ends_its_child", a_closed_upstream),
    ]
}

pub(super) fn server(what: &[&str], change: impl FnOnce(&mut Server)) -> Arc<Server> {
    let command = command(what);
    let mut server = Server {
        name: command.server,
        team: None,
        alias: Arc::from("scripted"),
        reach: Reach::Stdio {
            command: command.program,
            args: command.args,
            env: command.env,
            cwd: None,
        },
        era: EraChoice::Auto,
        deadline: Duration::from_secs(60),
        hard_deadline: Duration::from_secs(600),
        tools: Default::default(),
        concurrency: Default::default(),
        validate_arguments: Check::Off,
        validate_results: Check::Off,
        duplicate_arguments: false,
        catalogue_per_caller: false,
        catalogue_refresh: Duration::from_secs(60),
        per_caller: false,
        questions: Default::default(),
    };
    change(&mut server);
    Arc::new(server)
}

fn start(what: &[&str]) -> Arc<Upstream> {
    Upstream::start(server(what, |_| {}), UpstreamOptions::default())
}

pub(super) fn outbound(id: u64, method: &str) -> Outbound {
    Outbound {
        id,
        owner: None,
        method: Method::parse(method),
        method_name: method.to_owned().into(),
        name: Some(Arc::from("tool")),
        param_headers: Vec::new(),
        body: json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": "tool", "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}}}})
        .to_string()
        .into(),
        deadline: Instant::now() + Duration::from_secs(20),
        traceparent: None,
        caller: None,
        view: None,
    }
}

pub(super) fn one(reply: Reply) -> Value {
    let Reply::One(body) = reply else { panic!("a stream") };
    serde_json::from_slice(&body).unwrap()
}

async fn a_modern_child() {
    let upstream = start(&["echo"]);
    let discover: Value = serde_json::from_slice(&upstream.discover().await.unwrap()).unwrap();
    assert_eq!(discover["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(
        one(upstream.call(outbound(1, "tools/call")).await.unwrap())["result"]["method"],
        "tools/call"
    );
    let Reply::Stream(messages) = upstream.call(outbound(2, "progress")).await.unwrap() else {
        panic!("one message")
    };
    assert_eq!(upstream.status().in_flight, 1);
    assert_eq!(messages.collect::<Vec<_>>().await.len(), 4);
    let status = upstream.status();
    assert_eq!(
        (status.era, status.state, status.restarts),
        (Some(Era::Modern), State::Up, 0)
    );
    assert_eq!((status.revision, status.in_flight), (Some("2026-07-28"), 0));
    assert!(status.pid.is_some_and(lives));
}

async fn a_legacy_child() {
    let upstream = start(&["legacy"]);
    let answer = one(upstream.call(outbound(1, "tools/call")).await.unwrap());
    assert_eq!(
        (&answer["id"], &answer["result"]["resultType"]),
        (&json!(1), &json!("complete"))
    );
    let status = upstream.status();
    assert_eq!((status.era, status.revision), (Some(Era::Legacy), Some("2025-11-25")));
    let discover: Value = serde_json::from_slice(&upstream.discover().await.unwrap()).unwrap();
    assert_eq!(discover["capabilities"]["tools"], json!({}));
}

async fn a_child_that_dies() {
    let upstream = start(&["die-on-call"]);
    let mut connections = upstream.connections();
    for round in 1..=2 {
        let refusal = upstream.call(outbound(round, "tools/call")).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerBroken, Executed::Unknown),
            "{refusal}"
        );
        assert!(refusal.message.contains("exit code 7"), "{refusal}");
        if round == 1 {
            // F-05: back within a second, and a busy machine has ten; a caller who comes meanwhile waits.
            let began = Instant::now();
            assert_eq!(one(upstream.call(outbound(9, "tools/list")).await.unwrap())["id"], 9);
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
    }
    assert_eq!(*connections.borrow_and_update(), 2);
    soon("the second failure", || {
        matches!(upstream.status().state, State::Away { .. })
    })
    .await;
    let refusal = upstream.call(outbound(10, "tools/list")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert!(refusal.retry.is_some());
}

async fn a_silent_call() {
    let quick = server(&["echo"], |server| server.deadline = Duration::from_millis(200));
    let upstream = Upstream::start(quick, UpstreamOptions::default());
    upstream.discover().await.unwrap();
    let refusal = upstream.call(outbound(5, "never")).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    soon("the cancellation", || {
        upstream
            .status()
            .stderr
            .iter()
            .any(|line| line.contains("notifications/cancelled") && line.contains("5"))
    })
    .await;
    assert_eq!(one(upstream.call(outbound(6, "tools/list")).await.unwrap())["id"], 6);
}

async fn cannot_start() {
    let missing = server(&[], |server| {
        server.reach = Reach::Stdio {
            command: "no-such-program".to_owned(),
            args: vec![],
            env: vec![],
            cwd: None,
        };
    });
    let upstream = Upstream::start(missing, UpstreamOptions::default());
    soon(
        "the status",
        || matches!(upstream.status().state, State::Away { ref why, .. } if why.contains("no-such-program")),
    )
    .await;
    let refusal = upstream.call(outbound(1, "tools/call")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
}

async fn a_closed_upstream() {
    let upstream = start(&["echo"]);
    upstream.discover().await.unwrap();
    let pid = upstream.status().pid.unwrap();
    upstream.close().await;
    assert!(!lives(pid));
    let refusal = upstream.call(outbound(1, "tools/call")).await.unwrap_err();
    assert_eq!(refusal.executed, Executed::No);
}
