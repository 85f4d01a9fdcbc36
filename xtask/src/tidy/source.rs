//! Reading the tree: which files there are, and which part of a Rust file is not a test.

use std::{fs, path::Path};

use crate::{Failure, place::Place};

/// One text file of the tree.
pub(super) struct Source {
    /// Relative to the top, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Written by a program, which `codegen` compares; its lines are nobody's to read.
    pub(super) fn is_generated(&self) -> bool {
        self.text.starts_with("// This file is @generated")
    }

    /// True for files that only tests compile.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.contains("/benches/")
    }

    /// The lines that are not in a `mod tests { … }` at the end of the file, with their numbers.
    pub(super) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = self.text.lines().enumerate().peekable();
        std::iter::from_fn(move || {
            let (index, line) = lines.next()?;
            let tests_follow = line.trim() == "#[cfg(test)]"
                && lines
                    .peek()
                    .is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
            if tests_follow { None } else { Some((index + 1, line)) }
        })
    }
}

/// All text files of the tree, sorted, without what is ignored or not ours.
pub(super) fn all(place: &Place) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    collect(place.root(), place.root(), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// The Rust files below one folder.
pub(super) fn rust_below(place: &Place, folder: &str) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    let path = place.root().join(folder);
    if path.is_dir() {
        collect(place.root(), &path, &mut sources)?;
    }
    sources.retain(Source::is_rust);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = [".ci", ".config", ".cargo"].contains(&name.as_str());
        let foreign = ["target", "node_modules", "corpus", "artifacts"].contains(&name.as_str());
        if path.is_symlink() || foreign || (name.starts_with('.') && !ours) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, sources)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            sources.push(Source {
                path: relative.to_string_lossy().replace('\\', "/"),
                text,
            });
        }
    }
    Ok(())
}
