//! Legacy responses, as a modern client reads them.
//!
//! A result says that it is complete, and that nothing may be cached beyond this caller: a legacy server promises
//! nothing about either. An error keeps its words; only codes that modern clients must never see are changed.

use meshgate_mcp::{Envelope, Message, Object, Splice, codes, json, lookup};

use super::{Pending, Session};
use crate::Capabilities;
use crate::eras::{Cannot, cannot};

/// A response that is none. The request may have run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's response is not valid: {0}")]
pub struct Broken(pub &'static str);

impl Session {
    /// Turns the server's response to `pending` into a modern one.
    pub fn answer(&self, pending: &Pending, src: &[u8], response: &Message) -> Result<Vec<u8>, Broken> {
        match response.envelope {
            Envelope::Result => {
                let result = response.body.as_ref().ok_or(Broken("`result` must be an object"))?;
                Ok(complete(pending, src, result))
            }
            Envelope::Error => {
                let error = response.body.as_ref().ok_or(Broken("`error` must be an object"))?;
                Ok(failed(pending, src, error))
            }
            Envelope::Request | Envelope::Notification => Err(Broken("it is not a response")),
        }
    }
}

fn complete(pending: &Pending, src: &[u8], result: &Object) -> Vec<u8> {
    let mut splice = Splice::new(src);
    splice.set(result, "resultType", &b"\"complete\""[..]);
    if pending.method.row().cacheable {
        splice.set(result, "ttlMs", &b"0"[..]);
        splice.set(result, "cacheScope", &b"\"private\""[..]);
    }
    splice.finish()
}

fn failed(pending: &Pending, src: &[u8], error: &Object) -> Vec<u8> {
    let mut splice = Splice::new(src);
    let code = error.get(src, "code");
    match (code, code.and_then(|code| code.i64(src))) {
        (Some(code), Some(codes::RESOURCE_NOT_FOUND_LEGACY)) => {
            splice.replace(code.span, codes::INVALID_PARAMS.to_string().into_bytes());
            name_the_resource(pending, src, error, &mut splice);
        }
        (Some(_), Some(codes::URL_ELICITATION_REQUIRED)) => refuse_url(pending, error, &mut splice),
        _ => {}
    }
    splice.finish()
}

/// A modern client learns from `data.uri` that it was the resource that does not exist.
fn name_the_resource(pending: &Pending, src: &[u8], error: &Object, splice: &mut Splice<'_>) {
    let Some(uri) = &pending.uri else { return };
    let quoted = json::quote(uri);
    let Some(data) = error.get(src, "data") else {
        splice.insert(error, "data", [b"{\"uri\":", quoted.as_slice(), b"}"].concat());
        return;
    };
    if lookup(src, data.span, &["uri"]).is_some() {
        return;
    }
    if let Some(data) = Object::read(src, data.span) {
        splice.insert(&data, "uri", quoted);
    }
}

/// The server wants its user to open a URL first. Where the client can be asked to, it is asked before this is called; what
/// arrives here has nobody to ask, so the call ends with an error that says what is missing.
fn refuse_url(pending: &Pending, error: &Object, splice: &mut Splice<'_>) {
    let (why, data): (&Cannot, &[u8]) = if pending.can.contains(Capabilities::ELICITATION_URL) {
        (&cannot::UNPLACED, b"{\"legacyCode\":-32042}")
    } else {
        (
            &cannot::URL_REQUIRED,
            b"{\"requiredCapabilities\":{\"elicitation\":{\"url\":{}}}}",
        )
    };
    let code = why.code().to_string().into_bytes();
    let message = json::quote(&why.say(&[]));
    for (name, value) in [("code", code), ("message", message), ("data", data.to_vec())] {
        splice.set(error, name, value);
    }
}
