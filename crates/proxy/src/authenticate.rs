//! Who is calling, from headers alone, before any body is read.
//!
//! A view asks for a bearer token unless its configuration opens it to anonymous callers, which is possible on loopback
//! only. Tokens are looked up by digest, so that neither the look-up nor a log line can give one away.

use std::sync::Arc;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use meshgate_identity::token_digest;
use meshgate_model::{Digest, Snapshot, View};

use crate::call::Caller;
use crate::refusal::{Reason, Refusal};

mod mesh;

pub use self::mesh::Trusted;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// The caller of a request to a view, or why there is none.
pub fn authenticate(snapshot: &Snapshot, view: &View, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let Some(token) = bearer(headers)? else {
        if view.anonymous {
            return Ok(Caller::anonymous());
        }
        return Err(challenge("send `Authorization: Bearer <token>`", false));
    };
    let application = snapshot
        .application_by_token_digest(&token_digest(token))
        .ok_or_else(|| challenge("the bearer token is not known here", true))?;
    Ok(Caller::new(Some(Arc::clone(&application.name)), None))
}

/// The digest of the token that a request bears.
pub fn presented(headers: &HeaderMap) -> Option<Digest> {
    bearer(headers).ok().flatten().map(token_digest)
}

/// The credentials of a request as they stand there, when there is exactly one line of them.
pub fn credentials(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next()?;
    values.next().is_none().then(|| only.as_bytes())
}

/// The bearer token of a request; `None` when there is no `Authorization` at all.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || challenge("`Authorization` must be one `Bearer <token>`", true);
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(malformed)?;
    let sound = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= TOKEN_BYTES_MAX
        && token.bytes().all(|b| b.is_ascii_graphic());
    if sound { Ok(Some(token)) } else { Err(malformed()) }
}

fn challenge(text: &'static str, presented: bool) -> Refusal {
    let value = if presented {
        HeaderValue::from_static("Bearer realm=\"meshgate\", error=\"invalid_token\"")
    } else {
        HeaderValue::from_static("Bearer realm=\"meshgate\"")
    };
    Refusal::new(Reason::Unauthenticated, text)
        .rule("authentication/token")
        .header(WWW_AUTHENTICATE, value)
}
