//! `subscriptions/listen` over a session.

use meshgate_testkit::{Answer, ScriptedServer, Step};

use super::{EVERYTHING, lifted, next, only, request, silence, stream, tool, until};

fn listen(filter: &str) -> crate::call::Outbound {
    request("subscriptions/listen", &format!(r#""notifications":{{{filter}}}"#))
}

fn updated(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#)
}

#[tokio::test]
async fn changes_reach_those_who_asked_tagged_with_their_own_id() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .start()
        .await;
    let lifted = lifted(&server).await;
    server.wait_for_streams(1).await;
    let (tools, all) = (
        listen(r#""toolsListChanged":true"#),
        listen(r#""toolsListChanged":true,"resourceSubscriptions":["a"]"#),
    );
    let ids = [tools.id, all.id];
    let mut streams = [
        stream(lifted.call(tools, until()).await),
        stream(lifted.call(all, until()).await),
    ];
    for (stream, id) in streams.iter_mut().zip(ids) {
        let acknowledged = next(stream).await;
        assert!(
            acknowledged.contains("notifications/subscriptions/acknowledged"),
            "{acknowledged}"
        );
        assert!(
            acknowledged.contains(&format!(r#""io.modelcontextprotocol/subscriptionId":{id}"#)),
            "{acknowledged}"
        );
    }
    server.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    for (stream, id) in streams.iter_mut().zip(ids) {
        let changed = next(stream).await;
        assert!(changed.contains("notifications/tools/list_changed"), "{changed}");
        assert!(
            changed.contains(&format!(r#""io.modelcontextprotocol/subscriptionId":{id}"#)),
            "{changed}"
        );
    }
    server.push(&updated("a"));
    assert!(next(&mut streams[1]).await.contains(r#""uri":"a""#));
    silence(&mut streams[0]).await;
}

#[tokio::test]
async fn a_resource_is_subscribed_once_and_unsubscribed_when_the_last_listener_left() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .start()
        .await;
    let lifted = lifted(&server).await;
    let mut first = stream(
        lifted
            .call(listen(r#""resourceSubscriptions":["a","b"]"#), until())
            .await,
    );
    let mut second = stream(lifted.call(listen(r#""resourceSubscriptions":["b"]"#), until()).await);
    next(&mut first).await;
    next(&mut second).await;
    assert_eq!(server.received("resources/subscribe").len(), 2);
    drop(first);
    assert!(
        server.wait_for("resources/unsubscribe", 1).await[0]
            .text()
            .contains(r#""uri":"a""#)
    );
    drop(second);
    assert!(
        server.wait_for("resources/unsubscribe", 2).await[1]
            .text()
            .contains(r#""uri":"b""#)
    );
}

#[tokio::test]
async fn what_cannot_be_honoured_is_missing_from_the_acknowledgement() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(r#"{"tools":{},"resources":{"subscribe":true}}"#)
        .on("resources/subscribe", |request| match request.text().contains("bad") {
            true => Answer::error(-32602, "no"),
            false => Answer::result("{}"),
        })
        .start()
        .await;
    let lifted = lifted(&server).await;
    let filter = r#""toolsListChanged":true,"resourceSubscriptions":["good","bad"]"#;
    let mut listening = stream(lifted.call(listen(filter), until()).await);
    let acknowledged = next(&mut listening).await;
    assert!(
        acknowledged.ends_with(r#""notifications":{"resourceSubscriptions":["good"]}}}"#),
        "{acknowledged}"
    );
}

#[tokio::test]
async fn closing_ends_a_listen_with_its_result() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .start()
        .await;
    let lifted = lifted(&server).await;
    let out = listen(r#""toolsListChanged":true"#);
    let id = out.id;
    let mut listening = stream(lifted.call(out, until()).await);
    next(&mut listening).await;
    lifted.close().await;
    let finished = next(&mut listening).await;
    assert!(
        finished.contains(&format!(r#""id":{id},"result""#)) && finished.contains("complete"),
        "{finished}"
    );
    assert!(futures_util::StreamExt::next(&mut listening).await.is_none());
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_ended_in_good_order_and_holds_up_nobody() {
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let mut steps = vec![Step::message(changed); 1000];
    steps.push(Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#));
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let lifted = lifted(&server).await;
    let listening = stream(lifted.call(listen(r#""toolsListChanged":true"#), until()).await);
    only(lifted.call(tool("t"), until()).await).await;
    let all: Vec<_> = futures_util::StreamExt::collect(listening).await;
    assert_eq!(all.len(), 1 + 256 + 1);
    assert!(
        all.last()
            .unwrap()
            .as_ref()
            .unwrap()
            .windows(8)
            .any(|part| part == b"complete")
    );
}
