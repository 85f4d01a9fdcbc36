//! `import FILE…`: what is written, what is kept, and that a secret goes nowhere.

use super::Place;

const CLAUDE: &str = r#"{"mcpServers": {
  "files": {"command": "npx", "args": ["-y", "files-server@1.0.0", "${workspaceFolder}"], "env": {"API_TOKEN": "s3cret-canary"}},
  "web": {"type": "http", "url": "https://web.example.com/mcp"},
  "off": {"command": "x", "disabled": true}
}}"#;

#[test]
fn a_file_of_another_program_becomes_a_mesh_file_that_check_takes() {
    let place = Place::new();
    std::fs::create_dir(place.path().join(".cursor")).unwrap();
    place.file(".cursor/mcp.json", CLAUDE);
    let ended = place.run(&["import", ".cursor/mcp.json", "-o", "mesh.yaml"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("`mesh.yaml` has 2 servers"), "{}", ended.err);
    assert!(
        ended.err.contains(".cursor/mcp.json:4: warning MG0604"),
        "{}",
        ended.err
    );
    let written = std::fs::read_to_string(place.path().join("mesh.yaml")).unwrap();
    let root = place.path().canonicalize().unwrap();
    assert!(
        written.contains(root.to_str().unwrap()),
        "the project is above `.cursor`: {written}"
    );
    assert!(written.contains("API_TOKEN: {fromEnvironment: API_TOKEN}"), "{written}");
    for text in [&written, &ended.err, &ended.out] {
        assert!(!text.contains("s3cret-canary"), "{text}");
    }
    let checked = place.run(&["check", "mesh.yaml"]);
    assert_eq!(checked.code, 0, "{}", checked.out);
    assert!(
        checked.out.contains("2 server(s), 1 view(s), 0 warnings"),
        "{}",
        checked.out
    );
}

#[test]
fn a_mesh_file_that_is_there_is_never_lost() {
    let place = Place::new();
    place.file("mcp.json", CLAUDE);
    place.file("mesh.yaml", "mine");
    let refused = place.run(&["import", "mcp.json"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("`mesh.yaml` exists already"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(place.path().join("mesh.yaml")).unwrap(), "mine");
    let forced = place.run(&["import", "mcp.json", "--force", "--inline-values"]);
    assert_eq!(forced.code, 0, "{}", forced.err);
    let written = std::fs::read_to_string(place.path().join("mesh.yaml")).unwrap();
    assert!(written.contains("s3cret-canary"), "asked for by name: {written}");
}

#[test]
fn a_dash_prints_the_file_and_what_is_lost_makes_the_command_fail() {
    let place = Place::new();
    place.file("a.json", CLAUDE);
    place.file(
        "b.toml",
        "[mcp_servers.key]\ncommand = \"x\"\nargs = [\"--api-key=k1\"]\n",
    );
    let ended = place.run(&["import", "a.json", "b.toml", "-o", "-"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .out
            .starts_with("# Written by `meshgate import` from a.json, b.toml."),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("#   key of b.toml: argument 0"), "{}", ended.out);
    assert!(ended.err.contains("b.toml:3: error MG0609"), "{}", ended.err);
    assert!(
        ended.err.contains("2 servers; 1 entry could not be carried over"),
        "{}",
        ended.err
    );
    assert!(!place.path().join("mesh.yaml").exists());
}

#[test]
fn a_file_without_servers_writes_nothing() {
    let place = Place::new();
    place.file("a.json", "{\"mcpServers\": {}}");
    let ended = place.run(&["import", "a.json"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("no server was found"), "{}", ended.err);
    assert!(!place.path().join("mesh.yaml").exists());
}

#[test]
fn check_reads_the_same_files_with_the_same_reader() {
    let place = Place::new();
    place.file(
        "config.toml",
        "[mcp_servers.docs]\ncommand = \"x\"\nargs = [\"${HOME}\"]\nenabled_tools = [\"read\"]\n",
    );
    let checked = place.run(&["check", "config.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.out);
    assert!(
        checked.out.contains("1 server(s), 1 view(s), 0 warnings"),
        "{}",
        checked.out
    );
}
