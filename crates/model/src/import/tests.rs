#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::snapshot::{EnvValue, Reach};
use crate::{Snapshot, parse};

fn import_one(text: &str, inline_values: bool) -> Imported {
    let source = Source {
        name: "mcp.json",
        directory: Path::new("/srv/project"),
        text,
    };
    let around = Surroundings::NONE;
    import(&[source], &Options { inline_values, around })
}

/// What is written must be good, whatever the entry says.
fn compiled(imported: &Imported) -> Snapshot {
    match parse("/srv/mesh.yaml", &imported.text).and_then(Config::compile) {
        Ok((snapshot, _)) => snapshot,
        Err(found) => panic!("{}\n{}", found[0], imported.text),
    }
}

/// Texts that YAML, shells and terminals treat in ways of their own.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,24}",
        "(true|null|~|no|012|0x1f|1e3|\\.inf|-|\\?|&a|\\*a|!!str x|# x|: x|x: y|- x|\\{a: b\\}|\\[a\\]|%YAML|---|\\.\\.\\.)",
        "[\\t\\n\\r\u{85}\u{a0}\u{2028}\u{feff}\u{202e}\u{1b}é\u{10ffff}'\"\\\\]{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_an_import_panic_or_write_a_bad_file(text in "(\\{\"mcpServers\": ?\\{|\\[mcp_servers\\.a\\]\n|mcpServers:\n)[ -~\n\t]{0,80}") {
        compiled(&import_one(&text, false));
    }

    #[test]
    fn what_an_entry_says_arrives_as_it_was(
        command in "[a-z]{1,8}", args in prop::collection::vec(text(), 0..4), name in "[A-Z_]{1,8}", value in text()
    ) {
        prop_assume!(args.iter().chain([&value]).all(|text| !text.contains('$')));
        // The reader takes a plain null for nothing; here it is a text.
        prop_assume!(!["null", "~"].contains(&value.as_str()));
        let file = json!({ "mcpServers": { "one": { "command": command, "args": args, "env": { name.clone(): value } } } });
        let imported = import_one(&file.to_string(), true);
        prop_assert_eq!(imported.servers, 1, "{:?}", imported.findings);
        match &compiled(&imported).servers["one"].reach {
            Reach::Stdio { command: read, args: words, env, .. } => {
                prop_assert_eq!(read, &command);
                prop_assert_eq!(words, &args);
                prop_assert_eq!(env, &[(name, EnvValue::Literal(value.as_str().into()))]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn d36_a_value_named_like_a_secret_is_in_no_import(value in "[!-~]{6,40}") {
        prop_assume!(!value.contains("${") && !value.starts_with('$'));
        let file = json!({ "mcpServers": {
            "a": { "command": "x", "env": { "API_TOKEN": value } },
            "b": { "url": "https://b.example/mcp", "headers": { "Authorization": format!("Bearer {value}") } }
        } });
        let imported = import_one(&file.to_string(), false);
        let escaped = Json::from(value.as_str()).to_string();
        let said: String = imported.findings.iter().map(ToString::to_string).collect();
        // Very short ones occur in our own words.
        let known = "Written by meshgate import from mcp.json API_TOKEN Authorization".contains(&value);
        prop_assert!(known || !imported.text.contains(escaped.trim_matches('"')), "{}", imported.text);
        prop_assert!(known || !said.contains(&value), "{said}");
        compiled(&imported);
    }
}
