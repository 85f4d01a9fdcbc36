//! What a modern server says, as a client of each older revision hears it through the whole gateway.
//!
//! A client must never get what its revision cannot read, and must get everything that it can. So each case gives the
//! server's words and what arrives, revision by revision.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, Script, ScriptedServer, Step};
use serde_json::{Value, json};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

async fn ask(gateway: &RunningGateway, revision: &str, method: &str, params: &str) -> Value {
    let client = LegacyClient::open(gateway, revision, "{}").await;
    let answer = client.request("1", method, params).to(gateway).await;
    assert_eq!(answer.status, 200, "{revision} {method}: {}", answer.text());
    answer.json()
}

#[tokio::test]
async fn content_arrives_in_the_kinds_that_the_revision_has() {
    let content = r#"[{"type":"text","text":"t"},{"type":"audio","data":"AA==","mimeType":"audio/wav"},{"type":"resource_link","uri":"file:///a","name":"a","title":"The A"},{"type":"hologram","x":1}]"#;
    let result =
        format!(r#"{{"resultType":"complete","content":{content},"structuredContent":{{"n":1.10}},"isError":false}}"#);
    let list = r#"{"resultType":"complete","structuredContent":[1,2],"content":[]}"#;
    let (_server, gateway) = before(ScriptedServer::modern().tool("all", &result).tool("list", list)).await;
    let sound = json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"});
    let no_sound =
        json!({"type": "text", "text": "[audio, audio/wav; this client's protocol revision cannot carry it]"});
    let link = json!({"type": "resource_link", "uri": "file:///a", "name": "a", "title": "The A"});
    let no_link = json!({"type": "text", "text": "The A: file:///a"});
    for (revision, audio, linked, structured) in [
        ("2024-11-05", &no_sound, &no_link, false),
        ("2025-03-26", &sound, &no_link, false),
        ("2025-06-18", &sound, &link, true),
        ("2025-11-25", &sound, &link, true),
    ] {
        let called = ask(&gateway, revision, "tools/call", r#""name":"all""#).await;
        let mut wanted = json!({
            "content": [{"type": "text", "text": "t"}, audio, linked, {"type": "hologram", "x": 1}],
            "isError": false,
        });
        if structured {
            wanted["structuredContent"] = json!({"n": 1.10});
        }
        assert_eq!(called["result"], wanted, "{revision}");
        // What is no object has no place in any of them, and is not lost all the same.
        let called = ask(&gateway, revision, "tools/call", r#""name":"list""#).await;
        assert_eq!(
            called["result"],
            json!({"content": [{"type": "text", "text": "[1,2]"}]}),
            "{revision}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn output_schemas_arrive_where_they_can_be_read_and_titles_and_icons_everywhere() {
    let tool = |name: &str, schema: &str| {
        format!(
            r#"{{"name":"{name}","title":"T","icons":[{{"src":"https://example.com/i.png"}}],"inputSchema":{{"type":"object"}},"outputSchema":{schema}}}"#
        )
    };
    let silent = |_: &_| Answer::result(r#"{"resultType":"complete","content":[]}"#);
    let script = ScriptedServer::modern()
        .tool_as("a", &tool("a", r#"{"type":"object"}"#), silent)
        .tool_as("b", &tool("b", r#"{"type":"array"}"#), silent);
    let (_server, gateway) = before(script).await;
    for revision in REVISIONS {
        let listed = ask(&gateway, revision, "tools/list", "").await;
        let tools = listed["result"]["tools"].as_array().unwrap();
        for tool in tools {
            assert_eq!(
                (&tool["title"], tool["icons"].is_array()),
                (&json!("T"), true),
                "{revision}: {tool}"
            );
        }
        let reads_objects = revision >= "2025-06-18";
        assert_eq!(tools[0].get("outputSchema").is_some(), reads_objects, "{revision}");
        assert!(tools[1].get("outputSchema").is_none(), "{revision}");
        for modern_only in ["resultType", "ttlMs", "cacheScope"] {
            assert!(listed["result"].get(modern_only).is_none(), "{revision}: {modern_only}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn codes_that_only_the_modern_era_has_are_never_shown() {
    let failing = |code: i64| {
        move |_: &_| {
            Answer::whole(
                400,
                format!(
                    r#"{{"jsonrpc":"2.0","id":$ID,"error":{{"code":{code},"message":"of the server","data":{{"x":1}}}}}}"#
                ),
            )
        }
    };
    let named = |name: &str| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
    let script = ScriptedServer::modern()
        .tool_as("header", &named("header"), failing(-32020))
        .tool_as("capability", &named("capability"), failing(-32021))
        .tool_as("version", &named("version"), failing(-32022))
        .tool_as("own", &named("own"), failing(-31000));
    let (_server, gateway) = before(script).await;
    for revision in REVISIONS {
        for (tool, code) in [
            ("header", -32603),
            ("capability", -32602),
            ("version", -32603),
            ("own", -31000),
        ] {
            let answer = ask(&gateway, revision, "tools/call", &format!(r#""name":"{tool}""#)).await;
            assert_eq!(answer["error"]["code"], code, "{revision} {tool}: {answer}");
            assert!(!answer.to_string().contains("-3202"), "{answer}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_resource_that_is_missing_has_its_old_code_and_other_wrong_parameters_have_not() {
    let list = r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"private"}"#;
    let script = ScriptedServer::modern()
        .capabilities(r#"{"resources":{}}"#)
        .on("resources/list", move |_| Answer::result(list))
        .on("resources/read", |_| Answer::error(-32602, "no such resource"));
    let (server, gateway) = before(script).await;
    for revision in REVISIONS {
        let missing = ask(&gateway, revision, "resources/read", r#""uri":"file:///none""#).await;
        assert_eq!(missing["error"]["code"], -32002, "{revision}: {missing}");
        let nameless = ask(&gateway, revision, "resources/read", "").await;
        assert_eq!(nameless["error"]["code"], -32602, "{revision}: {nameless}");
    }
    assert_eq!(server.received("resources/read").len(), REVISIONS.len());
    gateway.stop().await;
}

/// A modern server whose tool asks this once.
fn asking(question: &str) -> Script {
    let required =
        format!(r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{"q":{question}}}}}"#);
    ScriptedServer::modern().tool_as(
        "ask",
        r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
        move |request| {
            if request.json()["params"].get("requestState").is_some() {
                Answer::result(r#"{"resultType":"complete","content":[]}"#)
            } else {
                Answer::result(&required)
            }
        },
    )
}

async fn asked(gateway: &RunningGateway, revision: &str, capabilities: &str, answer: &str) -> Value {
    let client = LegacyClient::open(gateway, revision, capabilities).await;
    let call = client.request("1", "tools/call", r#""name":"ask""#);
    let mut events = call.stream(gateway).await;
    let question = events.next().await;
    client.answer(gateway, &question, answer).await;
    assert!(events.next().await["result"].is_object());
    question["params"].clone()
}

#[tokio::test]
async fn sampling_is_asked_for_in_the_words_of_the_revision() {
    let question = r#"{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}],"includeContext":"allServers","maxTokens":5}}"#;
    let (server, gateway) = before(asking(question)).await;
    let sampled = r#"{"role":"assistant","content":{"type":"text","text":"42"},"model":"m"}"#;
    let text = json!({"type": "text", "text": "a"});
    let sound = json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"});
    let no_sound =
        json!({"type": "text", "text": "[audio, audio/wav; this client's protocol revision cannot carry it]"});
    let said = |content: &Value| json!({"role": "user", "content": content});
    for (revision, capabilities, messages, context) in [
        (
            "2024-11-05",
            r#"{"sampling":{}}"#,
            json!([said(&text), said(&no_sound)]),
            None,
        ),
        (
            "2025-03-26",
            r#"{"sampling":{}}"#,
            json!([said(&text), said(&sound)]),
            None,
        ),
        (
            "2025-06-18",
            r#"{"sampling":{"context":{}}}"#,
            json!([said(&text), said(&sound)]),
            None,
        ),
        (
            "2025-11-25",
            r#"{"sampling":{}}"#,
            json!([said(&json!([text, sound]))]),
            None,
        ),
        (
            "2025-11-25",
            r#"{"sampling":{"context":{}}}"#,
            json!([said(&json!([text, sound]))]),
            Some("allServers"),
        ),
    ] {
        let mut wanted = json!({"messages": messages, "maxTokens": 5});
        if let Some(context) = context {
            wanted["includeContext"] = json!(context);
        }
        assert_eq!(
            asked(&gateway, revision, capabilities, sampled).await,
            wanted,
            "{revision} {capabilities}"
        );
        let calls = server.received("tools/call");
        let response = calls.last().unwrap().json()["params"]["inputResponses"]["q"].clone();
        assert_eq!(
            response,
            serde_json::from_str::<Value>(sampled).unwrap(),
            "the answer stays as it was"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn forms_are_asked_in_the_words_of_the_revision_or_not_at_all() {
    let form = |fields: &str| {
        format!(
            r#"{{"method":"elicitation/create","params":{{"mode":"form","message":"m","requestedSchema":{{"type":"object","properties":{fields}}}}}}}"#
        )
    };
    let titled = r#"{"f":{"type":"string","oneOf":[{"const":"a","title":"A"},{"const":"b","title":"B"}]}}"#;
    let (_server, gateway) = before(asking(&form(titled))).await;
    let answer = r#"{"action":"accept","content":{"f":"a"}}"#;
    let fields = |params: &Value| params["requestedSchema"]["properties"].clone();
    let newest = asked(&gateway, "2025-11-25", r#"{"elicitation":{}}"#, answer).await;
    assert_eq!(
        (fields(&newest), &newest["mode"]),
        (serde_json::from_str(titled).unwrap(), &json!("form"))
    );
    let older = asked(&gateway, "2025-06-18", r#"{"elicitation":{}}"#, answer).await;
    let plain = json!({"f": {"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]}});
    assert_eq!((fields(&older), older.get("mode")), (plain, None));
    gateway.stop().await;

    let several = r#"{"f":{"type":"array","items":{"type":"string","enum":["a","b"]}}}"#;
    let (server, gateway) = before(asking(&form(several))).await;
    let shown = asked(
        &gateway,
        "2025-11-25",
        r#"{"elicitation":{}}"#,
        r#"{"action":"decline"}"#,
    )
    .await;
    assert_eq!(fields(&shown), serde_json::from_str::<Value>(several).unwrap());
    let client = LegacyClient::open(&gateway, "2025-06-18", r#"{"elicitation":{}}"#).await;
    let refused = client
        .request("1", "tools/call", r#""name":"ask""#)
        .to(&gateway)
        .await
        .json();
    let words = refused["error"]["message"].as_str().unwrap();
    assert!(words.contains("`f`") && words.contains("2025-06-18"), "{refused}");
    assert_eq!(
        server.received("tools/call").len(),
        3,
        "who was not asked does not answer"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_did_not_declare_is_named() {
    let tools = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"tools":[]}}"#;
    let history = r#"{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"tool_result","toolUseId":"1","content":[]}}],"maxTokens":1}}"#;
    for (question, capabilities, named) in [
        (tools, r#"{"sampling":{}}"#, "sampling.tools"),
        (history, r#"{"sampling":{}}"#, "sampling.tools"),
        (tools, "{}", "sampling"),
        (r#"{"method":"roots/list"}"#, r#"{"sampling":{}}"#, "roots"),
    ] {
        let (server, gateway) = before(asking(question)).await;
        for revision in REVISIONS {
            let client = LegacyClient::open(&gateway, revision, capabilities).await;
            let refused = client
                .request("1", "tools/call", r#""name":"ask""#)
                .to(&gateway)
                .await
                .json();
            let error = &refused["error"];
            assert_eq!(error["code"], -32602, "{revision}: {refused}");
            let outer = named.split('.').next().unwrap();
            assert!(
                error["message"].as_str().unwrap().contains(&format!("`{outer}")),
                "{refused}"
            );
            let required = &error["data"]["requiredCapabilities"][outer];
            assert!(required.is_object(), "{revision}: {refused}");
            assert_eq!(error["data"]["dev.meshgate/refusal"]["reason"], "missing_capability");
        }
        assert_eq!(server.received("tools/call").len(), REVISIONS.len());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn log_messages_below_the_level_that_was_set_do_not_arrive() {
    let log = |level: &str| {
        Step::message(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"{level}"}}}}"#
        ))
    };
    let levels = [
        "debug",
        "info",
        "notice",
        "warning",
        "error",
        "critical",
        "alert",
        "emergency",
        "strange",
    ];
    let script = ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"logging":{}}"#)
        .tool_as(
            "chatty",
            r#"{"name":"chatty","inputSchema":{"type":"object"}}"#,
            move |_| {
                let last = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
                Answer::stream(levels.map(log).into_iter().chain([Step::message(last)]))
            },
        );
    let (server, gateway) = before(script).await;
    for (revision, set, first) in [
        ("2024-11-05", "debug", 0),
        ("2025-06-18", "warning", 3),
        ("2025-11-25", "emergency", 7),
    ] {
        let client = LegacyClient::open(&gateway, revision, "{}").await;
        let ok = client
            .request("1", "logging/setLevel", &format!(r#""level":"{set}""#))
            .to(&gateway)
            .await;
        assert_eq!(ok.json()["result"], json!({}));
        let wrong = client
            .request("2", "logging/setLevel", r#""level":"loud""#)
            .to(&gateway)
            .await;
        assert_eq!(wrong.json()["error"]["code"], -32602);
        let mut events = client
            .request("3", "tools/call", r#""name":"chatty""#)
            .stream(&gateway)
            .await;
        for level in &levels[first..] {
            assert_eq!(events.next().await["params"]["data"], *level, "{revision}");
        }
        assert_eq!(events.next().await["id"], 3);
        let calls = server.received("tools/call");
        assert_eq!(
            calls.last().unwrap().json()["params"]["_meta"]["io.modelcontextprotocol/logLevel"],
            set
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn lists_of_many_pages_are_read_to_the_end() {
    let script = (0..1001).fold(ScriptedServer::modern(), |script, n| {
        script.tool(&format!("t{n:04}"), r#"{"resultType":"complete","content":[]}"#)
    });
    let (_server, gateway) = before(script).await;
    for revision in REVISIONS {
        let client = LegacyClient::open(&gateway, revision, "{}").await;
        let first = client.request("1", "tools/list", "").to(&gateway).await.json();
        let cursor = first["result"]["nextCursor"].to_string();
        let second = client
            .request("2", "tools/list", &format!(r#""cursor":{cursor}"#))
            .to(&gateway)
            .await
            .json();
        let count = |page: &Value| page["result"]["tools"].as_array().unwrap().len();
        assert_eq!((count(&first), count(&second)), (1000, 1), "{revision}");
        assert!(second["result"].get("nextCursor").is_none());
        let wrong = client
            .request("3", "tools/list", r#""cursor":"x""#)
            .to(&gateway)
            .await
            .json();
        assert_eq!(wrong["error"]["code"], -32602, "{revision}: {wrong}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn context_of_a_completion_goes_along_as_the_client_sent_it() {
    let script = ScriptedServer::modern()
        .capabilities(r#"{"prompts":{},"completions":{}}"#)
        .on("prompts/list", |_| {
            Answer::result(r#"{"resultType":"complete","prompts":[{"name":"p"}],"ttlMs":0,"cacheScope":"private"}"#)
        })
        .on("completion/complete", |_| {
            Answer::result(r#"{"resultType":"complete","completion":{"values":["v"],"total":1,"hasMore":false}}"#)
        });
    let (server, gateway) = before(script).await;
    let plain = r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"}"#;
    for revision in REVISIONS {
        let with_context = revision >= "2025-06-18";
        let context = if with_context {
            r#","context":{"arguments":{"b":"1"}}"#
        } else {
            ""
        };
        let client = LegacyClient::open(&gateway, revision, "{}").await;
        assert_eq!(
            client.hello["capabilities"].get("completions").is_some(),
            revision >= "2025-03-26"
        );
        let answer = client
            .request("1", "completion/complete", &format!("{plain}{context}"))
            .to(&gateway)
            .await;
        assert_eq!(
            answer.json()["result"],
            json!({"completion": {"values": ["v"], "total": 1, "hasMore": false}}),
            "{revision}"
        );
        let params = server.received("completion/complete").last().unwrap().json()["params"].clone();
        assert_eq!(params.get("context").is_some(), with_context, "{revision}");
    }
    gateway.stop().await;
}
