//! The facade over HTTP: the era is found without trusting one code, a call goes out once, statuses decide nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue};
use meshgate_mcp::{Era, Method};
use meshgate_model::{Check, EnvValue, EraChoice, Reach, Server};
use meshgate_proxy::call::{Outbound, Reply};
use meshgate_proxy::refusal::{Executed, Reason, Refusal};
use meshgate_proxy::upstream::{State, Upstream, UpstreamOptions};
use meshgate_telemetry::TraceContext;
use meshgate_testkit::{Answer, Script, ScriptedServer, Step};
use serde_json::{Value, json};

fn definition(url: &str) -> Server {
    Server {
        name: Arc::from("scripted"),
        team: None,
        alias: Arc::from("scripted"),
        reach: Reach::Http {
            url: url.to_owned(),
            headers: vec![("x-api-key".to_owned(), EnvValue::Literal(Arc::from("k1")))],
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
    }
}

fn start(server: &ScriptedServer) -> Arc<Upstream> {
    start_as(definition(&server.url()))
}

fn start_as(server: Server) -> Arc<Upstream> {
    Upstream::start(Arc::new(server), UpstreamOptions::default())
}

fn outbound(id: u64, method: &str) -> Outbound {
    Outbound {
        id,
        owner: None,
        method: Method::parse(method),
        method_name: method.to_owned().into(),
        name: Some(Arc::from("größe")),
        param_headers: vec![(
            HeaderName::from_static("mcp-param-region"),
            HeaderValue::from_static("eu"),
        )],
        body: json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": "größe", "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": id}}})
        .to_string()
        .into(),
        deadline: Instant::now() + Duration::from_secs(20),
        traceparent: TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            .map(|trace| trace.header_value()),
        caller: None,
        view: None,
    }
}

async fn call(upstream: &Upstream) -> Result<Reply, Refusal> {
    upstream.call(outbound(41, "tools/call")).await
}

fn one(reply: Result<Reply, Refusal>) -> Value {
    match reply.unwrap() {
        Reply::One(body) => serde_json::from_slice(&body).unwrap(),
        Reply::Stream(_) => panic!("a stream"),
    }
}

async fn all(reply: Result<Reply, Refusal>) -> Vec<Result<Value, Refusal>> {
    match reply.unwrap() {
        Reply::One(_) => panic!("one message"),
        Reply::Stream(messages) => {
            messages
                .map(|item| item.map(|body| serde_json::from_slice(&body).unwrap()))
                .collect()
                .await
        }
    }
}

fn progress(n: u64) -> Step {
    let params = json!({"progressToken": 41, "progress": n});
    Step::message(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string())
}

fn result() -> Step {
    Step::message(r#"{"jsonrpc":"2.0","id":41,"result":{"resultType":"complete","content":[]}}"#)
}

async fn modern(answer: impl Fn() -> Answer + Send + Sync + 'static) -> (ScriptedServer, Arc<Upstream>) {
    let server = ScriptedServer::modern()
        .on("tools/call", move |_| answer())
        .start()
        .await;
    let upstream = start(&server);
    (server, upstream)
}

#[tokio::test]
async fn a_modern_call_mirrors_itself_in_its_headers() {
    let (server, upstream) = modern(|| Answer::result("{}")).await;
    assert_eq!(one(call(&upstream).await)["id"], 41);
    let sent = &server.received("tools/call")[0];
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "=?base64?Z3LDtsOfZQ==?="),
        ("mcp-param-region", "eu"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-api-key", "k1"),
    ] {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }
    assert_eq!(sent.header("accept-encoding"), None);
    assert_eq!(sent.header("mcp-session-id"), None);
    let status = upstream.status();
    assert_eq!(
        (status.era, status.state, status.in_flight),
        (Some(Era::Modern), State::Up, 0)
    );
}

#[tokio::test]
async fn a_stream_of_the_response_alone_is_one_message() {
    let (_server, upstream) = modern(|| Answer::stream([result()])).await;
    assert_eq!(one(call(&upstream).await)["id"], 41);
}

#[tokio::test]
async fn a_stream_carries_notifications_and_then_the_response() {
    let question = Step::message(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#);
    let keep_alive = Step::Bytes(b": still here\n\n".to_vec());
    let steps = [progress(1), question, keep_alive, progress(2), result()];
    let (_server, upstream) = modern(move || Answer::stream(steps.clone())).await;
    let messages: Vec<_> = all(call(&upstream).await)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    // A modern server may not ask: its question reaches nobody.
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(messages[1]["params"]["progress"], 2);
    assert_eq!(messages[2]["id"], 41);
}

#[tokio::test]
async fn q02_an_error_status_with_a_message_is_that_message() {
    for (status, id) in [
        (400, "$ID"),
        (404, "$ID"),
        (200, "$ID"),
        (400, "null"),
        (500, "\"server-error\""),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no"}}}}"#);
        let (_server, upstream) = modern(move || Answer::whole(status, body.clone())).await;
        let answer = one(call(&upstream).await);
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(41), &json!(-32602)),
            "{status} {id}"
        );
    }
    let (_server, upstream) =
        modern(|| Answer::whole(400, r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#)).await;
    assert_eq!(one(call(&upstream).await)["id"], 41);
}

#[tokio::test]
async fn a_status_without_a_message_is_a_refusal_of_ours() {
    for (status, reason) in [
        (401, Reason::ServerAway),
        (403, Reason::ServerAway),
        (404, Reason::ServerBroken),
        (429, Reason::RateLimited),
        (500, Reason::ServerBroken),
        (503, Reason::ServerAway),
        (302, Reason::ServerBroken),
        (202, Reason::ServerBroken),
    ] {
        let (_server, upstream) = modern(move || {
            Answer::whole(status, if status == 202 { "" } else { "<html>secret page</html>" })
                .header("www-authenticate", "Bearer resource_metadata=\"https://evil.example/\"")
                .header("retry-after", "7")
        })
        .await;
        let refusal = call(&upstream).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (reason, Executed::Unknown),
            "{status}"
        );
        assert!(
            !refusal.message.contains("secret") && refusal.header.is_none(),
            "{refusal}"
        );
        assert_eq!(refusal.retry, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_challenge_of_a_server_is_never_passed_on_even_as_json_rpc() {
    let body = r#"{"jsonrpc":"2.0","id":41,"error":{"code":-32001,"message":"log in at https://evil.example/"}}"#;
    let (_server, upstream) = modern(move || Answer::whole(401, body)).await;
    let refusal = call(&upstream).await.unwrap_err();
    assert!(!refusal.message.contains("evil"), "{refusal}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_that_the_call_may_have_run() {
    let (server, upstream) =
        modern(|| Answer::stream([progress(1), Step::Wait(Duration::from_millis(50)), Step::Break])).await;
    let items = all(call(&upstream).await).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].as_ref().unwrap_err().executed, Executed::Unknown);
    assert_eq!(server.received("tools/call").len(), 1);
}

#[tokio::test]
async fn progress_starts_the_deadline_anew_and_the_hard_deadline_ends_it_all() {
    let slow: Vec<_> = (1..=20)
        .flat_map(|n| [progress(n), Step::Wait(Duration::from_millis(100))])
        .chain([result()])
        .collect();
    let server = ScriptedServer::modern()
        .on("tools/call", move |_| Answer::stream(slow.clone()))
        .start()
        .await;
    let mut patient = definition(&server.url());
    patient.deadline = Duration::from_millis(600);
    let items = all(call(&start_as(patient.clone())).await).await;
    assert_eq!(items.len(), 21);
    assert!(items.iter().all(Result::is_ok));
    patient.hard_deadline = Duration::from_millis(800);
    let items = all(call(&start_as(patient)).await).await;
    let refusal = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    assert!(items.len() < 12);
}

#[tokio::test]
async fn silence_after_progress_ends_the_call() {
    let server = ScriptedServer::modern()
        .on("tools/call", |_| Answer::stream([progress(1), Step::Hold]))
        .start()
        .await;
    let mut quick = definition(&server.url());
    quick.deadline = Duration::from_millis(200);
    let items = all(call(&start_as(quick)).await).await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].as_ref().unwrap_err().reason, Reason::Deadline);
}

#[tokio::test]
async fn a_listener_may_be_silent_longer_than_a_call() {
    let event = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#;
    let server = ScriptedServer::modern()
        .on("subscriptions/listen", move |_| {
            Answer::stream([
                Step::message(event),
                Step::Wait(Duration::from_millis(500)),
                Step::message(event),
                Step::Hold,
            ])
        })
        .start()
        .await;
    let mut quick = definition(&server.url());
    quick.deadline = Duration::from_millis(100);
    let upstream = start_as(quick);
    let Reply::Stream(mut messages) = upstream.call(outbound(1, "subscriptions/listen")).await.unwrap() else {
        panic!("one message")
    };
    assert!(messages.next().await.unwrap().is_ok());
    assert!(messages.next().await.unwrap().is_ok());
}

/// Calls have used up what their server may bring at once: a call would have to wait four seconds for as many events.
#[tokio::test]
async fn what_listeners_are_told_does_not_wait_for_calls_that_flood() {
    let event = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#;
    let many = Step::Bytes(format!("data: {event}\n\n").repeat(3000).into());
    let many = Answer::stream([many, Step::Hold]);
    let told = many.clone();
    let server = ScriptedServer::modern()
        .on("subscriptions/listen", move |_| told.clone())
        .on("tools/call", move |_| many.clone())
        .start()
        .await;
    let upstream = start(&server);
    let mut calls = Vec::new();
    for count in [2048, 64] {
        let Reply::Stream(mut messages) = call(&upstream).await.unwrap() else {
            panic!("one message")
        };
        for _ in 0..count {
            messages.next().await.unwrap().unwrap();
        }
        calls.push(messages);
    }
    let Reply::Stream(messages) = upstream.call(outbound(1, "subscriptions/listen")).await.unwrap() else {
        panic!("one message")
    };
    let told = tokio::time::timeout(Duration::from_secs(2), messages.take(2048).collect::<Vec<_>>()).await;
    assert_eq!(told.unwrap().len(), 2048);
}

/// What answers to `server/discover` mean: each row one answer, and the era it shows.
#[tokio::test]
async fn the_era_does_not_hinge_on_one_code() {
    let error = |code: i64, data: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":"server-error","error":{{"code":{code},"message":"no"{data}}}}}"#)
    };
    let discover = |versions: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"supportedVersions":{versions},"capabilities":{{}}}}}}"#)
    };
    let rows: Vec<(Answer, Era)> = vec![
        (Answer::json(discover(r#"["2025-11-25","2026-07-28"]"#)), Era::Modern),
        (
            Answer::stream([Step::message(discover(r#"["2026-07-28"]"#))]),
            Era::Modern,
        ),
        (Answer::json(discover(r#"["2025-11-25"]"#)), Era::Legacy),
        (Answer::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#), Era::Legacy),
        (Answer::whole(200, error(-32601, "")), Era::Legacy),
        (Answer::whole(400, error(-32600, "")), Era::Legacy),
        (Answer::whole(200, error(-32602, "")), Era::Legacy),
        (Answer::whole(404, error(-32601, "")), Era::Legacy),
        (
            Answer::whole(
                400,
                error(-32022, r#","data":{"supported":["2025-06-18"],"requested":"x"}"#),
            ),
            Era::Legacy,
        ),
        (Answer::whole(400, "Bad Request: missing session"), Era::Legacy),
        (Answer::status(404), Era::Legacy),
        (Answer::status(405), Era::Legacy),
    ];
    for (answer, era) in rows {
        let shown = format!("{answer:?}");
        let script = match era {
            Era::Modern => ScriptedServer::modern(),
            Era::Legacy => ScriptedServer::legacy("2025-11-25"),
        };
        let server = script.on("server/discover", move |_| answer.clone()).start().await;
        let upstream = start(&server);
        let found: Value = serde_json::from_slice(&upstream.discover().await.expect(&shown)).unwrap();
        assert!(found["supportedVersions"].is_array(), "{shown}");
        assert_eq!(upstream.status().era, Some(era), "{shown}");
    }
}

#[tokio::test]
async fn what_says_nothing_about_the_server_gives_no_era() {
    let disjoint =
        r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32022,"message":"no","data":{"supported":["2027-01-01"]}}}"#;
    for answer in [
        Answer::status(401),
        Answer::status(502),
        Answer::status(307),
        Answer::status(429),
        Answer::whole(400, disjoint),
    ] {
        let shown = format!("{answer:?}");
        let server = ScriptedServer::legacy("2025-11-25")
            .on("server/discover", move |_| answer.clone())
            .start()
            .await;
        let upstream = start(&server);
        let refusal = upstream.discover().await.unwrap_err();
        assert_eq!(refusal.executed, Executed::No, "{shown}");
        assert!(server.received("initialize").is_empty(), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_comes_up_later_is_found_at_once_when_somebody_asks() {
    let place = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let upstream = start_as(definition(&format!("http://{address}/mcp")));
    let refusal = call(&upstream).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert!(matches!(upstream.status().state, State::Away { .. }));
    // A caller within the first second is refused without another attempt.
    let began = Instant::now();
    assert!(call(&upstream).await.unwrap_err().retry.is_some());
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn an_era_in_doubt_is_asked_for_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = ScriptedServer::legacy("2025-11-25")
        .tool("größe", r#"{"content":[]}"#)
        .when(move |request| {
            // Modern at first; replaced by a legacy version behind the same address after that.
            let modern = request.method() == "server/discover" && counted.fetch_add(1, Ordering::SeqCst) == 0;
            modern.then(|| Answer::result(r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#))
        })
        .when(|request| {
            (request.method() == "tools/call" && request.header("mcp-session-id").is_none())
                .then(|| Answer::status(400))
        })
        .start()
        .await;
    let upstream = start(&server);
    upstream.discover().await.unwrap();
    assert_eq!(upstream.status().era, Some(Era::Modern));
    assert_eq!(call(&upstream).await.unwrap_err().executed, Executed::Unknown);
    assert!(one(call(&upstream).await)["result"].is_object());
    assert_eq!(upstream.status().era, Some(Era::Legacy));
}

#[tokio::test]
async fn an_odd_answer_that_a_caller_brings_about_costs_nobody_else_the_server() {
    let (server, upstream) = modern(|| Answer::whole(415, "cannot read this")).await;
    upstream.discover().await.unwrap();
    let connected = *upstream.connections().borrow();
    for _ in 0..3 {
        assert_eq!(call(&upstream).await.unwrap_err().executed, Executed::Unknown);
    }
    assert_eq!(upstream.status().state, State::Up);
    assert_eq!(
        *upstream.connections().borrow(),
        connected,
        "nothing was connected anew"
    );
    assert_eq!(server.received("tools/call").len(), 3, "no call was sent twice");
}

#[tokio::test]
async fn discover_is_remembered() {
    let server = Script::start(ScriptedServer::modern()).await;
    let upstream = start(&server);
    for _ in 0..3 {
        let found: Value = serde_json::from_slice(&upstream.discover().await.unwrap()).unwrap();
        assert_eq!(found["supportedVersions"][0], "2026-07-28");
    }
    assert_eq!(server.received("server/discover").len(), 1);
}

#[tokio::test]
async fn f28_a_dropped_call_leaves_its_server_at_once() {
    let (server, upstream) = modern(|| Answer::stream([progress(1), Step::Hold])).await;
    let Reply::Stream(mut messages) = call(&upstream).await.unwrap() else {
        panic!("one message")
    };
    messages.next().await.unwrap().unwrap();
    server.wait_for_streams(1).await;
    assert_eq!(upstream.status().in_flight, 1);
    drop(messages);
    assert_eq!(upstream.status().in_flight, 0);
}
