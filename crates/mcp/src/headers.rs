//! Mirrored headers: what of a body the modern era repeats in HTTP headers, and how.
//!
//! Headers exist so that balancers can route without reading the body. Whoever reads the body must therefore refuse a
//! message whose headers say something else, or the balancer and the server act on two different calls.
//!
//! A value that plain header text cannot carry travels as `=?base64?…?=`. Decoding is strict, because each sloppiness
//! (other letter case, missing padding, stray bits) is a second spelling of the same name that somebody's filter does
//! not know.

mod decimal;
mod param;

pub use param::{ParamHeader, ParamHeaderError, ParamKind, param_headers};

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The revision of the request.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// Mirrors `method`.
pub const METHOD: &str = "mcp-method";
/// Mirrors the target of the method, see [`crate::Target`].
pub const NAME: &str = "mcp-name";
/// Stands before the name of each header that mirrors an argument.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// The session of a legacy client.
pub const SESSION_ID: &str = "mcp-session-id";
/// Inside the mesh, on an answer of a sidecar: the body is its own refusal and not its server's answer. A server cannot set
/// it, because nothing of a server's header fields is passed on.
pub const REFUSED: &str = "meshgate-refused";
/// Inside the mesh: the type of the event that ends a sidecar's stream with a refusal of its own. Messages of a server bear
/// the type of messages.
pub const REFUSED_EVENT: &str = "refused";
/// Where a legacy client wants a stream to go on.
pub const LAST_EVENT_ID: &str = "last-event-id";

const PREFIX: &[u8] = b"=?base64?";
const SUFFIX: &[u8] = b"?=";

/// A header that does not mirror its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Characters that plain header text cannot carry.
    #[error("the header holds characters that plain text cannot carry; send it as `=?base64?…?=`")]
    Characters,
    /// Something between `=?base64?` and `?=` that is not canonical base64.
    #[error("the header is not canonical base64 between `=?base64?` and `?=`; encode it with padding")]
    Base64,
    /// Base64 of something that is not UTF-8.
    #[error("the header is base64 of bytes that are not UTF-8; encode the text as UTF-8")]
    Utf8,
    /// The body has the value and the header is missing.
    #[error("the header is missing while the body has the value; send both")]
    Missing,
    /// The body lacks the value and the header is there.
    #[error("the header is present while the body has no such value; send both or none")]
    Unexpected,
    /// Header and body differ.
    #[error("the header differs from the body; send the same value in both")]
    Mismatch,
}

/// The text of a mirrored header.
///
/// # Errors
/// When the bytes are neither plain text nor a well-formed `=?base64?…?=`.
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, HeaderError> {
    if let Some(encoded) = value.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) {
        let bytes = STANDARD.decode(encoded).map_err(|_| HeaderError::Base64)?;
        return String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderError::Utf8);
    }
    let plain = std::str::from_utf8(value).map_err(|_| HeaderError::Characters)?;
    if is_plain(plain) {
        Ok(Cow::Borrowed(plain))
    } else {
        Err(HeaderError::Characters)
    }
}

/// The header that mirrors a text: the text itself where a header can carry it, base64 otherwise.
pub fn encode(text: &str) -> Cow<'_, str> {
    let looks_encoded = text.as_bytes().starts_with(PREFIX) && text.as_bytes().ends_with(SUFFIX);
    if is_plain(text) && !looks_encoded {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(text)))
}

/// Whether a header may mirror this text of the body.
///
/// # Errors
/// When the header is malformed or says something else.
pub fn check(header: &[u8], body: &str) -> Result<(), HeaderError> {
    if decode(header)? == body {
        Ok(())
    } else {
        Err(HeaderError::Mismatch)
    }
}

/// Visible ASCII, with spaces and tabs inside only.
fn is_plain(text: &str) -> bool {
    let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    !edge(bytes.first()) && !edge(bytes.last()) && bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests;
