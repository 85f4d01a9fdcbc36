#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> String {
    let mut out = Vec::new();
    push_json(&mut out, text);
    String::from_utf8(out).unwrap()
}

fn uri(text: &str) -> String {
    let mut out = Vec::new();
    push_uri(&mut out, text);
    String::from_utf8(out).unwrap()
}

#[test]
fn d37_what_ends_a_line_moves_a_cursor_or_reorders_text_is_escaped() {
    for (evil, shown) in [
        ("a\nb", r"a\u000ab"),
        ("a\r\nb", r"a\u000d\u000ab"),
        ("\x1b[2J\x1b[31mroot", r"\u001b[2J\u001b[31mroot"),
        ("\u{9b}31m", r"\u009b31m"),
        ("\u{7f}\u{8}", r"\u007f\u0008"),
        ("\0", r"\u0000"),
        ("a\u{2028}b\u{2029}c\u{85}d", r"a\u2028b\u2029c\u0085d"),
        ("\u{202e}exe.txt\u{2066}", r"\u202eexe.txt\u2066"),
        ("\u{feff}\u{200b}\u{200f}", r"\ufeff\u200b\u200f"),
        ("\u{e0041}", r"\udb40\udc41"),
        (r#"","summary":"ok"#, r#"\",\"summary\":\"ok"#),
        (r"\", r"\\"),
        ("naïve 日本 🦀", "naïve 日本 🦀"),
    ] {
        assert_eq!(json(evil), format!("\"{shown}\""));
    }
}

#[test]
fn d37_a_long_value_is_cut_at_a_character_and_marked() {
    for text in ["x".repeat(100_000), "é".repeat(100_000), "🦀".repeat(100_000)] {
        let shown: String = serde_json::from_str(&json(&text)).unwrap();
        let kept = shown.strip_suffix('…').unwrap();
        assert!(kept.len() <= TEXT_BYTES_MAX && kept.len() > TEXT_BYTES_MAX - 4);
        assert!(text.starts_with(kept));
    }
    let whole = "x".repeat(TEXT_BYTES_MAX);
    assert_eq!(json(&whole), format!("\"{whole}\""));
}

#[test]
fn d36_a_token_of_ours_is_cut_out_wherever_it_stands() {
    let token = format!("mg_{}", "aB3-_".repeat(9).get(..43).unwrap());
    for text in [
        token.clone(),
        format!("Bearer {token}"),
        format!("a/{token}/b"),
        format!("mg_x {token} mg_"),
    ] {
        let shown = json(&text);
        assert!(!shown.contains(&token[3..]), "{shown}");
        assert!(shown.contains("mg_***"), "{shown}");
    }
    assert_eq!(json("mg_tool mg_ mg"), "\"mg_tool mg_ mg\"");
}

#[test]
fn d36_a_token_that_the_cap_would_cut_is_not_shown_in_part() {
    let token = format!("mg_{}", "S".repeat(43));
    for lead in TEXT_BYTES_MAX - 50..TEXT_BYTES_MAX + 5 {
        let shown = json(&format!("{}{token}", "x".repeat(lead)));
        assert!(!shown.contains('S'), "after {lead} bytes: {shown}");
    }
}

#[test]
fn d36_a_uri_loses_user_query_and_fragment() {
    for (given, shown) in [
        ("https://user:CANARY@host/a?token=CANARY#CANARY", "https://host/a?…"),
        ("https://host/a#CANARY", "https://host/a#…"),
        ("https://a@CANARY@host/x@y", "https://host/x@y"),
        ("https://host?CANARY=1", "https://host?…"),
        ("file:///home/ann/a.txt", "file:///home/ann/a.txt"),
        ("urn:isbn:1", "urn:isbn:1"),
        ("", ""),
    ] {
        assert_eq!(uri(given), format!("\"{shown}\""));
    }
}

proptest! {
    #[test]
    fn any_text_stays_one_line_of_json_that_reads_back(text in "\\PC*|.{0,64}|[\\x00-\\x7f]{0,64}") {
        let line = json(&text);
        prop_assert!(!line.chars().any(moves_or_reorders));
        let back: String = serde_json::from_str(&line).unwrap();
        if text.len() <= TEXT_BYTES_MAX && !text.contains(TOKEN_PREFIX) {
            prop_assert_eq!(back, text);
        }
    }
}
