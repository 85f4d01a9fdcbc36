//! What a certificate of the mesh says about its holder.
//!
//! The TLS library checks signatures, times and basic constraints and knows nothing of SPIFFE: to it a URI is a name that
//! cannot be compared. So the name is read here, from the same bytes, and read narrowly: exactly one URI among the
//! alternative names (X509-SVID §2), written the one way that [`SpiffeId`] knows; no certificate authority (§4.1), no right
//! to sign certificates (§4.3), the purpose it is shown for (§4.4) and a key of the one kind the mesh issues. A common name
//! means nothing, whatever it says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_model::SpiffeId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::limits::{CERTIFICATE_BYTES_MAX, CONNECTION_AGE, CONNECTION_AGE_JITTER_PERCENT};

#[cfg(test)]
mod tests;

const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const CURVE_P256: &str = "1.2.840.10045.3.1.7";
/// An uncompressed point of P-256 (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;

/// Why a certificate is none of a part of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// No certificate at all.
    #[error("no certificate was shown")]
    Missing,
    /// It cannot be read, or bytes follow it.
    #[error("the certificate is malformed")]
    Malformed,
    /// Not exactly one URI among the alternative names.
    #[error("the certificate has {0} URI names; a SVID has exactly one")]
    Names(usize),
    /// The URI is no SPIFFE ID of a part of a mesh.
    #[error("the certificate names `{name}`: {cause}")]
    Id {
        /// What it names, shortened.
        name: String,
        /// What is wrong with it.
        cause: meshgate_model::SpiffeError,
    },
    /// A certificate authority, or one that may sign certificates.
    #[error("the certificate may sign others; that of a part of a mesh may not")]
    Authority,
    /// It is not for this.
    #[error("the certificate is not for {0} of a TLS connection")]
    Purpose(&'static str),
    /// Its key is of another kind.
    #[error("the key of the certificate is not a P-256 key")]
    Key,
}

/// Which end of a connection a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that connects.
    Client,
    /// The one that listens.
    Server,
}

/// The other end of a connection, as its verified certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    id: SpiffeId,
    serial: Arc<str>,
    public_key: Arc<[u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Peer {
    /// Reads the first of the certificates that a finished handshake left (`peer_certificates()`); the handshake has
    /// verified it, this only reads.
    ///
    /// # Errors
    /// When there is none, or it is none of a part of a mesh: then the connection was not made with a configuration of
    /// [`Identity`](crate::Identity).
    pub fn of(certificates: Option<&[CertificateDer<'_>]>) -> Result<Self, LeafError> {
        Self::read(certificates.and_then(<[_]>::first).ok_or(LeafError::Missing)?)
    }

    /// Who it is.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The serial number of its certificate: lower-case hexadecimal without leading zeros.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The public key of its certificate: a point of P-256, uncompressed (65 bytes).
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// When its certificate began.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When its certificate ends. A connection that lives on is ended in peace by its age, never in the middle of an answer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Reads a certificate as that of a part of a mesh. Proves nothing about who signed it.
    pub(crate) fn read(der: &[u8]) -> Result<Self, LeafError> {
        Self::of_certificate(&parse(der)?)
    }

    /// As [`read`](Self::read), for one end of a connection.
    pub(crate) fn read_for(side: Side, der: &[u8]) -> Result<Self, LeafError> {
        let certificate = parse(der)?;
        let peer = Self::of_certificate(&certificate)?;
        let usage = certificate.extended_key_usage().map_err(|_| LeafError::Malformed)?;
        let (is_for, name) = match side {
            Side::Client => (usage.is_some_and(|usage| usage.value.client_auth), "the client side"),
            Side::Server => (usage.is_some_and(|usage| usage.value.server_auth), "the server side"),
        };
        is_for.then_some(peer).ok_or(LeafError::Purpose(name))
    }

    fn of_certificate(certificate: &X509Certificate<'_>) -> Result<Self, LeafError> {
        refuse_authority(certificate)?;
        Ok(Self {
            id: only_name(certificate)?,
            serial: serial_text(certificate.raw_serial()).into(),
            public_key: point(certificate)?.into(),
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
        })
    }
}

/// One certificate and nothing behind it.
fn parse(der: &[u8]) -> Result<X509Certificate<'_>, LeafError> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(LeafError::Malformed);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(LeafError::Malformed),
    }
}

/// The serial number of a certificate as it stands in lists and records: its bytes, big end first, in lower-case hexadecimal
/// without leading zeros.
pub fn serial_text(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let short = text.trim_start_matches('0');
    if short.is_empty() {
        "0".to_owned()
    } else {
        short.to_owned()
    }
}

/// How long a connection made at `now` may live: the age of connections, moved by `jitter` (a random number) within its
/// share, and no longer than either certificate.
pub fn connection_life(now: SystemTime, ends: [SystemTime; 2], jitter: u64) -> Duration {
    let age = crate::rotation::jittered(CONNECTION_AGE, CONNECTION_AGE_JITTER_PERCENT, jitter);
    let left = ends.into_iter().map(|end| end.duration_since(now).unwrap_or_default());
    left.fold(age, Duration::min)
}

fn refuse_authority(certificate: &X509Certificate<'_>) -> Result<(), LeafError> {
    let constraints = certificate.basic_constraints().map_err(|_| LeafError::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| LeafError::Malformed)?;
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign());
    if signs || constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(LeafError::Authority);
    }
    Ok(())
}

fn only_name(certificate: &X509Certificate<'_>) -> Result<SpiffeId, LeafError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| LeafError::Malformed)?
        .map_or(&[][..], |names| &names.value.general_names);
    if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
        return Err(LeafError::Malformed);
    }
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (first, others) = (uris.next(), uris.count());
    match (first, others) {
        (Some(uri), 0) => uri.parse().map_err(|cause| LeafError::Id {
            name: uri.chars().filter(|c| !c.is_control()).take(128).collect(),
            cause,
        }),
        (first, others) => Err(LeafError::Names(usize::from(first.is_some()) + others)),
    }
}

fn point(certificate: &X509Certificate<'_>) -> Result<[u8; POINT_BYTES], LeafError> {
    let key = certificate.public_key();
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .map(|oid| oid.to_id_string());
    if key.algorithm.algorithm.to_id_string() != EC_PUBLIC_KEY || curve.as_deref() != Some(CURVE_P256) {
        return Err(LeafError::Key);
    }
    let point: &[u8] = key.subject_public_key.data.as_ref();
    point.try_into().map_err(|_| LeafError::Key)
}

/// Times before 1970 are no times of a certificate of a mesh.
fn time(unix_s: i64) -> Result<SystemTime, LeafError> {
    let since = u64::try_from(unix_s).map_err(|_| LeafError::Malformed)?;
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(since))
        .ok_or(LeafError::Malformed)
}
