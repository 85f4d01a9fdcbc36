//! Small secret files: read with a cap, written whole or not at all, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads at most `bytes_max` bytes; a longer file is an error, not a prefix.
pub(crate) fn read_capped(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    capped(File::open(path)?, bytes_max)
}

/// Reads a secret of at most `bytes_max` bytes.
///
/// # Errors
/// Also when others on the machine may read it, and when it is longer: a prefix is no secret.
pub fn read_private(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Of what was opened, and not of what the name leads to by now.
    let metadata = file.metadata()?;
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
    capped(file, bytes_max)
}

fn capped(file: File, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Replaces `path` by `bytes`, mode 0600, so that a reader sees the old content or the new one and a crash leaves one of them.
///
/// # Errors
/// What the system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let mut staged_name = path.file_name().unwrap_or_default().to_owned();
    staged_name.push(format!(".{}.new", std::process::id()));
    let staged = directory.join(staged_name);
    // What a crash of an earlier process with this number has left; in a container all have one number.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&staged, bytes).and_then(|()| fs::rename(&staged, path));
    if written.is_err() {
        // The error that matters is the first one; a leftover goes with the next attempt.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_whatever_a_crash_has_left_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let left = directory.path().join(format!("secret.{}.new", std::process::id()));
        fs::write(&left, b"half").unwrap();
        for text in [&b"one"[..], b"two"] {
            write_private(&path, text).unwrap();
            assert_eq!(*read_private(&path, 3).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!left.exists());
    }

    #[test]
    fn what_others_may_read_what_is_too_long_and_what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write_private(&path, b"four").unwrap();
        assert!(read_private(&path, 5).is_ok() && read_private(&path, 4).is_ok());
        assert_eq!(read_private(&path, 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read_private(&path, 4).unwrap_err();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        assert!(read_private(directory.path(), 4).is_err());
        let missing = read_private(&directory.path().join("missing"), 4).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
