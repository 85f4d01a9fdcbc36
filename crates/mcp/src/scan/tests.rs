//! What the scan accepts, what it refuses, and where its limits lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::codes::{INVALID_REQUEST, PARSE_ERROR};
use crate::limits::CLIENT_BATCH_MAX;

mod limits;
mod refused;
mod text;

/// A call of `tools/call` with these bytes as `params.arguments`.
fn call(arguments: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#)
}

fn request(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

fn with_id(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#)
}

#[track_caller]
fn accept(src: impl AsRef<[u8]>) -> Message {
    let src = src.as_ref();
    match scan(src, &Rules::CLIENT) {
        Ok(message) => *message,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&src[..src.len().min(200)])),
    }
}

#[track_caller]
fn refuse(src: impl AsRef<[u8]>) -> Fault {
    let src = src.as_ref();
    match scan(src, &Rules::CLIENT) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(&src[..src.len().min(200)])),
        Err(error) => error.fault(),
    }
}

#[test]
fn a_call_yields_the_ranges_of_its_parts() {
    let src =
        r#" {"jsonrpc":"2.0", "id" : "a-1","method":"tools/call","params":{"name":"echo","arguments":{"n":[1,{"x":2}]},
        "_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28"}},"x-extra":null} "#
            .as_bytes();
    let message = accept(src);
    assert_eq!(message.envelope, Envelope::Request);
    assert_eq!(message.id.unwrap().raw(src), br#""a-1""#);
    assert_eq!(message.method_kind(src), crate::Method::ToolsCall);
    assert_eq!(message.root.members.len(), 5);
    assert_eq!(message.root.span.of(src), src.trim_ascii());
    let body = message.body.as_ref().unwrap();
    assert_eq!(body.get(src, "name").unwrap().str(src).unwrap(), "echo");
    assert_eq!(body.get(src, "arguments").unwrap().raw(src), br#"{"n":[1,{"x":2}]}"#);
    assert_eq!(message.meta_value(src, "progressToken").unwrap().u64(src), Some(7));
    assert_eq!(message.meta.unwrap().span, body.get(src, "_meta").unwrap().span);
    let deep = crate::lookup(src, body.span, &["arguments", "n"]).unwrap();
    let elements: Vec<_> = crate::elements(src, deep.span).map(|value| value.raw(src)).collect();
    assert_eq!(elements, [&b"1"[..], b"{\"x\":2}"]);
}

#[test]
fn a_message_read_again_is_the_message_that_was_scanned() {
    let meta = r#""_meta":{"progressToken":7,"a":{"_meta":{}}}"#;
    for src in [
        format!(
            r#" {{"jsonrpc":"2.0", "id" : "a\"-1","method":"tools/call","params":{{"name":"e{{[","arguments":{{"n":[1,{{"x":2}}]}}, {meta} }},"x":null}} "#
        ),
        format!(r#"{{"params":{{{meta}}},"method":"m","jsonrpc":"2.0"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"result":{{}},{meta},"content":[{{"_meta":{{}}}}]}}}}"#),
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"m","data":{"_meta":7}}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":null},"error":null}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"},"result":{"a":1,"_meta":{"b":2}}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"_meta":{"b":1}},"result":{"_meta":{"b":2},"_meta":{"b":3}}}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"r\u0065sult":{"\u005fmeta":{"b":[]}}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":[{"_meta":{}}]}"#.to_owned(),
    ] {
        let scanned = scan(src.as_bytes(), &Rules::SERVER).unwrap();
        let read = again(src.as_bytes(), scanned.uris).unwrap();
        assert_eq!(format!("{read:?}"), format!("{scanned:?}"), "{src}");
    }
    for none in ["", "{", "[]", "{\"jsonrpc\"", "{\"a\":{", "7", "{}"] {
        assert!(again(none.as_bytes(), false).is_none(), "{none}");
    }
}

#[test]
fn every_envelope_is_told_apart() {
    let check = |src: &str, envelope| assert_eq!(accept(src).envelope, envelope, "{src}");
    check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Envelope::Request);
    check(
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        Envelope::Notification,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}"#,
        Envelope::Result,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#,
        Envelope::Error,
    );
    check(r#"{"jsonrpc":"2.0","method":"vendor/unknown"}"#, Envelope::Notification);
}

#[test]
fn escaped_member_names_are_the_members_they_spell() {
    let src = br#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/call","par\u0061ms":{"\u006eame":"echo"}}"#;
    let message = accept(src);
    assert_eq!(message.method_kind(src), crate::Method::ToolsCall);
    assert_eq!(message.body_value(src, "name").unwrap().str(src).unwrap(), "echo");
}

#[test]
fn a_server_may_repeat_members_and_the_last_one_counts() {
    let src =
        br#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"_meta":{"k":1}},"result":{"a":2},"Result":{"a":3},"n":1e400}"#;
    let message = scan(src, &Rules::SERVER).unwrap();
    assert_eq!(message.body_value(src, "a").unwrap().u64(src), Some(2));
    assert!(message.meta.is_none());
    let src = br#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"k":1},"a":1,"_meta":{"k":2}}}"#;
    let message = scan(src, &Rules::SERVER).unwrap();
    assert_eq!(message.meta_value(src, "k").unwrap().u64(src), Some(2));
    let src = br#"{"jsonrpc":"2.0","result":{"a":1},"method":"x","params":{"b":1}}"#;
    assert!(scan(src, &Rules::SERVER).unwrap().body_value(src, "b").is_some());
}

#[test]
fn a_server_may_send_any_id_and_a_null_error_beside_a_result() {
    for (src, envelope) in [
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"x"}}"#,
            Envelope::Error,
        ),
        (
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"x"}}"#,
            Envelope::Error,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"x"}}"#,
            Envelope::Error,
        ),
        (r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#, Envelope::Result),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#, Envelope::Result),
        (r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{}}"#, Envelope::Error),
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Envelope::Result),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"notifications/x"}"#,
            Envelope::Notification,
        ),
        (
            r#"{"jsonrpc":"2.0","id":"s7","method":"roots/list"}"#,
            Envelope::Request,
        ),
    ] {
        assert_eq!(
            scan(src.as_bytes(), &Rules::SERVER).unwrap().envelope,
            envelope,
            "{src}"
        );
    }
}

#[test]
fn a_server_must_still_send_json_with_an_envelope() {
    for src in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
        r#"{"id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":3}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}} x"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\u{1}\"}}",
    ] {
        assert!(scan(src.as_bytes(), &Rules::SERVER).is_err(), "{src}");
    }
    assert!(
        scan(
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xff\"}}",
            &Rules::SERVER
        )
        .is_err()
    );
}

#[test]
fn errors_name_place_rule_and_remedy() {
    let error = scan(br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, &Rules::CLIENT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an object repeats a member; send each member once (at byte 25)"
    );
    assert_eq!((error.code(), error.at()), (INVALID_REQUEST, 25));
    let error = scan(br#"{"jsonrpc":"2.0",}"#, &Rules::CLIENT).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a member name in double quotes; send valid JSON (at byte 17)"
    );
    assert_eq!(error.code(), PARSE_ERROR);
}

#[test]
fn a_batch_yields_the_ranges_of_its_messages() {
    let src =
        br#" [ {"jsonrpc":"2.0","method":"notifications/initialized"} , {"jsonrpc":"2.0","id":1,"method":"ping"} ] "#;
    let messages: Vec<_> = batch(src, &Rules::CLIENT)
        .unwrap()
        .into_iter()
        .map(|span| accept(span.of(src)).envelope)
        .collect();
    assert_eq!(messages, [Envelope::Notification, Envelope::Request]);
    assert!(batch(b"[]", &Rules::CLIENT).is_err());
    assert!(batch(b"{}", &Rules::CLIENT).is_err());
    assert!(batch(b"[1,]", &Rules::CLIENT).is_err());
    let of = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(
        batch(of(CLIENT_BATCH_MAX).as_bytes(), &Rules::CLIENT).unwrap().len(),
        CLIENT_BATCH_MAX
    );
    assert!(batch(of(CLIENT_BATCH_MAX + 1).as_bytes(), &Rules::CLIENT).is_err());
}

#[test]
fn strings_end_where_they_end_at_every_offset() {
    for length in 0..40 {
        for stop in ["\"", "\\n\"", "é\"", "\\u00e9\""] {
            let text = format!("{}{stop}", "a".repeat(length));
            let src = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"k":"{text}}}}}"#);
            let message = accept(&src);
            let expected: String = serde_json::from_str(&format!("\"{text}")).unwrap();
            assert_eq!(
                message
                    .body_value(src.as_bytes(), "k")
                    .unwrap()
                    .str(src.as_bytes())
                    .unwrap(),
                expected
            );
        }
        for control in ["\u{0}", "\u{1f}", "\n"] {
            let src = call(&format!("{{\"k\":\"{}{control}tail tail tail\"}}", "a".repeat(length)));
            assert_eq!(refuse(src), Fault::Control);
        }
    }
}
