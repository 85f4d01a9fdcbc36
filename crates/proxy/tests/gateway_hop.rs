//! Two hops, two peers: what was wrong or said between the gateway and a server is not the client's, and what the client
//! declared is all that a server may ask for.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{Post, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, ScriptedServer, Step};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

async fn answering(answer: Answer) -> (ScriptedServer, RunningGateway) {
    let server = ScriptedServer::modern()
        .tool_as("t", &tool("t"), move |_| answer.clone())
        .on("Tools/Call", |_| Answer::result(OK))
        .on("com.example/x", |_| Answer::result(OK))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn call(meta: &str) -> Post {
    let required = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"t","arguments":{{}},"_meta":{{{required},{meta}}}"#),
    )
}

fn plain() -> Post {
    call(r#""io.modelcontextprotocol/clientCapabilities":{}"#)
}

#[tokio::test]
async fn codes_of_the_other_hop_and_of_older_revisions_are_not_given_to_a_modern_client() {
    let rows = [
        (-32020, 200, -32603),
        (-32022, 200, -32603),
        (-32042, 200, -32603),
        (-32002, 200, -32602),
        (-32021, 400, -32021),
        (-32601, 404, -32601),
        (-5, 200, -5),
    ];
    for (said, status, told) in rows {
        let (_server, gateway) = answering(Answer::error(said, "why")).await;
        let answer = plain().to(&gateway).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"], &error["message"]),
            (status, &told.into(), &"why".into()),
            "{said}"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_known_method_in_other_letters_is_no_extension() {
    let (server, gateway) = answering(Answer::result(OK)).await;
    for method in ["Tools/Call", "TOOLS/LIST", "tools/call ", "Server/discover"] {
        let answer = Post::modern("1", method, r#""name":"t""#)
            .with("mcp-method", method.trim())
            .to(&gateway)
            .await;
        assert!(matches!(answer.status, 400 | 404), "{method}: {}", answer.text());
    }
    assert!(server.received("Tools/Call").is_empty());
    assert_eq!(
        Post::modern("1", "com.example/x", "").to(&gateway).await.status,
        200,
        "what nobody knows may be"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn notifications_of_subscriptions_do_not_come_with_the_answer_of_a_call() {
    let notice = |method: &str| {
        Step::message(format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"uri":"file:///x"}}}}"#
        ))
    };
    let steps = [
        notice("notifications/resources/updated"),
        notice("notifications/tools/list_changed"),
        notice("notifications/initialized"),
        notice("com.example/told"),
        Step::message(format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{OK}}}"#)),
    ];
    let (_server, gateway) = answering(Answer::stream(steps)).await;
    let answer = plain().to(&gateway).await;
    let text = answer.text();
    assert!(text.contains("com.example/told"), "{text}");
    assert!(!text.contains("notifications/"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a072_a_server_may_ask_only_for_what_the_client_has_declared() {
    let form = r#"{"method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object"}}}"#;
    let url = r#"{"method":"elicitation/create","params":{"mode":"url","message":"?","url":"https://a.example"}}"#;
    let sampling = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
    let tools = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"tools":[]}}"#;
    let rows = [
        (form, r#"{"elicitation":{}}"#, 200),
        (form, r#"{"elicitation":{"form":{}}}"#, 200),
        (form, r#"{"elicitation":{"url":{}}}"#, 400),
        (form, "{}", 400),
        (url, r#"{"elicitation":{}}"#, 400),
        (url, r#"{"elicitation":{"url":{}}}"#, 200),
        (sampling, r#"{"sampling":{}}"#, 200),
        (tools, r#"{"sampling":{}}"#, 400),
        (tools, r#"{"sampling":{"tools":{}}}"#, 200),
    ];
    for (question, declared, status) in rows {
        let asks = format!(r#"{{"resultType":"input_required","inputRequests":{{"q":{question}}}}}"#);
        let (_server, gateway) = answering(Answer::result(&asks)).await;
        let answer = call(&format!(r#""io.modelcontextprotocol/clientCapabilities":{declared}"#))
            .to(&gateway)
            .await;
        assert_eq!(answer.status, status, "{declared} {question}: {}", answer.text());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_trace_state_travels_only_with_the_trace_that_it_belongs_to() {
    let (server, gateway) = answering(Answer::result(OK)).await;
    let sound = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01""#;
    let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
    let rows = [
        (format!(r#"{capabilities},{sound},"tracestate":"a=1""#), true),
        (
            format!(r#"{capabilities},"traceparent":"00-nonsense","tracestate":"a=1""#),
            false,
        ),
        (format!(r#"{capabilities},"tracestate":"a=1""#), false),
        (format!(r#"{capabilities},{sound},"tracestate":"a\u0007""#), false),
    ];
    for (sent, (meta, travels)) in rows.into_iter().enumerate() {
        assert_eq!(call(&meta).to(&gateway).await.status, 200, "{meta}");
        let seen = server.received("tools/call")[sent].text().to_owned();
        assert_eq!(seen.contains("tracestate"), travels, "{meta} became {seen}");
        assert_eq!(seen.matches("\"traceparent\"").count(), 1, "{seen}");
    }
    gateway.stop().await;
}
