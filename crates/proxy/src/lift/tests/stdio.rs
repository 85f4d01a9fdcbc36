//! The same over a pipe.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use meshgate_testkit::{StdioScript, StdioServer};

use super::{EVERYTHING, Lifted, Link, messages, next, only, own, request, soon, stream, tool, until, with_meta};
use crate::refusal::Executed;
use crate::supervise::SupervisorProgram;
use crate::upstream::limits::WireLimits;
use crate::upstream::stdio::{StdioCommand, StdioLink};

const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#;
const PROGRESS: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;

fn script() -> StdioScript {
    StdioScript::legacy("2025-06-18", EVERYTHING)
}

/// Starts the child without the real supervisor, which is the gateway's own binary.
async fn lifted(script: StdioScript) -> (Arc<Lifted>, StdioServer) {
    let server = script.write();
    let command = StdioCommand {
        server: "scripted".into(),
        program: server.command.clone(),
        args: server.args.clone(),
        env: Vec::new(),
        cwd: None,
    };
    let bare = SupervisorProgram {
        path: "/usr/bin/env".into(),
        args: Vec::new(),
    };
    let link = StdioLink::spawn(&command, &bare, WireLimits::default()).await.unwrap();
    let link = Link::Stdio(link);
    (Lifted::connect(link.clone(), own(link), soon()).await.unwrap(), server)
}

#[tokio::test]
async fn a_pipe_is_greeted_and_called_with_bytes_kept() {
    let result = r#"{"content":[],"n":123456789012345678901234567890,"z":-0,"f":1.0}"#;
    let (lifted, server) = lifted(script().result("tools/call t", result)).await;
    assert_eq!(server.wait_for("notifications/initialized", 1).await.len(), 1);
    assert_eq!(server.recorded().len(), 2);
    let arguments = r#""name":"t","arguments":{"n":123456789012345678901234567890,"z":-0,"f":1.0}"#;
    let out = request("tools/call", arguments);
    let id = out.id;
    let answer = only(lifted.call(out, until()).await).await;
    assert!(
        answer.contains(r#""n":123456789012345678901234567890,"z":-0,"f":1.0,"resultType":"complete"}"#),
        "{answer}"
    );
    assert_eq!(
        server.received("tools/call")[0],
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{arguments},"_meta":{{"progressToken":{id}}}}}}}"#
        )
    );
}

#[tokio::test]
async fn progress_and_unsolicited_questions_on_a_pipe_are_told_apart() {
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}"#;
    let steps = vec![
        PROGRESS.into(),
        question.into(),
        StdioScript::until(r#""id":"q""#),
        DONE.into(),
    ];
    let (lifted, server) = lifted(script().steps("tools/call t", steps)).await;
    let all = messages(lifted.call(tool("t"), until()).await).await;
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(
        server
            .recorded()
            .iter()
            .any(|line| line.contains(r#""id":"q","error":{"code":-32601"#))
    );
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_on_the_pipe() {
    let steps = vec![PROGRESS.into(), StdioScript::wait(Duration::from_secs(5)), DONE.into()];
    let (lifted, server) = lifted(script().steps("tools/call t", steps)).await;
    let out = tool("t");
    let id = out.id;
    let mut answer = stream(lifted.call(out, until()).await);
    next(&mut answer).await;
    drop(answer);
    let cancelled = server.wait_for("notifications/cancelled", 1).await;
    assert_eq!(cancelled.len(), 1);
    assert!(cancelled[0].contains(&format!(r#""requestId":{id}"#)));
}

#[tokio::test]
async fn log_messages_on_a_pipe_come_before_the_response_that_followed_them() {
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    let (lifted, server) = lifted(script().say("tools/call t", &[log, log, DONE])).await;
    for _ in 0..20 {
        let out = with_meta(
            "tools/call",
            r#""name":"t""#,
            r#","io.modelcontextprotocol/logLevel":"info""#,
        );
        let all = messages(lifted.call(out, until()).await).await;
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!(all[0], log);
    }
    assert_eq!(server.received("logging/setLevel").len(), 1);
}

#[tokio::test]
async fn a_listen_on_a_pipe_hears_changes_and_ends_without_a_result_when_the_child_dies() {
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a"}}"#;
    let script = script()
        .say("tools/call t", &[changed, DONE])
        .steps("tools/call die", vec![StdioScript::exit(3)]);
    let (lifted, _server) = lifted(script).await;
    let filter = r#""notifications":{"resourceSubscriptions":["a"]}"#;
    let mut listen = stream(lifted.call(request("subscriptions/listen", filter), until()).await);
    next(&mut listen).await;
    only(lifted.call(tool("t"), until()).await).await;
    assert!(next(&mut listen).await.contains(r#""uri":"a""#));
    let refusal = lifted.call(tool("die"), until()).await.unwrap_err();
    assert_eq!(refusal.executed, Executed::Unknown);
    tokio::time::timeout(Duration::from_secs(5), lifted.closed())
        .await
        .unwrap();
    assert!(listen.next().await.unwrap().is_err());
    assert!(listen.next().await.is_none());
}

#[tokio::test]
async fn a_pretty_printed_request_is_one_line_on_the_pipe() {
    let (lifted, server) = lifted(script().say("tools/call", &[DONE])).await;
    only(
        lifted
            .call(request("tools/call", "\n  \"name\":\"t\"\n"), until())
            .await,
    )
    .await;
    assert_eq!(server.received("tools/call").len(), 1);
}
