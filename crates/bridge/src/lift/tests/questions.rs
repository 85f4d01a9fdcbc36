//! Questions of a legacy server beside what a modern client is asked, and answers the other way.

use meshgate_mcp::{Method, Revision, Rules, scan};
use serde_json::{Value, json};

use super::{EVERYTHING, session, text};
use crate::Capabilities;
use crate::lift::{Answers, Asked, Plan, Question};

const ALL: Capabilities = Capabilities::ELICITATION_FORM
    .with(Capabilities::ELICITATION_URL)
    .with(Capabilities::SAMPLING)
    .with(Capabilities::SAMPLING_TOOLS)
    .with(Capabilities::ROOTS);

fn question(method: &str, params: &str, can: Capabilities) -> Option<Question> {
    let src = format!(r#"{{"jsonrpc":"2.0","id":"s7","method":"{method}"{params}}}"#);
    let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
    Question::read(src.as_bytes(), &message, can)
}

/// A call in which this is asked; the key is that of entropy 1.
fn asked(method: &str, params: &str) -> Asked {
    let mut asked = Asked::default();
    asked.add(question(method, params, ALL).unwrap(), 1).unwrap();
    asked
}

const KEY: &str = "q-0000000000000001";

fn answers(responses: &Value) -> Answers {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "t", "requestState": "s", "inputResponses": responses}});
    match session("2025-11-25", EVERYTHING)
        .plan(body.to_string().as_bytes(), Method::ToolsCall)
        .unwrap()
    {
        Plan::Resume(resume) => {
            assert_eq!(&*resume.state, "s");
            assert!(text(resume.forward.body).ends_with(r#""params":{"name":"t"}}"#));
            resume.answers
        }
        other => panic!("{other:?}"),
    }
}

fn revision(name: &str) -> &'static Revision {
    Revision::find(name).unwrap()
}

const FORM: &str = r#","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;

#[test]
fn a_question_becomes_an_input_request_without_what_belongs_to_the_session() {
    for (method, params, expected) in [
        ("roots/list", "", r#"{"method":"roots/list"}"#),
        (
            "roots/list",
            r#","params":{"_meta":{"x":1}}"#,
            r#"{"method":"roots/list","params":{"_meta":{"x":1}}}"#,
        ),
        (
            "elicitation/create",
            r#","params":{"mode":"url","elicitationId":"e1","url":"https://a/","message":"m","x":1.10}"#,
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://a/","message":"m","x":1.10}}"#,
        ),
        (
            "sampling/createMessage",
            r#","params":{"_meta":{"progressToken":3,"io.modelcontextprotocol/related-task":{"taskId":"1"}},"task":{"ttl":1},"messages":[],"maxTokens":1}"#,
            r#"{"method":"sampling/createMessage","params":{"_meta":{},"messages":[],"maxTokens":1}}"#,
        ),
    ] {
        let result = text(asked(method, params).result(9, "s"));
        let expected = format!(
            r#"{{"jsonrpc":"2.0","id":9,"result":{{"resultType":"input_required","inputRequests":{{"{KEY}":{expected}}},"requestState":"s"}}}}"#
        );
        assert_eq!(result, expected);
    }
}

#[test]
fn only_what_the_client_declared_is_asked() {
    let tools = r#","params":{"messages":[],"maxTokens":1,"tools":[]}"#;
    let url = r#","params":{"mode":"url","url":"https://a/","message":"m"}"#;
    for (method, params, needs) in [
        ("elicitation/create", FORM, Capabilities::ELICITATION_FORM),
        ("elicitation/create", url, Capabilities::ELICITATION_URL),
        (
            "sampling/createMessage",
            r#","params":{"messages":[]}"#,
            Capabilities::SAMPLING,
        ),
        ("sampling/createMessage", tools, Capabilities::SAMPLING_TOOLS),
        ("roots/list", "", Capabilities::ROOTS),
    ] {
        assert!(question(method, params, needs).is_some(), "{method}{params}");
        let without = Capabilities::from_bits(ALL.bits() & !needs.bits());
        assert!(question(method, params, without).is_none(), "{method}{params}");
    }
    let unknown_mode = r#","params":{"mode":"mind-reading","message":"m"}"#;
    for (method, params) in [
        ("ping", ""),
        ("elicitation/create", ""),
        ("sampling/createMessage", ""),
        ("elicitation/create", unknown_mode),
        ("com.example/ask", ""),
    ] {
        assert!(question(method, params, ALL).is_none(), "{method}{params}");
    }
}

#[test]
fn an_answer_reaches_the_server_as_the_client_wrote_it() {
    for (method, params, answer, expected) in [
        (
            "elicitation/create",
            FORM,
            json!({"action": "accept", "content": {"n": 1}, "resultType": "complete"}),
            r#"{"action":"accept","content":{"n":1}}"#,
        ),
        (
            "elicitation/create",
            FORM,
            json!({"action": "decline"}),
            r#"{"action":"decline"}"#,
        ),
        ("roots/list", "", json!({"roots": []}), r#"{"roots":[]}"#),
    ] {
        let mut asked = asked(method, params);
        let answers = answers(&json!({ KEY: answer, "unknown": 7 }));
        asked.check(&answers).unwrap();
        let responses = asked.answer(&answers, revision("2025-06-18"));
        assert_eq!(
            responses.into_iter().map(text).collect::<Vec<_>>(),
            [format!(r#"{{"jsonrpc":"2.0","id":"s7","result":{expected}}}"#)]
        );
        assert!(asked.is_empty());
    }
}

#[test]
fn sampled_content_is_lowered_to_what_the_revision_has() {
    let params = r#","params":{"messages":[],"maxTokens":1}"#;
    let block = json!({"type": "text", "text": "42"});
    let said = |content: Value| json!({KEY: {"role": "assistant", "model": "m", "content": content}});
    for (name, content, expected) in [
        ("2025-06-18", json!([block]), block.clone()),
        ("2025-06-18", block.clone(), block.clone()),
        ("2025-11-25", json!([block]), json!([block])),
    ] {
        let response = asked("sampling/createMessage", params).answer(&answers(&said(content)), revision(name));
        let response: Value = serde_json::from_slice(&response[0]).unwrap();
        assert_eq!(response["result"]["content"], expected, "{name}");
    }
    let several = answers(&said(json!([block, block])));
    let response = asked("sampling/createMessage", params).answer(&several, revision("2024-11-05"));
    let response: Value = serde_json::from_slice(&response[0]).unwrap();
    assert_eq!(response["error"]["code"], -32603);
}

#[test]
fn an_answer_that_is_none_is_named_and_nothing_is_used() {
    let sampling = r#","params":{"messages":[],"maxTokens":1}"#;
    for (method, params, answer, word) in [
        ("elicitation/create", FORM, json!(7), "object"),
        ("elicitation/create", FORM, json!({"content": {}}), "action"),
        ("elicitation/create", FORM, json!({"action": "maybe"}), "action"),
        (
            "sampling/createMessage",
            sampling,
            json!({"role": "assistant", "content": {}}),
            "model",
        ),
        (
            "sampling/createMessage",
            sampling,
            json!({"role": "assistant", "model": "m"}),
            "content",
        ),
        ("roots/list", "", json!({"action": "accept"}), "roots"),
    ] {
        let wrong = asked(method, params)
            .check(&answers(&json!({ KEY: answer })))
            .unwrap_err();
        assert_eq!(&*wrong.key, KEY);
        assert!(wrong.to_string().contains(word), "{wrong}");
    }
}

#[test]
fn what_was_not_answered_stays_open_and_giving_up_answers_all() {
    let mut asked = asked("elicitation/create", FORM);
    asked.add(question("roots/list", "", ALL).unwrap(), 2).unwrap();
    asked
        .add(question("sampling/createMessage", r#","params":{}"#, ALL).unwrap(), 2)
        .unwrap();
    assert_eq!(asked.len(), 3);
    let some = answers(&json!({"q-0000000000000002": {"roots": []}}));
    assert_eq!(asked.answer(&some, revision("2025-11-25")).len(), 1);
    assert_eq!(asked.len(), 2);
    let told: Vec<_> = asked.give_up().into_iter().map(text).collect();
    assert!(told[0].ends_with(r#""result":{"action":"cancel"}}"#), "{told:?}");
    assert!(told[1].contains(r#""error":{"code":-32603"#), "{told:?}");
    assert!(asked.is_empty());
}

#[test]
fn a_server_may_take_a_question_back_or_know_the_answer_first() {
    let mut asked = asked(
        "elicitation/create",
        r#","params":{"mode":"url","elicitationId":"e1","url":"https://a/"}"#,
    );
    let notice = |method: &str, params: &str| {
        let src = format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{params}}}"#);
        let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
        (src, message)
    };
    let (src, message) = notice("elicitation/complete", r#"{"elicitationId":"e2"}"#);
    assert!(asked.complete(src.as_bytes(), &message).is_none());
    let (src, message) = notice("elicitation/complete", r#"{"elicitationId":"e1"}"#);
    assert_eq!(
        text(asked.complete(src.as_bytes(), &message).unwrap()),
        r#"{"jsonrpc":"2.0","id":"s7","result":{"action":"accept"}}"#
    );
    asked.add(question("roots/list", "", ALL).unwrap(), 1).unwrap();
    for (id, left) in [("7", 1), (r#""s8""#, 1), (r#""s7""#, 0)] {
        let (src, message) = notice("cancelled", &format!(r#"{{"requestId":{id}}}"#));
        asked.withdraw(src.as_bytes(), &message);
        assert_eq!(asked.len(), left, "{id}");
    }
}

#[test]
fn pages_that_must_be_opened_first_are_asked_and_agreed_to_as_one() {
    let src = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[
        {"mode":"url","elicitationId":"a","url":"https://a/","message":"m"},{"mode":"form","message":"m"},
        {"mode":"url","elicitationId":"b","url":"https://b/","message":"m"}]}}}"#;
    let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
    assert!(Question::pages(src.as_bytes(), &message, Capabilities::ELICITATION_FORM).is_empty());
    let mut asked = Asked::default();
    for (entropy, page) in Question::pages(src.as_bytes(), &message, ALL).into_iter().enumerate() {
        asked.add(page, entropy as u64).unwrap();
    }
    assert_eq!(asked.len(), 2);
    let said =
        |a: &str, b: &str| answers(&json!({"q-0000000000000000": {"action": a}, "q-0000000000000001": {"action": b}}));
    assert_eq!(asked.agreed(&said("accept", "accept")), Some(true));
    assert_eq!(asked.agreed(&said("accept", "decline")), Some(false));
    assert_eq!(asked.agreed(&answers(&json!({}))), None);
    assert!(asked.give_up().is_empty(), "the server waits for nothing");
}

#[test]
fn so_many_questions_are_open_at_once_and_not_one_more() {
    let mut asked = Asked::default();
    for entropy in 0..31 {
        asked.add(question("roots/list", "", ALL).unwrap(), entropy).unwrap();
    }
    asked.add(question("roots/list", "", ALL).unwrap(), 31).unwrap();
    let refused = asked.add(question("roots/list", "", ALL).unwrap(), 32).unwrap_err();
    assert!(text(refused).contains(r#""id":"s7","error""#));

    // `{"method":"sampling/createMessage","params":{"messages":""}}` without the text.
    let long = |bytes: usize| {
        let params = format!(r#","params":{{"messages":"{}"}}"#, "x".repeat(bytes - 60));
        question("sampling/createMessage", &params, ALL).unwrap()
    };
    for (bytes, fits) in [((4 << 20) - 1, true), (4 << 20, true), ((4 << 20) + 1, false)] {
        assert_eq!(Asked::default().add(long(bytes), 1).is_ok(), fits, "{bytes}");
    }
}
