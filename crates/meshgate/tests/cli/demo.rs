//! `demo` with programs that only pretend: how it finds them, what it gives them, and that nothing is left.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ended, Place};

/// A copy of the binary with pretended programs beside it, and a folder for temporary files.
struct Stage {
    place: Place,
    binary: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let place = Place::new();
        let binary = place.path().join("meshgate");
        std::fs::copy(env!("CARGO_BIN_EXE_meshgate"), &binary).unwrap();
        std::fs::create_dir(place.path().join("tmp")).unwrap();
        Self { place, binary }
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.place.file(name, &format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.place.path()).env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path());
        command
            .env("TMPDIR", self.place.path().join("tmp"))
            .output()
            .unwrap()
            .into()
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn the_assistant_gets_an_address_a_token_and_the_question_and_its_code_is_the_demos() {
    let stage = Stage::new();
    stage.program("corpassist-documents", "exit 1");
    stage.program("corpassist-projects", "exit 1");
    stage.program("corpassist", r#"echo "$MESHGATE_URL $MESHGATE_TOKEN $*"; exit 7"#);
    let ended = stage.run(&["demo", "--ask", "who leads Titan?"]);
    assert_eq!(ended.code, 7, "{}", ended.err);
    let said: Vec<&str> = ended.out.trim().splitn(3, ' ').collect();
    assert!(
        said[0].starts_with("http://127.0.0.1:") && said[0].ends_with("/mcp"),
        "{}",
        ended.out
    );
    assert!(said[1].starts_with("mg_") && !ended.err.contains(said[1]));
    assert_eq!(said[2], "--ask who leads Titan?");
    assert!(is_empty(&stage.place.path().join("tmp")), "temporary files are left");
}

#[test]
fn without_its_programs_and_without_a_checkout_the_demo_says_what_is_missing() {
    let ended = Stage::new().run(&["demo"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("corpassist-documents") && ended.err.contains("help:"),
        "{}",
        ended.err
    );
}

/// Calls a tool of each server, in one trace.
const ASSISTANT: &str = r#"
import json, os, urllib.request
for name in ["documents__add", "projects__add"]:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}, "_meta": meta}}
    request = urllib.request.Request(os.environ["MESHGATE_URL"], json.dumps(body).encode(), {
        "Authorization": "Bearer " + os.environ["MESHGATE_TOKEN"], "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call", "Mcp-Name": name,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    print(urllib.request.urlopen(request).read().decode())
"#;

#[test]
fn every_hop_of_every_call_is_shown_with_one_trace_and_both_identities() {
    let stage = Stage::new();
    let servers = [super::mesh::adder(), super::mesh::adder()];
    for (name, server) in ["corpassist-documents", "corpassist-projects"].iter().zip(&servers) {
        stage.program(name, &format!("exec {} {}", server.command, server.args.join(" ")));
    }
    let assistant = stage.place.file("assistant.py", ASSISTANT);
    stage.program("corpassist", &format!("exec python3 {}", assistant.display()));
    let ended = stage.run(&["demo"]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert_eq!(ended.out.matches("forty-two").count(), 2, "{}", ended.out);
    let trail = ended.out.split("hop by hop\n").nth(1).unwrap();
    let lines: Vec<&str> = trail.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 6, "{trail}");
    for (at, server) in [(0, "documents"), (3, "projects")] {
        let call = format!("local → {server} add, trace 0af7651916cd43dd8448eb211c80319c");
        assert_eq!(lines[at], call, "{trail}");
        assert!(
            lines[at + 1].starts_with("gateway  spiffe://corpassist.mesh/gateway/demo "),
            "{trail}"
        );
        let sidecar = format!("sidecar  spiffe://corpassist.mesh/server/{server}/v1 ");
        assert!(lines[at + 2].starts_with(&sidecar), "{trail}");
        // What the second hop saw of the first is what the first says of itself.
        assert!(!trail.contains(" from "), "{trail}");
        assert!(
            lines[at + 1].ends_with("revision 1") && lines[at + 2].ends_with("revision 1"),
            "{trail}"
        );
    }
    assert!(servers.iter().all(|server| server.received("tools/call").len() == 1));
}
