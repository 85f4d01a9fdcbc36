#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn fresh() -> (tempfile::TempDir, StatePath) {
    let directory = tempfile::tempdir().unwrap();
    let path = StatePath(directory.path().join("a/b/state"));
    (directory, path)
}

#[test]
fn everything_it_makes_is_its_owners_alone() {
    let (_directory, path) = fresh();
    let state = StateDirectory::open(path.clone()).unwrap();
    state.token().unwrap();
    state.keys().unwrap();
    assert_eq!(mode(&path.0), 0o700);
    for name in [TOKEN, "key-ring", "lock"] {
        assert_eq!(mode(&path.0.join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_second_owner_is_refused_and_told_who_is_in() {
    let (_directory, path) = fresh();
    let first = StateDirectory::open(path.clone()).unwrap();
    let refused = StateDirectory::open(path.clone()).unwrap_err();
    assert_eq!(refused.code(), IN_USE);
    assert!(
        refused
            .to_string()
            .contains(&format!("process ({})", std::process::id())),
        "{refused}"
    );
    drop(first);
    StateDirectory::open(path).expect("a lock goes with its process");
}

#[test]
fn a_directory_or_token_that_others_may_open_is_refused_with_the_remedy() {
    let (_directory, path) = fresh();
    StateDirectory::open(path.clone()).unwrap().token().unwrap();
    std::fs::set_permissions(path.token_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = StateDirectory::open(path.clone())
        .unwrap()
        .token()
        .unwrap_err()
        .to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    std::fs::set_permissions(&path.0, std::fs::Permissions::from_mode(0o750)).unwrap();
    let refused = StateDirectory::open(path).unwrap_err().to_string();
    assert!(
        refused.contains("mode 750") && refused.contains("chmod 700"),
        "{refused}"
    );
}

#[test]
fn the_token_is_made_once() {
    let (_directory, path) = fresh();
    let state = StateDirectory::open(path.clone()).unwrap();
    let (made, new) = state.token().unwrap();
    let (read, again) = state.token().unwrap();
    assert!(new && !again);
    assert_eq!(made.expose(), read.expose());
    assert_eq!(path.token().unwrap().expose(), made.expose());
}

#[test]
fn a_damaged_token_is_refused_and_not_shown() {
    let (_directory, path) = fresh();
    let state = StateDirectory::open(path.clone()).unwrap();
    std::fs::write(path.token_file(), "CANARY").unwrap();
    std::fs::set_permissions(path.token_file(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = state.token().unwrap_err().to_string();
    assert!(
        refused.contains("does not hold a token") && !refused.contains("CANARY"),
        "{refused}"
    );
}

#[test]
fn the_default_follows_the_xdg_folders() {
    let find = |state: Option<&str>, home: Option<&str>| {
        StatePath::choose(None, state.map(PathBuf::from), home.map(PathBuf::from))
            .map(|path| path.0)
            .ok()
    };
    assert_eq!(find(Some("/s"), Some("/h")), Some("/s/meshgate".into()));
    assert_eq!(find(None, Some("/h")), Some("/h/.local/state/meshgate".into()));
    assert_eq!(find(None, None), None);
    assert_eq!(
        StatePath::choose(Some(Path::new("here")), None, None).unwrap().0,
        Path::new("here")
    );
}
