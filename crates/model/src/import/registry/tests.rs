#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value as Json, json};

use super::*;
use crate::snapshot::Reach;
use crate::{Snapshot, parse};

fn listing(servers: &[Json]) -> Page {
    let servers: Vec<Json> = servers.iter().map(|server| json!({ "server": server })).collect();
    page(
        json!({ "servers": servers, "metadata": { "count": 1 } })
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

fn server(package: &Json) -> Json {
    json!({ "name": "io.example/weather", "description": "Weather", "version": "1.0.0", "packages": [package] })
}

fn npm(more: Json) -> Json {
    let mut package = json!({
        "registryType": "npm", "identifier": "@example/weather", "version": "1.2.3", "transport": { "type": "stdio" }
    });
    package
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    package
}

/// What an operator gets who accepts everything: the proposals without their mark.
fn accepted(proposals: &Proposals) -> Snapshot {
    let lines: Vec<&str> = proposals
        .text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .collect();
    parse("mesh.yaml", &lines.join("\n")).unwrap().compile().unwrap().0
}

fn argv(snapshot: &Snapshot, name: &str) -> Vec<String> {
    match &snapshot.servers[name].reach {
        Reach::Stdio { command, args, .. } => [command].into_iter().chain(args).cloned().collect(),
        Reach::Http { url, .. } | Reach::Sse { url, .. } => vec![url.clone()],
        Reach::Sidecar { .. } => Vec::new(),
    }
}

fn proposed(package: Json) -> Proposals {
    proposals("registry.example.com", &[listing(&[server(&package)])])
}

#[test]
fn nothing_in_a_file_of_proposals_runs() {
    let proposals = proposed(npm(json!({})));
    assert_eq!(proposals.count, 1);
    assert!(
        proposals
            .text
            .lines()
            .all(|line| line.is_empty() || line.starts_with('#')),
        "{}",
        proposals.text
    );
    let (snapshot, _) = parse("p.yaml", &proposals.text).unwrap().compile().unwrap();
    assert!(snapshot.servers.is_empty());
}

#[test]
fn each_kind_of_package_has_one_runner_and_an_exact_version() {
    let package = |kind: &str, id: &str, version: Option<&str>| {
        let mut package = json!({ "registryType": kind, "identifier": id, "transport": { "type": "stdio" } });
        if let Some(version) = version {
            package["version"] = json!(version);
        }
        package
    };
    let digest = format!("ghcr.io/example/weather@sha256:{}", "a".repeat(64));
    for (given, words) in [
        (
            package("npm", "@example/weather", Some("1.2.3")),
            vec!["npx", "-y", "@example/weather@1.2.3"],
        ),
        (
            package("pypi", "weather-mcp", Some("2.0.0rc1")),
            vec!["uvx", "weather-mcp==2.0.0rc1"],
        ),
        (
            package("nuget", "Example.Weather", Some("0.1.0")),
            vec!["dnx", "Example.Weather@0.1.0", "--yes", "--"],
        ),
        (
            package("oci", "ghcr.io/example/weather:1.0", None),
            vec!["docker", "run", "-i", "--rm", "ghcr.io/example/weather:1.0"],
        ),
        (
            package("oci", "example/weather", Some("1.0")),
            vec!["docker", "run", "-i", "--rm", "example/weather:1.0"],
        ),
        (
            package("oci", &digest, None),
            vec!["docker", "run", "-i", "--rm", &digest],
        ),
    ] {
        assert_eq!(argv(&accepted(&proposed(given)), "weather"), words);
    }
    for refused in [
        package("npm", "@example/weather", None),
        package("npm", "@example/weather", Some("latest")),
        package("npm", "@example/weather", Some("^1.2.3")),
        package("npm", "@example/weather", Some("1.x")),
        package("npm", "--call=rm", Some("1.0.0")),
        package("npm", "https://evil.example/x.tgz", Some("1.0.0")),
        package("pypi", "git+https://evil.example/x", Some("1.0.0")),
        package("oci", "example/weather:latest", None),
        package("oci", "example/weather", None),
        package("oci", "--privileged", Some("1.0")),
        package("mcpb", "https://example.com/x.mcpb", Some("1.0.0")),
        package("cargo", "weather", Some("1.0.0")),
    ] {
        let proposals = proposed(refused.clone());
        assert_eq!(
            (proposals.count, proposals.findings.len()),
            (0, 1),
            "{refused}: {:?}",
            proposals.findings
        );
        assert_eq!(proposals.findings[0].code, codes::PROPOSAL);
    }
    let spoken_to = proposed(npm(
        json!({ "transport": { "type": "streamable-http", "url": "http://localhost:{port}" } }),
    ));
    assert_eq!(spoken_to.count, 0);
}

#[test]
fn an_entry_sets_no_launch_field() {
    // Everything an entry can say about the runner, and variables that change what a program loads.
    let hostile = npm(json!({
        "runtimeHint": "/bin/sh",
        "runtimeArguments": [
            { "type": "positional", "value": "-c" },
            { "type": "named", "name": "--registry", "value": "https://evil.example" },
            { "type": "named", "name": "--volume", "value": "/:/host" }
        ],
        "environmentVariables": [
            { "name": "NODE_OPTIONS", "value": "--require /tmp/x" }, { "name": "LD_PRELOAD", "value": "/tmp/x.so" },
            { "name": "PATH", "value": "/tmp" }, { "name": "npm_config_registry", "value": "https://evil.example" },
            { "name": "A=B", "value": "x" }, { "name": "MODE", "value": "fast" }
        ],
    }));
    let proposals = proposed(hostile);
    let snapshot = accepted(&proposals);
    assert_eq!(argv(&snapshot, "weather"), ["npx", "-y", "@example/weather@1.2.3"]);
    let Reach::Stdio { env, cwd, .. } = &snapshot.servers["weather"].reach else {
        panic!()
    };
    assert_eq!(env.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["MODE"]);
    assert!(cwd.is_none());
    let left_out: Vec<&str> = proposals.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(left_out, [codes::PROPOSAL_FIELD; 9]);
    assert!(
        proposals.text.contains("# not in this proposal: the runner `/bin/sh`"),
        "{}",
        proposals.text
    );
}

#[test]
fn text_of_an_entry_cannot_leave_its_comment_or_its_value() {
    let mut hostile = server(&npm(json!({
        "packageArguments": [{ "type": "positional", "value": "\"]\n---\nkind: Gateway" }]
    })));
    assert_eq!(
        proposals("r", &[listing(&[hostile.clone()])]).count,
        0,
        "control characters are refused"
    );
    hostile = server(&npm(json!({
        "packageArguments": [{ "type": "positional", "value": "\"], env: {A: b} #" }],
        "environmentVariables": [{ "name": "X", "value": "#: y", "description": "a\u{2028}#: kind: Gateway\r\n#: spec: {}" }]
    })));
    hostile["description"] = json!("evil\n#: apiVersion: meshgate.dev/v1alpha1\n\u{85}#: kind: Gateway\u{1b}[2J");
    let proposals = proposals("r", &[listing(&[hostile])]);
    assert!(!proposals.text.contains('\u{1b}') && !proposals.text.contains('\u{2028}'));
    let snapshot = accepted(&proposals);
    assert_eq!(
        argv(&snapshot, "weather"),
        ["npx", "-y", "@example/weather@1.2.3", "\"], env: {A: b} #"]
    );
    assert_eq!(snapshot.gateway.listeners.len(), 1, "the default one");
}

#[test]
fn secrets_are_references_and_what_is_asked_for_is_said() {
    let proposals = proposed(npm(json!({
        "packageArguments": [
            { "type": "named", "name": "--region", "default": "eu", "choices": ["eu", "us"], "description": "Region" },
            { "type": "named", "name": "--flag" },
            { "type": "positional", "valueHint": "docs_dir", "isRequired": true, "description": "Where documents are" },
            { "type": "named", "name": "--mount", "value": "src={from},dst=/docs", "variables": { "from": { "isRequired": true } } },
            { "type": "positional", "valueHint": "extra", "description": "More" }
        ],
        "environmentVariables": [
            { "name": "WEATHER_KEY", "isSecret": true, "isRequired": true, "description": "A key" },
            { "name": "LEVEL", "default": "info" }, { "name": "UNITS", "isRequired": true }, { "name": "PROXY", "description": "A proxy" }
        ]
    })));
    let snapshot = accepted(&proposals);
    assert_eq!(
        argv(&snapshot, "weather")[3..],
        [
            "--region=eu",
            "--flag",
            "FILL-IN-docs-dir",
            "--mount=src=FILL-IN-from,dst=/docs"
        ]
    );
    for line in [
        "WEATHER_KEY: {fromEnvironment: WEATHER_KEY}",
        "# set the variable `WEATHER_KEY` for the variable `WEATHER_KEY`: A key",
        "# fill in `FILL-IN-docs-dir`: Where documents are",
        "LEVEL: \"info\"",
        "UNITS: \"FILL-IN-units\"",
        "# optional: the variable `PROXY`: A proxy",
        "# `--region` has its default: Region (one of eu, us)",
    ] {
        assert!(proposals.text.contains(line), "{line}\n{}", proposals.text);
    }
    let secret = proposed(npm(
        json!({ "packageArguments": [{ "type": "named", "name": "--key", "isSecret": true }] }),
    ));
    assert_eq!(secret.count, 0, "{}", secret.text);
}

#[test]
fn an_endpoint_is_https_with_its_secrets_as_references() {
    let remote = |url: &str, more: Json| {
        let mut remote = json!({ "type": "streamable-http", "url": url });
        remote
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let entry = json!({ "name": "io.example/api", "version": "1", "remotes": [remote] });
        proposals("r", &[listing(&[entry])])
    };
    let good = remote(
        "https://{tenant}.example.com/{region}/mcp",
        json!({
            "variables": { "tenant": { "isRequired": true }, "region": { "default": "eu" } },
            "headers": [
                { "name": "Authorization", "value": "Bearer {token}", "variables": { "token": { "isSecret": true } } },
                { "name": "X-Key", "isSecret": true, "isRequired": true },
                { "name": "X-Plan", "value": "free" },
                { "name": "Host", "value": "evil" }
            ]
        }),
    );
    assert_eq!(
        argv(&accepted(&good), "api"),
        ["https://FILL-IN-tenant.example.com/eu/mcp"]
    );
    for line in [
        "Authorization: {fromEnvironment: API_TOKEN, prefix: \"Bearer \"}",
        "X-Key: {fromEnvironment: API_X_KEY}",
        "X-Plan: \"free\"",
    ] {
        assert!(good.text.contains(line), "{line}\n{}", good.text);
    }
    assert!(!good.text.contains("evil"));
    let secret = json!({ "variables": { "key": { "isSecret": true } } });
    assert_eq!(remote("https://example.com/{key}/mcp", secret).count, 0);
    assert_eq!(remote("http://example.com/mcp", json!({})).count, 0);
    assert_eq!(remote("https://example.com/sse", json!({ "type": "sse" })).count, 0);
    assert_eq!(remote("https://user:pw@example.com/mcp", json!({})).count, 0);
}

#[test]
fn every_way_to_have_a_server_is_proposed_under_a_name_of_its_own() {
    let package = npm(json!({}));
    let mut first = server(&package);
    first["remotes"] = json!([{ "type": "streamable-http", "url": "https://weather.example.com/mcp" }]);
    let mut other = server(&package);
    other["name"] = json!("com.other/weather");
    other["packages"][0]["identifier"] = json!("other-weather");
    let proposals = proposals("r", &[listing(&[first]), listing(&[other])]);
    let names: Vec<String> = accepted(&proposals).servers.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["weather", "weather-2", "weather-3"]);
    assert_eq!(proposals.text.matches("another way to have the same server").count(), 1);
}

#[test]
fn what_the_registry_says_about_an_entry_is_heard() {
    let entry = |status: &str| {
        let entry = json!({
            "server": server(&npm(json!({}))),
            "_meta": { "io.modelcontextprotocol.registry/official": { "status": status } }
        });
        proposals("r", &[page(entry.to_string().as_bytes()).unwrap()])
    };
    assert_eq!(entry("active").count, 1);
    assert!(entry("deprecated").text.contains("# its registry calls it deprecated"));
    assert_eq!((entry("deleted").count, entry("deleted").findings.len()), (0, 1));
    let empty = proposals("r", &[listing(&[json!({ "name": "a/b", "version": "1" })])]);
    assert_eq!((empty.count, empty.findings.len()), (0, 1));
}

#[test]
fn an_answer_that_is_no_page_is_refused() {
    for answer in [
        "",
        "[]",
        "{\"servers\": 1}",
        "{\"error\": \"no\"}",
        "{\"servers\": [{\"server\": {}}]}",
    ] {
        assert!(page(answer.as_bytes()).is_err(), "{answer}");
    }
    let cursor = |length: usize| {
        page(
            json!({ "servers": [], "metadata": { "nextCursor": "c".repeat(length) } })
                .to_string()
                .as_bytes(),
        )
    };
    assert_eq!(cursor(0).unwrap().next, None);
    assert!(cursor(1023).is_ok() && cursor(1024).is_ok() && cursor(1025).is_err());
    let deep = "[".repeat(200_000);
    assert!(page(deep.as_bytes()).is_err());
}
