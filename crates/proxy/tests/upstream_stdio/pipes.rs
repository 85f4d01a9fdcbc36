//! One pipe, many calls, and a child that may say anything.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use libtest_mimic::Trial;
use meshgate_model::EnvValue;
use meshgate_proxy::refusal::{Executed, Reason};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_proxy::upstream::limits::WireLimits;
use meshgate_proxy::upstream::stdio::StdioLink;
use serde_json::{Value, json};

use super::{command, soon, spawn, spawn_with, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("many_calls_share_one_pipe", many_calls_share_one_pipe),
        trial(
            "progress_reaches_its_call_in_either_form_of_the_token",
            progress_reaches_its_call,
        ),
        trial("a_dropped_call_is_cancelled_once", a_dropped_call_is_cancelled_once),
        trial(
            "a_message_over_several_lines_is_sent_as_one",
            a_message_over_several_lines_is_sent_as_one,
        ),
        trial("d27_a_child_sees_only_the_environment_it_was_given", d27_environment),
        trial("a_child_is_confined", a_child_is_confined),
        trial("a_secret_may_come_from_a_file_and_a_missing_one_is_named", secrets),
        trial("d28_a_greeting_and_one_line_now_and_then_are_forgiven", d28_greeting),
        trial("d28_a_child_that_keeps_making_noise_is_given_up", d28_noise),
        trial("d28_a_line_over_the_limit_is_dropped_without_being_held", d28_huge_line),
        trial(
            "d28_a_flood_of_standard_error_delays_nothing_and_leaks_nothing",
            d28_stderr,
        ),
        trial("a126_answers_to_nobody_reach_nobody", a126_strays),
        trial("a_child_that_dies_fails_its_calls_as_unknown", a_child_that_dies),
        trial(
            "a_command_that_cannot_be_started_says_why",
            a_command_that_cannot_be_started,
        ),
    ]
}

fn request(id: u64, method: &str) -> Bytes {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"n": id}})
        .to_string()
        .into()
}

async fn ask(link: &std::sync::Arc<StdioLink>, id: u64, method: &str) -> Value {
    let mut messages = link.open(id, request(id, method)).await.unwrap();
    let message = messages.next().await.unwrap().unwrap();
    assert!(messages.next().await.is_none());
    serde_json::from_slice(&message).unwrap()
}

async fn many_calls_share_one_pipe() {
    let link = spawn(&["echo"]).await;
    let calls = (1..=500).map(|id| {
        let link = &link;
        async move { assert_eq!(ask(link, id, "tools/call").await["result"]["params"]["n"], id) }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(link.in_flight(), 0);
}

async fn progress_reaches_its_call() {
    let link = spawn(&["echo"]).await;
    for (id, method) in [(7, "progress"), (8, "progress-as-text")] {
        let messages = link.open(id, request(id, method)).await.unwrap();
        let messages: Vec<Value> = messages
            .map(|m| serde_json::from_slice(&m.unwrap()).unwrap())
            .collect()
            .await;
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert_eq!(messages[2]["params"]["progress"], 3);
        assert_eq!(messages[3]["result"]["method"], method);
    }
}

async fn a_dropped_call_is_cancelled_once() {
    let link = spawn(&["echo"]).await;
    let messages = link.open(9, request(9, "never")).await.unwrap();
    assert_eq!(ask(&link, 10, "tools/call").await["id"], 10);
    assert_eq!(link.in_flight(), 1);
    drop(messages);
    assert_eq!(link.in_flight(), 0);
    soon("the cancellation", || {
        let told: Vec<_> = link
            .stderr_tail()
            .into_iter()
            .filter(|line| line.contains("notifications/cancelled"))
            .collect();
        told.len() == 1 && told[0].contains(r#""requestId":9"#)
    })
    .await;
    // A call that was answered is not cancelled.
    assert_eq!(link.stderr_tail().len(), 1);
}

async fn a_message_over_several_lines_is_sent_as_one() {
    let link = spawn(&["echo"]).await;
    let spread =
        b"{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 3,\n \"method\": \"tools/call\", \"params\": {\"a\": \"x\\ny\"}\n}";
    let mut messages = link.open(3, Bytes::from_static(spread)).await.unwrap();
    let answer: Value = serde_json::from_slice(&messages.next().await.unwrap().unwrap()).unwrap();
    assert_eq!(answer["result"]["params"]["a"], "x\ny");
}

async fn d27_environment() {
    let link = spawn(&["echo", "a;b|$(c)", "new\nline"]).await;
    let result = ask(&link, 1, "environment").await["result"].clone();
    let names: Vec<_> = result["environment"].as_object().unwrap().keys().cloned().collect();
    let allowed = [
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SCRIPTED",
    ];
    for name in &names {
        assert!(allowed.contains(&name.as_str()), "`{name}` leaked into the child");
    }
    // CARGO_* and the rest of this process's environment are there to leak.
    assert!(std::env::vars().count() > names.len());
    assert_eq!(result["environment"]["SCRIPTED"], "yes");
    // Nothing of ours: only the three streams, what this process itself was handed by others, and the list being read.
    let fds: Vec<String> = serde_json::from_value(result["fds"].clone()).unwrap();
    let foreign: Vec<_> = fds
        .iter()
        .filter(|fd| !["0", "1", "2"].contains(&fd.as_str()) && !is_inheritable(fd))
        .collect();
    assert!(foreign.len() <= 1, "{foreign:?}");
    // A128: arguments arrive as they are.
    let args: Vec<String> = serde_json::from_value(result["args"].clone()).unwrap();
    assert_eq!(args[2..], ["echo", "a;b|$(c)", "new\nline"]);
}

/// Whether this process would pass a descriptor on: one that it inherited itself.
fn is_inheritable(fd: &str) -> bool {
    let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let octal = flags
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .map_or("0", str::trim);
    !flags.is_empty() && i64::from_str_radix(octal, 8).unwrap() & 0o2_000_000 == 0
}

async fn a_child_is_confined() {
    let link = spawn(&["echo"]).await;
    let result = ask(&link, 1, "environment").await["result"].clone();
    let line = |text: &str, start: &str| {
        let found = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        found.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line(result["status"].as_str().unwrap(), "NoNewPrivs:")[1], "1");
    assert_eq!(
        line(result["limits"].as_str().unwrap(), "Max core file size")[4..6],
        ["0", "0"]
    );
    assert_eq!(
        line(result["limits"].as_str().unwrap(), "Max open files")[3..5],
        ["1024", "1024"]
    );
}

async fn secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "s3cret\n").unwrap();
    let mut with = command(&["echo"]);
    with.env.push((
        "API".to_owned(),
        EnvValue::File {
            prefix: "Bearer ".to_owned(),
            path: path.clone(),
        },
    ));
    let supervisor = SupervisorProgram::default();
    let link = StdioLink::spawn(&with, &supervisor, WireLimits::default())
        .await
        .unwrap();
    assert_eq!(
        ask(&link, 1, "environment").await["result"]["environment"]["API"],
        "Bearer s3cret"
    );
    std::fs::remove_file(&path).unwrap();
    let refusal = StdioLink::spawn(&with, &supervisor, WireLimits::default())
        .await
        .unwrap_err();
    assert!(
        refusal.message.contains("token") && !refusal.message.contains("s3cret"),
        "{refusal}"
    );
    assert_eq!(refusal.executed, Executed::No);
}

async fn d28_greeting() {
    let link = spawn(&["greet"]).await;
    assert_eq!(ask(&link, 1, "tools/call").await["id"], 1);
    let link = spawn(&["habit"]).await;
    for id in 1..20 {
        assert_eq!(ask(&link, id, "tools/call").await["id"], id);
    }
    assert!(!link.is_closed());
}

async fn d28_noise() {
    let link = spawn(&["noise"]).await;
    assert_eq!(ask(&link, 1, "tools/call").await["id"], 1);
    let mut messages = link.open(2, request(2, "tools/call")).await.unwrap();
    let refusal = messages.next().await.unwrap().unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    assert!(link.is_closed());
    let refusal = link.open(3, request(3, "tools/call")).await.err().unwrap();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    let pid = link.pid().unwrap();
    soon("the child's end", || !super::lives(pid)).await;
}

async fn d28_huge_line() {
    let limits = WireLimits {
        line_bytes_max: 1 << 20,
        ..WireLimits::default()
    };
    let before = resident_kib();
    let link = spawn_with(&["huge", "200000000"], limits).await;
    // The line is dropped, and what follows it is read.
    assert_eq!(ask(&link, 1, "tools/call").await["id"], 1);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "held {grown} KiB of a 200 MB line");
    assert!(!link.is_closed());
    // D08: a line of exactly the limit is a line.
    let message = |pad: usize| {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"pad": "x".repeat(pad)}}).to_string()
    };
    let link = spawn_with(&["echo"], limits).await;
    let answer_length = {
        let mut messages = link.open(1, message(10).into()).await.unwrap();
        messages.next().await.unwrap().unwrap().len()
    };
    let pad = (1 << 20) - answer_length + 10;
    let mut messages = link.open(1, message(pad).into()).await.unwrap();
    assert_eq!(messages.next().await.unwrap().unwrap().len(), 1 << 20);
    drop(messages);
    let mut messages = link.open(1, message(pad + 1).into()).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(300), messages.next()).await;
    assert!(silent.is_err(), "a line over the limit was passed on");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn d28_stderr() {
    let mut chatter = command(&["chatter"]);
    chatter
        .env
        .push(("API_TOKEN".to_owned(), EnvValue::Literal("canary-canary".into())));
    let link = StdioLink::spawn(&chatter, &SupervisorProgram::default(), WireLimits::default())
        .await
        .unwrap();
    assert_eq!(ask(&link, 1, "tools/call").await["id"], 1);
    let tail = link.stderr_tail();
    assert!(!tail.is_empty() && tail.len() <= 20);
    for line in tail {
        assert!(!line.contains("canary") && line.contains("[secret]"), "{line}");
        assert!(!line.contains('\x1b') && line.len() < 2048);
    }
}

async fn a126_strays() {
    let link = spawn(&["strays"]).await;
    let mut unsolicited = link.unsolicited();
    let mut waiting = link.open(77, request(77, "never")).await.unwrap();
    // 77 gets what is addressed to 77 and nothing else; the second answer to 1 goes nowhere.
    let first: Value = serde_json::from_slice(&waiting.next().await.unwrap().unwrap()).unwrap();
    assert_eq!((&first["id"], &first["result"]["first"]), (&json!(77), &json!(true)));
    assert_eq!(ask(&link, 1, "tools/call").await["result"]["first"], true);
    let question: Value = serde_json::from_slice(&unsolicited.recv().await.unwrap()).unwrap();
    assert_eq!(question["method"], "sampling/createMessage");
    let strays = link.strays().unasked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(strays >= 4000, "{strays}");
    assert!(!link.is_closed());
}

async fn a_child_that_dies() {
    let link = spawn(&["die-on-call"]).await;
    let mut waiting = link.open(5, request(5, "never")).await.unwrap();
    let mut fatal = link.open(6, request(6, "tools/call")).await.unwrap();
    for messages in [&mut waiting, &mut fatal] {
        let refusal = messages.next().await.unwrap().unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerBroken, Executed::Unknown)
        );
        assert!(refusal.message.contains("exit code 7"), "{refusal}");
        assert!(messages.next().await.is_none());
    }
    link.closed().await;
}

async fn a_command_that_cannot_be_started() {
    let mut missing = command(&[]);
    missing.program = "no-such-program-anywhere".to_owned();
    let link = StdioLink::spawn(&missing, &SupervisorProgram::default(), WireLimits::default())
        .await
        .unwrap();
    link.closed().await;
    let why = link.close_reason().unwrap();
    assert!(
        why.contains("cannot be started") && why.contains("no-such-program-anywhere"),
        "{why}"
    );
}
