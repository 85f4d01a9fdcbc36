//! What the phases of a call write into its record.

use bytes::Bytes;
use meshgate_mcp::{Message, Method};
use meshgate_telemetry as telemetry;

use crate::classify::{Outcome, Reshape};
use crate::observe::CallRecord;
use crate::resolve::{Call, Destination};

pub(super) fn note_method(record: &CallRecord, body: &Bytes, message: &Message) {
    let Some(name) = message.method.as_ref().and_then(|m| m.str(body)) else {
        return;
    };
    let known = Method::parse(&name).as_str();
    record.note(|r| {
        r.method = if known.is_empty() {
            name.into_owned().into()
        } else {
            known.into()
        };
    });
}

pub(super) fn note_destination(
    record: &CallRecord,
    call: &Call,
    destination: &Destination,
    server: &meshgate_model::Server,
) {
    record.note(|r| {
        r.server = Some(server.name.clone());
        r.team = server.team.clone();
        r.target = destination.name.clone().and_then(|name| match call.method {
            Method::ToolsCall => Some(telemetry::Target::Tool(name)),
            Method::PromptsGet => Some(telemetry::Target::Prompt(name)),
            Method::ResourcesRead => Some(telemetry::Target::Resource(name)),
            _ => None,
        });
    });
}

pub(super) fn note_outcome(record: &CallRecord, shape: &Reshape, body: &Bytes, outcome: Outcome) {
    if outcome == Outcome::Done
        && let Some(violation) = shape.check_structured(body)
    {
        tracing::warn!(
            tool = shape.destination.name.as_deref(),
            violation,
            "the structured result does not match its schema"
        );
    }
    record.note(|r| match outcome {
        Outcome::Done => r.outcome = Some(telemetry::Outcome::Ok),
        Outcome::ToolError => r.outcome = Some(telemetry::Outcome::Error),
        Outcome::InputRequired => r.outcome = Some(telemetry::Outcome::InputRequired),
        Outcome::Error(code) => r.rpc_code = Some(code),
    });
}
