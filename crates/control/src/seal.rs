//! What protects the store at rest: secrets are sealed, and every record carries a code that only this control plane makes.
//!
//! A copy of the database alone must be worth nothing: keys of the authority, of snapshots and of gateways are in it as
//! ciphertext, and a record that somebody edits by hand, moves or copies back no longer fits its code. Both hang on one
//! secret of 256 bits in a file of its own beside the database (mode 0600, or a credential that systemd hands over), so
//! that backups of the database and of the secret can go different ways.

use std::io;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshgate_identity::file;
pub(crate) use meshgate_identity::file::write_private;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

const SECRET_BYTES: usize = 32;
const SECRET_FILE_BYTES_MAX: u64 = 1024;
const FILE_TITLE: &str = "meshgate-control-key 1";

/// The code of a record.
pub(crate) type Mac = [u8; 32];

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Reading or writing failed, or others may read the file.
    #[error("control key `{path}`: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The content is no control key.
    #[error("control key `{path}` is damaged; restore it from a copy, because the store cannot be read without it")]
    Damaged {
        /// The file.
        path: String,
    },
    /// The system gave no entropy.
    #[error("the system's random source failed")]
    Entropy,
    /// What was sealed does not open.
    #[error("a sealed secret does not open with this control key; restore the key that belongs to the store")]
    Closed,
}

/// The keys that come from the secret of a control plane.
pub struct Seal {
    sealing: LessSafeKey,
    marking: hmac::Key,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

impl Seal {
    /// The keys of a secret.
    ///
    /// # Errors
    /// Never with 32 bytes; the cipher library says so by a result.
    pub fn of(secret: &[u8; SECRET_BYTES]) -> Result<Self, SealError> {
        let sealing = derived(secret, b"meshgate control 1 seal")?;
        let marking = derived(secret, b"meshgate control 1 mark")?;
        let sealing = UnboundKey::new(&AES_256_GCM, sealing.as_slice()).map_err(|_| SealError::Entropy)?;
        Ok(Self {
            sealing: LessSafeKey::new(sealing),
            marking: hmac::Key::new(hmac::HMAC_SHA256, marking.as_slice()),
        })
    }

    /// Reads the secret at `path`; where there is none and `may_create` says so, makes one there.
    ///
    /// # Errors
    /// When the file cannot be read or written, may be read by others, or holds something else.
    pub fn load(path: &Path, may_create: bool) -> Result<Self, SealError> {
        let shown = || path.display().to_string();
        let failed = |cause| SealError::File { path: shown(), cause };
        let text = match read_private(path) {
            Ok(text) => text,
            Err(cause) if may_create && cause.kind() == io::ErrorKind::NotFound => {
                let secret = random_secret()?;
                let text = written(&secret);
                write_private(path, text.as_bytes()).map_err(failed)?;
                return Self::of(&secret);
            }
            Err(cause) => return Err(failed(cause)),
        };
        let secret = parsed(&text).ok_or_else(|| SealError::Damaged { path: shown() })?;
        Self::of(&secret)
    }

    /// Seals `plain`; `label` says what it is, and must be said again to open it.
    ///
    /// # Errors
    /// When the system gives no entropy.
    pub fn seal(&self, label: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Entropy)?;
        let mut sealed = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError::Entropy)?;
        let mut out = nonce.to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`seal`](Self::seal) made under the same label.
    ///
    /// # Errors
    /// When it was made with another secret or label, or was changed.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Closed)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let len = self
            .sealing
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(label.as_bytes()),
                plain.as_mut_slice(),
            )
            .map_err(|_| SealError::Closed)?
            .len();
        plain.truncate(len);
        Ok(plain)
    }

    /// The code of some parts, each told apart by its length.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mut context = hmac::Context::with_key(&self.marking);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = [0; 32];
        mac.iter_mut()
            .zip(context.sign().as_ref())
            .for_each(|(to, from)| *to = *from);
        mac
    }
}

fn derived(secret: &[u8; SECRET_BYTES], label: &[u8]) -> Result<Zeroizing<[u8; SECRET_BYTES]>, SealError> {
    let mut out = Zeroizing::new([0; SECRET_BYTES]);
    let prk = Salt::new(HKDF_SHA256, label).extract(secret);
    let okm = prk.expand(&[b"key"], HKDF_SHA256).map_err(|_| SealError::Entropy)?;
    okm.fill(out.as_mut_slice()).map_err(|_| SealError::Entropy)?;
    Ok(out)
}

fn random_secret() -> Result<Zeroizing<[u8; SECRET_BYTES]>, SealError> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(secret.as_mut_slice()).map_err(|_| SealError::Entropy)?;
    Ok(secret)
}

fn written(secret: &[u8; SECRET_BYTES]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!("{FILE_TITLE}\n"));
    URL_SAFE_NO_PAD.encode_string(secret, &mut text);
    text.push('\n');
    text
}

fn parsed(text: &[u8]) -> Option<Zeroizing<[u8; SECRET_BYTES]>> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    if lines.next()? != FILE_TITLE {
        return None;
    }
    let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(lines.next()?).ok()?);
    let secret: [u8; SECRET_BYTES] = decoded.as_slice().try_into().ok()?;
    lines.next().is_none().then(|| Zeroizing::new(secret))
}

/// Reads a small file that its owner alone may read.
///
/// # Errors
/// Also when others may read it, and when it is longer than a kilobyte.
pub(crate) fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    file::read_private(path, SECRET_FILE_BYTES_MAX)
}
