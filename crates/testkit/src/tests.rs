//! The peers do what they promise.

use crate::{Answer, ScriptedServer, Step, raw};

#[tokio::test]
async fn a_scripted_tool_is_listed_and_answers_with_the_id_as_it_was_spelled() {
    let server = ScriptedServer::modern()
        .tool("echo", r#"{"resultType":"complete","content":[]}"#)
        .start()
        .await;
    let list = raw::post(
        server.address(),
        "/mcp",
        &[],
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
    )
    .await;
    assert_eq!(list.json()["result"]["tools"][0]["name"], "echo");
    let body = br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"echo"}}"#;
    let call = raw::post(server.address(), "/mcp", &[("x-seen", "1")], body).await;
    assert!(call.text().contains(r#""id":"a\u0062""#));
    assert_eq!(server.received("tools/call")[0].body, &body[..]);
    assert_eq!(server.received("tools/call")[0].header("x-seen"), Some("1"));
}

#[tokio::test]
async fn a_streamed_answer_waits_for_what_it_was_told_to_wait_for() {
    let steps = [
        Step::message(r#"{"first":$TOKEN}"#),
        Step::Until("go on".into()),
        Step::message("{}"),
    ];
    let server = ScriptedServer::modern()
        .on("slow", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let mut caller = raw::RawConnection::open(server.address()).await;
    let body = br#"{"method":"slow","id":1,"params":{"_meta":{"progressToken":7}}}"#;
    caller
        .send(&raw::request("POST", server.address(), "/mcp", &[], body))
        .await;
    assert_eq!(caller.head().await.unwrap().status, 200);
    assert_eq!(caller.next_event().await.as_deref(), Some(r#"{"first":7}"#));
    raw::post(server.address(), "/mcp", &[], br#"{"note":"go on"}"#).await;
    assert_eq!(caller.next_event().await.as_deref(), Some("{}"));
    assert_eq!(caller.next_event().await, None);
}

#[tokio::test]
async fn a_legacy_server_forgets_a_session_it_was_told_to_lose() {
    let server = ScriptedServer::legacy("2025-06-18").start().await;
    let hello = raw::post(
        server.address(),
        "/mcp",
        &[],
        br#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
    )
    .await;
    let session = [("mcp-session-id", hello.header("mcp-session-id").unwrap())];
    let ping = br#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    assert_eq!(raw::post(server.address(), "/mcp", &session, ping).await.status, 200);
    server.lose_session();
    assert_eq!(raw::post(server.address(), "/mcp", &session, ping).await.status, 404);
}
