//! Views: several servers under one endpoint, what is hidden, who is away.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{RunningGateway, mesh};
use meshgate_testkit::{Answer, ScriptedServer, Step};
use serde_json::Value;

const TWO: &str = "kind: View\nmetadata: {name: both}\nspec: {path: /mcp, servers: [{name: alpha, tools: {hide: [secret]}}, {name: beta}]}";

fn ok(text: &str) -> String {
    format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}"#)
}

async fn two() -> (ScriptedServer, ScriptedServer, RunningGateway) {
    let alpha = ScriptedServer::modern()
        .tool("echo", &ok("alpha"))
        .tool("secret", &ok("secret"))
        .start()
        .await;
    let beta = ScriptedServer::legacy("2025-06-18")
        .tool("echo", &ok("beta"))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], TWO)).await;
    (alpha, beta, gateway)
}

fn names(list: &Value) -> Vec<String> {
    list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn tools_of_two_servers_are_listed_under_their_aliases_and_lead_to_them() {
    let (alpha, beta, gateway) = two().await;
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    assert_eq!(names(&list), ["alpha__echo", "beta__echo"]);
    assert_eq!(list["result"]["cacheScope"], "private");
    assert_eq!(list["result"]["tools"][0]["_meta"]["dev.meshgate/server"], "alpha");
    for (name, expected) in [("alpha__echo", "alpha"), ("beta__echo", "beta")] {
        let answer = gateway
            .modern(
                "/mcp",
                "2",
                "tools/call",
                &format!(r#""name":"{name}","arguments":{{}}"#),
            )
            .await
            .json();
        assert_eq!(answer["result"]["content"][0]["text"], expected, "{answer}");
    }
    assert_eq!(alpha.received("tools/call")[0].json()["params"]["name"], "echo");
    assert_eq!(beta.received("tools/call")[0].json()["params"]["name"], "echo");
    gateway.stop().await;
}

#[tokio::test]
async fn d09_d10_a_hidden_tool_answers_byte_for_byte_as_one_that_does_not_exist() {
    let (alpha, _beta, gateway) = two().await;
    let call = |name: &'static str| {
        let gateway = &gateway;
        async move {
            gateway
                .modern(
                    "/mcp",
                    "1",
                    "tools/call",
                    &format!(r#""name":"{name}","arguments":{{}}"#),
                )
                .await
        }
    };
    // A-024 and A-026: the names are of one length, so that nothing but the name may differ.
    let (hidden, missing) = (call("alpha__secret").await, call("alpha__absent").await);
    assert_eq!(hidden.status, missing.status);
    assert_eq!(hidden.text().replace("secret", "absent"), missing.text());
    assert_eq!(hidden.json()["error"]["code"], -32602);
    assert!(alpha.received("tools/call").is_empty(), "nothing reached the server");
    let list = gateway.modern("/mcp", "1", "tools/list", "").await;
    assert!(!list.text().contains("secret"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_missing_from_the_list_and_named_beside_it() {
    let alpha = ScriptedServer::modern().tool("echo", &ok("alpha")).start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", nobody.local_addr().unwrap());
    drop(nobody);
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &url)], TWO)).await;
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    assert_eq!(names(&list), ["alpha__echo"]);
    assert_eq!(
        list["result"]["_meta"]["dev.meshgate/serversAway"],
        serde_json::json!(["beta"])
    );
    gateway.stop().await;
}

#[tokio::test]
async fn resources_of_a_merged_view_are_wrapped_and_read_at_their_server() {
    let list =
        r#"{"resultType":"complete","resources":[{"uri":"file:///a.txt","name":"a"}],"ttlMs":0,"cacheScope":"public"}"#;
    let read = r#"{"resultType":"complete","contents":[{"uri":"file:///a.txt","text":"A"}],"ttlMs":99999999,"cacheScope":"public"}"#;
    let alpha = ScriptedServer::modern()
        .capabilities(r#"{"resources":{},"tools":{}}"#)
        .on("resources/list", move |_| Answer::result(list))
        .on("resources/templates/list", |_| Answer::error(-32601, "none"))
        .on("resources/read", move |_| Answer::result(read))
        .start()
        .await;
    let beta = ScriptedServer::modern().tool("echo", &ok("beta")).start().await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], TWO)).await;
    let listed = gateway.modern("/mcp", "1", "resources/list", "").await.json();
    let uri = listed["result"]["resources"][0]["uri"]
        .as_str()
        .expect("one resource")
        .to_owned();
    assert_ne!(uri, "file:///a.txt");
    let answer = gateway
        .modern("/mcp", "2", "resources/read", &format!(r#""uri":"{uri}""#))
        .await
        .json();
    assert_eq!(answer["result"]["contents"][0]["uri"], uri.as_str(), "{answer}");
    assert_eq!(
        answer["result"]["cacheScope"], "private",
        "a server's word does not open a shared cache"
    );
    assert_eq!(answer["result"]["ttlMs"], 3_600_000);
    assert_eq!(
        alpha.received("resources/read")[0].json()["params"]["uri"],
        "file:///a.txt"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn progress_reaches_the_caller_under_its_own_token_and_only_increasing() {
    let alpha = ScriptedServer::modern()
        .tool_as("slow", r#"{"name":"slow","inputSchema":{"type":"object"}}"#, |request| {
            let token = request.json()["params"]["_meta"]["progressToken"].clone();
            let note = |token: &Value, n: u32| {
                Step::message(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n}}}}}"#))
            };
            let id = request.json()["id"].clone();
            let done = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[]}}}}"#);
            let foreign = serde_json::json!(424_242);
            Answer::stream([note(&token, 1), note(&token, 3), note(&token, 2), note(&foreign, 9), Step::message(done)])
        })
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url())], "")).await;
    let params = r#""name":"slow","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":"mine"}"#;
    let answer = gateway.modern("/mcp", "5", "tools/call", params).await;
    let messages: Vec<Value> = answer
        .messages()
        .iter()
        .map(|m| serde_json::from_str(m).unwrap())
        .collect();
    let progress: Vec<_> = messages
        .iter()
        .filter(|m| m["method"] == "notifications/progress")
        .map(|m| (&m["params"]["progressToken"], &m["params"]["progress"]))
        .collect();
    assert_eq!(
        progress,
        [
            (&Value::from("mine"), &Value::from(1)),
            (&Value::from("mine"), &Value::from(3))
        ]
    );
    assert_eq!(messages.last().unwrap()["id"], 5);
    gateway.stop().await;
}

#[tokio::test]
async fn a_view_whose_only_server_is_away_has_an_empty_list_that_says_so() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", nobody.local_addr().unwrap());
    drop(nobody);
    let gateway = RunningGateway::start(&mesh(&[("alpha", &url)], "")).await;
    let answer = gateway.modern("/mcp", "1", "tools/list", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    assert_eq!(list["result"]["tools"], serde_json::json!([]));
    assert_eq!(
        list["result"]["_meta"]["dev.meshgate/serversAway"],
        serde_json::json!(["alpha"])
    );
    gateway.stop().await;
}
