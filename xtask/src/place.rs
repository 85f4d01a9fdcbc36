//! Where things are: the tree, the cache, the built programs.
//!
//! Nothing that is downloaded or built belongs in the tree, and a second clone must find what the first one installed;
//! so all of it lives below one cache directory derived from the home directory.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::Failure;

/// The directories that every verb works with.
pub(crate) struct Place {
    root: PathBuf,
    cache: PathBuf,
    target: PathBuf,
}

impl Place {
    pub(crate) fn find() -> Result<Self, Failure> {
        // Said by the cargo that runs us now. Where this program was compiled is only asked for when nobody says: two clones
        // that share a target directory share this program, and each means its own tree.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package
            .parent()
            .map(Path::to_path_buf)
            .ok_or("the xtask package has no parent directory")?;
        let cache = match env::var_os("MESHGATE_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => PathBuf::from(env::var_os("HOME").ok_or("HOME is not set; set it or MESHGATE_CACHE")?)
                .join(".cache/meshgate"),
        };
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Self { root, cache, target })
    }

    /// The top of the tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Programs installed for the verbs.
    pub(crate) fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// Where cargo builds those programs, apart from the product so that neither throws away the other's work.
    pub(crate) fn tools_target(&self) -> PathBuf {
        self.cache.join("tools-target")
    }

    /// Where the fuzzing engine builds: its flags reach every crate, so nothing can be shared.
    pub(crate) fn fuzz_target(&self) -> PathBuf {
        self.cache.join("fuzz-target")
    }

    /// One installed set of npm packages.
    pub(crate) fn npm(&self, set: &str) -> PathBuf {
        self.cache.join("npm").join(set)
    }

    /// One Python environment.
    pub(crate) fn venv(&self, set: &str) -> PathBuf {
        self.cache.join("venv").join(set)
    }

    /// The output of one step or child process.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.cache.join("logs").join(format!("{name}.log"))
    }

    /// A directory for one run of one verb, emptied first.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self
            .cache
            .join("scratch")
            .join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| format!("cannot empty {}: {e}", path.display()))?;
        }
        std::fs::create_dir_all(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        Ok(path)
    }

    /// A directory of programs built with the release profile.
    pub(crate) fn release(&self) -> PathBuf {
        self.target.join("release")
    }

    /// A program built with the release profile.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.release().join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "`{name}` is not built; run `cargo build --release --workspace` first"
            ))
        }
    }

    /// A program built with whichever profile was built last.
    pub(crate) fn newest_program(&self, name: &str) -> Result<PathBuf, Failure> {
        let built = |profile: &str| {
            let path = self.target.join(profile).join(name);
            let time = path.metadata().and_then(|metadata| metadata.modified()).ok()?;
            Some((time, path))
        };
        let newest = ["release", "debug"].into_iter().filter_map(built).max();
        newest
            .map(|(_, path)| path)
            .ok_or_else(|| format!("`{name}` is not built; run `cargo build --workspace` first"))
    }
}
