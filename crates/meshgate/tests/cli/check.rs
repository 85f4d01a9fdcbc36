//! `check`, `schema`, `completions`, and a command line that is wrong.

use super::{Place, away_mesh};

#[test]
fn a_good_file_is_called_good() {
    let place = Place::new();
    place.file("mesh.yaml", &away_mesh());
    let ended = place.run(&["check", "mesh.yaml"]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(
        ended.out.contains("`mesh.yaml` is good: 1 server(s), 1 view(s)"),
        "{}",
        ended.out
    );
}

#[test]
fn a_bad_file_shows_the_line_the_rule_and_the_remedy() {
    let place = Place::new();
    place.file("mesh.yaml", &away_mesh().replace("http: {url", "htp: {url"));
    let ended = place.run(&["check", "mesh.yaml"]);
    assert_eq!(ended.code, 1);
    for part in ["MG0003", "mesh.yaml:17:3", "htp:", "1 error"] {
        assert!(ended.out.contains(part), "`{part}` is missing in\n{}", ended.out);
    }
    assert!(!ended.out.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn every_error_is_found_at_once_and_programs_get_json() {
    let place = Place::new();
    let twice = away_mesh()
        .replace("http: {url", "htp: {url")
        .replace("listeners:", "listenres:");
    place.file("mesh.yaml", &twice);
    let ended = place.run(&["check", "mesh.yaml", "-o", "json"]);
    assert_eq!(ended.code, 1);
    let found: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let found = found.as_array().unwrap();
    assert!(found.len() >= 2, "{found:?}");
    assert!(
        found
            .iter()
            .all(|f| f["code"].is_string() && f["line"].is_u64() && f["severity"] == "error"),
        "{found:?}"
    );
}

#[test]
fn an_mcp_json_is_checked_too() {
    let place = Place::new();
    place.file(
        "mcp.json",
        r#"{"mcpServers":{"files":{"command":"npx","args":["-y","some-server@1.2.3"]}}}"#,
    );
    assert_eq!(place.run(&["check", "mcp.json"]).code, 0);
    place.file("bad.json", r#"{"mcpServers":{"files":{"args":[]}}}"#);
    assert_eq!(place.run(&["check", "bad.json"]).code, 1);
}

#[test]
fn what_is_no_configuration_never_crashes_the_check() {
    let place = Place::new();
    let deep = "[".repeat(100_000);
    let files: [(&str, &[u8]); 8] = [
        ("empty", b""),
        ("binary", b"\x00\x01\xff\xfe"),
        ("list", b"[1, 2]"),
        ("deep", deep.as_bytes()),
        ("alias", b"a: &a [*a, *a]\nb: &b [*a, *a, *b]"),
        ("dashes", b"---\n---\n---\n"),
        ("bom", b"\xef\xbb\xbfkind: Mesh"),
        ("tab", b"\tkind: Mesh"),
    ];
    for (name, bytes) in files {
        std::fs::write(place.path().join(name), bytes).unwrap();
        let ended = place.run(&["check", name]);
        let allowed = if matches!(name, "empty" | "dashes") {
            0..=1
        } else {
            1..=1
        };
        assert!(
            allowed.contains(&ended.code) || ended.code == 64,
            "{name}: {} {}{}",
            ended.code,
            ended.out,
            ended.err
        );
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
    }
    let ended = place.run(&["check", "missing.yaml"]);
    assert!(
        ended.code == 64 && ended.err.contains("`missing.yaml` cannot be read"),
        "{}",
        ended.err
    );
}

#[test]
fn the_schema_is_json_and_names_every_kind() {
    let ended = Place::new().run(&["schema"]);
    assert_eq!(ended.code, 0);
    serde_json::from_str::<serde_json::Value>(&ended.out).unwrap();
    for kind in meshgate_model::kinds::KINDS {
        assert!(ended.out.contains(&format!("\"{kind}\"")), "{kind} is missing");
    }
}

#[test]
fn shells_get_completions_and_people_get_exit_codes() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.run(&["completions", shell]).out.contains("meshgate"));
    }
    let help = place.run(&["--help"]).out;
    assert!(help.contains("Exit codes:") && !help.contains("supervise"), "{help}");
    assert_eq!(place.run(&["no-such-command"]).code, 2);
    assert_eq!(place.run(&["up", "--workers", "0"]).code, 2);
}
