//! A state directory: what one part of the mesh keeps between starts, and nobody else may touch.
//!
//! It holds keys and tokens, so it must be its owner's alone (0700, files 0600), and two processes must not share it: each
//! would answer for the other and overwrite its keys. A lock that the kernel drops with the process says who is in; no
//! stale file can lock anybody out. Files are replaced whole, so that a crash leaves the old one or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use meshgate_identity::{KeyRing, ServiceToken};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

const LOCK: &str = "lock";
/// The bearer token of local callers.
pub const TOKEN: &str = "token";
const KEY_RING: &str = "key-ring";
/// The socket that `meshgate status` and its like talk to.
pub const ADMIN_SOCKET: &str = "admin.sock";
const TOKEN_FILE_BYTES_MAX: u64 = 4 * 1024;

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct DirectoryError {
    /// Whether another process uses it.
    pub in_use: bool,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub remedy: Option<String>,
}

impl DirectoryError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            in_use: false,
            message: message.into(),
            remedy: None,
        }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// A state directory that this process owns until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory, making it when it is missing. From here on, whatever this process creates is its owner's alone.
    ///
    /// # Errors
    /// When it cannot be made, others may look into it, or another process has it.
    pub fn open(directory: &Path) -> Result<Self, DirectoryError> {
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let shown = directory.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| DirectoryError::new(format!("state directory `{shown}` cannot be made: {cause}")))?;
        require_private(directory)?;
        let lock = lock(directory)?;
        Ok(Self {
            path: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bearer token of local callers, made at the first start. The flag says whether it is new.
    ///
    /// # Errors
    /// When it cannot be read or written, or others may read it.
    pub fn token(&self) -> Result<(ServiceToken, bool), DirectoryError> {
        let path = self.path.join(TOKEN);
        if path.exists() {
            require_private(&path)?;
            return Ok((read_token(&path)?, false));
        }
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|cause| DirectoryError::new(format!("the system's random source failed: {cause}")))?;
        let token = ServiceToken::generate(&mut |out| out.copy_from_slice(bytes.as_slice()));
        write_new(&path, token.expose())
            .map_err(|cause| DirectoryError::new(format!("token `{}` cannot be written: {cause}", path.display())))?;
        Ok((token, true))
    }

    /// The keys that seal what travels through clients, made at the first start.
    ///
    /// # Errors
    /// When they cannot be read or written, or others may read them.
    pub fn keys(&self) -> Result<KeyRing, DirectoryError> {
        KeyRing::load_or_create(&self.path.join(KEY_RING)).map_err(|error| DirectoryError::new(error.to_string()))
    }

    /// That a file of it holds something else than it should.
    pub fn damaged(&self, name: &str) -> DirectoryError {
        unreadable(
            &self.path.join(name),
            "it is damaged; restore it from a copy, or delete the directory and join again",
        )
    }

    /// A file of it; `None` where there is none. One that others may read, or longer than `bytes_max`, is an error.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, DirectoryError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(unreadable(&path, &cause.to_string())),
        };
        require_private(&path)?;
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|cause| unreadable(&path, &cause.to_string()))?;
        if bytes.len() as u64 > bytes_max {
            return Err(unreadable(&path, &format!("it is longer than {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Replaces a file of it, mode 0600.
    ///
    /// # Errors
    /// When it cannot be written; what was there is there still.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let staged = self.path.join(format!("{name}.new"));
        let written = || -> io::Result<()> {
            match std::fs::remove_file(&staged) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&staged)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&staged, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|cause| DirectoryError::new(format!("`{}` cannot be written: {cause}", path.display())))
    }
}

/// The folder for state of this user: `meshgate` in the XDG state folder. `None` where neither is known.
pub fn state_folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
    state.map(|folder| folder.join("meshgate"))
}

/// The token that the owner of a directory left there.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn read_token(path: &Path) -> Result<ServiceToken, DirectoryError> {
    let shown = path.display();
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|cause| DirectoryError::new(format!("token `{shown}` cannot be read: {cause}")))?;
    ServiceToken::parse(&text).ok_or_else(|| {
        DirectoryError::new(format!("`{shown}` does not hold a token"))
            .remedy("delete the file; the next start makes a new token")
    })
}

fn unreadable(path: &Path, why: &str) -> DirectoryError {
    DirectoryError::new(format!("`{}` cannot be read: {why}", path.display()))
}

/// Refuses a directory or file that somebody else owns or may open.
fn require_private(path: &Path) -> Result<(), DirectoryError> {
    let shown = path.display();
    let metadata = std::fs::metadata(path)
        .map_err(|cause| DirectoryError::new(format!("`{shown}` cannot be looked at: {cause}")))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(DirectoryError::new(format!("`{shown}` belongs to another user"))
            .remedy("name a directory of your own with `--state DIR`"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let right = if metadata.is_dir() { "700" } else { "600" };
        let message = format!("`{shown}` has mode {mode:03o}, so others may look into it");
        return Err(DirectoryError::new(message).remedy(format!("chmod {right} {shown}")));
    }
    Ok(())
}

/// Takes the lock and writes down who holds it, for the message of the next one who tries.
fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let refused = |cause: io::Error| DirectoryError::new(format!("lock `{}` cannot be taken: {cause}", path.display()));
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

fn in_use(directory: &Path, file: &mut File) -> DirectoryError {
    let mut holder = String::new();
    // Who holds it is a courtesy; the message is true without it.
    let _ = file.take(32).read_to_string(&mut holder);
    let who = match holder.trim().parse::<u32>() {
        Ok(pid) => format!("another process ({pid})"),
        Err(_) => "another process".to_owned(),
    };
    DirectoryError {
        in_use: true,
        ..DirectoryError::new(format!("{who} uses state directory `{}`", directory.display()))
            .remedy("stop it, or name another directory with `--state DIR`")
    }
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
