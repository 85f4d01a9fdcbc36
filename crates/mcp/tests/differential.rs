//! The scan against `serde_json`, a reader with no code in common.
//!
//! What the scan accepts, `serde_json` accepts, and both find the same values at every member. What `serde_json`
//! accepts and our own stricter rules allow, the scan accepts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use meshgate_mcp::{Kind, Object, Rules, Value, elements, json, lookup, scan};
use proptest::prelude::*;
use serde_json::Value as Tree;

/// Compares a value with its tree, all the way down.
fn same(src: &[u8], value: &Value, tree: &Tree) {
    match (value.kind, tree) {
        (Kind::Null, Tree::Null) => {}
        (Kind::True, Tree::Bool(true)) | (Kind::False, Tree::Bool(false)) => {}
        (Kind::Number, Tree::Number(number)) => {
            let reread: Tree = serde_json::from_slice(value.raw(src)).unwrap();
            assert_eq!(reread, Tree::Number(number.clone()));
            assert_eq!(value.u64(src).is_some(), number.is_u64() && value.raw(src) != b"-0");
        }
        (Kind::String, Tree::String(text)) => assert_eq!(value.str(src).unwrap(), text.as_str()),
        (Kind::Array, Tree::Array(items)) => {
            let found: Vec<_> = elements(src, value.span).collect();
            assert_eq!(found.len(), items.len());
            found.iter().zip(items).for_each(|(value, tree)| same(src, value, tree));
        }
        (Kind::Object, Tree::Object(map)) => {
            let object = Object::read(src, value.span).unwrap();
            same_members(src, &object, map);
        }
        (kind, tree) => panic!("{kind:?} is not {tree}"),
    }
}

fn same_members(src: &[u8], object: &Object, map: &serde_json::Map<String, Tree>) {
    for (key, tree) in map {
        let value = object.get(src, key).unwrap_or_else(|| panic!("`{key}` is missing"));
        same(src, value, tree);
        assert_eq!(lookup(src, object.span, &[key]).as_ref(), Some(value));
    }
    assert!(object.members.iter().all(|member| map.contains_key(&*member.name(src))));
}

/// A JSON text of any shape, with white space, escapes, long numbers and repeated members.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
        string_text(),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            (space(), prop::collection::vec(inner.clone(), 0..8))
                .prop_map(|(space, items)| format!("[{space}{}]", items.join(&format!("{space},")))),
            (space(), prop::collection::vec((string_text(), inner), 0..8)).prop_map(|(space, members)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("{key}{space}:{value}"))
                    .collect();
                format!("{{{space}{}{space}}}", members.join(","))
            }),
        ]
    })
}

fn space() -> impl Strategy<Value = String> {
    "[ \\t\\r\\n]{0,2}"
}

fn string_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(|text| format!("\"{text}\"")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "(\\\\u00[0-7][0-9a-fA-F]|\\\\ud83d\\\\ude0[0-9]|\\\\n|\\\\/|[a-d]| |é|😀){0,6}"
            .prop_map(|text| format!("\"{text}\"")),
        "(Name|name|uri|_meta|arguments|params|argumentſ)".prop_map(|text| format!("\"{text}\"")),
    ]
}

fn message(params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{{\"k\":{params}}}}}")
}

/// Bytes near valid JSON: a valid text with a few bytes changed, taken out or put in.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\":,\\ue0.-+ \n/tfn19".to_vec())];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, byte), 0..4);
    (json_text(), edits).prop_map(|(text, edits)| {
        let mut bytes = message(&text).into_bytes();
        for (index, edit, byte) in edits {
            let at = index.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// What `serde_json` says about the grammar alone, without limits of depth or number size.
fn grammar(src: &[u8]) -> bool {
    std::str::from_utf8(src).is_ok_and(|src| serde_json::from_str::<serde::de::IgnoredAny>(src).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_scan_accepts_serde_json_reads_the_same(text in json_text()) {
        let src = message(&text).into_bytes();
        let rules = Rules { duplicate_arguments: true, ..Rules::CLIENT };
        let server = scan(&src, &Rules::SERVER).unwrap();
        let tree: Tree = serde_json::from_slice(&src).unwrap();
        same_members(&src, &server.root, tree.as_object().unwrap());
        same_members(&src, &server.body.unwrap(), tree["params"].as_object().unwrap());
        if let Ok(client) = scan(&src, &rules) {
            same_members(&src, &client.root, tree.as_object().unwrap());
        }
    }

    #[test]
    fn what_serde_json_prints_the_scan_accepts(text in json_text()) {
        let tree: Tree = serde_json::from_str(&text).unwrap();
        let src = message(&tree.to_string()).into_bytes();
        let client = scan(&src, &Rules::CLIENT).unwrap();
        let tree: Tree = serde_json::from_slice(&src).unwrap();
        same_members(&src, &client.root, tree.as_object().unwrap());
    }

    #[test]
    fn the_grammar_is_that_of_serde_json(src in mutated()) {
        prop_assert_eq!(json::valid(&src, usize::MAX), grammar(&src));
        if let Ok(client) = scan(&src, &Rules::CLIENT) {
            prop_assert!(scan(&src, &Rules::SERVER).is_ok());
            // A number that no double can hold is text to the scan and no tree to serde_json.
            match serde_json::from_slice::<Tree>(&src) {
                Ok(tree) => same_members(&src, &client.root, tree.as_object().unwrap()),
                Err(error) => prop_assert!(error.to_string().starts_with("number out of range"), "{}", error),
            }
        }
    }

    #[test]
    fn reading_bytes_that_were_never_scanned_is_safe(src in prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..80)],
                                                     start in 0..100u32, end in 0..200u32) {
        let span = meshgate_mcp::Span { start, end };
        if let Some(object) = Object::read(&src, span) {
            for member in &object.members {
                let _ = (member.name(&src), member.value.str(&src), member.value.raw(&src));
            }
        }
        let _ = elements(&src, span).count();
        let _ = lookup(&src, span, &["params", "k"]);
    }

    #[test]
    fn quoting_is_undone_by_unquoting_and_by_serde_json(text in any::<String>()) {
        let quoted = json::quote(&text);
        prop_assert_eq!(&serde_json::from_slice::<String>(&quoted).unwrap(), &text);
        prop_assert_eq!(json::unquote(&quoted[1..quoted.len() - 1]), text);
    }

    #[test]
    fn unquoting_is_that_of_serde_json(text in string_text()) {
        let expected: String = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(json::unquote(&text.as_bytes()[1..text.len() - 1]), expected);
    }
}
