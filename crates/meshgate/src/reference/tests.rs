//! What people copy from a page must work: mesh files are checked, command lines parsed, links followed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use meshgate_model::Config;

use crate::cli::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every page that people read, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join("docs")];
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/corpassist/README.md",
    ]
    .map(|page| root().join(page))
    .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages.sort();
    pages
        .into_iter()
        .map(|page| (page.clone(), fs::read_to_string(page).unwrap()))
        .collect()
}

/// The fenced blocks of a page: language and text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, block))) => block.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A line as a shell would split it, as far as pages use one: quotes, `#` before a remark, `>` and `|` before what is done with the output.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#' | '>' | '|') if word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_mesh_file_on_a_page_is_good() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (language, block) in blocks(&text) {
            if language != "yaml" || !block.contains("apiVersion:") {
                continue;
            }
            seen += 1;
            match meshgate_model::parse("/etc/meshgate/mesh.yaml", &block).and_then(Config::compile) {
                Ok((_, warnings)) => assert!(warnings.is_empty(), "{}: {}", page.display(), warnings[0]),
                Err(found) => panic!("{}: {}\n{block}", page.display(), found[0]),
            }
        }
    }
    assert!(seen >= 5, "only {seen} were found");
}

#[test]
fn every_command_line_on_a_page_parses() {
    let mut seen = 0;
    for (page, text) in pages() {
        for (_, block) in blocks(&text) {
            for line in block.replace("\\\n", " ").lines() {
                for command in line
                    .split(" && ")
                    .filter(|command| command.trim().starts_with("meshgate "))
                {
                    let words = words(command.trim());
                    // A usage line of the reference names what to fill in.
                    if words.iter().any(|word| word.starts_with(['<', '['])) {
                        continue;
                    }
                    seen += 1;
                    if let Err(error) = Cli::try_parse_from(&words) {
                        panic!("{}: {command}\n{error}", page.display());
                    }
                }
            }
        }
    }
    assert!(seen >= 15, "only {seen} were found");
}

#[test]
fn every_link_on_a_page_leads_to_a_file() {
    let mut seen = 0;
    for (page, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://") && !target.starts_with('#')) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = page.parent().unwrap().join(file);
            assert!(path.exists(), "{}: `{target}` leads nowhere", page.display());
            if path.extension().is_some_and(|ending| ending == "md") && !anchor.is_empty() {
                let headings = fs::read_to_string(&path).unwrap();
                let found = headings
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| slug(line) == anchor);
                assert!(found, "{}: `{target}` names no heading", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 30, "only {seen} were found");
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
