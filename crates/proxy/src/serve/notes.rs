//! What the phases of a call write into its record.

use std::borrow::Cow;

use meshgate_mcp::{Message, Method};
use meshgate_telemetry as telemetry;

use crate::admit::Face;
use crate::catalogue::ServerInView;
use crate::classify::Outcome;
use crate::observe::CallRecord;
use crate::resolve::{Call, Destination};

/// The longest text of a client that a record keeps, in bytes: records wait in memory to be written.
const TEXT_BYTES_MAX: usize = 1024;

/// What is known of a request once its body is here.
pub(super) fn note_arrival(record: &CallRecord, body: &[u8], face: Option<Face>, message: Option<&Message>) {
    record.note(|r| {
        r.bytes_in = body.len() as u64;
        r.era_client = face.map(|face| match face {
            Face::Legacy => telemetry::Era::Legacy,
            Face::Modern => telemetry::Era::Modern,
        });
        r.method = message.map(|message| method_noted(body, message)).unwrap_or_default();
    });
    record.note_for_spans(|r| {
        let id = message.and_then(|message| message.id);
        r.request_id = id.and_then(|id| match id.str(body) {
            Some(text) => Some(capped(&text).into()),
            None => std::str::from_utf8(id.raw(body)).ok().map(Into::into),
        });
    });
}

/// What the record keeps of a method's name.
fn method_noted(body: &[u8], message: &Message) -> Cow<'static, str> {
    let name = message.method.as_ref().and_then(|m| m.str(body)).unwrap_or_default();
    match Method::parse(&name) {
        Method::Other => capped(&name).to_owned().into(),
        known => known.as_str().into(),
    }
}

/// The beginning of a text, cut where a character ends.
fn capped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

pub(super) fn note_destination(record: &CallRecord, call: &Call, destination: &Destination, to: &ServerInView) {
    let server = &to.server;
    record.note(|r| {
        if let Some(peer) = to.upstream.peer() {
            r.peer_identity = Some(peer.clone());
        }
        r.server = Some(server.name.clone());
        r.team = server.team.clone();
        r.round = Some(destination.round).filter(|round| *round > 1);
        r.target = destination.name.clone().and_then(|name| match call.method {
            Method::ToolsCall => Some(telemetry::Target::Tool(name)),
            Method::PromptsGet => Some(telemetry::Target::Prompt(name)),
            Method::ResourcesRead => Some(telemetry::Target::Resource(if name.len() > TEXT_BYTES_MAX {
                capped(&name).into()
            } else {
                name
            })),
            _ => None,
        });
    });
}

/// What a record says of an outcome: the layer of the tool, and that of the protocol.
pub(super) fn outcome_of(outcome: Outcome) -> (Option<telemetry::Outcome>, Option<i64>) {
    match outcome {
        Outcome::Done => (Some(telemetry::Outcome::Ok), None),
        Outcome::ToolError => (Some(telemetry::Outcome::Error), None),
        Outcome::InputRequired => (Some(telemetry::Outcome::InputRequired), None),
        Outcome::Error(code) => (None, Some(code)),
    }
}
