#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use clap::Parser;
use meshgate_model::{EnvValue, finding::codes};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: SidecarArgs,
}

fn typed(words: &[&str]) -> Result<Vec<TypedServer>, TypedError> {
    let line = ["sidecar", "--control", "127.0.0.1:7310"].iter().chain(words);
    Line::try_parse_from(line)
        .unwrap()
        .args
        .servers()
        .map(|typed| typed.servers)
}

/// The codes of the warnings about what was typed.
fn warned(words: &[&str]) -> Vec<&'static str> {
    let line = ["sidecar", "--control", "127.0.0.1:7310"].iter().chain(words);
    let typed = Line::try_parse_from(line).unwrap().args.servers().unwrap();
    typed.warnings.iter().map(|warning| warning.code).collect()
}

fn refused(words: &[&str]) -> bool {
    let line = ["sidecar", "--control", "127.0.0.1:7310"].iter().chain(words);
    Line::try_parse_from(line).is_err()
}

#[test]
fn a_command_is_typed_after_two_dashes_and_passed_as_it_is() {
    let words = [
        "--server",
        "documents",
        "--env",
        "TOKEN",
        "--env",
        "LEVEL=a=b",
        "--",
        "npx",
        "-y",
        "x@1.0.0",
        ";",
        "$(y)",
    ];
    let servers = typed(&words).unwrap();
    assert_eq!((&*servers[0].server, &*servers[0].version), ("documents", "v1"));
    let Reach::Stdio {
        command,
        args,
        env,
        cwd,
    } = &servers[0].reach
    else {
        panic!("{servers:?}")
    };
    assert_eq!((command.as_str(), cwd), ("npx", &None));
    assert_eq!(args, &["-y", "x@1.0.0", ";", "$(y)"]);
    let literal = ("LEVEL".to_owned(), EnvValue::Literal("a=b".into()));
    assert!(env.contains(&literal), "{env:?}");
    assert!(
        matches!(&env.iter().find(|(name, _)| name == "TOKEN").unwrap().1, EnvValue::Environment { name, .. } if name == "TOKEN")
    );
}

#[test]
fn an_address_is_typed_in_place_of_a_command() {
    let servers = typed(&[
        "--server",
        "documents",
        "--version",
        "v2",
        "--upstream",
        "http://127.0.0.1:9/mcp",
    ])
    .unwrap();
    assert_eq!(&*servers[0].version, "v2");
    assert!(matches!(&servers[0].reach, Reach::Http { url, .. } if url == "http://127.0.0.1:9/mcp"));
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    assert!(refused(&[]));
    assert!(refused(&[
        "--server",
        "a",
        "--upstream",
        "http://127.0.0.1:9",
        "--",
        "cat"
    ]));
    assert!(refused(&["--server", "a", "--env", "A"]));
    assert!(refused(&["--file", "mesh.yaml", "--", "cat"]));
    assert!(matches!(typed(&["--server", "a"]), Err(TypedError::Nothing(name)) if name == "a"));
}

#[test]
fn a_typed_line_is_read_by_the_rules_of_a_mesh_file() {
    let cases: [(&[&str], &str); 4] = [
        (&["--server", "Not a name", "--", "cat"], codes::NAME),
        (&["--server", "a", "--version", "v/1", "--", "cat"], codes::VERSION),
        (&["--server", "a", "--upstream", "ftp://example.com"], codes::URL),
        (&["--server", "a", "--", ""], codes::COMMAND),
    ];
    for (words, code) in cases {
        let Err(TypedError::Findings { findings, .. }) = typed(words) else {
            panic!("{words:?}")
        };
        let found = findings.iter().find(|finding| finding.code == code);
        let Some(found) = found else {
            panic!("{words:?}: {findings:?}")
        };
        assert_eq!(&*found.source, "command line", "{words:?}");
    }
}

#[test]
fn several_servers_of_one_host_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    let server = |name: &str, spec: &str| {
        format!("---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let text = [
        server("documents", "{sidecar: {}, stdio: {command: ./documents}}"),
        server(
            "projects",
            "{sidecar: {version: v2}, http: {url: 'http://127.0.0.1:9/mcp'}}",
        ),
        server("elsewhere", "{sidecar: {}}"),
        server("direct", "{http: {url: 'http://127.0.0.1:8/mcp'}}"),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let path = file.to_str().unwrap();
    let servers = typed(&["--file", path]).unwrap();
    let names: Vec<&str> = servers.iter().map(|server| &*server.server).collect();
    assert_eq!(names, ["documents", "projects"]);
    let own = directory.path().join("documents").display().to_string();
    assert!(
        matches!(&servers[0].reach, Reach::Stdio { command, .. } if command.ends_with(&own) || command.contains("documents"))
    );
    assert_eq!(typed(&["--file", path, "--server", "projects"]).unwrap().len(), 1);
    assert!(matches!(
        typed(&["--file", path, "--server", "direct"]),
        Err(TypedError::Nobody(..))
    ));
}

#[test]
fn a_server_that_can_be_called_past_its_sidecar_is_warned_of() {
    let upstream = |url: &str| warned(&["--server", "a", "--upstream", url]);
    assert_eq!(upstream("https://server.example/mcp"), [codes::BYPASS]);
    assert_eq!(upstream("http://192.0.2.1:9/mcp"), [codes::PLAIN_HTTP, codes::BYPASS]);
    for beside in [
        "http://127.0.0.1:9/mcp",
        "http://[::1]:9/mcp",
        "https://localhost/mcp",
        "unix:/run/a.sock",
    ] {
        assert!(upstream(beside).is_empty(), "{beside}");
    }
    assert!(warned(&["--server", "a", "--", "cat"]).is_empty());
}

#[test]
fn of_a_file_only_the_servers_that_are_started_here_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    let server = |name: &str| {
        format!(
            "---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: {name}}}\n\
             spec: {{sidecar: {{}}, http: {{url: 'https://{name}.example/mcp'}}}}\n"
        )
    };
    std::fs::write(&file, [server("one"), server("two")].concat()).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(warned(&["--file", path]), [codes::BYPASS, codes::BYPASS]);
    assert_eq!(warned(&["--file", path, "--server", "two"]), [codes::BYPASS]);
}
