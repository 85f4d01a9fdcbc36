//! Service tokens: how an application proves who it is.
//!
//! A token is 256 random bits, so it needs no slow hash: the gateway keeps SHA-256 digests and looks a presented token up
//! by its digest. No table, log or snapshot holds a token, and comparing takes the same time whatever was presented,
//! because what is compared is a digest an attacker cannot steer.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// How every service token begins, so that secret scanners find a leaked one.
pub const TOKEN_PREFIX: &str = "mg_";
const TOKEN_BYTES: usize = 32;

/// A service token in clear. Prints as `mg_***`; wiped when dropped.
#[derive(Clone)]
pub struct ServiceToken(Zeroizing<String>);

impl ServiceToken {
    /// A new token from `fill`, which must be cryptographically random.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        fill(bytes.as_mut_slice());
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        Self(text)
    }

    /// Takes a token as a person or a file gave it; `None` when it has not the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let encoded = text.strip_prefix(TOKEN_PREFIX)?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).ok()?);
        (decoded.len() == TOKEN_BYTES).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token in clear, for the one place that presents it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What tables hold instead of the token.
    pub fn digest(&self) -> [u8; 32] {
        token_digest(&self.0)
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN_PREFIX}***")
    }
}

/// SHA-256 of a presented token, whatever its length: a constant for some of them would be a token by itself.
pub fn token_digest(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut()
        .zip(digest(&SHA256, token.as_bytes()).as_ref())
        .for_each(|(to, from)| *to = *from);
    out
}
