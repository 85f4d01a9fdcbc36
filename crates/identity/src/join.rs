//! Join tokens: how a proxy proves for the first time that it may be what it says.
//!
//! The token travels through a person's hands, so it is worth as little as possible: 256 random bits, good once, for one
//! identity, for minutes; what the control plane keeps is a digest. And because the proxy has no trust bundle yet when it
//! shows the secret, the token also says which root the control plane must prove itself by: a proxy that was pointed at an
//! impostor keeps the secret to itself.
//!
//! Form: `mgj_<secret>_<root>`, both of 32 bytes in base64url without padding, the second the SHA-256 of the root
//! certificate in DER.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// How every join token begins, so that secret scanners find a leaked one.
pub const JOIN_TOKEN_PREFIX: &str = "mgj_";
const PART_BYTES: usize = 32;
/// 32 bytes in base64url.
const PART_CHARS: usize = 43;

/// A join token in clear. Prints as `mgj_***`; wiped when dropped.
#[derive(Clone)]
pub struct JoinToken {
    secret: Zeroizing<[u8; PART_BYTES]>,
    root: [u8; PART_BYTES],
}

impl JoinToken {
    /// A new token for a mesh with this root, from `fill`, which must be cryptographically random.
    pub fn generate(root_certificate_der: &[u8], fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut secret = Zeroizing::new([0; PART_BYTES]);
        fill(secret.as_mut_slice());
        Self {
            secret,
            root: sha256(root_certificate_der),
        }
    }

    /// Takes a token as a person or a file gave it; `None` when it has not the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix(JOIN_TOKEN_PREFIX)?;
        // By length: both parts may hold the character that joins them.
        let (secret, rest) = rest.split_at_checked(PART_CHARS)?;
        Some(Self {
            secret: Zeroizing::new(part(secret)?),
            root: part(rest.strip_prefix('_')?)?,
        })
    }

    /// The token in clear, for the one person or file that gets it.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(JOIN_TOKEN_PREFIX.len() + 2 * PART_CHARS + 1));
        text.push_str(JOIN_TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(self.secret.as_slice(), &mut text);
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(self.root, &mut text);
        text
    }

    /// What is shown to the control plane, once it has proved itself.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_slice()
    }

    /// What the control plane keeps instead of the secret.
    pub fn digest(&self) -> [u8; PART_BYTES] {
        sha256(self.secret.as_slice())
    }

    /// SHA-256 of the root certificate that the control plane must prove itself by.
    pub fn root(&self) -> &[u8; PART_BYTES] {
        &self.root
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_TOKEN_PREFIX}***")
    }
}

fn part(text: &str) -> Option<[u8; PART_BYTES]> {
    let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    decoded.as_slice().try_into().ok()
}

fn sha256(bytes: &[u8]) -> [u8; PART_BYTES] {
    let mut out = [0; PART_BYTES];
    out.iter_mut()
        .zip(digest(&SHA256, bytes).as_ref())
        .for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> JoinToken {
        JoinToken::generate(b"a root", &mut |out| out.fill(byte))
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        for byte in [0, 0x3e, 0xff] {
            let token = token(byte);
            let again = JoinToken::parse(&format!(" {}\n", *token.expose())).unwrap();
            assert_eq!(again.secret(), [byte; 32]);
            assert_eq!(again.digest(), token.digest());
            assert_eq!(again.root(), token.root());
        }
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_none() {
        let text = token(7).expose().to_string();
        let cut = &text[..text.len() - 1];
        let joined = text.replacen('_', "-", 2);
        for wrong in ["", "mgj_", "mg_abc", cut, &joined, &format!("{text}A"), "mgj_ä"] {
            assert!(JoinToken::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn printing_a_token_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", token(1)), "mgj_***");
    }
}
