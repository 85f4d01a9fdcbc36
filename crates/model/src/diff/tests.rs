#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use crate::finding::codes;

const HEAD: &str = "---\napiVersion: meshgate.dev/v1alpha1\n";

fn compiled(documents: &[&str]) -> Snapshot {
    let text: String = documents.iter().map(|document| format!("{HEAD}{document}\n")).collect();
    let config = crate::parse("mesh.yaml", &text).unwrap_or_else(|f| panic!("{f:?}"));
    config.compile().unwrap_or_else(|f| panic!("{f:?}")).0
}

fn server(name: &str, spec: &str) -> String {
    format!("kind: Server\nmetadata: {{name: {name}}}\nspec: {{{spec}}}")
}

fn http(name: &str) -> String {
    server(name, "http: {url: 'http://127.0.0.1:9/mcp'}")
}

/// The changes as a person reads them.
fn told(before: &[&str], after: &[&str]) -> Vec<String> {
    let changes = diff(&compiled(before), &compiled(after));
    let field = |f: &FieldChange| {
        let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "?".to_owned());
        let restart = if f.at_restart { " at restart" } else { "" };
        format!(" {} {}->{}{restart}", f.path, show(&f.before), show(&f.after))
    };
    changes
        .iter()
        .map(|c| {
            format!(
                "{:?} {}/{}{}",
                c.how,
                c.kind,
                c.name,
                c.fields.iter().map(field).collect::<String>()
            )
        })
        .collect()
}

#[test]
fn two_equal_configurations_differ_in_nothing() {
    let documents = [http("a")];
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    assert_eq!(told(&documents, &documents), Vec::<String>::new());
}

#[test]
fn objects_and_their_fields_are_told_by_name() {
    let (a, b) = (http("a"), http("b"));
    let slow = server("a", "http: {url: 'http://127.0.0.1:10/mcp'}, deadline: 5s");
    let view = "kind: View\nmetadata: {name: v}\nspec: {servers: [{name: a, tools: {hide: [x]}}]}";
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {callBurst: 7, body: 1MiB}}";
    let changes = told(&[&a], &[&slow, &b, view, limits]);
    let expected = [
        "Changed Mesh/ limits.body 4MiB->1MiB at restart limits.callBurst 100->7 metadata.name default->m \
         trustDomain default.mesh->m.mesh at restart",
        "Changed Server/a deadline 1m->5s http.url http://127.0.0.1:9/mcp->http://127.0.0.1:10/mcp",
        "Added Server/b",
        "Added View/v",
    ];
    for line in expected {
        assert!(
            changes.iter().any(|told| told == line),
            "`{line}` is not in {changes:#?}"
        );
    }
    assert!(told(&[&a, &b], &[&a]).iter().any(|told| told == "Removed Server/b"));
}

#[test]
fn d36_a_secret_is_said_to_have_changed_and_never_shown() {
    let with = |key: &str| {
        let spec = format!(
            "stdio: {{command: x, args: [--api-key, {key}-arg, --token={key}-opt, /srv], env: {{API_KEY: {key}-env, PLAIN: {key}-plain}}}}"
        );
        server("s", &spec)
    };
    let remote = |key: &str| {
        let url = format!("https://example.com/{key}0123456789abcdef01234/mcp?key={key}-query");
        server(
            "r",
            &format!("http: {{url: '{url}', headers: {{Authorization: 'Bearer {key}-header'}}}}"),
        )
    };
    let (before, after) = (
        compiled(&[&with("canary1"), &remote("canary1")]),
        compiled(&[&with("canary2"), &remote("canary2")]),
    );
    let changes = diff(&before, &after);
    let paths: Vec<&str> = changes
        .iter()
        .flat_map(|c| &c.fields)
        .map(|f| f.path.as_str())
        .collect();
    for path in [
        "stdio.args",
        "stdio.env.API_KEY",
        "stdio.env.PLAIN",
        "http.url",
        "http.headers.authorization",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    let text = serde_json::to_string(&changes).unwrap() + &format!("{changes:?}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn a_shrink_is_more_than_thirty_percent_and_more_than_one_or_everything() {
    let names = |n: usize| -> Vec<String> { (0..n).map(|i| http(&format!("s{i}"))).collect() };
    let shrinks_from = |before: usize, after: usize| {
        let (before, after) = (names(before), names(after));
        let text = |names: &[String]| compiled(&names.iter().map(String::as_str).collect::<Vec<_>>());
        shrinks(&text(&before), &text(&after))
            .iter()
            .any(|s| s.what == "servers")
    };
    for (before, after, is) in [
        (10, 8, false),
        (10, 7, false),
        (10, 6, true),
        (2, 1, false),
        (3, 1, true),
        (1, 0, true),
        (0, 0, false),
        (3, 5, false),
    ] {
        assert_eq!(shrinks_from(before, after), is, "{before} to {after}");
    }
}

fn findings(started: &Snapshot, now: &Snapshot, wanted: &Snapshot, allow_shrink: bool) -> Vec<&'static str> {
    let running = Running {
        started,
        now,
        allow_shrink,
    };
    reload_findings(&"mesh.yaml".into(), running, wanted)
        .iter()
        .map(|f| f.code)
        .collect()
}

#[test]
fn r53_a_shrink_needs_an_allowance() {
    let (full, empty) = (compiled(&[&http("a"), &http("b")]), compiled(&[]));
    assert!(findings(&full, &full, &empty, false).contains(&codes::SHRINK));
    assert_eq!(findings(&full, &full, &empty, true), Vec::<&str>::new());
}

#[test]
fn a_reload_that_locks_everybody_out_needs_an_allowance() {
    let application = |views: &str| {
        format!(
            "kind: Application\nmetadata: {{name: app}}\nspec: {{tokens: [{{sha256: {}}}], views: {views}}}",
            "0f".repeat(32)
        )
    };
    let (open, shut) = (application("['*']"), application("[]"));
    let (open, shut) = (compiled(&[&http("a"), &open]), compiled(&[&http("a"), &shut]));
    assert_eq!(findings(&open, &open, &shut, false), [codes::LOCK_OUT]);
    assert_eq!(
        findings(&open, &shut, &shut, false),
        Vec::<&str>::new(),
        "nobody is locked out anew"
    );
}

#[test]
fn a_view_without_tokens_is_not_opened_on_a_listener_that_still_runs() {
    let gateway =
        |listener: &str| format!("kind: Gateway\nmetadata: {{name: g}}\nspec: {{listeners: [{{{listener}}}]}}");
    let application = format!(
        "kind: Application\nmetadata: {{name: app}}\nspec: {{tokens: [{{sha256: {}}}], views: ['*']}}",
        "0f".repeat(32)
    );
    let outside = gateway("address: '0.0.0.0:7300', hosts: [a.example], tls: {certificate: c.pem, key: k.pem}");
    let started = compiled(&[&http("a"), &outside, &application]);
    let view = "kind: View\nmetadata: {name: v}\nspec: {servers: [{name: a}], anonymous: true}";
    let wanted = compiled(&[&http("a"), &gateway("address: '127.0.0.1:7300'"), &application, view]);
    let found = findings(&started, &started, &wanted, true);
    assert!(
        found.contains(&codes::EXPOSED) && found.contains(&codes::RESTART),
        "{found:?}"
    );
}
