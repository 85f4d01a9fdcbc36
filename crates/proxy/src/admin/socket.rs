//! The socket of the admin interface, at both ends.
//!
//! The system takes no path of a socket beyond 107 bytes, and a state directory may lie deeper than that. So where the path is
//! longer, both ends name the socket from within its directory: what the system sees goes through a descriptor of the
//! directory, and is short however deep that lies.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};

/// Longest path of a socket, with its final zero (`sun_path` of unix(7)).
const PATH_BYTES_MAX: usize = 108;

/// A path that the system takes, for as long as this lives.
struct Short {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Short {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() < PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let folder = rustix::fs::open(
            folder,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            path: Path::new("/proc/self/fd")
                .join(folder.as_raw_fd().to_string())
                .join(name),
            _folder: Some(folder),
        })
    }
}

/// Listens at a path.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    UnixListener::bind(&Short::of(path)?.path)
}

/// A connection to the admin interface whose socket is at `path`, however long that is.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&Short::of(path)?.path).await
}
