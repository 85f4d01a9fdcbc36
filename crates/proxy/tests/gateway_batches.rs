//! Batches of 2025-03-26 over the whole gateway, and legacy clients that leave: each message is a call of its own, with a
//! record of its own, and it ends when it ends.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::collections::BTreeSet;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, documents, mesh};
use meshgate_testkit::{Answer, ScriptedServer, Step, raw};
use serde_json::{Value, json};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const OPEN: &str = r#"{"name":"NAME","inputSchema":{"type":"object"}}"#;

/// A server whose tool `now` answers, `told` says something first, and `late` waits for a word.
async fn one() -> (ScriptedServer, RunningGateway) {
    let done = |text: &str| {
        Step::message(format!(
            r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}}}"#
        ))
    };
    let progress = || {
        Step::message(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#,
        )
    };
    let server = ScriptedServer::modern()
        .tool("now", OK)
        .tool_as("told", &OPEN.replace("NAME", "told"), move |_| {
            Answer::stream([progress(), done("told")])
        })
        .tool_as("late", &OPEN.replace("NAME", "late"), move |_| {
            Answer::stream([Step::Until("the word".to_owned()), done("late")])
        })
        .tool_as("hold", &OPEN.replace("NAME", "hold"), |_| Answer::stream([Step::Hold]))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn call(id: &str, tool: &str, more: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"{more}}}}}"#)
}

fn batch(messages: &[String]) -> String {
    format!("[{}]", messages.join(","))
}

fn ids(messages: &[Value]) -> BTreeSet<String> {
    messages.iter().map(|message| message["id"].to_string()).collect()
}

const NOTICE: &str = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;

#[tokio::test]
async fn a_batch_is_split_and_joined_into_one_array_and_each_call_has_its_record() {
    let (server, gateway) = one().await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    gateway.lines(2).await;
    let messages = [
        call("1", "now", ""),
        call(r#""1""#, "missing", ""),
        NOTICE.to_owned(),
        r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"nobody asked","result":{}}"#.to_owned(),
    ];
    let answer = client.post(&batch(&messages)).to(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert_eq!(
        ids(json.as_array().unwrap()),
        BTreeSet::from([r#""1""#.to_owned(), "1".to_owned(), "3".to_owned()])
    );
    assert_eq!(server.received("tools/call").len(), 1);
    let lines = gateway.lines(5).await;
    assert_eq!(
        lines.len(),
        5,
        "one for each message and none for the batch: {lines:#?}"
    );
    let of = |method: &str| {
        lines
            .iter()
            .filter(move |line| line["method"] == method)
            .collect::<Vec<_>>()
    };
    let calls = of("tools/call");
    assert_eq!((calls.len(), of("ping").len(), of("notifications/x").len()), (2, 1, 1));
    let done = calls
        .iter()
        .find(|line| line["tool"] == "now")
        .expect("the call that ran");
    assert_eq!(
        (&done["outcome"], &done["server"], &done["httpStatus"]),
        (&json!("ok"), &json!("only"), &json!(200))
    );
    assert_eq!(done["bytesIn"], messages[0].len());
    assert!(done["bytesOut"].as_u64().unwrap() > 0, "{done}");
    let refused = calls
        .iter()
        .find(|line| line["tool"].is_null())
        .expect("the call that was refused");
    assert_eq!(
        (&refused["rpcCode"], &refused["executed"]),
        (&json!(-32602), &json!("no"))
    );
    let spans: BTreeSet<_> = lines.iter().map(|line| line["spanId"].to_string()).collect();
    assert_eq!(spans.len(), 5, "each has a span of its own");
    assert!(lines.iter().all(|line| line["cancelled"].is_null()), "{lines:#?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_of_which_one_call_says_something_first_is_one_stream() {
    let (_server, gateway) = one().await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    gateway.lines(2).await;
    let token = r#","_meta":{"progressToken":7}"#;
    let messages = [call("1", "now", ""), call("2", "told", token), NOTICE.to_owned()];
    let mut events = client.post(&batch(&messages)).stream(&gateway).await;
    let mut came = Vec::new();
    while let Some(message) = events.maybe_next().await {
        came.push(message);
    }
    let (notices, answers): (Vec<_>, Vec<_>) = came.into_iter().partition(|message| message["id"].is_null());
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0]["params"]["progressToken"], 7);
    assert_eq!(ids(&answers), BTreeSet::from(["1".to_owned(), "2".to_owned()]));
    let lines = gateway.lines(3).await;
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let calls: Vec<_> = lines.iter().filter(|line| line["method"] == "tools/call").collect();
    assert!(
        calls
            .iter()
            .all(|line| line["outcome"] == "ok" && line["bytesOut"].as_u64().unwrap() > 0)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_of_notices_is_accepted_and_a_call_in_a_batch_can_be_cancelled() {
    let (server, gateway) = one().await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let answer = client
        .post(&batch(&[NOTICE.to_owned(), NOTICE.to_owned()]))
        .to(&gateway)
        .await;
    assert_eq!((answer.status, answer.text()), (202, ""));
    let mut held = client
        .post(&batch(&[call("1", "now", ""), call("2", "hold", "")]))
        .open(&gateway)
        .await;
    assert!(server.holds(1).await);
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    assert_eq!(client.post(&batch(&[cancel.to_owned()])).to(&gateway).await.status, 202);
    let answer = held.answer().await.unwrap();
    assert_eq!(answer.json()[0]["id"], 1, "{}", answer.text());
    assert!(server.holds(0).await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_has_1_to_100_messages_and_is_named_when_it_has_not() {
    let (server, gateway) = one().await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let of = |count: usize| {
        let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        batch(&(0..count).map(ping).collect::<Vec<_>>())
    };
    for count in [1, 99, 100] {
        let answer = client.post(&of(count)).to(&gateway).await;
        assert_eq!(answer.json().as_array().map(Vec::len), Some(count), "{}", answer.text());
    }
    for count in [0, 101] {
        let answer = client.post(&of(count)).to(&gateway).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!(-32600)));
        assert_eq!(
            answer.json()["error"]["data"]["dev.meshgate/refusal"]["rule"],
            "limit/batch"
        );
        assert!(answer.text().contains("100"), "{}", answer.text());
    }
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_not_sound_runs_nothing() {
    let (server, gateway) = one().await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let sound = call("1", "now", "");
    let initialize = r#"{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
    for (case, more, code) in [
        ("initialize", initialize, -32600),
        ("a batch in a batch", "[]", -32600),
        ("a number", "1", -32600),
        ("no jsonrpc", r#"{"id":2,"method":"ping"}"#, -32600),
        (
            "a member twice",
            r#"{"jsonrpc":"2.0","id":2,"id":3,"method":"ping"}"#,
            -32600,
        ),
        (
            "an id of another form",
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            -32600,
        ),
    ] {
        let answer = client
            .post(&batch(&[sound.clone(), more.to_owned()]))
            .to(&gateway)
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!(code)),
            "{case}: {}",
            answer.text()
        );
    }
    let lone = client.post(&batch(&[initialize.to_owned()])).to(&gateway).await;
    assert_eq!(lone.status, 400, "{}", lone.text());
    // Without a session there is no revision, so no batch.
    let stranger = Post::legacy(&batch(std::slice::from_ref(&sound))).to(&gateway).await;
    assert_eq!(stranger.status, 400, "{}", stranger.text());
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let other = LegacyClient::open(&gateway, revision, "{}").await;
        let answer = other.post(&batch(std::slice::from_ref(&sound))).to(&gateway).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!(-32600)),
            "{revision}"
        );
    }
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn one_call_of_a_batch_that_finds_no_place_is_refused_for_itself() {
    let server = ScriptedServer::modern()
        .tool("now", OK)
        .tool_as("late", &OPEN.replace("NAME", "late"), |_| {
            let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
            Answer::stream([Step::Until("the word".to_owned()), Step::message(done)])
        })
        .start()
        .await;
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {callsInFlight: 1}}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], &documents(&[limits]))).await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let mut held = client
        .post(&batch(&[call("1", "late", ""), call("2", "late", "")]))
        .open(&gateway)
        .await;
    server.wait_for("tools/call", 1).await;
    raw::post(server.address(), "/mcp", &[], b"the word").await;
    let json = held.answer().await.unwrap().json();
    let answers = json.as_array().unwrap();
    assert_eq!(ids(answers).len(), 2, "{json}");
    let refused: Vec<_> = answers.iter().filter(|answer| answer["error"].is_object()).collect();
    assert_eq!(refused.len(), 1, "{json}");
    assert_eq!(refused[0]["error"]["data"]["dev.meshgate/refusal"]["executed"], "no");
    assert_eq!(server.received("tools/call").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_client_that_leaves_has_not_cancelled_and_its_record_says_how_the_call_ended() {
    for (tool, arrangement) in [
        ("late", "before the first byte"),
        ("told-late", "in the middle of its stream"),
    ] {
        let told = Step::message(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#,
        );
        let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
        let server = ScriptedServer::modern()
            .tool_as(tool, &OPEN.replace("NAME", tool), move |_| {
                let first = (tool == "told-late").then(|| told.clone());
                let rest = [Step::Until("the word".to_owned()), Step::message(done)];
                Answer::stream(first.into_iter().chain(rest))
            })
            .start()
            .await;
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
        gateway.lines(2).await;
        let params = format!(r#""name":"{tool}","_meta":{{"progressToken":1}}"#);
        let request = client.request("1", "tools/call", &params);
        if tool == "late" {
            let connection = request.open(&gateway).await;
            server.wait_for("tools/call", 1).await;
            drop(connection);
        } else {
            let mut events = request.stream(&gateway).await;
            events.next().await;
            drop(events);
        }
        // By the time that these are answered the gateway has seen the client leave.
        for id in 10..15 {
            let ping = client.request(&id.to_string(), "ping", "").to(&gateway).await;
            assert_eq!(ping.status, 200);
        }
        raw::post(server.address(), "/mcp", &[], b"the word").await;
        let lines = gateway.lines(6).await;
        let line = lines
            .iter()
            .find(|line| line["method"] == "tools/call")
            .expect("its record");
        assert!(line["cancelled"].is_null(), "{arrangement}: {line}");
        assert_eq!(
            (&line["outcome"], &line["summary"]),
            (&json!("ok"), &json!("ok")),
            "{arrangement}: {line}"
        );
        assert!(server.received("notifications/cancelled").is_empty());
        gateway.stop().await;
    }
}
