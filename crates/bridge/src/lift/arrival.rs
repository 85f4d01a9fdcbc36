//! Everything a legacy server sends besides responses, sorted by what becomes of it.
//!
//! A question that nobody can be asked is answered here and now with an error, because a server that waits for an answer
//! holds its caller's call open. Which notification concerns whom is said by its kind; what concerns nobody is dropped.

use std::ops::Range;

use meshgate_mcp::{Envelope, Kind, Message, Method, Rules, Value, elements, json, message};

use smallvec::{SmallVec, smallvec};

use super::Level;
use crate::eras::cannot;

/// What a message of the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The response to the request with that id, if the id is one of ours.
    Response(Option<u64>),
    /// A question. Send this answer, unless [`super::Question::read`] finds that the caller can be asked.
    Question(Vec<u8>),
    /// The server does not want the answer to a question any more: for [`super::Asked::withdraw`].
    Withdrawn,
    /// What a page was opened for is done: for [`super::Asked::complete`].
    Completed,
    /// Progress of the request whose token is that number.
    Progress(Option<u64>),
    /// A log message.
    Log(Level),
    /// A list or a resource has changed: for [`super::Subscriptions::publish`].
    Changed,
    /// A notification of a kind that is not known here; it concerns the request on whose stream it came.
    Unknown,
    /// Of no use to a modern client.
    Dropped,
}

/// Says what a message of the server is.
pub fn sort(src: &[u8], arrived: &Message) -> Arrival {
    let id = || arrived.id.as_ref().map_or(&b"null"[..], |id| id.raw(src));
    let method = arrived
        .method
        .as_ref()
        .and_then(|method| method.str(src))
        .unwrap_or_default();
    match (arrived.envelope, arrived.method_kind(src)) {
        (Envelope::Result | Envelope::Error, _) => Arrival::Response(arrived.id.and_then(|id| number(src, &id))),
        (Envelope::Request, Method::Ping) => Arrival::Question(message::result(id(), b"{}")),
        (Envelope::Request, _) => {
            let why = cannot::QUESTION.say(&[&method]);
            Arrival::Question(message::error(Some(id()), cannot::QUESTION.code(), &why, None))
        }
        (Envelope::Notification, Method::Progress) => Arrival::Progress(
            arrived
                .body
                .as_ref()
                .and_then(|params| number(src, params.get(src, "progressToken")?)),
        ),
        (Envelope::Notification, Method::LogMessage) => {
            let level = arrived
                .body_value(src, "level")
                .and_then(|level| Level::parse(&level.str(src)?));
            level.map_or(Arrival::Dropped, Arrival::Log)
        }
        (
            Envelope::Notification,
            Method::ToolsChanged | Method::PromptsChanged | Method::ResourcesChanged | Method::ResourceUpdated,
        ) => Arrival::Changed,
        (Envelope::Notification, Method::Cancelled) => Arrival::Withdrawn,
        (Envelope::Notification, Method::ElicitationComplete) => Arrival::Completed,
        (Envelope::Notification, Method::Other) => Arrival::Unknown,
        (Envelope::Notification, _) => Arrival::Dropped,
    }
}

/// An id or token of ours, which some servers hand back as a string.
fn number(src: &[u8], value: &Value) -> Option<u64> {
    match value.kind {
        Kind::String => value.str(src)?.parse().ok(),
        _ => value.u64(src),
    }
}

/// Where the messages are in one frame of the server: 2025-03-26 may send several as an array.
pub fn split(src: &[u8]) -> SmallVec<[Range<usize>; 1]> {
    let start = src
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(src.len());
    if src.get(start) != Some(&b'[') || !json::valid(src, Rules::SERVER.depth_max) {
        return smallvec![0..src.len()];
    }
    let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(src.trim_ascii_end().len())) else {
        return smallvec![0..src.len()];
    };
    elements(src, meshgate_mcp::Span { start, end })
        .map(|value| value.span.start as usize..value.span.end as usize)
        .collect()
}
