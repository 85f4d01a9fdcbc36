use super::super::stamp::retry;
use super::super::{Stamp, stamp};
use super::{method, read, text};

const WITH: Stamp<'_> = Stamp {
    capabilities: br#"{"roots":{}}"#,
    client_info: Some(br#"{"name":"c","version":"1"}"#),
    log_level: None,
};

const KEYS: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;

fn check(legacy: &str, modern: &str) {
    let stamped = text(stamp(legacy.as_bytes(), &read(legacy), method(legacy), &WITH));
    assert_eq!(stamped, modern.replace("KEYS", KEYS));
}

#[test]
fn a_request_without_parameters_gets_them() {
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{KEYS}}}"#,
    );
}

#[test]
fn a_request_without_meta_gets_it_and_keeps_every_other_byte() {
    check(
        r#"{"id":"a" , "method":"tools/call","jsonrpc":"2.0","params":{"name":"t","arguments":{"n":-0, "big":123456789012345678901234567890},"x-unknown":[1.0]}}"#,
        r#"{"id":"a" , "method":"tools/call","jsonrpc":"2.0","params":{"name":"t","arguments":{"n":-0, "big":123456789012345678901234567890},"x-unknown":[1.0],"_meta":{KEYS}}}"#,
    );
}

#[test]
fn meta_of_the_client_stays_and_ours_is_added() {
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":7,"com.example/x":{}},"name":"t"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":7,"com.example/x":{},KEYS},"name":"t"}}"#,
    );
}

#[test]
fn a_session_cannot_claim_more_than_it_opened_with() {
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug"}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{KEYS}}}"#,
    );
}

#[test]
fn members_that_mean_something_in_the_other_era_only_do_not_cross() {
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":{"ttl":1},"requestState":"s","inputResponses":{},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"1"}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{KEYS}}}"#,
    );
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"task":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"prompts/list","params":{"task":1,"_meta":{KEYS}}}"#,
    );
}

#[test]
fn the_level_of_the_session_goes_with_every_request() {
    let legacy = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let with = Stamp {
        capabilities: b"{}",
        client_info: None,
        log_level: Some("debug"),
    };
    assert_eq!(
        text(stamp(legacy.as_bytes(), &read(legacy), method(legacy), &with)),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"debug"}}}"#
    );
}

#[test]
fn a_retry_is_the_same_request_with_answers_and_the_exact_state() {
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{}}}"#;
    assert_eq!(
        text(
            retry(
                request.as_bytes(),
                Some(br#"{"k":{"action":"accept"}}"#),
                Some(br#""st\u0061te""#)
            )
            .unwrap()
        ),
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{},"inputResponses":{"k":{"action":"accept"}},"requestState":"st\u0061te"}}"#
    );
    assert_eq!(text(retry(request.as_bytes(), None, None).unwrap()), request);
}
