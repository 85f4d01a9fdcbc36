//! An identity on disk, so that a part that restarts needs nobody.
//!
//! Key and chain stand in one file, because a key without its certificate is worth nothing and two files can be caught
//! half-way between an old pair and a new one. Files are readable by their owner only, written whole or not at all, and
//! refused when others may read them.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate_model::TrustDomain;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::bundle::{BundleError, TrustBundle};
use crate::file;
use crate::limits::IDENTITY_FILE_BYTES_MAX;
use crate::manifest::{SnapshotKeyError, SnapshotPublicKey};
use crate::svid::{Svid, SvidError, SvidKey};

#[cfg(test)]
mod tests;

/// The file with key and chain, in PEM.
pub const SVID_FILE: &str = "svid.pem";
/// The file with the trust bundle, in JSON.
pub const BUNDLE_FILE: &str = "bundle.json";

/// An identity that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Reading or writing failed, or others may read the file.
    #[error("identity file `{path}`: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The content is no identity.
    #[error("identity file `{path}` is damaged ({cause}); delete it and enrol this part again with a join token")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong, without a byte of a key.
        cause: Damage,
    },
}

/// What is wrong with the content of a file.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// No key where one belongs.
    #[error("it holds no private key in PEM form")]
    NoKey,
    /// A certificate that is none.
    #[error("it holds a certificate that cannot be read")]
    Certificate,
    /// Key and chain do not belong together.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// Not the form of a bundle.
    #[error("it is not a trust bundle in JSON")]
    Form,
    /// A bundle that cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] SnapshotKeyError),
}

/// A directory with the identity of one part.
#[derive(Clone, Debug)]
pub struct Stored {
    directory: PathBuf,
}

impl Stored {
    /// The files in this directory, which exists and belongs to the process alone.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Reads the SVID; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it holds something else.
    pub fn svid(&self) -> Result<Option<Svid>, StoredError> {
        self.read(SVID_FILE, |bytes| {
            let key = Zeroizing::new(PrivatePkcs8KeyDer::from_pem_slice(bytes).map_err(|_| Damage::NoKey)?);
            let chain = CertificateDer::pem_slice_iter(bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| Damage::Certificate)?;
            Ok(Svid::new(SvidKey::from_pkcs8(key.secret_pkcs8_der())?, chain)?)
        })
    }

    /// Writes the SVID in the place of an older one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save_svid(&self, svid: &Svid) -> Result<(), StoredError> {
        let mut text = Zeroizing::new(String::with_capacity(8 * 1024));
        block(&mut text, "PRIVATE KEY", svid.key().pkcs8());
        for certificate in svid.chain() {
            block(&mut text, "CERTIFICATE", certificate);
        }
        self.write(SVID_FILE, text.as_bytes())
    }

    /// Reads the trust bundle; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it holds something else.
    pub fn bundle(&self) -> Result<Option<TrustBundle>, StoredError> {
        self.read(BUNDLE_FILE, |bytes| {
            let written: Written = serde_json::from_slice(bytes).map_err(|_| Damage::Form)?;
            let domain: TrustDomain = written.trust_domain.parse().map_err(|_| Damage::Form)?;
            let decode = |text: &String| STANDARD.decode(text).map_err(|_| Damage::Form);
            let roots = written.roots.iter().map(|root| Ok(decode(root)?.into()));
            let keys = written
                .snapshot_keys
                .iter()
                .map(|key| Ok(SnapshotPublicKey::from_bytes(&decode(key)?)?));
            let (roots, keys) = (
                roots.collect::<Result<_, Damage>>()?,
                keys.collect::<Result<_, Damage>>()?,
            );
            Ok(TrustBundle::new(domain, roots, keys)?)
        })
    }

    /// Writes the trust bundle in the place of an older one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save_bundle(&self, bundle: &TrustBundle) -> Result<(), StoredError> {
        let written = Written {
            trust_domain: bundle.trust_domain().to_string(),
            roots: bundle.roots().iter().map(|root| STANDARD.encode(root)).collect(),
            snapshot_keys: bundle
                .snapshot_keys()
                .iter()
                .map(|key| STANDARD.encode(key.as_bytes()))
                .collect(),
        };
        let text = serde_json::to_vec_pretty(&written).map_err(|cause| StoredError::File {
            path: self.shown(BUNDLE_FILE),
            cause: cause.into(),
        })?;
        self.write(BUNDLE_FILE, &text)
    }

    fn read<T>(&self, name: &str, decode: impl FnOnce(&[u8]) -> Result<T, Damage>) -> Result<Option<T>, StoredError> {
        let path = self.directory.join(name);
        let bytes = match file::read_private(&path, IDENTITY_FILE_BYTES_MAX) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                return Err(StoredError::File {
                    path: self.shown(name),
                    cause,
                });
            }
            Ok(bytes) => bytes,
        };
        decode(&bytes).map(Some).map_err(|cause| StoredError::Damaged {
            path: self.shown(name),
            cause,
        })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoredError> {
        file::write_private(&self.directory.join(name), bytes).map_err(|cause| StoredError::File {
            path: self.shown(name),
            cause,
        })
    }

    fn shown(&self, name: &str) -> String {
        shown(&self.directory.join(name))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A bundle as it is written: certificates and keys in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    trust_domain: String,
    roots: Vec<String>,
    snapshot_keys: Vec<String>,
}

/// One PEM block (RFC 7468), lines of 64.
fn block(text: &mut Zeroizing<String>, label: &str, der: &[u8]) {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
}
