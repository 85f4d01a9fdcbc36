//! The input loop over the whole gateway: what a modern server asks becomes real questions on the stream of a legacy
//! client's call, and its answers reach the server as if they had come from a modern client.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer};
use serde_json::{Value, json};

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

const QUESTIONS: &str = r#"{"resultType":"input_required","requestState":"the server's own","inputRequests":{
    "who":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}},
    "think":{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}},
    "where":{"method":"roots/list"}}}"#;

/// A modern server whose tool asks before it answers.
fn asking() -> Script {
    ScriptedServer::modern().tool_as("ask", r#"{"name":"ask","inputSchema":{"type":"object"}}"#, |request| {
        if request.json()["params"].get("inputResponses").is_some() {
            Answer::result(r#"{"resultType":"complete","content":[{"type":"text","text":"thank you"}]}"#)
        } else {
            Answer::result(&QUESTIONS.replace('\n', ""))
        }
    })
}

#[tokio::test]
async fn questions_of_a_modern_server_become_real_ones_on_the_stream_and_the_answers_reach_it() {
    let (server, gateway) = before(asking()).await;
    for revision in ["2025-06-18", "2025-11-25"] {
        let client = LegacyClient::open(&gateway, revision, r#"{"elicitation":{},"sampling":{},"roots":{}}"#).await;
        let before = server.received("tools/call").len();
        let mut events = client
            .request("9", "tools/call", r#""name":"ask","arguments":{"x":1}"#)
            .stream(&gateway)
            .await;
        for _ in 0..3 {
            let question = events.next().await;
            let answer = match question["method"].as_str().unwrap() {
                "elicitation/create" => r#"{"action":"accept","content":{"name":"Ada"}}"#,
                "sampling/createMessage" => r#"{"role":"assistant","content":{"type":"text","text":"42"},"model":"m"}"#,
                "roots/list" => r#"{"roots":[{"uri":"file:///home"}]}"#,
                other => panic!("{other} was asked"),
            };
            assert!(question["id"].is_string(), "{question}");
            client.answer(&gateway, &question, answer).await;
        }
        let done = events.next().await;
        assert_eq!(
            (&done["id"], &done["result"]["content"][0]["text"]),
            (&json!(9), &json!("thank you")),
            "{done}"
        );
        assert!(done["result"].get("resultType").is_none());

        let calls = server.received("tools/call");
        assert_eq!(calls.len(), before + 2, "{revision}");
        let params = calls[before + 1].json()["params"].clone();
        assert_eq!(params["requestState"], "the server's own");
        assert_eq!(params["arguments"], json!({"x": 1}));
        assert_eq!(params["inputResponses"]["who"]["content"]["name"], "Ada");
        assert_eq!(params["inputResponses"]["think"]["content"]["text"], "42");
        assert_eq!(params["inputResponses"]["where"]["roots"][0]["uri"], "file:///home");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a072_a_client_that_cannot_be_asked_is_not_asked_and_hears_why() {
    let (server, gateway) = before(asking()).await;
    for (revision, capabilities) in [
        ("2025-11-25", "{}"),
        ("2025-11-25", r#"{"elicitation":{}}"#),
        ("2025-03-26", r#"{"sampling":{},"roots":{}}"#),
    ] {
        let client = LegacyClient::open(&gateway, revision, capabilities).await;
        let answer = client.request("9", "tools/call", r#""name":"ask""#).to(&gateway).await;
        let messages = answer.messages();
        let last: Value = serde_json::from_str(messages.last().unwrap()).unwrap();
        assert_eq!(
            messages.iter().filter(|m| m.contains("\"method\"")).count(),
            0,
            "{}",
            answer.text()
        );
        assert_eq!(last["id"], 9);
        assert!(last["error"]["message"].is_string(), "{last}");
    }
    let answered = |call: &Recorded| call.json()["params"].get("inputResponses").is_some();
    assert!(!server.received("tools/call").iter().any(answered));
    gateway.stop().await;
}

#[tokio::test]
async fn a126_an_answer_from_another_session_is_not_taken_for_the_clients() {
    let (server, gateway) = before(asking()).await;
    let capabilities = r#"{"elicitation":{},"sampling":{},"roots":{}}"#;
    let client = LegacyClient::open(&gateway, "2025-11-25", capabilities).await;
    let thief = LegacyClient::open(&gateway, "2025-11-25", capabilities).await;
    let mut events = client
        .request("9", "tools/call", r#""name":"ask""#)
        .stream(&gateway)
        .await;
    for _ in 0..3 {
        let question = events.next().await;
        thief
            .answer(&gateway, &question, r#"{"action":"accept","content":{"name":"Eve"}}"#)
            .await;
        client.answer(&gateway, &question, r#"{"action":"decline"}"#).await;
    }
    events.next().await;
    let retried = server.received("tools/call")[1].text().to_owned();
    assert!(!retried.contains("Eve") && retried.contains("decline"), "{retried}");
    gateway.stop().await;
}

/// A modern server that asks this whenever it is asked anything, until it has been answered as often as `rounds` says.
fn asking_for(question: &'static str, rounds: usize) -> Script {
    let done = [
        ("tools/call", r#""content":[]"#),
        ("prompts/get", r#""messages":[]"#),
        ("resources/read", r#""contents":[]"#),
    ];
    let lists = [
        ("prompts/list", r#""prompts":[{"name":"ask"}]"#),
        ("resources/list", r#""resources":[{"uri":"file:///ask","name":"ask"}]"#),
        ("resources/templates/list", r#""resourceTemplates":[]"#),
    ];
    let mut script = ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"prompts":{},"resources":{}}"#)
        .tool("ask", "{}");
    for (method, members) in lists {
        let list = format!(r#"{{"resultType":"complete",{members},"ttlMs":0,"cacheScope":"private"}}"#);
        script = script.on(method, move |_| Answer::result(&list));
    }
    for (method, members) in done {
        script = script.when(move |request| {
            let json = request.json();
            (json["method"] == method).then(|| {
                let round: usize = json["params"]["requestState"].as_str().map_or(0, |state| state.parse().unwrap());
                let next = round + 1;
                Answer::result(&if round < rounds {
                    format!(r#"{{"resultType":"input_required","requestState":"{next}","inputRequests":{{"q":{question}}}}}"#)
                } else {
                    format!(r#"{{"resultType":"complete",{members}}}"#)
                })
            })
        });
    }
    script
}

const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}"#;

#[tokio::test]
async fn prompts_and_resources_may_ask_as_well_and_in_several_rounds() {
    let (server, gateway) = before(asking_for(FORM, 3)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", r#"{"elicitation":{}}"#).await;
    for (method, params) in [
        ("tools/call", r#""name":"ask""#),
        ("prompts/get", r#""name":"ask""#),
        ("resources/read", r#""uri":"file:///ask""#),
    ] {
        let mut events = client.request("1", method, params).stream(&gateway).await;
        for _ in 0..3 {
            let question = events.next().await;
            assert_eq!(question["method"], "elicitation/create", "{method}: {question}");
            client
                .answer(&gateway, &question, r#"{"action":"accept","content":{}}"#)
                .await;
        }
        let done = events.next().await;
        assert!(
            done["result"].is_object() && done["result"].get("requestState").is_none(),
            "{method}: {done}"
        );
        assert_eq!(events.maybe_next().await, None);
        assert_eq!(server.received(method).len(), 4, "{method}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_never_stops_asking_is_stopped() {
    let (server, gateway) = before(asking_for(FORM, usize::MAX)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", r#"{"elicitation":{}}"#).await;
    let mut events = client
        .request("1", "tools/call", r#""name":"ask""#)
        .stream(&gateway)
        .await;
    let last = loop {
        let message = events.next().await;
        if message["method"].is_null() {
            break message;
        }
        client
            .answer(&gateway, &message, r#"{"action":"accept","content":{}}"#)
            .await;
    };
    assert!(last["error"].is_object(), "{last}");
    let rounds = server.received("tools/call").len();
    assert_eq!(rounds, 10);
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_to_open_gets_an_id_where_the_revision_has_pages_and_is_text_where_it_has_none() {
    let page = r#"{"method":"elicitation/create","params":{"mode":"url","message":"log in","url":"https://example.com/login"}}"#;
    let (server, gateway) = before(asking_for(page, 1)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", r#"{"elicitation":{"form":{},"url":{}}}"#).await;
    let mut events = client
        .request("1", "tools/call", r#""name":"ask""#)
        .stream(&gateway)
        .await;
    let question = events.next().await;
    assert_eq!(
        (&question["params"]["mode"], &question["params"]["url"]),
        (&json!("url"), &json!("https://example.com/login"))
    );
    let id = question["params"]["elicitationId"]
        .as_str()
        .unwrap_or_else(|| panic!("{question}"));
    assert!(id.len() >= 16, "{id}");
    client.answer(&gateway, &question, r#"{"action":"accept"}"#).await;
    let told = events.next().await;
    assert_eq!(told["method"], "notifications/elicitation/complete", "{told}");
    assert_eq!(told["params"]["elicitationId"], id);
    assert!(events.next().await["result"].is_object());
    assert_eq!(server.received("tools/call").len(), 2);

    // What a person can do without the mode is said in words, unless it is the server that may not know of it.
    let client = LegacyClient::open(&gateway, "2025-06-18", r#"{"elicitation":{}}"#).await;
    let answer = client.request("1", "tools/call", r#""name":"ask""#).to(&gateway).await;
    let json: Value = serde_json::from_str(answer.messages().last().unwrap()).unwrap();
    assert_eq!(json["result"]["isError"], true, "{json}");
    assert!(
        json["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("https://example.com/login"),
        "{json}"
    );
    gateway.stop().await;
}
