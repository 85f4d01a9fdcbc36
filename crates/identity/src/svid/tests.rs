//! Keys, requests and chains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use meshgate_testkit::ca::Wish;
use x509_parser::prelude::FromDer;

use super::*;
use crate::tests::{ca, id, peer, svid_of, wish};

#[test]
fn a_request_names_the_id_and_is_signed_by_the_key() {
    let key = SvidKey::generate().unwrap();
    let csr = key.csr(&id("/gateway/main")).unwrap();
    let (rest, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&csr).unwrap();
    assert!(rest.is_empty());
    assert_eq!(
        request
            .certification_request_info
            .subject_pki
            .subject_public_key
            .data
            .as_ref(),
        key.public_key()
    );
    // The authority checks the signature of the request and takes nothing but the key.
    let chain = ca().sign(&csr, &wish("/server/documents/v1"));
    let svid = Svid::new(key, chain).unwrap();
    assert_eq!(svid.id(), &id("/server/documents/v1"));
}

#[test]
fn a_key_survives_its_file_and_is_never_printed() {
    let key = SvidKey::generate().unwrap();
    let again = SvidKey::from_pkcs8(key.pkcs8()).unwrap();
    assert_eq!(key.public_key(), again.public_key());
    assert_eq!(format!("{key:?}"), "SvidKey(***)");
    assert!(matches!(SvidKey::from_pkcs8(b"no key"), Err(SvidError::Key)));
    assert!(matches!(SvidKey::from_pkcs8(&key.pkcs8()[1..]), Err(SvidError::Key)));
    assert_ne!(SvidKey::generate().unwrap().public_key(), key.public_key());
}

#[test]
fn another_ones_certificate_makes_no_svid() {
    let ca = ca();
    let (own, other) = (ca.issue("/gateway/main"), ca.issue("/gateway/main"));
    let refused = Svid::new(SvidKey::from_pkcs8(&own.key).unwrap(), other.chain.clone()).map(drop);
    assert!(matches!(refused, Err(SvidError::Foreign)));
    let empty = Svid::new(SvidKey::from_pkcs8(&own.key).unwrap(), Vec::new()).map(drop);
    assert!(matches!(empty, Err(SvidError::Leaf(LeafError::Missing))));
}

#[test]
fn a_chain_is_as_long_as_the_limit_and_no_longer() {
    let issued = ca().issue("/gateway/main");
    let with = |others: usize| {
        let mut chain = vec![issued.chain[0].clone()];
        chain.extend(std::iter::repeat_n(issued.chain[1].clone(), others));
        Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), chain).map(drop)
    };
    assert!(with(CHAIN_CERTIFICATES_MAX - 1).is_ok());
    assert!(with(CHAIN_CERTIFICATES_MAX).is_ok());
    assert!(matches!(with(CHAIN_CERTIFICATES_MAX + 1), Err(SvidError::TooLong(_))));
}

#[test]
fn the_other_end_sees_the_number_and_the_times_that_a_svid_has() {
    let svid = svid_of(&ca().issue_as(&Wish::of("spiffe://corp.example/control")));
    let seen = peer(&svid);
    assert!(svid.not_after() > svid.not_before());
    assert_eq!((seen.id(), seen.serial()), (svid.id(), svid.serial()));
    assert_eq!(
        (seen.not_before(), seen.not_after()),
        (svid.not_before(), svid.not_after())
    );
}
