use super::{EVERYTHING, REVISIONS, session, text};
use crate::lift::{Handshake, HandshakeError, Settled};

fn settle(answer: &str) -> Result<Settled, HandshakeError> {
    Handshake::default().settle(answer.as_bytes())
}

#[test]
fn the_newest_legacy_revision_is_offered_with_no_capability() {
    assert_eq!(
        text(Handshake::default().request(7)),
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"meshgate","version":"{}"}}}}}}"#,
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn any_legacy_revision_is_agreed_to() {
    for revision in REVISIONS {
        assert_eq!(session(revision, EVERYTHING).revision.name, revision);
    }
}

#[test]
fn a_refusal_that_names_an_older_revision_leads_to_a_second_offer_and_no_third() {
    let refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unsupported protocol version","data":{"supported":["1999-01-01","2024-11-05","2025-03-26"],"requested":"2025-11-25"}}}"#;
    let mut handshake = Handshake::default();
    assert!(matches!(handshake.settle(refusal.as_bytes()), Ok(Settled::Again)));
    assert!(text(handshake.request(2)).contains(r#""protocolVersion":"2025-03-26""#));
    assert!(matches!(
        handshake.settle(refusal.as_bytes()),
        Err(HandshakeError::Refused { code: -32602, .. })
    ));
}

#[test]
fn an_unknown_revision_is_named_in_the_error() {
    let error = settle(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2023-01-01"}}"#).unwrap_err();
    assert_eq!(error, HandshakeError::UnknownRevision("2023-01-01".to_owned()));
}

#[test]
fn modern_evidence_is_recognised_late() {
    let version =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28"]}}}"#;
    assert_eq!(settle(version).unwrap_err(), HandshakeError::Modern);
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2026-07-28"}}"#;
    assert_eq!(settle(result).unwrap_err(), HandshakeError::Modern);
}

#[test]
fn something_else_than_a_response_is_malformed() {
    for answer in [
        "hello",
        "[]",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":7}"#,
    ] {
        assert!(matches!(settle(answer), Err(HandshakeError::Malformed(_))), "{answer}");
    }
}

#[test]
fn discovery_is_the_initialize_result_in_modern_words() {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"x":1.0},"tasks":{"list":{}},"logging":{}},"serverInfo":{"name":"s","version":"1","n":123456789012345678901234567890},"instructions":"use \u0041","vendor":-0}}"#;
    let Ok(Settled::Session(session)) = settle(answer) else {
        panic!("agreed")
    };
    assert_eq!(
        text(session.discover(9)),
        r#"{"jsonrpc":"2.0","id":9,"result":{"capabilities":{"tools":{"x":1.0},"logging":{}},"instructions":"use \u0041","vendor":-0,"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1","n":123456789012345678901234567890}}}}"#
    );
}

#[test]
fn the_servers_own_meta_is_kept_in_discovery() {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","_meta":{"com.example/a":1},"serverInfo":{"name":"s","version":"1"}}}"#;
    let Ok(Settled::Session(session)) = settle(answer) else {
        panic!("agreed")
    };
    assert_eq!(
        text(session.discover_result().to_vec()),
        r#"{"_meta":{"com.example/a":1,"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"capabilities":{},"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private"}"#
    );
}

#[test]
fn completion_of_the_first_revision_is_offered_though_it_is_not_declared() {
    let prompts = r#"{"prompts":{}}"#;
    for (revision, offered) in [("2024-11-05", true), ("2025-03-26", false)] {
        let session = session(revision, prompts);
        assert_eq!(session.offered.completions, offered, "{revision}");
        assert_eq!(
            text(session.discover_result().to_vec()).contains(r#""completions":{}"#),
            offered,
            "{revision}"
        );
    }
}
