//! A certificate request is asked one thing: which public key, and whether who asks has the private one.
//!
//! Everything else that a request can hold (a subject, alternative names, "I am an authority") is what an attacker would
//! write there, so nothing of it is read: not to obey it and not to refuse it either, because a list of what to refuse is
//! never whole.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::AuthorityError;
use crate::limits::CSR_BYTES_MAX;

const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
/// The whole SubjectPublicKeyInfo of a P-256 key but for its 65 bytes: an id-ecPublicKey over prime256v1, uncompressed.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// The public key (SubjectPublicKeyInfo in DER) of a PKCS#10 request in DER, which the matching private key has signed.
///
/// # Errors
/// When it is longer than the limit, no request, about another kind of key, or not signed by it.
pub fn public_key_of(request: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    if request.len() > CSR_BYTES_MAX {
        return Err(AuthorityError::Request("is longer than 8 KiB"));
    }
    let (rest, parsed) =
        X509CertificationRequest::from_der(request).map_err(|_| AuthorityError::Request("is not PKCS#10 in DER"))?;
    if !rest.is_empty() {
        return Err(AuthorityError::Request("is followed by something else"));
    }
    let info = &parsed.certification_request_info;
    let key = info.subject_pki.raw;
    let point = key
        .strip_prefix(P256_PREFIX.as_slice())
        .filter(|point| point.len() == POINT_BYTES && point.first() == Some(&4))
        .ok_or(AuthorityError::Request(
            "is not about a key of the curve P-256; proxies have no others",
        ))?;
    if parsed.signature_algorithm.algorithm.to_id_string() != ECDSA_WITH_SHA256 {
        return Err(AuthorityError::Request("is not signed with ECDSA and SHA-256"));
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(info.raw, parsed.signature_value.data.as_ref())
        .map_err(|_| AuthorityError::Request("is not signed by the key that it names"))?;
    Ok(key.to_vec())
}
