//! Coming back by a held key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::*;
use crate::denied::Subject;
use crate::svid::SvidKey;
use crate::tests::{bundle, ca, id, svid_of, wish};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_held_key_proves_whose_it_was_until_thirty_days_after_its_end() {
    let ca = ca();
    let old = svid_of(&ca.issue_as(&wish("/server/documents/v1").expired()));
    let csr = SvidKey::generate().unwrap().csr(old.id()).unwrap();
    let proof = prove_held(&old, &csr).unwrap();
    let (bundle, nobody) = (bundle(&ca), Denied::default());
    let judge = |now| verify_held(old.chain(), &csr, &proof, &bundle, &nobody, now);
    assert_eq!(judge(SystemTime::now()).unwrap().id(), &id("/server/documents/v1"));
    assert!(judge(old.not_after() + 30 * DAY).is_ok());
    let second = Duration::from_secs(1);
    assert!(matches!(
        judge(old.not_after() + 30 * DAY + second),
        Err(HeldError::Time)
    ));
    assert!(matches!(judge(old.not_before() - second), Err(HeldError::Time)));
}

#[test]
fn a_proof_is_for_one_request_and_one_key() {
    let ca = ca();
    let (old, twin) = (svid_of(&ca.issue("/gateway/main")), svid_of(&ca.issue("/gateway/main")));
    let csr = SvidKey::generate().unwrap().csr(old.id()).unwrap();
    let other = SvidKey::generate().unwrap().csr(old.id()).unwrap();
    let proof = prove_held(&old, &csr).unwrap();
    let (bundle, nobody) = (bundle(&ca), Denied::default());
    let judge = |chain: &[CertificateDer<'static>], csr: &[u8], proof: &[u8]| {
        verify_held(chain, csr, proof, &bundle, &nobody, SystemTime::now())
    };
    assert!(judge(old.chain(), &csr, &proof).is_ok());
    assert!(matches!(judge(old.chain(), &other, &proof), Err(HeldError::Signature)));
    assert!(matches!(judge(twin.chain(), &csr, &proof), Err(HeldError::Signature)));
    assert!(matches!(
        judge(old.chain(), &csr, &proof[1..]),
        Err(HeldError::Signature)
    ));
    assert!(matches!(judge(old.chain(), &csr, b""), Err(HeldError::Signature)));
    let bare = old.key().sign_fixed(&csr).unwrap();
    assert!(matches!(judge(old.chain(), &csr, &bare), Err(HeldError::Signature)));
    assert!(matches!(judge(&[], &csr, &proof), Err(HeldError::Trust(_))));
}

#[test]
fn a_denied_or_foreign_chain_gets_nothing() {
    let (ca, foreign) = (ca(), ca());
    let old = svid_of(&ca.issue("/gateway/main"));
    let csr = SvidKey::generate().unwrap().csr(old.id()).unwrap();
    let proof = prove_held(&old, &csr).unwrap();
    let denied = Denied::new([(Subject::Serial(old.serial().into()), "stolen".into())]).unwrap();
    let judge = |bundle: &TrustBundle, denied: &Denied| {
        verify_held(old.chain(), &csr, &proof, bundle, denied, SystemTime::now())
    };
    assert!(judge(&bundle(&ca), &Denied::default()).is_ok());
    assert!(matches!(judge(&bundle(&ca), &denied), Err(HeldError::Denied(..))));
    assert!(matches!(
        judge(&bundle(&foreign), &Denied::default()),
        Err(HeldError::Trust(_))
    ));
}
