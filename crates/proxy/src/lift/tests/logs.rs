//! Log messages of a shared session: delivered only when they can be about nobody else.

use meshgate_testkit::{Answer, ScriptedServer, Step};

use super::{EVERYTHING, lifted, messages, next, silence, stream, tool, until, with_meta};
use crate::call::Outbound;

const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#;

fn log(level: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":-0}}}}"#)
}

fn logging(name: &str, level: &str) -> Outbound {
    with_meta(
        "tools/call",
        &format!(r#""name":"{name}""#),
        &format!(r#","io.modelcontextprotocol/logLevel":"{level}""#),
    )
}

fn server() -> meshgate_testkit::Script {
    let steps = [
        Step::message(log("debug")),
        Step::message(log("error")),
        Step::message(DONE),
    ];
    let held = [Step::message(log("error")), Step::Hold];
    ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .tool_as("logs", "{}", move |_| Answer::stream(steps.clone()))
        .tool_as("held", "{}", move |_| Answer::stream(held.clone()))
}

#[tokio::test]
async fn a_call_that_asked_gets_what_is_severe_enough_and_the_level_is_set_before() {
    let server = server().start().await;
    let lifted = lifted(&server).await;
    let all = messages(lifted.call(logging("logs", "warning"), until()).await).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0], log("error"));
    assert_eq!(server.received("logging/setLevel").len(), 1);
    assert!(
        server.received("logging/setLevel")[0]
            .text()
            .contains(r#""level":"warning""#)
    );
    messages(lifted.call(logging("logs", "warning"), until()).await).await;
    assert_eq!(server.received("logging/setLevel").len(), 1);
    assert_eq!(
        messages(lifted.call(logging("logs", "debug"), until()).await)
            .await
            .len(),
        3
    );
    assert_eq!(server.received("logging/setLevel").len(), 2);
}

#[tokio::test]
async fn a_call_that_did_not_ask_gets_none() {
    let server = server().start().await;
    assert_eq!(
        messages(lifted(&server).await.call(tool("logs"), until()).await)
            .await
            .len(),
        1
    );
    assert!(server.received("logging/setLevel").is_empty());
}

#[tokio::test]
async fn two_calls_at_once_get_none_because_nobody_can_say_whose_they_are() {
    let server = server().start().await;
    let lifted = lifted(&server).await;
    server.wait_for_streams(1).await;
    let mut first = stream(lifted.call(logging("held", "debug"), until()).await);
    assert_eq!(next(&mut first).await, log("error"));
    let other = lifted.call(logging("logs", "debug"), until());
    assert_eq!(messages(other.await).await.len(), 1);
    // The first one after that may have been about the other, too.
    server.push(&log("error"));
    silence(&mut first).await;
    server.push(&log("error"));
    assert_eq!(next(&mut first).await, log("error"));
}

#[tokio::test]
async fn a_log_message_on_the_standalone_stream_reaches_the_only_call() {
    let steps = [Step::Until("let go".into()), Step::message(DONE)];
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .tool_as("held", "{}", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let lifted = lifted(&server).await;
    server.wait_for_streams(1).await;
    let call = lifted.call(logging("held", "debug"), until());
    let push = async {
        server.wait_for("tools/call", 1).await;
        server.push(&log("info"));
    };
    let (reply, ()) = tokio::join!(call, push);
    let mut answer = stream(reply);
    assert_eq!(next(&mut answer).await, log("info"));
    silence(&mut answer).await;
}

#[tokio::test]
async fn a_server_that_logs_without_saying_so_is_heard_and_not_told_a_level() {
    let server = server().capabilities(r#"{"tools":{}}"#).start().await;
    let lifted = lifted(&server).await;
    assert_eq!(
        messages(lifted.call(logging("logs", "warning"), until()).await)
            .await
            .len(),
        2
    );
    assert!(server.received("logging/setLevel").is_empty());
}
