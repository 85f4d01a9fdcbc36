#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use super::*;

const TEXT: &str = "kind: Server\nspec:\n  url: http//x\n  token: CANARY\n";

fn finding(code: &'static str, part: &str) -> Finding {
    let at = TEXT.find(part).unwrap();
    Finding {
        code,
        severity: Severity::Error,
        message: "`url` is not a URL".into(),
        remedy: "write `http://…`".into(),
        source: Arc::from("mesh.yaml"),
        document: Some("Server/x".into()),
        path: "spec.url".into(),
        span: Some(at..at + part.len()),
    }
}

fn plain(finding: &Finding) -> String {
    drawn_with(finding, TEXT, GraphicalTheme::unicode_nocolor())
}

#[test]
fn a_finding_is_drawn_over_its_line_with_the_remedy() {
    let text = plain(&finding(codes::URL, "http//x"));
    for part in [
        "MG0309",
        "Server/x: `url` is not a URL",
        "mesh.yaml:3:8",
        "url: http//x",
        "spec.url",
        "help: write",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn d36_a_line_that_seems_to_hold_a_secret_is_named_and_not_shown() {
    let text = plain(&finding(codes::LITERAL_SECRET, "CANARY"));
    assert!(!text.contains("CANARY"), "{text}");
    assert!(text.contains("mesh.yaml:4: Server/x: `spec.url`"), "{text}");
}

#[test]
fn d37_a_file_cannot_command_the_terminal() {
    let evil = "name: \x1b[2J\u{9b}31m\u{202e}x\n";
    let mut about = finding(codes::NAME, "url");
    about.span = Some(0..4);
    about.message = "evil \x1b[2J".into();
    let text = drawn_with(&about, evil, GraphicalTheme::unicode_nocolor());
    assert!(!text.contains(['\x1b', '\u{9b}', '\u{202e}']), "{text}");
    assert_eq!(visible(evil).len(), evil.len());
}

#[test]
fn programs_get_lines_and_columns() {
    let about = finding(codes::URL, "http//x");
    let shown = serde_json::to_value(shown(&about, TEXT)).unwrap();
    assert_eq!(
        (&shown["line"], &shown["column"], &shown["code"]),
        (&3.into(), &8.into(), &"MG0309".into())
    );
    assert_eq!((&shown["start"], &shown["end"]), (&26.into(), &33.into()));
}
