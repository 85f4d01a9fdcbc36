use super::super::{Capabilities, Declared, Offer, OpeningError, initialize_result, negotiate, open};
use super::{NEWEST, read, revision, text};

fn opening(params: &str) -> Result<super::super::Opening, OpeningError> {
    let src = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
    open(src.as_bytes(), &read(&src))
}

fn declared(version: &str, capabilities: &str) -> (Capabilities, String) {
    let params = format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{}}}}"#);
    let Declared { set, json } = opening(&params).unwrap().declared;
    (set, text(json))
}

#[test]
fn every_legacy_revision_is_spoken_and_anything_else_becomes_the_latest() {
    for name in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(negotiate(name).name, name);
    }
    for name in ["2026-07-28", "2099-01-01", "1.0", ""] {
        assert_eq!(negotiate(name).name, "2025-11-25");
    }
}

#[test]
fn an_opening_keeps_who_the_client_is() {
    let opened = opening(
        r#"{"protocolVersion":"2025-06-18","capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"c","version":"1.0"}}"#,
    )
    .unwrap();
    assert_eq!(opened.revision.name, "2025-06-18");
    assert_eq!(
        opened.client_info.as_deref(),
        Some(br#"{"name":"c","version":"1.0"}"#.as_slice())
    );
    assert_eq!(opened.declared.set, Capabilities::ROOTS);
}

#[test]
fn an_opening_without_a_version_says_what_is_missing() {
    assert_eq!(opening(r#"{"capabilities":{}}"#).unwrap_err(), OpeningError::Version);
    assert_eq!(opening(r#"{"protocolVersion":7}"#).unwrap_err(), OpeningError::Version);
    assert_eq!(
        opening(r#"{"protocolVersion":"2025-06-18","capabilities":[]}"#).unwrap_err(),
        OpeningError::Capabilities
    );
}

#[test]
fn a_client_without_capabilities_declares_nothing() {
    let opened = opening(r#"{"protocolVersion":"2025-06-18"}"#).unwrap();
    assert_eq!(opened.declared, Declared::nothing());
}

#[test]
fn an_empty_elicitation_capability_means_forms() {
    let (set, json) = declared("2025-11-25", r#"{"elicitation":{}}"#);
    assert!(set.contains(Capabilities::ELICITATION_FORM) && !set.contains(Capabilities::ELICITATION_URL));
    assert_eq!(json, r#"{"elicitation":{"form":{}}}"#);
}

#[test]
fn url_elicitation_alone_does_not_mean_forms() {
    let (set, json) = declared("2025-11-25", r#"{"elicitation":{"url":{}}}"#);
    assert!(set.contains(Capabilities::ELICITATION_URL) && !set.contains(Capabilities::ELICITATION_FORM));
    assert_eq!(json, r#"{"elicitation":{"url":{}}}"#);
}

#[test]
fn a_revision_declares_only_what_it_defines() {
    let all = r#"{"elicitation":{"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true}}"#;
    let (set, json) = declared("2025-06-18", all);
    assert_eq!(
        set,
        Capabilities::ELICITATION_FORM
            .with(Capabilities::SAMPLING)
            .with(Capabilities::ROOTS)
    );
    assert_eq!(json, r#"{"elicitation":{"form":{}},"sampling":{},"roots":{}}"#);
    let (set, json) = declared("2025-03-26", all);
    assert_eq!(set, Capabilities::SAMPLING.with(Capabilities::ROOTS));
    assert_eq!(json, r#"{"sampling":{},"roots":{}}"#);
}

#[test]
fn tasks_are_not_declared_inside_and_unknown_capabilities_are() {
    let (_, json) = declared(
        "2025-11-25",
        r#"{"tasks":{"list":{}},"experimental":{"x":{"n":1.0}},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{"mimeTypes":[]}},"com.example":{}}"#,
    );
    assert_eq!(
        json,
        r#"{"experimental":{"x":{"n":1.0}},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":[]}},"com.example":{}}"#
    );
}

#[test]
fn capabilities_that_are_not_objects_declare_nothing() {
    let (set, json) = declared("2025-11-25", r#"{"sampling":true,"roots":null,"elicitation":[]}"#);
    assert_eq!((set, json.as_str()), (Capabilities::NONE, "{}"));
}

#[test]
fn enormous_capabilities_are_reduced_to_those_that_are_understood() {
    let all = format!(
        r#"{{"sampling":{{"tools":{{}}}},"roots":{{}},"elicitation":{{"form":{{}},"url":{{}}}},"experimental":{{"x":"{}"}}}}"#,
        "x".repeat(20_000)
    );
    let (_, json) = declared("2025-11-25", &all);
    assert_eq!(
        json,
        r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#
    );
}

#[test]
fn capability_bits_survive_a_sealed_claim_and_unknown_bits_mean_nothing() {
    let set = Capabilities::ROOTS.with(Capabilities::SAMPLING);
    assert_eq!(Capabilities::from_bits(set.bits()), set);
    assert_eq!(Capabilities::from_bits(u16::MAX).bits(), 0b11_1111);
}

#[test]
fn initialize_is_answered_from_what_the_view_offers() {
    let offer = Offer {
        capabilities:
            br#"{"tools":{"listChanged":true},"completions":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
        server_info: br#"{"name":"mesh","version":"1"}"#,
        instructions: Some("say \"please\""),
    };
    assert_eq!(
        text(initialize_result(NEWEST, &offer)),
        r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"completions":{},"extensions":{}},"serverInfo":{"name":"mesh","version":"1"},"instructions":"say \"please\""}"#
    );
    let oldest = text(initialize_result(
        revision("2024-11-05"),
        &Offer {
            instructions: None,
            ..offer
        },
    ));
    assert_eq!(
        oldest,
        r#"{"protocolVersion":"2024-11-05","capabilities":{"tools":{"listChanged":true},"extensions":{}},"serverInfo":{"name":"mesh","version":"1"}}"#
    );
}

#[test]
fn an_enormous_client_info_is_reduced_to_name_and_version() {
    let icons = "x".repeat(5_000);
    let info = format!(r#"{{"icons":[{{"src":"{icons}"}}],"name":"c\u0061","version":"1.0"}}"#);
    let opened = opening(&format!(r#"{{"protocolVersion":"2025-11-25","clientInfo":{info}}}"#)).unwrap();
    assert_eq!(
        opened.client_info.map(text).as_deref(),
        Some(r#"{"name":"c\u0061","version":"1.0"}"#)
    );
    let info = format!(r#"{{"name":"{icons}","version":"1.0"}}"#);
    let opened = opening(&format!(r#"{{"protocolVersion":"2025-11-25","clientInfo":{info}}}"#)).unwrap();
    assert_eq!(opened.client_info, None);
}
