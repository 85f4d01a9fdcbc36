//! What a server may ask, by the operator's word: it is not told of what it may not use, and what it asks all the same
//! reaches nobody.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, mesh_with};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::{Value, json};

const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{},"experimental":{"x":1}}"#;

/// A server whose tool asks what it is told to, whatever it was told of the client.
async fn asking(questions: &str) -> (ScriptedServer, RunningGateway) {
    let server = ScriptedServer::modern()
        .tool_as("ask", r#"{"name":"ask","inputSchema":{"type":"object"}}"#, |request| {
            let asked = request.json()["params"]["arguments"]["asked"].to_string();
            Answer::result(&format!(
                r#"{{"resultType":"input_required","inputRequests":{{"q":{asked}}}}}"#
            ))
        })
        .start()
        .await;
    let spec = format!(", questions: {questions}");
    let yaml = mesh_with("", &[("only", &server.url(), &spec)], UNHURRIED);
    (server, RunningGateway::start(&yaml).await)
}

fn question(kind: &str) -> Value {
    match kind {
        "form" => {
            json!({"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}})
        }
        "sampling" => json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}),
        "roots" => json!({"method": "roots/list"}),
        url => json!({"method": "elicitation/create", "params": {"mode": "url", "message": "?", "url": url}}),
    }
}

async fn call(gateway: &RunningGateway, capabilities: &str, asked: &Value) -> RawAnswer {
    let meta = format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
    );
    let params = format!(r#""name":"ask","arguments":{{"asked":{asked}}},{meta}"#);
    Post::modern("1", "tools/call", &params).to(gateway).await
}

/// The capabilities that the server was told of, of the last call.
fn told(server: &ScriptedServer) -> Value {
    let calls = server.received("tools/call");
    calls.last().unwrap().json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone()
}

fn first(answer: &RawAnswer) -> Value {
    serde_json::from_str(answer.messages().last().unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_is_told_only_of_what_it_may_ask() {
    let all: Value = serde_json::from_str(ALL).unwrap();
    let without = |names: &[&str]| {
        let mut left = all.clone();
        names
            .iter()
            .for_each(|name| drop(left.as_object_mut().unwrap().remove(*name)));
        left
    };
    let only_forms = {
        let mut left = all.clone();
        left["elicitation"].as_object_mut().unwrap().remove("url");
        left
    };
    for (questions, expected) in [
        ("{elicitation: allow, sampling: allow, roots: allow}", all.clone()),
        ("{sampling: deny, roots: allow}", without(&["sampling"])),
        ("{sampling: allow, roots: deny}", without(&["roots"])),
        (
            "{elicitation: deny, sampling: allow, roots: allow}",
            without(&["elicitation"]),
        ),
        (
            "{elicitation: deny, sampling: deny, roots: deny}",
            json!({"experimental": {"x": 1}}),
        ),
        ("{hosts: [], sampling: allow, roots: allow}", only_forms),
        ("{hosts: [a.example], sampling: allow, roots: allow}", all.clone()),
        ("{}", without(&["sampling", "roots"])),
    ] {
        let (server, gateway) = asking(questions).await;
        call(&gateway, ALL, &question("form")).await;
        assert_eq!(told(&server), expected, "{questions}");
        // A client that can only open pages is not made one that can fill in forms.
        call(&gateway, r#"{"elicitation":{"url":{}}}"#, &question("form")).await;
        let expected = if expected["elicitation"].get("url").is_some() {
            json!({"elicitation": {"url": {}}})
        } else {
            json!({})
        };
        assert_eq!(told(&server), expected, "{questions}, only pages");
        call(&gateway, "{}", &question("form")).await;
        assert_eq!(told(&server), json!({}));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_a_server_asks_against_the_operators_word_reaches_nobody() {
    let (server, gateway) = asking("{elicitation: deny, sampling: deny, roots: deny}").await;
    for kind in ["form", "sampling", "roots", "https://example.com/"] {
        let answer = call(&gateway, ALL, &question(kind)).await;
        let error = &first(&answer)["error"];
        assert_eq!(answer.status, 403, "{kind}: {}", answer.text());
        let refusal = &error["data"]["dev.meshgate/refusal"];
        assert_eq!(
            (&refusal["reason"], &refusal["executed"]),
            (&json!("forbidden"), &json!("unknown")),
            "{kind}: {error}"
        );
        assert!(error["message"].as_str().unwrap().contains("`only`"), "{error}");
    }
    // A legacy client is not asked either.
    let client = LegacyClient::open(
        &gateway,
        "2025-11-25",
        r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#,
    )
    .await;
    for kind in ["form", "sampling", "roots", "https://example.com/"] {
        let asked = question(kind);
        let answer = client
            .request(
                "9",
                "tools/call",
                &format!(r#""name":"ask","arguments":{{"asked":{asked}}}"#),
            )
            .to(&gateway)
            .await;
        let messages = answer.messages();
        assert!(
            messages.iter().all(|message| !message.contains("\"method\"")),
            "{kind}: {}",
            answer.text()
        );
        assert!(first(&answer)["error"]["message"].is_string());
    }
    assert_eq!(told(&server), json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn a154_a_person_is_never_sent_to_a_page_that_is_not_what_it_seems() {
    let (_server, gateway) = asking("{hosts: [login.example.com], sampling: allow, roots: allow}").await;
    let good = call(&gateway, ALL, &question("https://login.example.com/x?state=1")).await;
    assert_eq!(
        first(&good)["result"]["resultType"],
        "input_required",
        "{}",
        good.text()
    );
    let long = format!("https://login.example.com/{}", "a".repeat(64 << 10));
    for bad in [
        "javascript:alert(document.cookie)",
        "http://login.example.com/",
        "https://login.example.com@evil.example/",
        "https://xn--lgin-pqa.example.com/",
        "https://login.example.com.evil.example/",
        "https://l\u{43e}gin.example.com/",
        &long,
        "",
    ] {
        let answer = call(&gateway, ALL, &question(bad)).await;
        assert_eq!(answer.status, 403, "{bad:.80}: {}", answer.text());
        let said = first(&answer)["error"]["message"].as_str().unwrap().to_owned();
        assert!(said.contains("page"), "{said}");
        // The address itself is not shown to anybody either.
        assert!(
            !answer.text().contains("evil.example") && !answer.text().contains("javascript"),
            "{}",
            answer.text()
        );
    }
    gateway.stop().await;
}
