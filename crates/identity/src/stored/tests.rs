//! What is on disk, and what is refused there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::manifest::SnapshotKey;
use crate::tests::{bundle, ca, svid, svid_of};

#[test]
fn an_identity_comes_back_as_it_was_written() {
    let (ca, directory) = (ca(), tempfile::tempdir().unwrap());
    let stored = Stored::at(directory.path());
    assert!(stored.svid().unwrap().is_none() && stored.bundle().unwrap().is_none());
    let own = svid(&ca, "/gateway/main");
    let key = SnapshotKey::generate().unwrap().public();
    let trust = TrustBundle::new("corp.example".parse().unwrap(), vec![ca.root()], vec![key]).unwrap();
    stored.save_svid(&own).unwrap();
    stored.save_bundle(&trust).unwrap();
    let again = stored.svid().unwrap().unwrap();
    assert_eq!((again.chain(), again.key().pkcs8()), (own.chain(), own.key().pkcs8()));
    assert_eq!(again.serial(), own.serial());
    assert_eq!(stored.bundle().unwrap().unwrap(), trust);
    let newer = svid(&ca, "/gateway/main");
    stored.save_svid(&newer).unwrap();
    assert_eq!(stored.svid().unwrap().unwrap().serial(), newer.serial());
    for name in [SVID_FILE, BUNDLE_FILE] {
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        2,
        "nothing is left beside them"
    );
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let stored = Stored::at(directory.path());
    stored.save_svid(&svid(&ca(), "/gateway/main")).unwrap();
    let path = directory.path().join(SVID_FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = stored.svid().map(drop).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("svid.pem"), "{error}");
}

#[test]
fn d36_a_damaged_file_is_named_and_none_of_its_bytes_shown() {
    let (ca, directory) = (ca(), tempfile::tempdir().unwrap());
    let stored = Stored::at(directory.path());
    let path = directory.path().join(SVID_FILE);
    stored.save_svid(&svid(&ca, "/gateway/main")).unwrap();
    let sound = fs::read_to_string(&path).unwrap();
    let secret = sound.lines().nth(1).unwrap().to_owned();
    let other = svid_of(&ca.issue("/gateway/main"));
    let mut foreign = Zeroizing::new(String::new());
    block(&mut foreign, "PRIVATE KEY", other.key().pkcs8());
    let key_end = sound.find("-----BEGIN CERTIFICATE").unwrap();
    let damaged = [
        String::new(),
        sound[..key_end].to_owned(),
        sound[key_end..].to_owned(),
        sound[..sound.len() - 40].to_owned(),
        format!("{}{}", foreign.as_str(), &sound[key_end..]),
        sound.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        "x".repeat(usize::try_from(IDENTITY_FILE_BYTES_MAX).unwrap() + 1),
    ];
    for text in damaged {
        file::write_private(&path, text.as_bytes()).unwrap();
        let error = stored.svid().map(drop).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains("svid.pem"), "{told}");
        assert!(!told.contains(&secret), "{told}");
    }
}

#[test]
fn a_damaged_bundle_is_none() {
    let (ca, directory) = (ca(), tempfile::tempdir().unwrap());
    let stored = Stored::at(directory.path());
    stored.save_bundle(&bundle(&ca)).unwrap();
    let path = directory.path().join(BUNDLE_FILE);
    let sound = fs::read_to_string(&path).unwrap();
    for text in [
        String::new(),
        "{}".to_owned(),
        sound.replace("corp.example", "Corp"),
        sound.replace("\"roots\"", "\"extra\": 1, \"roots\""),
        sound.replace("\"snapshot_keys\": []", "\"snapshot_keys\": [\"AAAA\"]"),
        r#"{"trust_domain":"corp.example","roots":[],"snapshot_keys":[]}"#.to_owned(),
        r#"{"trust_domain":"corp.example","roots":["AAAA"],"snapshot_keys":[]}"#.to_owned(),
    ] {
        file::write_private(&path, text.as_bytes()).unwrap();
        assert!(stored.bundle().is_err(), "{text}");
    }
}
