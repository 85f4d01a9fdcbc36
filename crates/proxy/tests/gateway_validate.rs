//! Arguments and structured results against the schemas that tools publish, over the whole gateway: what each setting
//! does, what the caller is told, and what the server hears.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, RunningGateway, documents, mesh_with};
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::{Value, json};

const TOOL: &str = r#"{"name":"book","inputSchema":{"type":"object","required":["seat"],"additionalProperties":false,"properties":{
    "seat":{"type":"object","properties":{"row":{"type":"integer","maximum":40}}},"note":{"type":"string"}}},
    "outputSchema":{"type":"object","required":["price"],"properties":{"price":{"type":"integer"}}}}"#;

async fn gateway(legacy: bool, spec: &str, mesh: &str, result: &str) -> (ScriptedServer, RunningGateway) {
    let answer = Answer::result(result);
    let script = if legacy {
        ScriptedServer::legacy("2025-06-18")
    } else {
        ScriptedServer::modern()
    };
    let server = script
        .tool_as("book", &TOOL.replace('\n', ""), move |_| answer.clone())
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh_with("", &[("only", &server.url(), spec)], mesh)).await;
    (server, gateway)
}

const OK: &str = r#"{"resultType":"complete","content":[],"structuredContent":{"price":7}}"#;

async fn book(gateway: &RunningGateway, arguments: &str) -> Value {
    let answer = gateway
        .modern("/mcp", "1", "tools/call", &format!(r#""name":"book"{arguments}"#))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Arguments that break the schema, with the path and the rule that the caller should be told.
const BROKEN: [(&str, &str, &str); 5] = [
    (r#","arguments":{}"#, "`/`", "`required`"),
    ("", "`/`", "`required`"),
    (r#","arguments":{"seat":3}"#, "`/seat`", "`type`"),
    (r#","arguments":{"seat":{"row":41}}"#, "`/seat/row`", "`maximum`"),
    (r#","arguments":{"seat":{},"sat":1}"#, "`/`", "`additionalProperties`"),
];

#[tokio::test]
async fn enforced_arguments_end_as_a_tool_result_that_names_the_path_and_the_rule() {
    for legacy in [false, true] {
        let result = if legacy { r#"{"content":[]}"# } else { OK };
        let (server, gateway) = gateway(legacy, ", validation: {arguments: enforce}", "", result).await;
        for (arguments, path, rule) in BROKEN {
            let json = book(&gateway, arguments).await;
            let told = &json["result"];
            assert_eq!(
                (&told["isError"], &told["resultType"]),
                (&json!(true), &json!("complete")),
                "{arguments}: {json}"
            );
            let text = told["content"][0]["text"].as_str().unwrap();
            assert!(text.contains(path) && text.contains(rule), "{arguments}: {text}");
            assert!(text.contains("did not run"), "{text}");
        }
        assert!(server.received("tools/call").is_empty());
        let sound = book(&gateway, r#","arguments":{"seat":{"row":40},"note":"x"}"#).await;
        assert_ne!(sound["result"]["isError"], true, "{sound}");
        assert_eq!(server.received("tools/call").len(), 1);

        let lines = gateway.lines(BROKEN.len() + 1).await;
        assert_eq!(lines[0]["outcome"], "error", "{}", lines[0]);
        assert_eq!(lines[0]["summary"], "tool_error", "{}", lines[0]);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_legacy_client_reads_the_same_without_modern_members() {
    let (server, gateway) = gateway(false, "", "", OK).await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let answer = client
        .request("1", "tools/call", r#""name":"book","arguments":{"seat":3}"#)
        .to(&gateway)
        .await;
    let json = answer.json();
    assert_eq!(json["result"]["isError"], true, "{json}");
    assert!(json["result"].get("resultType").is_none(), "{json}");
    assert!(
        json["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("`/seat`"),
        "{json}"
    );
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn arguments_are_enforced_by_default_and_the_mesh_may_say_otherwise_and_the_server_again() {
    let off = "kind: Mesh\nmetadata: {name: m}\nspec: {validation: {arguments: off}}";
    for (spec, mesh, reached) in [
        ("", "", 0),
        ("", off, 1),
        (", validation: {arguments: enforce}", off, 0),
        (", validation: {arguments: off}", "", 1),
        (", validation: {arguments: warn}", "", 1),
    ] {
        let (server, gateway) = gateway(false, spec, mesh, OK).await;
        let json = book(&gateway, r#","arguments":{"seat":3}"#).await;
        assert_eq!(json["result"]["isError"] == true, reached == 0, "{spec} {mesh}: {json}");
        let received = server.received("tools/call");
        assert_eq!(received.len(), reached, "{spec} {mesh}");
        if let Some(call) = received.first() {
            assert!(
                call.text().contains(r#""arguments":{"seat":3}"#),
                "let through as it was"
            );
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn numbers_that_cannot_be_checked_exactly_are_let_through_as_they_are() {
    let (server, gateway) = gateway(false, "", "", OK).await;
    for row in ["-123456789012345678901234567890", "-0", "40.0", "4e1", "1.0"] {
        let json = book(&gateway, &format!(r#","arguments":{{"seat":{{"row":{row}}}}}"#)).await;
        assert_ne!(json["result"]["isError"], true, "{row}: {json}");
        assert!(
            server
                .recorded()
                .iter()
                .any(|r| r.text().contains(&format!(r#"{{"row":{row}}}"#))),
            "{row}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_structured_result_that_breaks_its_schema_is_never_withheld() {
    let broken = r#"{"resultType":"complete","content":[],"structuredContent":{"price":"seven"}}"#;
    for spec in ["", ", validation: {results: warn}", ", validation: {results: off}"] {
        let (_server, gateway) = gateway(false, spec, "", broken).await;
        let json = book(&gateway, r#","arguments":{"seat":{}}"#).await;
        assert_eq!(json["result"]["structuredContent"], json!({"price": "seven"}), "{spec}");
        assert!(json["result"].get("isError").is_none(), "{spec}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn d05_a010_duplicates_inside_arguments_pass_only_where_their_server_says_so() {
    let result = r#"{"resultType":"complete","content":[]}"#;
    let (strict, lenient) = (
        ScriptedServer::modern().tool("t", result).start().await,
        ScriptedServer::modern().tool("t", result).start().await,
    );
    let gateway = RunningGateway::start(&mesh_with(
        "",
        &[
            ("strict", &strict.url(), ""),
            ("lenient", &lenient.url(), ", duplicateArguments: allow"),
        ],
        &documents(&[
            "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: strict}, {name: lenient}]}",
            "kind: View\nmetadata: {name: one}\nspec: {servers: [{name: strict}]}",
        ]),
    ))
    .await;
    let twice = r#""arguments":{"a":1,"a":2,"\u0061":3}"#;
    let call = |path: &'static str, name: &'static str, members: String| {
        let gateway = &gateway;
        async move {
            gateway
                .modern(path, "1", "tools/call", &format!(r#""name":"{name}",{members}"#))
                .await
        }
    };
    let passed = call("/mcp", "lenient__t", twice.to_owned()).await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    assert!(lenient.received("tools/call")[0].text().contains(twice), "as they were");
    for (path, name) in [("/mcp", "strict__t"), ("/views/one/mcp", "t")] {
        let refused = call(path, name, twice.to_owned()).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (400, &json!(-32600)),
            "{path}"
        );
    }
    // Only inside `arguments`: nothing else has two readings, whoever the call is for.
    for members in [
        r#""x":1,"x":2"#,
        r#""arguments":{},"arguments":{"a":1}"#,
        r#""name":"strict__t""#,
    ] {
        let refused = call("/mcp", "lenient__t", members.to_owned()).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (400, &json!(-32600)),
            "{members}"
        );
    }
    assert!(strict.received("tools/call").is_empty());
    assert_eq!(lenient.received("tools/call").len(), 1);
    gateway.stop().await;
}
