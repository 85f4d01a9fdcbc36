//! What a signature on a manifest is worth.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

#[test]
fn a_manifest_is_believed_from_a_key_of_the_bundle_and_no_other() {
    let (old, new, other) = (key(), key(), key());
    let bundle = [old.public(), new.public()];
    let signature = new.sign(b"epoch 7").unwrap();
    assert_eq!(verify(&bundle, b"epoch 7", &signature), Ok(new.public()));
    assert_eq!(verify(&[old.public()], b"epoch 7", &signature), Err(NotSigned));
    assert_eq!(verify(&[], b"epoch 7", &signature), Err(NotSigned));
    assert_eq!(
        verify(&bundle, b"epoch 7", &other.sign(b"epoch 7").unwrap()),
        Err(NotSigned)
    );
}

#[test]
fn a140_a_flipped_bit_of_manifest_or_signature_is_seen() {
    let key = key();
    let manifest = b"epoch 7, revision 1".to_vec();
    let signature = key.sign(&manifest).unwrap();
    for bit in 0..manifest.len() * 8 {
        let mut flipped = manifest.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verify(&[key.public()], &flipped, &signature),
            Err(NotSigned),
            "bit {bit}"
        );
    }
    for bit in 0..signature.len() * 8 {
        let mut flipped = signature.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verify(&[key.public()], &manifest, &flipped),
            Err(NotSigned),
            "bit {bit}"
        );
    }
    assert_eq!(verify(&[key.public()], &manifest[1..], &signature), Err(NotSigned));
    assert_eq!(verify(&[key.public()], &manifest, &signature[1..]), Err(NotSigned));
    assert_eq!(verify(&[key.public()], &manifest, b""), Err(NotSigned));
}

#[test]
fn a_signature_on_bare_bytes_is_none_on_a_manifest() {
    let key = key();
    let bare = key.pair.sign(b"epoch 7");
    assert_eq!(verify(&[key.public()], b"epoch 7", bare.as_ref()), Err(NotSigned));
}

#[test]
fn a_key_survives_its_place_and_is_never_printed() {
    let key = key();
    let again = SnapshotKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(again.public(), key.public());
    assert!(verify(&[key.public()], b"m", &again.sign(b"m").unwrap()).is_ok());
    assert!(!format!("{key:?}").contains("pkcs8"));
    assert_eq!(SnapshotPublicKey::from_bytes(key.public().as_bytes()), Ok(key.public()));
    assert_eq!(SnapshotPublicKey::from_bytes(&[1; 31]), Err(SnapshotKeyError::Key));
    assert_eq!(SnapshotKey::from_pkcs8(b"x").map(drop), Err(SnapshotKeyError::Key));
}

fn key() -> SnapshotKey {
    SnapshotKey::generate().unwrap()
}
