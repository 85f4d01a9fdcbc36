#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn opened() -> (tempfile::TempDir, Directory) {
    let scratch = tempfile::tempdir().unwrap();
    let directory = Directory::open(&scratch.path().join("state")).unwrap();
    (scratch, directory)
}

#[test]
fn a_file_is_replaced_whole_and_is_its_owners_alone() {
    let (_scratch, directory) = opened();
    assert!(directory.read("svid", 100).unwrap().is_none());
    directory.write("svid", b"one").unwrap();
    directory.write("svid", b"two").unwrap();
    assert_eq!(directory.read("svid", 3).unwrap().unwrap().as_slice(), b"two");
    let path = directory.path().join("svid");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        2,
        "the lock and the file"
    );
}

#[test]
fn a_file_that_is_too_long_or_that_others_may_read_is_refused() {
    let (_scratch, directory) = opened();
    directory.write("svid", b"four").unwrap();
    assert!(
        directory
            .read("svid", 3)
            .unwrap_err()
            .to_string()
            .contains("longer than 3 bytes")
    );
    assert!(directory.read("svid", 4).is_ok());
    let path = directory.path().join("svid");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = directory.read("svid", 4).unwrap_err();
    assert!(refused.to_string().contains("mode 640"), "{refused}");
}

#[test]
fn what_a_crash_left_half_written_is_in_nobodys_way() {
    let (_scratch, directory) = opened();
    std::fs::write(directory.path().join("svid.new"), b"half").unwrap();
    directory.write("svid", b"whole").unwrap();
    assert_eq!(directory.read("svid", 100).unwrap().unwrap().as_slice(), b"whole");
}

#[test]
fn two_owners_at_once_are_one_too_many() {
    let (_scratch, directory) = opened();
    let refused = Directory::open(directory.path()).unwrap_err();
    assert!(refused.in_use, "{refused}");
    let path = directory.path().to_owned();
    drop(directory);
    Directory::open(&path).unwrap();
}
