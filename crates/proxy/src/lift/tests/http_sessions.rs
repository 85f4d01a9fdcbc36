//! Sessions over HTTP: lost, found, ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use meshgate_testkit::{Answer, ScriptedServer, Step};

use super::{EVERYTHING, lifted, next, only, request, stream, tool, until};
use crate::refusal::{Executed, Reason};

#[tokio::test]
async fn a_lost_session_is_opened_again_and_the_call_succeeds_once() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool("t", r#"{"content":[]}"#)
        .without_get()
        .start()
        .await;
    let lifted = lifted(&server).await;
    server.lose_session();
    let answer = only(lifted.call(tool("t"), until()).await).await;
    assert!(answer.contains("complete"), "{answer}");
    let calls = server.received("tools/call");
    let sessions: Vec<_> = calls
        .iter()
        .map(|call| call.header("mcp-session-id").unwrap())
        .collect();
    assert_eq!(sessions, ["session-1", "session-2"]);
    assert_eq!(server.received("initialize").len(), 2);
    only(lifted.call(tool("t"), until()).await).await;
    assert_eq!(server.received("initialize").len(), 2);
}

#[tokio::test]
async fn many_calls_that_find_the_session_lost_open_one_between_them() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool("t", r#"{"content":[]}"#)
        .start()
        .await;
    let lifted = lifted(&server).await;
    server.lose_session();
    let calls = join_all((0..8).map(|_| async { only(lifted.call(tool("t"), until()).await).await })).await;
    assert_eq!(calls.len(), 8);
    assert_eq!(server.received("initialize").len(), 2);
}

#[tokio::test]
async fn a_server_that_says_400_to_a_session_it_forgot_is_understood() {
    let first = Arc::new(AtomicUsize::new(0));
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", move |_| match first.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::whole(
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#,
            ),
            _ => Answer::result(r#"{"content":[]}"#),
        })
        .start()
        .await;
    assert!(
        only(lifted(&server).await.call(tool("t"), until()).await)
            .await
            .contains("complete")
    );
    assert_eq!(server.received("initialize").len(), 2);
}

#[tokio::test]
async fn a_session_that_is_lost_twice_in_a_row_is_refused_and_did_not_run() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", |_| Answer::status(404))
        .start()
        .await;
    let refusal = lifted(&server).await.call(tool("t"), until()).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert_eq!(server.received("tools/call").len(), 2);
}

#[tokio::test]
async fn a_server_that_opens_no_session_any_more_is_closed() {
    let hellos = Arc::new(AtomicUsize::new(0));
    let server = ScriptedServer::legacy("2025-06-18")
        .when(move |request| {
            let again = request.method() == "initialize" && hellos.fetch_add(1, Ordering::SeqCst) > 0;
            again.then(|| Answer::status(500))
        })
        .start()
        .await;
    let lifted = lifted(&server).await;
    server.lose_session();
    let refusal = lifted.call(tool("t"), until()).await.unwrap_err();
    assert_eq!(refusal.executed, Executed::No);
    tokio::time::timeout(Duration::from_secs(1), lifted.closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_made_anew_watches_what_the_old_one_watched() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .start()
        .await;
    let lifted = lifted(&server).await;
    let filter = r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#;
    let mut listen = stream(lifted.call(request("subscriptions/listen", filter), until()).await);
    next(&mut listen).await;
    server.lose_session();
    only(lifted.call(request("tools/list", ""), until()).await).await;
    let again = server.wait_for("resources/subscribe", 2).await;
    assert_eq!(again[1].header("mcp-session-id"), Some("session-2"));
    assert!(next(&mut listen).await.contains("notifications/tools/list_changed"));
    let missed = next(&mut listen).await;
    assert!(
        missed.contains("resources/updated") && missed.contains(r#""uri":"file:///a""#),
        "{missed}"
    );
}

#[tokio::test]
async fn closing_ends_the_session_at_the_server() {
    let server = ScriptedServer::legacy("2025-06-18").start().await;
    let lifted = lifted(&server).await;
    lifted.close().await;
    let recorded = server.recorded();
    let end = recorded
        .iter()
        .find(|request| request.verb == http::Method::DELETE)
        .unwrap();
    assert_eq!(end.header("mcp-session-id"), Some("session-1"));
    assert_eq!(end.header("mcp-protocol-version"), Some("2025-06-18"));
}

#[tokio::test]
async fn a_server_that_says_404_where_it_has_no_stream_keeps_its_session() {
    let server = ScriptedServer::legacy("2025-06-18")
        .when(|request| (request.verb == http::Method::GET).then(|| Answer::status(404)))
        .start()
        .await;
    let lifted = lifted(&server).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    only(lifted.call(request("tools/list", ""), until()).await).await;
    assert_eq!(server.received("initialize").len(), 1);
}

#[tokio::test]
async fn an_error_that_answers_the_call_is_no_lost_session_even_with_404() {
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"unknown"}}"#;
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", move |_| Answer::whole(404, error))
        .start()
        .await;
    assert!(
        only(lifted(&server).await.call(tool("t"), until()).await)
            .await
            .contains("-32601")
    );
    assert_eq!(server.received("tools/call").len(), 1);
}

#[tokio::test]
async fn a_session_whose_stream_is_lost_is_opened_again_before_anybody_calls() {
    let server = ScriptedServer::legacy("2025-06-18")
        .when(|request| {
            let first = request.verb == http::Method::GET && request.header("mcp-session-id") == Some("session-1");
            first.then(|| {
                Answer::stream([Step::Event {
                    id: None,
                    retry_ms: Some(20),
                    data: String::new(),
                }])
            })
        })
        .start()
        .await;
    let _lifted = lifted(&server).await;
    // A GET has no JSON-RPC method.
    server.wait_for("", 1).await;
    server.lose_session();
    assert_eq!(server.wait_for("initialize", 2).await.len(), 2);
    server.wait_for_streams(1).await;
}
