//! The state directory: what one gateway keeps between starts, and nobody else may touch.
//!
//! It holds the bearer token, the key ring and the admin socket, so it must be its owner's alone (0700, files 0600), and
//! two gateways must not share it: each would answer for the other and overwrite its keys. A lock that the kernel drops
//! with the process says who is in; no stale file can lock anybody out.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use meshgate_identity::{KeyRing, ServiceToken};
use rustix::fs::{FlockOperation, flock};

use crate::exit::{Failure, IN_USE, STATE};

#[cfg(test)]
mod tests;

const LOCK: &str = "lock";
const TOKEN: &str = "token";
const KEY_RING: &str = "key-ring";
const ADMIN_SOCKET: &str = "admin.sock";
/// Longest path of a unix socket, with its final zero (`sun_path` of unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 108;
const TOKEN_FILE_BYTES_MAX: u64 = 4 * 1024;

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
        let path = self.token_file();
        let shown = path.display();
        let mut text = String::new();
        File::open(&path)
            .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|cause| Failure::new(STATE, format!("token `{shown}` cannot be read: {cause}")))?;
        ServiceToken::parse(&text).ok_or_else(|| {
            Failure::new(STATE, format!("`{shown}` does not hold a token"))
                .remedy("delete the file; the next `meshgate up` makes a new token")
        })
    }
}

/// A state directory that this process owns until it is dropped.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: StatePath,
    _lock: File,
}

impl StateDirectory {
    /// Takes the directory, making it when it is missing.
    pub(crate) fn open(path: StatePath) -> Result<Self, Failure> {
        // Whatever this process creates from here on is its owner's alone.
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let directory = &path.0;
        let shown = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| Failure::new(STATE, format!("state directory `{shown}` cannot be made: {cause}")))?;
        require_private(directory)?;
        if path.admin_socket().as_os_str().as_bytes().len() >= SOCKET_PATH_BYTES_MAX {
            return Err(Failure::new(
                STATE,
                format!("the path of state directory `{shown}` is too long for its socket"),
            )
            .remedy("name a directory with a shorter path with `--state DIR`"));
        }
        let lock = lock(directory)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &StatePath {
        &self.path
    }

    /// The bearer token of local callers, made at the first start. The flag says whether it is new.
    pub(crate) fn token(&self) -> Result<(ServiceToken, bool), Failure> {
        let path = self.path.token_file();
        if path.exists() {
            require_private(&path)?;
            return Ok((self.path.token()?, false));
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|cause| Failure::new(STATE, format!("the system's random source failed: {cause}")))?;
        let token = ServiceToken::generate(&mut |out| out.copy_from_slice(&bytes));
        write_new(&path, token.expose())
            .map_err(|cause| Failure::new(STATE, format!("token `{}` cannot be written: {cause}", path.display())))?;
        Ok((token, true))
    }

    /// The keys that seal what travels through clients, made at the first start.
    pub(crate) fn keys(&self) -> Result<KeyRing, Failure> {
        KeyRing::load_or_create(&self.path.0.join(KEY_RING)).map_err(|error| Failure::new(STATE, error.to_string()))
    }
}

/// Refuses a directory or file that somebody else owns or may open.
fn require_private(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let metadata = std::fs::metadata(path)
        .map_err(|cause| Failure::new(STATE, format!("`{shown}` cannot be looked at: {cause}")))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::new(STATE, format!("`{shown}` belongs to another user"))
            .remedy("name a directory of your own with `--state DIR`"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let right = if metadata.is_dir() { "700" } else { "600" };
        return Err(Failure::new(
            STATE,
            format!("`{shown}` has mode {mode:03o}, so others may look into it"),
        )
        .remedy(format!("chmod {right} {shown}")));
    }
    Ok(())
}

/// Takes the lock and writes down who holds it, for the message of the next one who tries.
fn lock(directory: &Path) -> Result<File, Failure> {
    let path = directory.join(LOCK);
    let refused = |cause: io::Error| Failure::new(STATE, format!("lock `{}` cannot be taken: {cause}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(refused)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(directory, &mut file)),
        Err(cause) => return Err(refused(cause.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(refused)?;
    Ok(file)
}

fn in_use(directory: &Path, file: &mut File) -> Failure {
    let mut holder = String::new();
    // Who holds it is a courtesy; the message is true without it.
    let _ = file.take(32).read_to_string(&mut holder);
    let who = match holder.trim().parse::<u32>() {
        Ok(pid) => format!("another gateway (process {pid})"),
        Err(_) => "another gateway".to_owned(),
    };
    Failure::new(IN_USE, format!("{who} uses state directory `{}`", directory.display()))
        .remedy("stop it, or name another directory with `--state DIR`")
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
