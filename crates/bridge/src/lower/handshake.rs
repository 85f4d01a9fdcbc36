//! The handshake of a legacy session, answered at the edge.
//!
//! The server behind the view is never asked: what a session needs to know of it is the view's discovery answer, which
//! the gateway has. An `initialize` that names a modern revision still means a legacy session (only a legacy client
//! sends one), so it gets the latest legacy revision.

use meshgate_mcp::{Era, Kind, LATEST_LEGACY, Message, Object, Revision, Span, Splice, Value, json};

use super::Declared;
use super::capabilities::TASKS_EXTENSION;

/// `clientInfo` longer than this is reduced to name and version: it is kept for every session and sent with every
/// request, and clients put whole icons into it.
const CLIENT_INFO_BYTES_MAX: usize = 2 * 1024;

/// What an `initialize` request said.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The revision the session will speak.
    pub revision: &'static Revision,
    /// What the client can do.
    pub declared: Declared,
    /// Its `clientInfo`, when it sent an object of reasonable size.
    pub client_info: Option<Vec<u8>>,
}

/// An `initialize` request that cannot open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// No usable `protocolVersion`.
    #[error("`params.protocolVersion` of initialize must be a string; send the latest revision the client supports")]
    Version,
    /// `capabilities` is not an object.
    #[error("`params.capabilities` of initialize must be an object; send {{}} when the client has none")]
    Capabilities,
}

/// The revision a session speaks when its client asks for `requested`.
pub fn negotiate(requested: &str) -> &'static Revision {
    Revision::find(requested)
        .filter(|r| r.era == Era::Legacy)
        .unwrap_or(LATEST_LEGACY)
}

/// Reads an `initialize` request.
pub fn open(src: &[u8], msg: &Message) -> Result<Opening, OpeningError> {
    let params = msg.body.as_ref().ok_or(OpeningError::Version)?;
    let requested = params
        .get(src, "protocolVersion")
        .and_then(|v| v.str(src))
        .ok_or(OpeningError::Version)?;
    let revision = negotiate(&requested);
    let declared = match params.get(src, "capabilities") {
        None => Declared::nothing(),
        Some(value) if value.kind == Kind::Object => {
            let object = Object::read(src, value.span).ok_or(OpeningError::Capabilities)?;
            Declared::read(src, &object, revision)
        }
        Some(_) => return Err(OpeningError::Capabilities),
    };
    let client_info = params
        .get(src, "clientInfo")
        .filter(|v| v.kind == Kind::Object)
        .and_then(|v| named(src, v));
    Ok(Opening {
        revision,
        declared,
        client_info,
    })
}

/// The client's name as it sent it, or its essence.
fn named(src: &[u8], info: &Value) -> Option<Vec<u8>> {
    if info.span.len() <= CLIENT_INFO_BYTES_MAX {
        return Some(info.raw(src).to_vec());
    }
    let object = Object::read(src, info.span)?;
    let text = |name: &str| {
        object
            .get(src, name)
            .filter(|v| v.kind == Kind::String)
            .map(|v| v.raw(src))
    };
    let (name, version) = (text("name")?, text("version")?);
    let essence = [br#"{"name":"#.as_slice(), name, br#","version":"#, version, b"}"].concat();
    (essence.len() <= CLIENT_INFO_BYTES_MAX).then_some(essence)
}

/// What the view offers, as raw JSON of its discovery answer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The modern `capabilities` object.
    pub capabilities: &'a [u8],
    /// The `serverInfo` object.
    pub server_info: &'a [u8],
    /// Instructions for the model.
    pub instructions: Option<&'a str>,
}

/// The `result` object that answers `initialize`.
pub fn initialize_result(revision: &Revision, offer: &Offer<'_>) -> Vec<u8> {
    let mut out = br#"{"protocolVersion":"#.to_vec();
    json::push_quoted(&mut out, revision.name);
    out.extend_from_slice(br#","capabilities":"#);
    out.extend_from_slice(&lower_capabilities(revision, offer.capabilities));
    out.extend_from_slice(br#","serverInfo":"#);
    out.extend_from_slice(offer.server_info);
    if let Some(instructions) = offer.instructions {
        out.extend_from_slice(br#","instructions":"#);
        json::push_quoted(&mut out, instructions);
    }
    out.push(b'}');
    out
}

/// Takes out what the session cannot use: modern tasks, and capabilities the revision has no word for.
fn lower_capabilities(revision: &Revision, capabilities: &[u8]) -> Vec<u8> {
    let end = u32::try_from(capabilities.len()).unwrap_or(u32::MAX);
    let Some(object) = Object::read(capabilities, Span { start: 0, end }) else {
        return b"{}".to_vec();
    };
    let mut splice = Splice::new(capabilities);
    if let Some(index) = object
        .find(capabilities, "completions")
        .filter(|_| !revision.completions_capability)
    {
        splice.remove(&object, index);
    }
    let extensions = object
        .get(capabilities, "extensions")
        .filter(|v| v.kind == Kind::Object);
    if let Some(extensions) = extensions.and_then(|v| Object::read(capabilities, v.span))
        && let Some(index) = extensions.find(capabilities, TASKS_EXTENSION)
    {
        splice.remove(&extensions, index);
    }
    splice.finish()
}
