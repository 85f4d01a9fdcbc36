//! What is sealed opens with its key and its label, and with nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn what_was_sealed_opens_under_its_label_only() {
    let seal = Seal::of(&[1; 32]).unwrap();
    let sealed = seal.seal("root", b"a key").unwrap();
    assert_eq!(*seal.open("root", &sealed).unwrap(), b"a key");
    assert!(seal.open("ring", &sealed).is_err());
    assert!(Seal::of(&[2; 32]).unwrap().open("root", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(seal.open("root", &changed).is_err(), "{at}");
    }
    assert!(seal.open("root", &sealed[..sealed.len() - 1]).is_err());
    assert!(seal.open("root", b"").is_err());
    assert!(!sealed.windows(5).any(|window| window == b"a key"));
}

#[test]
fn a_code_depends_on_every_part_and_on_where_it_ends() {
    let seal = Seal::of(&[1; 32]).unwrap();
    let code = seal.mac(&[b"ab", b"c"]);
    assert_eq!(code, seal.mac(&[b"ab", b"c"]));
    for other in [
        &[b"a".as_slice(), b"bc"][..],
        &[b"abc"],
        &[b"ab", b"c", b""],
        &[b"ab", b"d"],
    ] {
        assert_ne!(code, seal.mac(other));
    }
    assert_ne!(code, Seal::of(&[2; 32]).unwrap().mac(&[b"ab", b"c"]));
}

#[test]
fn the_secret_is_made_once_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.key");
    assert!(matches!(Seal::load(&path, false), Err(SealError::File { .. })));
    let sealed = Seal::load(&path, true).unwrap().seal("x", b"plain").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(*Seal::load(&path, false).unwrap().open("x", &sealed).unwrap(), b"plain");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Seal::load(&path, true).unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "something else").unwrap();
    assert!(matches!(Seal::load(&path, true), Err(SealError::Damaged { .. })));
}
