//! Mesh files as operators write them, right and wrong, against what is found in them.
//!
//! Each file in `tests/data/good` and `tests/data/bad` has a neighbour `<file>.out`. After a change of words, write them
//! anew with `MESHGATE_REGENERATE=1 cargo test -p meshgate-model` and read the difference.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use meshgate_model::{Finding, Severity, Surroundings, finding::codes, import, parse};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending != "out"));
    files.sort();
    files
}

fn compare(path: &Path, text: &str) {
    if std::env::var_os("MESHGATE_REGENERATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == text,
        "{} differs; it should now read:\n{text}",
        path.display()
    );
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap().to_owned();
    name.push(".out");
    file.with_file_name(name)
}

/// Findings with the line, column and text they point at.
fn drawn(findings: &[Finding], text: &str) -> String {
    let mut out = String::new();
    for finding in findings {
        let place = match &finding.span {
            None => "-".to_owned(),
            Some(span) => {
                let before = &text[..span.start];
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
                format!("{line}:{column} ⟨{}⟩", text[span.clone()].replace('\n', "⏎"))
            }
        };
        writeln!(out, "{place}\n  {finding}").unwrap();
    }
    out
}

fn read(file: &Path) -> (String, Result<String, String>) {
    let text = fs::read_to_string(file).unwrap();
    let name = format!("/etc/meshgate/{}", file.file_name().unwrap().to_str().unwrap());
    let outcome = parse(&name, &text).and_then(|config| config.compile());
    let outcome = match outcome {
        Ok((snapshot, warnings)) => {
            assert!(warnings.iter().all(|finding| finding.severity == Severity::Warning));
            Ok(format!(
                "{}{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n",
                drawn(&warnings, &text),
                snapshot.mesh,
                snapshot.gateway,
                snapshot.servers,
                snapshot
                    .views
                    .iter()
                    .map(|v| (
                        &v.name,
                        &v.path,
                        v.naming,
                        v.servers
                            .iter()
                            .map(|s| (&s.server.alias, &s.tools))
                            .collect::<Vec<_>>(),
                        v.anonymous,
                        v.limits_lifted,
                        v.list_ttl_ms,
                        &v.instructions
                    ))
                    .collect::<Vec<_>>(),
                snapshot.applications
            ))
        }
        Err(findings) => {
            assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
            Err(drawn(&findings, &text))
        }
    };
    (text, outcome)
}

#[test]
fn good_files_become_the_snapshot_beside_them() {
    for file in files("good") {
        let (_, outcome) = read(&file);
        compare(
            &beside(&file),
            &outcome.unwrap_or_else(|findings| panic!("{}:\n{findings}", file.display())),
        );
    }
}

#[test]
fn bad_files_have_the_findings_beside_them() {
    let files = files("bad");
    assert!(files.len() >= 20);
    for file in files {
        let (_, outcome) = read(&file);
        compare(&beside(&file), &outcome.expect_err(&file.display().to_string()));
    }
}

/// What an import makes of files, as one text.
fn imported(files: &[PathBuf], inline_values: bool) -> String {
    let texts: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(file).unwrap())
        })
        .collect();
    let sources: Vec<import::Source<'_>> = texts
        .iter()
        .map(|(name, text)| import::Source {
            name,
            directory: Path::new("/srv/project"),
            text,
        })
        .collect();
    let variable = |name: &str| (name == "HOME").then(|| "/srv/home".to_owned());
    let options = import::Options {
        inline_values,
        around: Surroundings {
            variable: &variable,
            workspace: Some("/srv/project"),
        },
    };
    let imported = import::import(&sources, &options);
    let (snapshot, _) = parse("/srv/mesh.yaml", &imported.text)
        .and_then(|config| config.compile())
        .unwrap_or_else(|findings| panic!("{}\n{}", imported.text, drawn(&findings, &imported.text)));
    assert_eq!(snapshot.servers.len(), imported.servers);
    let mut out = format!("{} servers, {} lost\n", imported.servers, imported.lost);
    for (name, text) in &texts {
        let about: Vec<Finding> = imported
            .findings
            .iter()
            .filter(|f| &*f.source == name)
            .cloned()
            .collect();
        out.push_str(&drawn(&about, text));
    }
    assert!(
        imported
            .findings
            .iter()
            .all(|f| texts.iter().any(|(name, _)| *name == *f.source))
    );
    format!("{out}\n{}", imported.text)
}

#[test]
fn files_of_other_programs_become_the_mesh_file_beside_them() {
    let files = files("import");
    assert!(files.len() >= 12);
    for file in files {
        compare(&beside(&file), &imported(std::slice::from_ref(&file), false));
    }
}

#[test]
fn several_files_become_one_and_names_are_given_in_their_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    let files = ["windsurf.json", "cline.json", "continue.yaml", "windsurf.json"].map(|file| folder.join(file));
    compare(&folder.with_file_name("several.out"), &imported(&files, false));
}

#[test]
fn d36_no_secret_of_a_file_is_in_the_mesh_file_unless_it_is_asked_for() {
    let secrets = [
        ("claude_desktop.json", vec!["ghp_0123456789abcdefghij", "abc-secret"]),
        ("claude_code.json", vec!["k-1", "hunter2"]),
        ("cline.json", vec!["never-printed"]),
        ("zed.json", vec!["t-1", "abc123"]),
        ("codex.toml", vec!["k-9"]),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import");
    for (file, secrets) in secrets {
        let outside = imported(&[folder.join(file)], false);
        let (said, inside) = outside.split_once("# Written by").unwrap();
        let inline = imported(&[folder.join(file)], true);
        for secret in secrets {
            assert!(!inside.contains(secret), "{file}: {secret}");
            // What is said points at the place and never repeats it.
            let words: String = said.lines().filter(|line| line.starts_with("  ")).collect();
            assert!(!words.contains(secret), "{file}: {secret}: {words}");
            assert!(inline.contains(secret) || secret == "never-printed", "{file}: {secret}");
        }
    }
}

#[test]
fn every_code_is_shown_by_a_file() {
    let shown: String = ["good", "bad", "import"]
        .iter()
        .flat_map(|folder| files(folder))
        .map(|file| fs::read_to_string(beside(&file)).unwrap())
        .chain([fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/several.out")).unwrap()])
        .collect();
    // Too long to keep as files, or about answers of a registry: see the unit tests.
    let mut elsewhere = vec![codes::INSTRUCTIONS, codes::PROPOSAL, codes::PROPOSAL_FIELD];
    // About a change and not about a file: shown by the tests of `diff` and of the running gateway.
    elsewhere.extend(
        codes::ALL
            .iter()
            .map(|(code, _)| *code)
            .filter(|code| code.starts_with("MG07")),
    );
    let missing: Vec<&str> = codes::ALL
        .iter()
        .map(|(code, _)| *code)
        .filter(|code| !shown.contains(&format!(" {code}: ")) && !elsewhere.contains(code))
        .collect();
    assert!(missing.is_empty(), "no file shows {missing:?}");
}

#[test]
fn the_schema_and_the_reference_page_are_those_of_the_types() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    compare(
        &reference.join("meshgate.schema.json"),
        &meshgate_model::json_schema_text(),
    );
    compare(&reference.join("kinds.md"), &meshgate_model::kinds_markdown());
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    let schema = jsonschema::validator_for(&meshgate_model::json_schema()).unwrap();
    let documents = |file: &Path| -> Vec<serde_json::Value> {
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_multiple_with_options(&fs::read_to_string(file).unwrap(), options).unwrap()
    };
    let good = files("good")
        .into_iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    for file in good {
        for document in documents(&file).into_iter().filter(|document| !document.is_null()) {
            let errors: Vec<String> = schema.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", file.display());
        }
    }
    let bad = [
        "unknown_field",
        "missing_field",
        "unknown_value",
        "api_version",
        "kind",
        "application_token",
    ];
    for name in bad {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/bad/{name}.yaml"));
        assert!(
            documents(&file).iter().all(|document| !schema.is_valid(document)),
            "{name}"
        );
    }
}
