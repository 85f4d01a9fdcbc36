//! TLS at the edge, from files, renewed without a restart.
//!
//! One cryptographic provider, passed explicitly: a build that links two would otherwise panic when a default is looked
//! up. TLS 1.2 (AEAD suites only, rustls has no others) and 1.3; HTTP/2 and HTTP/1.1 by ALPN; no early data, because
//! replayed bytes would run a call twice.
//!
//! Certificates are replaced on disk by whoever issues them. [`ReloadingTls`] looks at the files when asked and swaps the
//! configuration in one step; files that do not fit together (a renewal caught half-way, a wrong key) leave the last good
//! configuration in place and say why. New connections use the new certificate, live ones keep theirs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::file;
use crate::limits::PEM_FILE_BYTES_MAX;

#[cfg(test)]
mod tests;

/// Protocols offered by ALPN, best first.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS {what} `{path}`: {cause}")]
    File {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file holds nothing of its kind.
    #[error("TLS {what} `{path}` holds no {what} in PEM form; give a file with `-----BEGIN …-----` blocks")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("TLS certificate `{certificate}` and key `{key}` cannot be used together: {cause}")]
    Pair {
        /// The certificate file.
        certificate: String,
        /// The key file.
        key: String,
        /// What the TLS library said.
        #[source]
        cause: rustls::Error,
    },
}

/// The one cryptographic provider of this project.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Whether a look at the files changed anything.
#[derive(Debug)]
pub enum Reload {
    /// The files are as they were.
    Unchanged,
    /// New connections get the new certificate.
    Reloaded,
    /// The files changed and cannot be used; the last good certificate stays. Said once per content of the files.
    Kept(TlsError),
}

/// A server configuration that follows its files.
pub struct ReloadingTls {
    certificate: PathBuf,
    key: PathBuf,
    seen: ArcSwap<[u8; 32]>,
    config: ArcSwap<ServerConfig>,
}

impl ReloadingTls {
    /// Reads a PEM certificate chain (leaf first) and its PEM private key for the first time; here an error is fatal to the
    /// caller.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let pair = Pair::read(&certificate, &key)?;
        let config = pair.config(&certificate, &key)?;
        Ok(Self {
            certificate,
            key,
            seen: ArcSwap::from_pointee(pair.digest()),
            config: ArcSwap::new(config),
        })
    }

    /// The configuration for the next connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Looks at the files by content, so that a restored time stamp or a swapped symbolic link hides nothing.
    /// Meant for a poll every few seconds on the keep runtime; one caller at a time.
    pub fn reload_if_changed(&self) -> Reload {
        let pair = match Pair::read(&self.certificate, &self.key) {
            Ok(pair) => pair,
            // A file that is away has no content; remember that as a state of its own, to say it once.
            Err(error) => return self.keep([0; 32], error),
        };
        let digest = pair.digest();
        if digest == **self.seen.load() {
            return Reload::Unchanged;
        }
        match pair.config(&self.certificate, &self.key) {
            Ok(config) => {
                self.config.store(config);
                self.seen.store(Arc::new(digest));
                Reload::Reloaded
            }
            Err(error) => self.keep(digest, error),
        }
    }

    fn keep(&self, digest: [u8; 32], error: TlsError) -> Reload {
        if digest == **self.seen.load() {
            return Reload::Unchanged;
        }
        self.seen.store(Arc::new(digest));
        Reload::Kept(error)
    }
}

impl fmt::Debug for ReloadingTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingTls")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The bytes of both files as they were at one moment.
struct Pair {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |what, path: &Path| {
            file::read_capped(path, PEM_FILE_BYTES_MAX).map_err(|cause| TlsError::File {
                what,
                path: path.display().to_string(),
                cause,
            })
        };
        Ok(Self {
            certificate: read("certificate", certificate)?,
            key: read("key", key)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&(self.certificate.len() as u64).to_be_bytes());
        context.update(&self.certificate);
        context.update(&self.key);
        let mut out = [0; 32];
        out.iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        out
    }

    fn config(&self, certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let shown = |path: &Path| path.display().to_string();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        if chain.is_empty() {
            return Err(TlsError::Pem {
                what: "certificate",
                path: shown(certificate),
            });
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::Pem {
            what: "key",
            path: shown(key),
        })?;
        let refused = |cause| TlsError::Pair {
            certificate: shown(certificate),
            key: shown(key),
            cause,
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(refused)?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        Ok(Arc::new(config))
    }
}
