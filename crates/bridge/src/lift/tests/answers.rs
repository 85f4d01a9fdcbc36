use meshgate_mcp::{Method, Rules, scan};

use super::{EVERYTHING, REVISIONS, session, text};
use crate::lift::{Arrival, Level, Pending, cancelled, sort, split};

fn pending(method: Method) -> Pending {
    Pending {
        method,
        uri: Some("file:///a\"b".into()),
        can: crate::Capabilities::NONE,
    }
}

fn lifted(pending: &Pending, response: &str) -> String {
    let message = scan(response.as_bytes(), &Rules::SERVER).unwrap();
    let answers = REVISIONS.map(|revision| {
        text(
            session(revision, EVERYTHING)
                .answer(pending, response.as_bytes(), &message)
                .unwrap(),
        )
    });
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "every revision alike"
    );
    answers[0].clone()
}

fn sorted(message: &str) -> Arrival {
    sort(message.as_bytes(), &scan(message.as_bytes(), &Rules::SERVER).unwrap())
}

#[test]
fn a_result_is_complete_and_otherwise_byte_for_byte_the_servers() {
    assert_eq!(
        lifted(
            &pending(Method::ToolsCall),
            r#"{"jsonrpc":"2.0","id":5, "result":{"content":[{"type":"hologram","n":123456789012345678901234567890,"z":-0,"f":1.0}],"x":{"é":"\u00e9"}}}"#
        ),
        r#"{"jsonrpc":"2.0","id":5, "result":{"content":[{"type":"hologram","n":123456789012345678901234567890,"z":-0,"f":1.0}],"x":{"é":"\u00e9"},"resultType":"complete"}}"#
    );
}

#[test]
fn the_six_cacheable_results_are_private_and_stale_at_once() {
    let hinted = r#"{"jsonrpc":"2.0","id":5,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private"}}"#;
    for method in Method::all() {
        let answer = lifted(&pending(method), r#"{"jsonrpc":"2.0","id":5,"result":{}}"#);
        assert_eq!(answer == hinted, method.row().cacheable, "{method:?}");
    }
}

#[test]
fn a_legacy_server_cannot_speak_modern_by_accident() {
    let said = r#"{"jsonrpc":"2.0","id":5,"result":{"ttlMs":9,"resultType":"input_required","tools":[],"cacheScope":"public"}}"#;
    assert_eq!(
        lifted(&pending(Method::ToolsList), said),
        r#"{"jsonrpc":"2.0","id":5,"result":{"ttlMs":0,"resultType":"complete","tools":[],"cacheScope":"private"}}"#
    );
}

#[test]
fn a_missing_resource_has_the_modern_code_and_names_itself() {
    let read = pending(Method::ResourcesRead);
    assert_eq!(
        lifted(
            &read,
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32002,"message":"gone"}}"#
        ),
        r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32602,"message":"gone","data":{"uri":"file:///a\"b"}}}"#
    );
    assert_eq!(
        lifted(
            &read,
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32002,"message":"gone","data":{"uri":"x","n":1.0}}}"#
        ),
        r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32602,"message":"gone","data":{"uri":"x","n":1.0}}}"#
    );
    assert_eq!(
        lifted(
            &read,
            r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32002,"message":"gone","data":{"n":1.0}}}"#
        ),
        r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32602,"message":"gone","data":{"n":1.0,"uri":"file:///a\"b"}}}"#
    );
}

#[test]
fn other_errors_are_the_servers_own_words() {
    let error = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32000,"message":"no","data":[1.0]}}"#;
    assert_eq!(lifted(&pending(Method::ToolsCall), error), error);
}

#[test]
fn a_url_that_must_be_opened_first_is_refused_in_words_a_modern_client_knows() {
    let error = r#"{"jsonrpc":"2.0","id":5,"error":{"code":-32042,"message":"open","data":{"elicitations":[]}}}"#;
    let without = lifted(&pending(Method::ToolsCall), error);
    assert!(without.contains(r#""code":-32021"#), "{without}");
    assert!(
        without.contains(r#""data":{"requiredCapabilities":{"elicitation":{"url":{}}}}"#),
        "{without}"
    );
    let with = lifted(
        &Pending {
            can: crate::Capabilities::ELICITATION_URL,
            ..pending(Method::ToolsCall)
        },
        error,
    );
    assert!(
        with.contains(r#""code":-32603"#) && !with.contains("elicitations"),
        "{with}"
    );
}

#[test]
fn a_response_without_an_object_is_broken() {
    let response = br#"{"jsonrpc":"2.0","id":5,"result":null}"#;
    let message = scan(response, &Rules::SERVER).unwrap();
    assert!(
        session("2025-06-18", "{}")
            .answer(&pending(Method::ToolsCall), response, &message)
            .is_err()
    );
}

#[test]
fn every_question_is_refused_and_ping_is_answered() {
    for method in [
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "com.example/ask",
    ] {
        let Arrival::Question(reply) = sorted(&format!(
            r#"{{"jsonrpc":"2.0","id":"q","method":"{method}","params":{{}}}}"#
        )) else {
            panic!("{method}")
        };
        let reply = text(reply);
        assert!(reply.contains(r#""id":"q""#) && reply.contains("-32601"), "{reply}");
    }
    let ping = sorted(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#);
    assert_eq!(
        ping,
        Arrival::Question(br#"{"jsonrpc":"2.0","id":3,"result":{}}"#.to_vec())
    );
}

#[test]
fn notifications_are_sorted_by_whom_they_concern() {
    let notification =
        |method: &str, params: &str| sorted(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    assert_eq!(
        notification("notifications/progress", r#"{"progressToken":5,"progress":1}"#),
        Arrival::Progress(Some(5))
    );
    assert_eq!(
        notification("notifications/progress", r#"{"progressToken":"5"}"#),
        Arrival::Progress(Some(5))
    );
    assert_eq!(
        notification("notifications/progress", r#"{"progressToken":"x"}"#),
        Arrival::Progress(None)
    );
    assert_eq!(
        notification("notifications/message", r#"{"level":"error","data":1}"#),
        Arrival::Log(Level::Error)
    );
    assert_eq!(
        notification("notifications/message", r#"{"level":"loud"}"#),
        Arrival::Dropped
    );
    assert_eq!(
        notification("notifications/resources/updated", r#"{"uri":"a"}"#),
        Arrival::Changed
    );
    assert_eq!(notification("notifications/com.example", "{}"), Arrival::Unknown);
    assert_eq!(notification("notifications/tasks/status", "{}"), Arrival::Dropped);
    assert_eq!(
        sorted(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#),
        Arrival::Response(Some(7))
    );
    assert_eq!(
        sorted(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#),
        Arrival::Response(None)
    );
}

#[test]
fn a_batch_is_taken_apart_and_a_message_is_left_whole() {
    let parts = |frame: &str| -> Vec<String> {
        split(frame.as_bytes())
            .into_iter()
            .map(|part| frame[part].to_owned())
            .collect()
    };
    assert_eq!(parts(r#" [{"a":[1]}, {"b":2} ] "#), [r#"{"a":[1]}"#, r#"{"b":2}"#]);
    assert_eq!(parts(r#"{"a":[1]}"#), [r#"{"a":[1]}"#]);
    assert_eq!(parts("[oh"), ["[oh"]);
}

#[test]
fn a_cancellation_names_the_request() {
    assert_eq!(
        text(cancelled(5, "left")),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5,"reason":"left"}}"#
    );
}
