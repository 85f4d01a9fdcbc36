//! The state directory: what one gateway keeps between starts, and nobody else may touch.
//!
//! It holds the bearer token, the key ring and the admin socket, so it must be its owner's alone (0700, files 0600), and
//! two gateways must not share it: each would answer for the other and overwrite its keys. A lock that the kernel drops
//! with the process says who is in; no stale file can lock anybody out.

use std::path::{Path, PathBuf};

use meshgate_identity::{KeyRing, ServiceToken};
use meshgate_proxy::member::{ADMIN_SOCKET, Directory, DirectoryError, TOKEN, read_token};

use crate::exit::{Failure, IN_USE, STATE};

#[cfg(test)]
mod tests;

/// Where a state directory is; nothing is opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatePath(PathBuf);

impl StatePath {
    /// The directory that was named, or `meshgate` in the user's XDG state folder.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self::choose(named, variable("XDG_STATE_HOME"), variable("HOME"))
    }

    fn choose(named: Option<&Path>, state: Option<PathBuf>, home: Option<PathBuf>) -> Result<Self, Failure> {
        let default = || {
            state
                .or_else(|| Some(home?.join(".local/state")))
                .map(|folder| folder.join("meshgate"))
        };
        let path = named.map(Path::to_owned).or_else(default).ok_or_else(|| {
            Failure::new(
                STATE,
                "there is no folder for state: neither `XDG_STATE_HOME` nor `HOME` is set",
            )
            .remedy("name a directory with `--state DIR`")
        })?;
        Ok(Self(path))
    }

    /// The socket a running gateway answers on.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.0.join(ADMIN_SOCKET)
    }

    /// The file with the bearer token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.0.join(TOKEN)
    }

    /// The token that a gateway left for its owner.
    pub(crate) fn token(&self) -> Result<ServiceToken, Failure> {
        Ok(read_token(&self.token_file())?)
    }

    /// Where it is.
    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let failure = Self::new(if error.in_use { IN_USE } else { STATE }, error.message);
        match error.remedy {
            Some(remedy) => failure.remedy(remedy),
            None => failure,
        }
    }
}

/// A state directory that this process owns until it is dropped.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: StatePath,
    directory: Directory,
}

impl StateDirectory {
    /// Takes the directory, making it when it is missing.
    pub(crate) fn open(path: StatePath) -> Result<Self, Failure> {
        let directory = Directory::open(path.as_path())?;
        Ok(Self { path, directory })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &StatePath {
        &self.path
    }

    /// What is in it.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The bearer token of local callers, made at the first start. The flag says whether it is new.
    #[cfg(test)]
    pub(crate) fn token(&self) -> Result<(ServiceToken, bool), Failure> {
        Ok(self.directory.token()?)
    }

    /// The keys that seal what travels through clients, made at the first start.
    pub(crate) fn keys(&self) -> Result<KeyRing, Failure> {
        Ok(self.directory.keys()?)
    }
}
