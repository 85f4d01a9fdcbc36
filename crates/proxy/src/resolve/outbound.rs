//! A call in its server's own words.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use meshgate_mcp::content::{self, Direction};
use meshgate_mcp::{Method, Object, Splice, Target, json, meta};
use meshgate_model::{Questions, naming};
use meshgate_telemetry::Traceparent;
use meshgate_telemetry::trace::tracestate_is_sound;

use super::{Call, Destination};
use crate::admit::PARAM_PREFIX;
use crate::call::Outbound;
use crate::catalogue::{ServerInView, ViewState};
use crate::refusal::{Reason, Refusal};

/// The trace keys that a call carries to its server.
pub struct TraceKeys {
    /// `traceparent` with our own span.
    pub traceparent: Traceparent,
    /// Whether the caller's `tracestate` goes with it: it belongs to a sound `traceparent` of theirs.
    pub continued: bool,
}

/// The call in its server's words.
pub fn outbound(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    id: u64,
    deadline: Instant,
    trace: &TraceKeys,
) -> Result<Outbound, Refusal> {
    let body = &call.body;
    let hop_id = id.to_string();
    let traceparent = trace.traceparent.as_bytes();
    let mut splice = Splice::new(body);
    if let Some(id) = call.message.id {
        splice.replace(id.span, hop_id.as_bytes());
    }
    if let Some(params) = &call.message.body {
        retarget(view, call, destination, params, &mut splice);
        if let Some(state) = &destination.state
            && let Some(index) = params.find(body, "requestState")
        {
            match (state, params.members.get(index)) {
                (Some(inner), Some(member)) => splice.replace(member.value.span, json::quote(inner)),
                _ => splice.remove(params, index),
            }
        }
    }
    if let Some(fields) = &call.message.meta {
        if let Some(server) = view.servers.get(destination.server)
            && !server.server.questions.allows_every_kind()
        {
            narrow(body, fields, &server.server.questions, &mut splice);
        }
        if let Some(token) = fields.get(body, meta::PROGRESS_TOKEN) {
            splice.replace(token.span, hop_id.as_bytes());
        }
        match fields.get(body, meta::TRACEPARENT) {
            Some(theirs) => splice.replace(theirs.span, [b"\"", traceparent, b"\""].concat()),
            None => splice.insert_member(fields, [b"\"traceparent\":\"", traceparent, b"\""].concat()),
        }
        if let Some(index) = fields.find(body, meta::TRACESTATE)
            && !(trace.continued && is_state(fields, body, index))
        {
            splice.remove(fields, index);
        }
        // Baggage crosses a trust boundary here and nobody has said what may pass.
        if let Some(index) = fields.find(body, meta::BAGGAGE) {
            splice.remove(fields, index);
        }
    }
    Ok(Outbound {
        id,
        owner: destination.owner,
        method: call.method,
        method_name: match call.method {
            Method::Other => call.method_name().into_owned().into(),
            known => known.as_str().into(),
        },
        name: destination
            .name
            .clone()
            .filter(|_| call.method.row().target != Target::None),
        param_headers: param_headers(call, destination)?,
        body: Bytes::from(splice.finish()),
        deadline,
        traceparent: Some(trace.traceparent),
        caller: None,
        view: None,
    })
}

/// Takes out of the client's capabilities what this server may not ask, so that it does not: what a client could answer
/// may be made less on the way, and never more.
fn narrow(body: &[u8], fields: &Object, questions: &Questions, splice: &mut Splice<'_>) {
    let object = |of: &Object, name: &str| of.get(body, name).and_then(|value| Object::read(body, value.span));
    // Most calls declare nothing, and are not read any further.
    let declared = fields.get(body, meta::CLIENT_CAPABILITIES);
    let declared = declared.filter(|value| value.raw(body) != b"{}");
    let Some(declared) = declared.and_then(|value| Object::read(body, value.span)) else {
        return;
    };
    if !questions.sampling {
        splice.remove_named(&declared, "sampling");
    }
    if !questions.roots {
        splice.remove_named(&declared, "roots");
    }
    if questions.pages() {
        return;
    }
    match object(&declared, "elicitation") {
        // Nothing in it means forms, so what is left without `url` must not be nothing.
        Some(kinds) if questions.elicitation && kinds.find(body, "url").is_none() => {}
        Some(kinds) if questions.elicitation && kinds.find(body, "form").is_some() => {
            splice.remove_named(&kinds, "url");
        }
        _ => splice.remove_named(&declared, "elicitation"),
    }
}

fn is_state(fields: &Object, body: &[u8], index: usize) -> bool {
    let value = fields.members.get(index).and_then(|member| member.value.str(body));
    value.is_some_and(|state| tracestate_is_sound(&state))
}

/// Names, URIs and task ids back into the server's own.
fn retarget(view: &ViewState, call: &Call, destination: &Destination, params: &Object, splice: &mut Splice<'_>) {
    let body = &call.body;
    let Some(name) = &destination.name else { return };
    let replace = |splice: &mut Splice<'_>, member: &str| {
        if let Some(value) = params.get(body, member)
            && value.str(body).as_deref() != Some(&**name)
        {
            splice.replace(value.span, json::quote(name));
        }
    };
    match call.method {
        Method::ToolsCall | Method::PromptsGet => replace(splice, "name"),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => replace(splice, "taskId"),
        Method::Complete => {
            let reference = params.get(body, "ref").and_then(|r| Object::read(body, r.span));
            if let Some(value) = reference.as_ref().and_then(|r| r.get(body, "name"))
                && value.str(body).as_deref() != Some(&**name)
            {
                splice.replace(value.span, json::quote(name));
            }
        }
        _ => {}
    }
    if let (true, Some(server)) = (view.view.is_merged(), view.servers.get(destination.server)) {
        unwrap_uris(call, server, splice);
    }
}

fn unwrap_uris(call: &Call, server: &ServerInView, splice: &mut Splice<'_>) {
    let alias = &server.server.alias;
    let mut unwrap = |uri: &str, _| {
        naming::unwrap_uri(uri)
            .filter(|(a, _)| *a == **alias)
            .map(|(_, original)| original)
    };
    content::map_uris(
        &call.body,
        &call.message,
        call.method,
        Direction::ToServer,
        &mut unwrap,
        splice,
    );
}

fn param_headers(call: &Call, destination: &Destination) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let Some(tool) = &destination.tool else {
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for mirrored in &tool.facts.param_headers {
        if let Some(value) = mirrored.value(&call.body, call.arguments()) {
            let name = format!("{PARAM_PREFIX}{}", mirrored.name.to_ascii_lowercase());
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            headers.push(
                header.ok_or_else(|| Refusal::new(Reason::Internal, "a mirrored argument does not fit a header"))?,
            );
        }
    }
    Ok(headers)
}
