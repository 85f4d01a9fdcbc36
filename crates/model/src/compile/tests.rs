#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::unpinned::package;
use crate::finding::codes;
use crate::{Finding, Snapshot, parse};

fn compile(text: &str) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
    parse("mesh.yaml", text).and_then(|config| config.compile())
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: meshgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn server(name: &str) -> String {
    document("Server", name, "{http: {url: 'http://127.0.0.1:1/mcp'}}")
}

#[test]
fn d38_an_empty_configuration_shows_nothing_and_admits_the_local_application_only() {
    let (snapshot, _) = compile("").unwrap();
    let view = snapshot.view_at("/mcp").unwrap();
    assert!(view.servers.is_empty() && !view.anonymous);
    assert!(snapshot.may_use("local", view));
    assert!(!snapshot.may_use("stranger", view));
    assert!(snapshot.application_by_token_digest(&[0; 32]).is_none());
}

#[test]
fn d38_every_empty_list_means_nobody() {
    let text = server("a")
        + &document("View", "default", "{servers: [{name: a, tools: {allow: []}}]}")
        + &document("Application", "app", "{tokens: [], views: []}")
        + &document(
            "Gateway",
            "edge",
            "{listeners: [{address: '127.0.0.1:0', hosts: [], origins: []}]}",
        );
    let (snapshot, _) = compile(&text).unwrap();
    let view = snapshot.view_at("/mcp").unwrap();
    assert!(!view.servers[0].tools.admits("anything"));
    assert!(!snapshot.may_use("app", view));
    assert!(
        !snapshot.may_use("local", view),
        "a configured application takes the local one's place"
    );
    let listener = &snapshot.gateway.listeners[0];
    assert_eq!(listener.hosts.as_deref(), Some(&[][..]));
    assert_eq!(listener.origins.as_deref(), Some(&[][..]));

    let none = server("a") + &document("Gateway", "edge", "{views: []}");
    assert!(compile(&none).unwrap().0.view_at("/mcp").is_none());
    let empty = server("a") + &document("View", "default", "{servers: []}");
    assert!(compile(&empty).unwrap().0.view_at("/mcp").unwrap().servers.is_empty());
    let nowhere = server("a") + &document("Gateway", "edge", "{listeners: []}");
    assert!(compile(&nowhere).is_err());
}

#[test]
fn an_application_named_local_keeps_the_local_token() {
    let text = server("a") + &document("Application", "local", "{tokens: [], views: ['*']}");
    let (mut snapshot, warnings) = compile(&text).unwrap();
    assert!(warnings.is_empty());
    assert!(snapshot.add_token("local", [7; 32]));
    assert_eq!(&*snapshot.application_by_token_digest(&[7; 32]).unwrap().name, "local");
}

#[test]
fn a_token_proves_one_application() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let text = server("a")
        + &document(
            "Application",
            "a",
            &format!("{{tokens: [{{sha256: {digest}}}], views: [default]}}"),
        )
        + &document("Application", "b", "{tokens: [{environment: B}], views: [default]}");
    let (mut snapshot, _) = compile(&text).unwrap();
    let known: [u8; 32] = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"test")
        .as_ref()
        .try_into()
        .unwrap();
    assert_eq!(&*snapshot.application_by_token_digest(&known).unwrap().name, "a");
    assert!(
        !snapshot.add_token("b", known),
        "the token of another application is not taken over"
    );
    assert!(snapshot.add_token("b", [1; 32]) && snapshot.add_token("b", [1; 32]));
    assert!(!snapshot.add_token("nobody", [2; 32]));
}

#[test]
fn a_filter_decides_on_the_servers_own_names() {
    let tools = "{allow: [search, read], hide: [read], rename: {search: find}}";
    let text = server("a")
        + &document(
            "View",
            "default",
            &format!("{{servers: [{{name: a, tools: {tools}}}]}}"),
        );
    let (snapshot, _) = compile(&text).unwrap();
    let filter = &snapshot.view_at("/mcp").unwrap().servers[0].tools;
    assert!(filter.admits("search") && !filter.admits("read") && !filter.admits("find") && !filter.admits("other"));
    assert_eq!((filter.renamed("search"), filter.renamed("x")), ("find", "x"));
}

#[test]
fn a_view_is_prefixed_exactly_when_it_has_several_servers_and_says_nothing_else() {
    let (one, _) = compile(&server("a")).unwrap();
    assert!(!one.views[0].is_merged() && one.views[0].naming == crate::Naming::Plain);
    let (two, _) = compile(&(server("b") + &server("a"))).unwrap();
    assert!(two.views[0].is_merged() && two.views[0].naming == crate::Naming::Prefixed);
    let order: Vec<&str> = two.views[0].servers.iter().map(|entry| &*entry.server.alias).collect();
    assert_eq!(order, ["a", "b"]);
}

#[test]
fn the_order_of_documents_changes_nothing() {
    let parts = [
        server("a"),
        server("b"),
        document("View", "x", "{servers: [{name: b}]}"),
        document("View", "w", "{servers: []}"),
    ];
    let forward = compile(&parts.concat()).unwrap().0;
    let backward = compile(&parts.iter().rev().cloned().collect::<String>()).unwrap().0;
    assert_eq!(
        format!("{:?}{:?}", forward.views, forward.servers),
        format!("{:?}{:?}", backward.views, backward.servers)
    );
}

#[test]
fn an_address_that_is_loopback_in_either_family_needs_no_tls() {
    for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let text = server("a") + &document("Gateway", "edge", &format!("{{listeners: [{{address: '{address}'}}]}}"));
        assert!(compile(&text).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
        let text = server("a") + &document("Gateway", "edge", &format!("{{listeners: [{{address: '{address}'}}]}}"));
        let findings = compile(&text).unwrap_err();
        assert!(
            findings.iter().any(|finding| finding.code == codes::LISTENER_TLS),
            "{address}"
        );
    }
}

#[test]
fn instructions_over_their_limit_are_refused() {
    let spec = |bytes: usize| format!("{{servers: [], instructions: {}}}", "x".repeat(bytes));
    let at_limit = server("a") + &document("View", "v", &spec(crate::limits::INSTRUCTIONS_BYTES));
    assert!(compile(&at_limit).is_ok());
    let over = server("a") + &document("View", "v", &spec(crate::limits::INSTRUCTIONS_BYTES + 1));
    assert_eq!(compile(&over).unwrap_err()[1].code, codes::INSTRUCTIONS);
}

#[test]
fn two_sources_are_checked_together() {
    let first = parse("a/mesh.yaml", &server("a")).unwrap();
    let second = parse(
        "b/mesh.yaml",
        &document("View", "v", "{servers: [{name: a}, {name: b}]}"),
    )
    .unwrap();
    let findings = first.and(second).compile().unwrap_err();
    assert_eq!(
        (&*findings[0].source, findings[0].code),
        ("b/mesh.yaml", codes::UNKNOWN_SERVER)
    );
}

#[test]
fn a_package_without_a_version_is_noticed() {
    let unpinned = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let command = words.next().unwrap();
        let args: Vec<String> = words.collect();
        package(&command, &args).map(|(_, package)| package.to_owned())
    };
    for (line, expected) in [
        ("npx -y @scope/server /srv", Some("@scope/server")),
        ("npx -y @scope/server@latest", Some("@scope/server@latest")),
        ("npx -y @scope/server@1.2.3 /srv", None),
        ("npx server@2 x", None),
        ("npx --package=server run", Some("server")),
        ("npx -p server@1.0.0 run", None),
        ("/usr/bin/npx ./local", None),
        ("npm exec server", Some("server")),
        ("pnpm dlx server", Some("server")),
        ("uvx mcp-server-git", Some("mcp-server-git")),
        ("uvx mcp-server-git==1.0", None),
        ("uvx mcp-server-git@latest", Some("mcp-server-git@latest")),
        ("uvx --from pkg==2.0 run", None),
        ("uvx --from pkg run", Some("pkg")),
        ("uvx --python 3.12 pkg@1.0", None),
        ("uvx --from git+https://example.com/x run", None),
        ("uv tool run pkg", Some("pkg")),
        ("pipx run pkg", Some("pkg")),
        ("python -m server", None),
        ("npx", None),
    ] {
        assert_eq!(unpinned(line).as_deref(), expected, "{line}");
    }
}

#[test]
fn servers_that_run_as_children_are_counted_at_the_limit_and_beside_it() {
    let children = |n: usize| {
        let servers: String = (0..n)
            .map(|i| document("Server", &format!("s{i}"), "{stdio: {command: /bin/true}}"))
            .collect();
        compile(&(document("Mesh", "mesh", "{limits: {children: 3}}") + &servers))
    };
    assert!(children(2).is_ok());
    assert!(children(3).is_ok());
    let findings = children(4).unwrap_err();
    assert!(
        findings
            .iter()
            .any(|f| f.code == codes::RANGE && f.message.contains("4 servers")),
        "{findings:?}"
    );
}

/// The findings of a server with this specification beside its reach.
fn of_server(more: &str) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
    compile(&document(
        "Server",
        "a",
        &format!("{{http: {{url: 'http://127.0.0.1:1/mcp'}}, {more}}}"),
    ))
}

fn path_and_code(result: Result<(Snapshot, Vec<Finding>), Vec<Finding>>) -> (String, &'static str) {
    let findings = result.unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    (findings[0].path.clone(), findings[0].code)
}

#[test]
fn d08_the_concurrency_of_a_server_holds_at_its_bounds_and_not_beyond() {
    for (field, inside, outside) in [
        ("max", ["1", "1000"], ["0", "1001"]),
        ("queue", ["0", "10000"], ["-1", "10001"]),
        ("queueTime", ["10ms", "1h"], ["9ms", "3600001ms"]),
    ] {
        for value in inside {
            assert!(
                of_server(&format!("concurrency: {{{field}: {value}}}")).is_ok(),
                "{field} {value}"
            );
        }
        for value in outside {
            let refused = of_server(&format!("concurrency: {{{field}: {value}}}"));
            let at = format!("spec.concurrency.{field}");
            assert_eq!(path_and_code(refused).0, at, "{value}");
        }
    }
    let (snapshot, _) = of_server("concurrency: {max: 3, queueTime: 1s}").unwrap();
    let concurrency = snapshot.servers["a"].concurrency;
    assert_eq!(
        (concurrency.max, concurrency.queue),
        (3, crate::Concurrency::default().queue)
    );
    assert_eq!(concurrency.queue_time.as_secs(), 1);
}

#[test]
fn a_tool_has_its_own_deadlines_and_inherits_what_it_does_not_say() {
    let (snapshot, _) =
        of_server("deadline: 2s, hardDeadline: 9s, tools: {slow: {deadline: 30s}, long: {hardDeadline: 1h}}").unwrap();
    let server = &snapshot.servers["a"];
    let seconds = |tool| {
        let deadlines = server.deadlines(tool);
        (deadlines.silence.as_secs(), deadlines.hard.as_secs())
    };
    assert_eq!(seconds(None), (2, 9));
    assert_eq!(seconds(Some("other")), (2, 9));
    assert_eq!(seconds(Some("slow")), (30, 30));
    assert_eq!(seconds(Some("long")), (2, 3600));
    for (wrong, at, code) in [
        ("{t: {deadline: 99ms}}", "spec.tools.t.deadline", codes::RANGE),
        ("{t: {hardDeadline: 25h}}", "spec.tools.t.hardDeadline", codes::RANGE),
        (
            "{t: {deadline: 5s, hardDeadline: 4s}}",
            "spec.tools.t.hardDeadline",
            codes::DEADLINES,
        ),
    ] {
        let refused = of_server(&format!("tools: {wrong}"));
        assert_eq!(path_and_code(refused), (at.to_owned(), code), "{wrong}");
    }
}

#[test]
fn http_and_sse_is_spoken_only_where_it_is_written() {
    let reach = |http: &str, more: &str| {
        compile(&document(
            "Server",
            "a",
            &format!("{{http: {{url: 'http://127.0.0.1:1/sse'{http}}}{more}}}"),
        ))
    };
    let (snapshot, _) = reach("", "").unwrap();
    assert!(matches!(snapshot.servers["a"].reach, crate::Reach::Http { .. }));
    let (snapshot, _) = reach(", transport: sse", "").unwrap();
    assert!(matches!(snapshot.servers["a"].reach, crate::Reach::Sse { .. }));
    let refused = reach(", transport: sse", ", era: modern");
    assert_eq!(
        path_and_code(refused),
        ("spec.http.transport".to_owned(), codes::TRANSPORT)
    );
}

#[test]
fn a128_a_variable_that_loads_foreign_code_is_told_by_the_check() {
    for name in ["LD_PRELOAD", "NODE_OPTIONS", "PYTHONSTARTUP", "PATH"] {
        let text = document(
            "Server",
            "a",
            &format!("{{stdio: {{command: server, env: {{{name}: x}}}}}}"),
        );
        let (_, warnings) = compile(&text).unwrap();
        assert_eq!((warnings.len(), warnings[0].code), (1, codes::LOADING), "{name}");
        assert_eq!(warnings[0].path, format!("spec.stdio.env.{name}"));
    }
}
