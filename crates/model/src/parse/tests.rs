#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_makes_reading_panic_and_every_span_is_in_the_text(text in "(apiVersion: meshgate.dev/v1alpha1\nkind: (Server|View|Mesh)\n)?[ -~\n\té{}\\[\\]:&*,\"-]{0,120}") {
        let outcome = parse("x.yaml", &text).and_then(|config| config.compile());
        let findings = match &outcome { Ok((_, findings)) | Err(findings) => findings };
        for finding in findings {
            if let Some(span) = &finding.span {
                prop_assert!(text.get(span.clone()).is_some(), "{:?} of {:?}", span, text);
            }
        }
    }

    #[test]
    fn no_mcp_json_makes_reading_panic(text in "\\{\"mcpServers\": ?\\{[ -~\n\t]{0,80}") {
        let _ = parse("mcp.json", &text).and_then(|config| config.compile());
        let _ = Config::from_mcp_json("mcp.json", &text);
    }
}

#[test]
fn a_file_over_its_limit_is_not_read() {
    let findings = parse("x.yaml", &" ".repeat(limits::SOURCE_BYTES + 1)).unwrap_err();
    assert_eq!(findings[0].code, codes::TOO_LARGE);
    assert!(parse("x.yaml", &" ".repeat(limits::SOURCE_BYTES)).is_ok());
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from(
        "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec:\n  stdio:\n    command: x\n    args:\n",
    );
    text.push_str("      - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let again = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("      - &a{level} [{again}]\n"));
    }
    assert!(parse("x.yaml", &text).is_err());
}

#[test]
fn a_path_reads_as_it_is_written() {
    assert_eq!(
        tree::written(tree::steps!["spec", "listeners", 0, "address"]),
        "spec.listeners[0].address"
    );
    assert_eq!(
        tree::written(tree::steps!["mcpServers", "a.b", "url"]),
        "mcpServers[\"a.b\"].url"
    );
}

#[test]
fn a_relative_path_starts_at_the_directory_of_its_file() {
    let text = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec: {stdio: {command: bin/a, cwd: /srv}}\n";
    let reach = |source: &str| {
        parse(source, text).unwrap().compile().unwrap().0.servers["a"]
            .reach
            .clone()
    };
    let stdio = |command: &str| crate::Reach::Stdio {
        command: command.into(),
        args: vec![],
        env: vec![],
        cwd: Some("/srv".into()),
    };
    assert_eq!(reach("/etc/mesh/mesh.yaml"), stdio("/etc/mesh/bin/a"));
    assert_eq!(reach("mesh.yaml"), stdio("bin/a"));
}

#[test]
fn a_document_of_comments_is_none() {
    let server = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec: {stdio: {command: x}}\n";
    for text in [
        format!("# head\n---\n{server}"),
        format!("---\n# head\n---\n{server}---\n# tail\n---\n"),
        format!(
            "{server}---\n# between\n---\n# more\n---\n{}",
            server.replace("name: a", "name: b")
        ),
        "# nothing\n".to_owned(),
        "---\n---\n".to_owned(),
    ] {
        let names = parse("x.yaml", &text).map(|config| config.documents.len());
        assert_eq!(names.ok(), Some(text.matches("kind: Server").count()), "{text}");
    }
    assert!(parse("x.yaml", "~\n").is_err(), "a null that is written is no document");
}

#[test]
fn a_document_that_cannot_be_read_hides_no_mistake_of_another() {
    let text = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a/b}\nspec: {stdio: {command: x}}\n---\n\
                apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: b}\nspec: {htpt: {}}\n---\n\
                apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: v}\nspec: {servers: [{name: b}]}\n";
    let found = crate::parse("mesh.yaml", text).unwrap_err();
    let codes: Vec<&str> = found.iter().map(|finding| finding.code).collect();
    // That the view names a server which could not be read is no mistake of the view.
    assert_eq!(codes, [codes::NAME, codes::ALIAS, codes::UNKNOWN_FIELD], "{found:?}");
}
