#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn alias() -> impl Strategy<Value = String> {
    "[a-z0-9-]{1,32}"
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9_.-]{1,128}", "[ab_]{1,6}", "[a_]{110,128}", "\\PC{0,80}"]
}

fn uri() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}://[a-z.-]{0,5}/[a-z.]{0,5}",
        "ui://[a-z.:@/-]{0,8}",
        "mesh\\+[a-z-]{0,3}:[a-z:]{0,5}",
        "\\PC{0,40}"
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn d11_different_tools_never_get_the_same_name(a in (alias(), name()), b in (alias(), name())) {
        prop_assert_eq!(exposed(&a.0, &a.1) == exposed(&b.0, &b.1), a == b);
    }

    #[test]
    fn a027_a_shown_name_is_at_most_64_bytes_and_always_the_same(alias in alias(), name in name()) {
        let shown = exposed(&alias, &name);
        prop_assert!(shown.len() <= EXPOSED_CHARS_MAX);
        let prefix = format!("{alias}__");
        prop_assert!(shown.starts_with(&prefix));
        prop_assert_eq!(&shown, &exposed(&alias, &name));
    }

    #[test]
    fn a_server_cannot_name_a_tool_like_the_cut_form_of_another(alias in alias(), long in "[a-z_]{64,128}") {
        let cut = exposed(&alias, &long);
        let forged = cut.strip_prefix(&format!("{alias}__")).unwrap();
        prop_assert_ne!(exposed(&alias, forged), cut);
    }

    #[test]
    fn d11_a_wrapped_uri_gives_back_its_alias_and_itself(alias in alias(), uri in uri()) {
        prop_assert_eq!(unwrap_uri(&wrap_uri(&alias, &uri)), Some((alias, uri)));
    }

    #[test]
    fn d11_different_uris_are_never_wrapped_alike(a in (alias(), uri()), b in (alias(), uri())) {
        prop_assert_eq!(wrap_uri(&a.0, &a.1) == wrap_uri(&b.0, &b.1), a == b);
    }

    #[test]
    fn what_is_unwrapped_was_wrapped_for_that_server_alone(uri in uri()) {
        if let Some((alias, own)) = unwrap_uri(&uri) {
            // A `ui://` URI behind the general wrapper comes from a template that begins with an expression.
            let general = format!("mesh+{alias}:{own}");
            prop_assert!(wrap_uri(&alias, &own) == uri || general == uri);
        }
    }

    #[test]
    fn an_expansion_of_a_wrapped_template_is_the_wrapped_expansion(alias in alias(), before in "(ui|file|a)://[a-z]{0,3}", value in "[a-z0-9%]{0,6}") {
        let wrapped = wrap_template(&alias, &format!("{before}/{{id}}"));
        prop_assert_eq!(wrapped.replace("{id}", &value), wrap_uri(&alias, &format!("{before}/{value}")));
    }
}

#[test]
fn a022_a_tool_with_the_separator_in_its_name_stays_apart_from_another_alias() {
    assert_eq!(exposed("a", "b__c"), "a__b__c");
    assert!(!valid_alias("a__b"));
    assert!(!valid_alias("a_b"));
    assert_eq!(exposed("a", "_x"), "a___x");
}

#[test]
fn an_alias_has_1_to_32_of_its_characters() {
    assert!(valid_alias("a") && valid_alias("0-9") && valid_alias(&"a".repeat(32)));
    for bad in ["", "A", "a.b", "a b", "ä", "a/b", "a:b", &"a".repeat(33)] {
        assert!(!valid_alias(bad), "{bad}");
    }
}

#[test]
fn a023_look_alike_and_invisible_characters_are_no_names() {
    for bad in [
        "d\u{435}lete",
        "ｄelete",
        "de\u{200b}lete",
        "delete ",
        " delete",
        "e\u{301}",
        "\u{e9}",
        "a\0",
        "",
        &"a".repeat(129),
    ] {
        assert!(!valid_name(bad), "{bad:?}");
    }
    assert!(valid_name("Tool") && valid_name("tool") && valid_name("a.b_c-D9"));
    assert_ne!(exposed("x", "Tool"), exposed("x", "tool"));
}

#[test]
fn a027_names_of_128_characters_that_differ_at_the_end_stay_apart() {
    let alias = "a".repeat(32);
    let mut shown = HashMap::new();
    for index in 0..10_000 {
        let name = format!("{}{index:05}", "n".repeat(123));
        assert_eq!(shown.insert(exposed(&alias, &name), name), None);
    }
}

#[test]
fn the_form_of_a_cut_name_never_changes() {
    assert_eq!(exposed("docs", &"n".repeat(57)), format!("docs__{}", "n".repeat(57)));
    assert_eq!(
        exposed("docs", &"n".repeat(58)),
        "docs__nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn_juaperrw32ap5bbtqgl7"
    );
}

#[test]
fn a_ui_uri_keeps_its_scheme_and_cannot_forge_another_alias() {
    assert_eq!(wrap_uri("docs", "ui://app/page.html"), "ui://docs.app/page.html");
    assert_eq!(
        wrap_uri("evil", "ui://docs.app/page.html"),
        "ui://evil.docs.app/page.html"
    );
    assert_eq!(
        unwrap_uri("ui://evil.docs.app/x"),
        Some(("evil".into(), "ui://docs.app/x".into()))
    );
    assert_eq!(wrap_uri("docs", "ui:///x"), "ui://docs./x");
    assert_eq!(unwrap_uri("ui://app/page"), None);
    assert_eq!(unwrap_uri("file:///x"), None);
    assert_eq!(unwrap_uri("mesh+DOCS:file:///x"), None);
}
