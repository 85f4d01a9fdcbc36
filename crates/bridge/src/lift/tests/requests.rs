use meshgate_mcp::Method;

use super::{EVERYTHING, REVISIONS, session, text};
use crate::Capabilities;
use crate::lift::{Filter, Forward, Level, Plan};

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;

fn forward(revision: &str, method: Method, params: &str) -> Forward {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"{}","params":{params}}}"#,
        method.as_str()
    );
    match session(revision, EVERYTHING).plan(body.as_bytes(), method).unwrap() {
        Plan::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn refused(capabilities: &str, method: &str, params: &str) -> (i64, String) {
    let body = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"{method}","params":{params}}}"#);
    let refusal = session("2025-11-25", capabilities)
        .plan(body.as_bytes(), Method::parse(method))
        .unwrap_err();
    (refusal.code, refusal.message.into_owned())
}

#[test]
fn only_the_modern_members_of_meta_are_taken_out() {
    let params = format!(
        r#"{{"name":"t", "arguments":{{"n":123456789012345678901234567890,"z":-0,"f":1.0}},"_meta":{{{META},"progressToken":5,"traceparent":"00-1","com.example/x":{{"a":1}},"io.modelcontextprotocol/other":true}}}}"#
    );
    for revision in REVISIONS {
        assert_eq!(
            text(forward(revision, Method::ToolsCall, &params).body),
            r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"t", "arguments":{"n":123456789012345678901234567890,"z":-0,"f":1.0},"_meta":{"progressToken":5,"traceparent":"00-1","com.example/x":{"a":1},"io.modelcontextprotocol/other":true}}}"#,
            "{revision}"
        );
    }
}

#[test]
fn a_meta_with_nothing_else_goes_as_a_whole() {
    let lifted = forward(
        "2025-11-25",
        Method::ToolsList,
        &format!(r#"{{"cursor":"","_meta":{{{META}}}}}"#),
    );
    assert_eq!(
        text(lifted.body),
        r#"{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{"cursor":""}}"#
    );
}

#[test]
fn completion_context_goes_only_to_revisions_that_know_it() {
    let params = r#"{"ref":{"type":"ref/prompt","name":"p"},"context":{"arguments":{"a":"b"}},"argument":{"name":"x","value":"y"}}"#;
    for (revision, kept) in REVISIONS.into_iter().zip([false, false, true, true]) {
        assert_eq!(
            text(forward(revision, Method::Complete, params).body).contains("context"),
            kept,
            "{revision}"
        );
    }
}

#[test]
fn a_task_is_never_asked_for() {
    let params = r#"{"name":"t","task":{"ttl":1},"arguments":{"task":2}}"#;
    let body = text(forward("2025-11-25", Method::ToolsCall, params).body);
    assert!(
        body.ends_with(r#""params":{"name":"t","arguments":{"task":2}}}"#),
        "{body}"
    );
}

#[test]
fn an_answer_to_a_question_nobody_asked_is_refused() {
    for member in ["inputResponses", "requestState"] {
        let (code, message) = refused(EVERYTHING, "tools/call", &format!(r#"{{"name":"t","{member}":{{}}}}"#));
        assert_eq!(code, -32602);
        assert!(message.contains(member), "{message}");
    }
}

#[test]
fn what_the_server_does_not_offer_does_not_exist() {
    for method in [
        "prompts/list",
        "prompts/get",
        "resources/read",
        "resources/templates/list",
        "completion/complete",
    ] {
        assert_eq!(refused(r#"{"tools":{}}"#, method, "{}").0, -32601, "{method}");
    }
    for method in [
        "ping",
        "initialize",
        "logging/setLevel",
        "resources/subscribe",
        "tasks/get",
        "tasks/list",
        "roots/list",
    ] {
        assert_eq!(refused(EVERYTHING, method, "{}").0, -32601, "{method}");
    }
}

#[test]
fn a_method_nobody_knows_is_the_servers_business() {
    let body = br#"{"jsonrpc":"2.0","id":5,"method":"com.example/do","params":{"a":1}}"#;
    let plan = session("2025-06-18", "{}").plan(body, Method::Other).unwrap();
    assert!(matches!(plan, Plan::Forward(Forward { body: sent, .. }) if sent == body));
}

#[test]
fn the_log_level_counts_whether_the_server_declared_a_log_or_not() {
    let params = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"warning","progressToken":5}}"#;
    let lifted = forward("2025-06-18", Method::ToolsList, params);
    assert_eq!(lifted.level, Some(Level::Warning));
    assert!(text(lifted.body).ends_with(r#""params":{"_meta":{"progressToken":5}}}"#));
    let wrong = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"loud"}}"#;
    assert_eq!(refused(EVERYTHING, "tools/list", wrong).0, -32602);
    let body = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{params}}}"#);
    let plan = session("2025-06-18", r#"{"tools":{}}"#)
        .plan(body.as_bytes(), Method::ToolsList)
        .unwrap();
    assert!(matches!(
        plan,
        Plan::Forward(Forward {
            level: Some(Level::Warning),
            ..
        })
    ));
}

#[test]
fn discovery_and_listening_stay_here() {
    let session = session("2025-03-26", EVERYTHING);
    let discover = br#"{"jsonrpc":"2.0","id":5,"method":"server/discover","params":{}}"#;
    assert!(matches!(session.plan(discover, Method::Discover), Ok(Plan::Discover)));
    let listen = br#"{"jsonrpc":"2.0","id":5,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["b","a","b"]}}}"#;
    let Ok(Plan::Listen(filter)) = session.plan(listen, Method::Listen) else {
        panic!("a listen")
    };
    let uris = ["a".to_owned(), "b".to_owned()].into();
    assert_eq!(
        filter,
        Filter {
            tools: true,
            prompts: false,
            resources: false,
            uris
        }
    );
}

#[test]
fn a_call_can_ask_only_what_the_servers_revision_has() {
    let declared = r#"{"name":"t","_meta":{"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"roots":{}}}}"#;
    let can = REVISIONS.map(|revision| {
        let can = forward(revision, Method::ToolsCall, declared).pending.can;
        [
            Capabilities::ROOTS,
            Capabilities::ELICITATION_FORM,
            Capabilities::ELICITATION_URL,
        ]
        .map(|kind| can.contains(kind))
    });
    assert_eq!(
        can,
        [
            [true, false, false],
            [true, false, false],
            [true, true, false],
            [true, true, true],
        ]
    );
}
