//! Where an import goes: standard output, or a file that appears whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::exit::{FAILED, Failure};
use crate::out;

/// Where to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Standard,
    File { path: PathBuf, replace: bool },
}

impl Target {
    /// The named place, or the default file; refused early where a file is in the way.
    pub(super) fn choose(named: Option<&Path>, default: &str, replace: bool) -> Result<Self, Failure> {
        let path = named.unwrap_or(Path::new(default));
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        if !replace && path.symlink_metadata().is_ok() {
            return Err(in_the_way(path));
        }
        Ok(Self::File {
            path: path.to_owned(),
            replace,
        })
    }

    /// The file, where it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Standard => None,
            Self::File { path, .. } => Some(path),
        }
    }

    /// Writes the text; for its owner's eyes only where it holds secrets.
    pub(super) fn write(&self, text: &str, has_secrets: bool) -> Result<(), Failure> {
        let Self::File { path, replace } = self else {
            out::print(text.trim_end());
            return Ok(());
        };
        match whole(path, text, *replace, has_secrets) {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Err(in_the_way(path)),
            Err(cause) => {
                let message = format!("`{}` cannot be written: {cause}", path.display());
                Err(Failure::new(FAILED, message))
            }
        }
    }
}

fn in_the_way(path: &Path) -> Failure {
    Failure::new(FAILED, format!("`{}` exists already", path.display()))
        .remedy("name another file with `-o FILE`, or replace this one with `--force`")
}

/// Writes beside the place and moves it there, so that nobody ever reads half of it.
fn whole(path: &Path, text: &str, replace: bool, has_secrets: bool) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(if has_secrets { 0o600 } else { 0o644 })
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    let moved = written.and_then(|()| {
        if replace {
            fs::rename(&beside, path)
        } else {
            // Unlike a rename, a link never takes the place of a file that appeared meanwhile.
            fs::hard_link(&beside, path)
        }
    });
    match &moved {
        Ok(()) if replace => {}
        _ => drop(fs::remove_file(&beside)),
    }
    moved
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_kept_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.yaml");
        let keep = Target::choose(Some(&path), "x", false).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(
            Target::choose(Some(&path), "x", false)
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        // It appeared after the first look.
        assert!(keep.write("ours\n", false).unwrap_err().to_string().contains("exists"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        let replace = Target::choose(Some(&path), "x", true).unwrap();
        replace.write("ours\n", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(
            Target::choose(Some(Path::new("-")), "x", false).unwrap(),
            Target::Standard
        );
    }
}
