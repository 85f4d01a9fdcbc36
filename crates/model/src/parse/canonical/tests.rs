//! What is kept means what was written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use crate::{Config, diff, parse};

fn config(text: &str) -> Config {
    parse("/etc/mesh/mesh.yaml", text).unwrap()
}

/// The documents of a configuration, read again from what is kept of them.
fn kept(config: &Config) -> Config {
    let mut all = Config::default();
    for object in config.objects() {
        all = all.and(parse("/elsewhere/kept.json", &object.json).unwrap());
    }
    all
}

#[test]
fn every_good_file_means_the_same_when_it_is_read_from_what_is_kept() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/good");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "out") {
            continue;
        }
        let config = parse(path.to_str().unwrap(), &std::fs::read_to_string(&path).unwrap()).unwrap();
        let again = kept(&config);
        assert_eq!(config.objects(), again.objects(), "{}", path.display());
        let (before, _) = config.compile().unwrap();
        let (after, _) = again.compile().unwrap();
        assert_eq!(diff::diff(&before, &after), [], "{}", path.display());
        assert_eq!(before.servers, after.servers);
        assert_eq!(before.applications, after.applications);
        read += 1;
    }
    assert!(read > 5);
}

#[test]
fn what_has_its_default_is_left_out_and_paths_are_whole() {
    let objects = config(
        "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: files, team: data}\nspec:\n  era: auto\n  \
         stdio: {command: ./bin/files, cwd: work, env: {KEY: {fromFile: key}}}\n  duplicateArguments: refuse\n",
    )
    .objects();
    assert_eq!(
        objects[0].json,
        "{\"apiVersion\":\"meshgate.dev/v1alpha1\",\"kind\":\"Server\",\"metadata\":{\"name\":\"files\",\"team\":\"data\"},\
         \"spec\":{\"stdio\":{\"command\":\"/etc/mesh/./bin/files\",\"cwd\":\"/etc/mesh/work\",\
         \"env\":{\"KEY\":{\"fromFile\":\"/etc/mesh/key\"}}}}}"
    );
}

#[test]
fn documents_can_be_taken_out_by_name() {
    let text =
        "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: a}\nspec: {http: {url: 'http://a/'}}\n";
    let both = config(&format!("{text}---\n{}", text.replace("name: a", "name: b")));
    assert_eq!(both.titles(), [("Server", "a"), ("Server", "b")]);
    let one = both.only(|kind, name| (kind, name) != ("Server", "a"));
    assert_eq!(one.titles(), [("Server", "b")]);
}

proptest! {
    #[test]
    fn any_text_survives_being_kept(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
        prop_assume!(!text.contains('\0'));
        let line = serde_json::to_string(&text).unwrap();
        let source = format!(
            "{{\"apiVersion\":\"meshgate.dev/v1alpha1\",\"kind\":\"View\",\"metadata\":{{\"name\":\"default\"}},\
             \"spec\":{{\"servers\":[],\"instructions\":{line}}}}}"
        );
        // What the reader of files takes, what is kept must say again.
        if let Ok(config) = parse("/x.json", &source) {
            prop_assert_eq!(config.objects(), kept(&config).objects());
        }
    }
}
