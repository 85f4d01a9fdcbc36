//! Sealing: state that travels through a client and must come back unread and unchanged.
//!
//! The gateway keeps no table of sessions, cursors or pending rounds: it hands the state to the client, sealed, and any
//! gateway with the same key ring opens it. A sealed token says nothing and admits no change: another purpose, another
//! caller (the associated data), a flipped bit, a shortened token and a retired key all end in the same error, so that an
//! attacker learns nothing from trying.
//!
//! Format, base64url without padding: `version (1) | key id (4) | salt (12) | nonce (12) | ciphertext and tag`.
//! The AES-256-GCM key of one token is derived from the ring's key, the purpose and the salt (HKDF-SHA-256), so the
//! 2^32-message bound of random 96-bit nonces under one key is never near, however long a ring lives. The ring holds the
//! current key and the one before it: `rotate` keeps tokens of the last period valid and ends those older than that.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::file;
use crate::limits::{KEY_RING_FILE_BYTES_MAX, SEALED_PLAIN_BYTES_MAX, SEALED_TOKEN_CHARS_MAX};

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const SALT_BYTES: usize = 12;
const HEAD_BYTES: usize = 1 + KEY_ID_BYTES + SALT_BYTES + NONCE_LEN;
const FILE_TITLE: &str = "meshgate-key-ring 1";

/// What a sealed token is for. A token opens only for the purpose it was sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A legacy session id.
    Session,
    /// A list cursor.
    Cursor,
    /// The `requestState` of a multi-round call.
    RequestState,
    /// A task id.
    TaskId,
    /// An SSE event id on a legacy stream.
    EventId,
    /// State kept inside a tool's answer.
    ToolState,
}

impl Purpose {
    const ALL: [Self; 6] = [
        Self::Session,
        Self::Cursor,
        Self::RequestState,
        Self::TaskId,
        Self::EventId,
        Self::ToolState,
    ];

    /// Part of the key derivation: never change one, or tokens in flight stop opening.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"meshgate seal 1 session",
            Self::Cursor => b"meshgate seal 1 cursor",
            Self::RequestState => b"meshgate seal 1 request-state",
            Self::TaskId => b"meshgate seal 1 task-id",
            Self::EventId => b"meshgate seal 1 event-id",
            Self::ToolState => b"meshgate seal 1 tool-state",
        }
    }
}

/// A sealed token did not open. Deliberately without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid here")]
pub struct OpenError;

/// Something could not be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over `SEALED_PLAIN_BYTES_MAX`.
    #[error("state of {0} bytes is over the limit of {SEALED_PLAIN_BYTES_MAX} bytes for a sealed token")]
    TooLong(usize),
    /// The system gave no entropy, or the cipher failed.
    #[error("the system's random source or the cipher failed")]
    Unavailable,
}

/// A key ring file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// Reading or writing failed, or others may read the file.
    #[error("key ring `{path}`: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The content is not a key ring.
    #[error(
        "key ring `{path}` is damaged; restore it from a copy, or delete it to make a new one (sealed sessions and cursors in flight end)"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// The system gave no entropy.
    #[error("the system's random source failed")]
    Entropy,
}

/// The current sealing key and the one before it.
pub struct KeyRing {
    current: Key,
    previous: Option<Key>,
    /// What seals and opens in its place, for all who share it.
    successor: ArcSwapOption<KeyRing>,
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    purposes: [Prk; Purpose::ALL.len()],
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let digest = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bytes.as_slice()),
            b"meshgate key id 1",
        );
        let mut id = [0; KEY_ID_BYTES];
        id.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        let purposes = Purpose::ALL.map(|p| Salt::new(HKDF_SHA256, p.label()).extract(bytes.as_slice()));
        Self { id, bytes, purposes }
    }

    fn filled(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill(bytes.as_mut_slice());
        Self::new(bytes)
    }

    /// The cipher of one token.
    fn cipher(&self, purpose: Purpose, salt: &[u8]) -> Option<LessSafeKey> {
        let prk = self.purposes.get(purpose as usize)?;
        let info = [salt];
        let okm = prk.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &(1 + usize::from(self.previous.is_some())))
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    fn of(current: Key, previous: Option<Key>) -> Self {
        Self {
            current,
            previous,
            successor: ArcSwapOption::empty(),
        }
    }

    /// Lets another ring seal and open in the place of this one, for everybody who shares it. What is sealed opens on if the
    /// other ring still has the key.
    pub fn take_over(&self, by: Self) {
        self.successor.store(Some(Arc::new(by)));
    }

    /// A new ring with one key taken from `fill`, which must be cryptographically random.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::of(Key::filled(fill), None)
    }

    /// A new ring from the system's entropy.
    pub fn from_entropy() -> Result<Self, KeyRingError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| KeyRingError::Entropy)?;
        Ok(Self::of(Key::new(bytes), None))
    }

    /// Reads the ring at `path`, or makes one there (mode 0600) when the file does not exist.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyRingError> {
        match Self::load(path) {
            Err(KeyRingError::File { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {
                let ring = Self::from_entropy()?;
                ring.save(path)?;
                Ok(ring)
            }
            other => other,
        }
    }

    /// Reads the ring at `path`; a file that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, KeyRingError> {
        let shown = || path.display().to_string();
        let bytes = file::read_private(path, KEY_RING_FILE_BYTES_MAX)
            .map_err(|cause| KeyRingError::File { path: shown(), cause })?;
        Self::decode(&bytes).ok_or_else(|| KeyRingError::Damaged { path: shown() })
    }

    /// Writes the ring to `path`, mode 0600, atomically.
    pub fn save(&self, path: &Path) -> Result<(), KeyRingError> {
        file::write_private(path, self.encode().as_bytes()).map_err(|cause| KeyRingError::File {
            path: path.display().to_string(),
            cause,
        })
    }

    /// The ring after a rotation: a new current key from `fill`; the old current one still opens, the one before does not.
    #[must_use]
    pub fn rotate(self, fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::of(Key::filled(fill), Some(self.current))
    }

    /// The first step of a rotation among several who share the ring: a new key from `fill` that opens and does not seal yet,
    /// so that everybody has it before anybody seals with it. What was sealed before the last rotation opens no more.
    #[must_use]
    pub fn prepare(self, fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::of(self.current, Some(Key::filled(fill)))
    }

    /// The second step, once everybody has the prepared ring: the other key seals from now on, and this one still opens.
    #[must_use]
    pub fn promote(self) -> Self {
        match self.previous {
            Some(next) => Self::of(next, Some(self.current)),
            None => self,
        }
    }

    /// The ring as it is written in a file and as it travels to gateways. It is a secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        self.encode()
    }

    /// Reads what [`to_text`](Self::to_text) wrote; `None` when it is something else.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::decode(text.as_bytes())
    }

    /// Seals `plain` for `purpose`; `aad` is what must be equal again when it is opened (the caller's binding).
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plain: &[u8]) -> Result<String, SealError> {
        if let Some(successor) = &*self.successor.load() {
            return successor.seal(purpose, aad, plain);
        }
        if plain.len() > SEALED_PLAIN_BYTES_MAX {
            return Err(SealError::TooLong(plain.len()));
        }
        let mut salt = [0; SALT_BYTES];
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut salt).map_err(|_| SealError::Unavailable)?;
        getrandom::fill(&mut nonce).map_err(|_| SealError::Unavailable)?;
        let cipher = self.current.cipher(purpose, &salt).ok_or(SealError::Unavailable)?;
        let mut sealed = plain.to_vec();
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
            .map_err(|_| SealError::Unavailable)?;
        let mut token = Vec::with_capacity(HEAD_BYTES + sealed.len());
        token.push(VERSION);
        token.extend_from_slice(&self.current.id);
        token.extend_from_slice(&salt);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(&sealed);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Opens what [`seal`](Self::seal) made with the same purpose and associated data.
    pub fn open(&self, purpose: Purpose, aad: &[u8], token: &str) -> Result<Vec<u8>, OpenError> {
        if let Some(successor) = &*self.successor.load() {
            return successor.open(purpose, aad, token);
        }
        if token.len() > SEALED_TOKEN_CHARS_MAX {
            return Err(OpenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| OpenError)?;
        let (version, rest) = bytes.split_first().ok_or(OpenError)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(OpenError)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>().ok_or(OpenError)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        if *version != VERSION {
            return Err(OpenError);
        }
        let key = self.keys().find(|key| key.id == *id).ok_or(OpenError)?;
        let cipher = key.cipher(purpose, salt).ok_or(OpenError)?;
        let mut plain = sealed.to_vec();
        let len = cipher
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut plain)
            .map_err(|_| OpenError)?
            .len();
        plain.truncate(len);
        Ok(plain)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(self.previous.as_ref())
    }

    fn encode(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(256));
        text.push_str(FILE_TITLE);
        text.push('\n');
        for key in self.keys() {
            URL_SAFE_NO_PAD.encode_string(key.bytes.as_slice(), &mut text);
            text.push('\n');
        }
        text
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != FILE_TITLE {
            return None;
        }
        let current = decode_key(lines.next()?)?;
        let previous = match lines.next() {
            Some(line) => Some(decode_key(line)?),
            None => None,
        };
        lines.next().is_none().then(|| Self::of(current, previous))
    }
}

fn decode_key(line: &str) -> Option<Key> {
    let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(line).ok()?);
    let bytes: [u8; KEY_BYTES] = decoded.as_slice().try_into().ok()?;
    Some(Key::new(Zeroizing::new(bytes)))
}
