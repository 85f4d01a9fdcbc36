//! What the certificates of a mesh look like, from the root to the leaf.
//!
//! A leaf proves one SPIFFE ID and nothing else: exactly one URI, no subject, no right to sign. An intermediate signs
//! leaves only, and none that names a host, an address or a mailbox, so that no browser takes what it signs for a website.
//! It does not carry a constraint of URIs: the validator of rustls refuses every URI below one, because it has no rule for
//! them. That a name is of this trust domain is checked by our own verifiers on every connection, byte for byte.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use meshgate_model::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber, date_time_ymd,
};
use zeroize::Zeroizing;

use super::AuthorityError;
use crate::limits::BACKDATED;
use crate::store::unix_ms;

const SERIAL_BYTES: usize = 16;

/// The serial number of a certificate: 127 random bits, so that it also tells two authorities apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial([u8; SERIAL_BYTES]);

impl Serial {
    fn random() -> Result<Self, AuthorityError> {
        let mut bytes = [0; SERIAL_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| AuthorityError::Library("the system's random source failed".into()))?;
        // A positive number of exactly sixteen bytes: the first bit is not set, the second is.
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        Ok(Self(bytes))
    }

    /// The bytes, none of which is a leading zero.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads what [`to_string`](ToString::to_string) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 2 * SERIAL_BYTES {
            return None;
        }
        let mut out = [0; SERIAL_BYTES];
        for (to, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let text = std::str::from_utf8(pair).ok()?;
            let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            *to = digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()?;
        }
        Some(Self(out))
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 of a public key.
pub fn spki_digest(public_key: &[u8]) -> [u8; 32] {
    sha256(public_key)
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut()
        .zip(digest(&SHA256, bytes).as_ref())
        .for_each(|(to, from)| *to = *from);
    out
}

/// A certificate that signs others, with its key.
pub(super) struct Signer {
    pub(super) certificate: Vec<u8>,
    /// PKCS#8.
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) not_after: SystemTime,
}

impl Signer {
    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let key = key_pair(&self.key)?;
        Issuer::from_ca_cert_der(&self.certificate.as_slice().into(), key).map_err(library)
    }
}

/// A new root.
pub(super) fn root(domain: &TrustDomain, life: Duration, now: SystemTime) -> Result<Signer, AuthorityError> {
    let key = new_key()?;
    let mut params = authority(domain, "root", BasicConstraints::Constrained(1), life, now)?;
    params.use_authority_key_identifier_extension = false;
    let certificate = params.self_signed(&key).map_err(library)?;
    Ok(Signer {
        certificate: certificate.der().to_vec(),
        key: Zeroizing::new(key.serialize_der()),
        not_after: truncated(now + life),
    })
}

/// A new intermediate under a root.
pub(super) fn intermediate(
    domain: &TrustDomain,
    root: &Signer,
    life: Duration,
    now: SystemTime,
) -> Result<Signer, AuthorityError> {
    let key = new_key()?;
    let not_after = (now + life).min(root.not_after);
    let mut params = authority(domain, "intermediate", BasicConstraints::Constrained(0), life, now)?;
    valid(&mut params, now - BACKDATED, not_after);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: vec![
            GeneralSubtree::DnsName(String::new()),
            GeneralSubtree::Rfc822Name(String::new()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    let certificate = params.signed_by(&key, &root.issuer()?).map_err(library)?;
    Ok(Signer {
        certificate: certificate.der().to_vec(),
        key: Zeroizing::new(key.serialize_der()),
        not_after: truncated(not_after),
    })
}

/// A new leaf under an intermediate, and until when it is good.
pub(super) fn leaf(
    id: &SpiffeId,
    public_key: &[u8],
    signer: &Signer,
    life: Duration,
    now: SystemTime,
) -> Result<(Vec<u8>, Serial, SystemTime), AuthorityError> {
    let serial = Serial::random()?;
    let not_after = truncated((now + life).min(signer.not_after));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    valid(&mut params, now - BACKDATED, not_after);
    params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
    params.subject_alt_names = vec![uri(id.as_str())?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = rcgen::SubjectPublicKeyInfo::from_der(public_key).map_err(library)?;
    let certificate = params.signed_by(&key, &signer.issuer()?).map_err(library)?;
    Ok((certificate.der().to_vec(), serial, not_after))
}

fn authority(
    domain: &TrustDomain,
    what: &str,
    reach: BasicConstraints,
    life: Duration,
    now: SystemTime,
) -> Result<CertificateParams, AuthorityError> {
    let serial = Serial::random()?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Meshgate");
    // Two of one mesh have to be told apart by those who look a certificate up by its issuer's name.
    let short: String = serial.to_string().chars().take(8).collect();
    name.push(
        DnType::CommonName,
        format!("{} {what} {short}", shortened(domain.as_str())),
    );
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    valid(&mut params, now - BACKDATED, now + life);
    params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
    // X509-SVID §4.1: a signing certificate names its trust domain, without a path.
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))?];
    params.is_ca = IsCa::Ca(reach);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A common name has at most 64 characters (RFC 5280, ub-common-name).
fn shortened(domain: &str) -> &str {
    domain.get(..40).unwrap_or(domain)
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    text.try_into().map(SanType::URI).map_err(library)
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(library)
}

fn key_pair(pkcs8: &[u8]) -> Result<KeyPair, AuthorityError> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &rcgen::PKCS_ECDSA_P256_SHA256).map_err(library)
}

fn library(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Library(error.to_string())
}

/// Certificates count whole seconds.
fn truncated(time: SystemTime) -> SystemTime {
    crate::store::from_unix_ms(unix_ms(time) / 1000 * 1000)
}

/// From when to when, in the words of the certificate library.
fn valid(params: &mut CertificateParams, from: SystemTime, until: SystemTime) {
    let date = |time| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_ms(time) / 1000);
    params.not_before = date(from);
    params.not_after = date(until);
}
