//! One strict pass over the bytes of a message.
//!
//! Why strict: whoever decides on one reading of a message while the server acts on another has no policy at all.
//! Repeated members, members that differ only in case, bytes after the message and text that is not Unicode are where
//! JSON libraries disagree, so a client's message that holds any of them is refused before anything ran. A server's
//! message answers a call that has run; it must be JSON, have an envelope and keep to size and depth, and is never
//! refused for taste.
//!
//! Why one pass: the members of the envelope, of its body and of `_meta` are recorded while the grammar is checked. No
//! tree is built and nothing is allocated for a message of ordinary size. The pass does not recurse; its depth is a
//! counter.

mod envelope;
mod fault;
mod keys;
mod pass;
mod text;

#[cfg(test)]
mod tests;

pub use fault::{Fault, ScanError};
pub(crate) use text::plain_bytes;

use crate::limits;
use crate::read;
use crate::value::{Kind, Object, Span, Value};
use pass::{Level, Pass};

/// Who sent the bytes, and therefore how strictly they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client: everything below is enforced.
    Client,
    /// A server: JSON, envelope, size and depth.
    Server,
}

/// How a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who sent it.
    pub side: Side,
    /// Largest message, in bytes.
    pub bytes_max: usize,
    /// Deepest nesting; the message itself is level one.
    pub depth_max: usize,
    /// Most values.
    pub nodes_max: usize,
    /// Longest number, in characters.
    pub number_chars_max: usize,
    /// Whether a client may repeat members inside `params.arguments`.
    pub duplicate_arguments: bool,
}

impl Rules {
    /// What a client may send.
    pub const CLIENT: Self = Self {
        side: Side::Client,
        bytes_max: limits::CLIENT_BYTES_MAX,
        depth_max: limits::CLIENT_DEPTH_MAX,
        nodes_max: limits::CLIENT_NODES_MAX,
        number_chars_max: limits::CLIENT_NUMBER_CHARS_MAX,
        duplicate_arguments: false,
    };
    /// What a server may send.
    pub const SERVER: Self = Self {
        side: Side::Server,
        bytes_max: limits::SERVER_BYTES_MAX,
        depth_max: limits::SERVER_DEPTH_MAX,
        nodes_max: usize::MAX,
        number_chars_max: usize::MAX,
        duplicate_arguments: true,
    };
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result`.
    Result,
    /// `error`.
    Error,
}

/// A message, as ranges of the bytes it was read from.
#[derive(Clone, Debug)]
pub struct Message {
    /// What kind of message it is.
    pub envelope: Envelope,
    /// The members of the envelope.
    pub root: Object,
    /// The id, of any kind that the side may send. A server's error may carry `null` here.
    pub id: Option<Value>,
    /// The method of a request or notification; always a string.
    pub method: Option<Value>,
    /// `params`, `result` or `error`, when it is an object.
    pub body: Option<Object>,
    /// `_meta` of the body, when it is an object.
    pub meta: Option<Object>,
    /// Whether any member bears a name that a URI can stand under; most messages have none, and need no walk.
    pub uris: bool,
}

/// Reads one message.
///
/// # Errors
/// The first rule that the bytes break, with the place where they break it.
pub fn scan(src: &[u8], rules: &Rules) -> Result<Box<Message>, ScanError> {
    check_size(src, rules)?;
    let mut pass = Pass::new(src, rules);
    pass.start()?;
    match pass.peek() {
        Some(b'{') => {}
        Some(b'[') if rules.side == Side::Client => return Err(pass.fault(Fault::Batch)),
        _ => {
            pass.document(Level::Plain)?;
            return Err(Fault::NotObject.at(0));
        }
    }
    pass.document(Level::Root)?;
    envelope::message(pass.into_found(), src, rules.side)
}

/// Reads a message again that was scanned before it was changed here, so that its grammar and its limits need no proof:
/// three levels of members, in a third of the time. `uris` says whether it may hold a name that a URI can stand under.
///
/// `None` only for bytes that never were a message.
pub fn again(src: &[u8], uris: bool) -> Option<Box<Message>> {
    let mut inner = [None, None];
    let root = read::levels(src, &[&["params", "result", "error"], &["_meta"]], &mut inner)?;
    envelope::again(src, root, inner, uris)
}

/// Reads a batch (2025-03-26 only): the ranges of its messages, each to be scanned by itself.
///
/// # Errors
/// When the bytes are not a JSON array, or the array is empty or holds too many messages.
pub fn batch(src: &[u8], rules: &Rules) -> Result<Vec<Span>, ScanError> {
    check_size(src, rules)?;
    let rules = Rules {
        depth_max: rules.depth_max.saturating_add(1),
        ..*rules
    };
    let mut pass = Pass::new(src, &rules);
    pass.start()?;
    if pass.peek() != Some(b'[') {
        return Err(pass.fault(Fault::NotArray));
    }
    let array = pass.document(Level::Plain)?;
    let messages: Vec<Span> = crate::read::elements(src, array.span)
        .take(limits::CLIENT_BATCH_MAX + 1)
        .map(|value| value.span)
        .collect();
    if messages.is_empty() || messages.len() > limits::CLIENT_BATCH_MAX {
        return Err(Fault::BatchLength {
            max: limits::CLIENT_BATCH_MAX,
        }
        .at(0));
    }
    Ok(messages)
}

/// Whether the bytes are one JSON value under the rules for servers.
pub(crate) fn valid(src: &[u8], depth: usize) -> bool {
    let rules = Rules {
        depth_max: depth,
        bytes_max: u32::MAX as usize,
        ..Rules::SERVER
    };
    let mut pass = Pass::new(src, &rules);
    check_size(src, &rules).is_ok() && pass.start().is_ok() && pass.document(Level::Plain).is_ok()
}

fn check_size(src: &[u8], rules: &Rules) -> Result<(), ScanError> {
    let max = rules.bytes_max.min(u32::MAX as usize - 1);
    if src.len() > max {
        Err(Fault::Size { max }.at(max))
    } else {
        Ok(())
    }
}

impl Message {
    /// Before anything is known of it.
    fn unread() -> Self {
        Self {
            envelope: Envelope::Request,
            root: Object::default(),
            id: None,
            method: None,
            body: None,
            meta: None,
            uris: false,
        }
    }

    /// The method as a row of the method table; `Other` for unknown methods and for responses.
    pub fn method_kind(&self, src: &[u8]) -> crate::Method {
        self.method
            .and_then(|value| value.str(src).map(|name| crate::Method::parse(&name)))
            .unwrap_or(crate::Method::Other)
    }

    /// A member of `params`, `result` or `error`.
    pub fn body_value(&self, src: &[u8], name: &str) -> Option<Value> {
        self.body.as_ref()?.get(src, name).copied()
    }

    /// A member of `_meta`.
    pub fn meta_value(&self, src: &[u8], name: &str) -> Option<Value> {
        self.meta.as_ref()?.get(src, name).copied()
    }

    /// Whether it is a result or an error.
    pub fn is_response(&self) -> bool {
        matches!(self.envelope, Envelope::Result | Envelope::Error)
    }

    /// The code of an error response.
    pub fn error_code(&self, src: &[u8]) -> Option<i64> {
        if self.envelope != Envelope::Error {
            return None;
        }
        self.body_value(src, "code")
            .filter(|code| code.kind == Kind::Number)?
            .i64(src)
    }
}
