//! Small secret files: read with a cap, written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads at most `bytes_max` bytes; a longer file is an error, not a prefix.
pub(crate) fn read_capped(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Refuses a secret that others on the machine may read.
pub(crate) fn require_private(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    if mode & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("mode {mode:03o} lets others read it; run `chmod 600` on it"),
        ));
    }
    Ok(())
}

/// Replaces `path` by `bytes`, mode 0600, so that a reader sees the old content or the new one and a crash leaves one of them.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let mut staged_name = path.file_name().unwrap_or_default().to_owned();
    staged_name.push(format!(".{}.new", std::process::id()));
    let staged = directory.join(staged_name);
    let written = write_new(&staged, bytes).and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        // The error that matters is the first one; a leftover is overwritten by the next attempt of this process.
        let _ = fs::remove_file(&staged);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
