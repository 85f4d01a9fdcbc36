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
