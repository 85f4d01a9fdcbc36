//! Streams over HTTP that break off, and the stream that belongs to no call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use meshgate_testkit::{Answer, Script, ScriptedServer, Step};

use super::{lifted, messages, only, tool, until};
use crate::refusal::{Executed, Reason};

/// An event with an id; no data primes the stream.
fn event(id: &str, data: &str) -> Step {
    Step::Event {
        id: Some(id.to_owned()),
        retry_ms: Some(20),
        data: data.to_owned(),
    }
}

/// A server whose tool primes its stream, lets it go, and answers whoever asks for the rest.
fn polling(resumed: Answer) -> Script {
    ScriptedServer::legacy("2025-11-25")
        .tool_as("t", "{}", |_| Answer::stream([event("e1", "")]))
        .when(move |request| (request.header("last-event-id") == Some("e1")).then(|| resumed.clone()))
}

#[tokio::test]
async fn a_primed_stream_that_was_let_go_is_read_on_and_the_call_is_not_repeated() {
    // The id of a call is not known to the script of a GET, so the answer repeats what the test chose.
    let out = tool("t");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, out.id);
    let server = polling(Answer::stream([event("e2", &answer)])).start().await;
    let text = only(lifted(&server).await.call(out, until()).await).await;
    assert!(text.contains("complete"), "{text}");
    assert_eq!(server.received("tools/call").len(), 1);
    let recorded = server.recorded();
    let resumed = recorded
        .iter()
        .find(|request| request.header("last-event-id").is_some())
        .unwrap();
    assert_eq!(resumed.verb, http::Method::GET);
    assert_eq!(resumed.header("mcp-session-id"), Some("session-1"));
    assert_eq!(resumed.header("mcp-protocol-version"), Some("2025-11-25"));
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_on_may_have_run() {
    let server = polling(Answer::status(400)).start().await;
    let refusal = lifted(&server).await.call(tool("t"), until()).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    assert_eq!(server.received("tools/call").len(), 1);
}

#[tokio::test]
async fn a_stream_without_ids_that_breaks_off_is_not_asked_for_again() {
    for end in [Step::Break, Step::Wait(Duration::ZERO)] {
        let server = ScriptedServer::legacy("2025-06-18")
            .tool_as("t", "{}", move |_| Answer::stream([end.clone()]))
            .start()
            .await;
        let refusal = lifted(&server).await.call(tool("t"), until()).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerBroken, Executed::Unknown)
        );
        assert_eq!(server.received("tools/call").len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_brings_nothing_again_and_again_is_given_up() {
    let server = polling(Answer::stream([])).start().await;
    let refusal = lifted(&server).await.call(tool("t"), until()).await.unwrap_err();
    assert_eq!(refusal.executed, Executed::Unknown);
}

#[tokio::test]
async fn a_server_that_says_not_yet_is_asked_until_it_answers() {
    let out = tool("t");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, out.id);
    let polls = Arc::new(AtomicUsize::new(0));
    let polled = Arc::clone(&polls);
    let server = ScriptedServer::legacy("2025-11-25")
        .tool_as("t", "{}", |_| Answer::stream([event("e1", "")]))
        .when(move |request| {
            request.header("last-event-id")?;
            let done = polled.fetch_add(1, Ordering::SeqCst) == 8;
            Some(Answer::stream([event("e1", if done { &answer } else { "" })]))
        })
        .start()
        .await;
    only(lifted(&server).await.call(out, until()).await).await;
    assert_eq!(polls.load(Ordering::SeqCst), 9);
    assert_eq!(server.received("tools/call").len(), 1);
}

/// 2,048 events come as fast as they come, and 500 a second behind them, however often the stream is let go.
#[tokio::test]
async fn a_stream_that_is_let_go_and_read_on_brings_no_more_for_it() {
    let out = tool("t");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, out.id);
    let flood = |count| vec![event("e1", ""); count];
    let rest = [flood(250), vec![event("e1", &answer)]].concat();
    let first = flood(2048);
    let server = ScriptedServer::legacy("2025-11-25")
        .tool_as("t", "{}", move |_| Answer::stream(first.clone()))
        .when(move |request| (request.header("last-event-id") == Some("e1")).then(|| Answer::stream(rest.clone())))
        .start()
        .await;
    let lifted = lifted(&server).await;
    let began = Instant::now();
    only(lifted.call(out, until()).await).await;
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn events_of_other_kinds_are_not_messages() {
    let steps = [
        Step::Bytes(b": a comment\n\nevent: endpoint\ndata: /elsewhere\n\n".to_vec()),
        Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#),
    ];
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    assert_eq!(
        messages(lifted(&server).await.call(tool("t"), until()).await)
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn something_else_than_a_message_breaks_the_call_and_nothing_else() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", |_| Answer::stream([Step::message("hello")]))
        .tool("u", r#"{"content":[]}"#)
        .start()
        .await;
    let lifted = lifted(&server).await;
    assert_eq!(
        lifted.call(tool("t"), until()).await.unwrap_err().executed,
        Executed::Unknown
    );
    only(lifted.call(tool("u"), until()).await).await;
}

#[tokio::test]
async fn the_standalone_stream_is_opened_again_after_it_ended() {
    let server = ScriptedServer::legacy("2025-06-18")
        .when(|request| {
            let get = request.verb == http::Method::GET;
            get.then(|| Answer::stream([event("g1", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#)]))
        })
        .start()
        .await;
    let _lifted = lifted(&server).await;
    let mut resumed = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        resumed = server.recorded();
        resumed.retain(|request| request.verb == http::Method::GET);
        if resumed.len() > 1 {
            break;
        }
    }
    assert_eq!(resumed[0].header("last-event-id"), None);
    assert_eq!(resumed[1].header("last-event-id"), Some("g1"));
    assert!(
        server
            .recorded()
            .iter()
            .any(|request| request.text() == r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
    );
}

#[tokio::test]
async fn a_server_without_a_standalone_stream_is_not_asked_again() {
    let server = ScriptedServer::legacy("2025-06-18").without_get().start().await;
    let _lifted = lifted(&server).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(
        server
            .recorded()
            .iter()
            .filter(|request| request.verb == http::Method::GET)
            .count(),
        1
    );
}
