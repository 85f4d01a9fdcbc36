//! What a call must fulfil before it leaves for its server, by the schema that was published.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderValue;
use meshgate_mcp::{Method, json, meta};
use meshgate_model::Check;
use meshgate_telemetry::Hop;
use smallvec::SmallVec;

use super::own::result;
use super::{CallContext, Core, now};
use crate::admit;
use crate::catalogue::{ToolFacts, gateway_identity};
use crate::refusal::{Reason, Refusal};
use crate::resolve::{Call, Destination};
use crate::validate::Violation;

/// Arguments that HTTP mirrors must be mirrored rightly, by the schema that was published.
pub(super) fn check_mirrored(context: &CallContext, call: &Call, destination: &Destination) -> Result<(), Refusal> {
    let (Some(headers), Some(tool)) = (&context.mirrored, &destination.tool) else {
        return Ok(());
    };
    for mirrored in &tool.facts.param_headers {
        let name = format!("{}{}", admit::PARAM_PREFIX, mirrored.name.to_ascii_lowercase());
        let value = headers.get(&name).map(HeaderValue::as_bytes);
        mirrored.check(value, &call.body, call.arguments()).map_err(|e| {
            Refusal::new(
                Reason::HeaderMismatch,
                format!("header `Mcp-Param-{}`: {e}", mirrored.name),
            )
        })?;
    }
    Ok(())
}

/// Arguments against the tool's schema. A failure that counts is a result the model can read, as the specification
/// wants it; the call does not reach the server.
pub(super) fn check_arguments(call: &Call, destination: &Destination, check: Check, hop: Hop) -> Option<Bytes> {
    let validator = destination.tool.as_ref()?.facts.input.as_ref()?.validator()?;
    let arguments = call.param("arguments").map_or(b"{}".as_slice(), |a| a.raw(&call.body));
    let violation = validator.check(arguments).err()?;
    if check != Check::Enforce {
        warn_seldom(&destination.tool.as_ref()?.facts, destination, &violation);
        return None;
    }
    let mut body = b"{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":".to_vec();
    json::push_quoted(&mut body, &violation.tool_result_text());
    body.extend_from_slice(b"}],\"isError\":true");
    // A sidecar answers in its server's place; the gateway puts its own name on every answer.
    if hop == Hop::Gateway {
        body.extend_from_slice(b",\"_meta\":{");
        json::push_quoted(&mut body, meta::SERVER_INFO);
        body.push(b':');
        body.extend_from_slice(gateway_identity());
        body.push(b'}');
    }
    body.push(b'}');
    Some(result(call, &body))
}

impl Core {
    /// Counts a call of a tool that may change something against what its caller may do of that. A call that has come
    /// this far would run.
    pub(super) fn check_writes(
        &self,
        context: &CallContext,
        call: &Call,
        destination: &Destination,
        server: &str,
    ) -> Result<(), Refusal> {
        let reads_only = destination.tool.as_ref().is_none_or(|tool| tool.facts.reads_only);
        if call.method != Method::ToolsCall || reads_only || context.view.view.limits_lifted {
            return Ok(());
        }
        let tool = destination.name.as_deref().unwrap_or_default();
        let mut key: SmallVec<[u8; 128]> = SmallVec::new();
        // Each part with its length, so that no two sets of names are the same key.
        for part in [context.caller.binding(), server.as_bytes(), tool.as_bytes()] {
            key.extend_from_slice(&(part.len() as u64).to_be_bytes());
            key.extend_from_slice(part);
        }
        self.write_rate.admit(&key, 1, now()).map_err(|refusal| {
            let message = "too many calls of a tool that may change something; wait as long as `Retry-After` says";
            let refusal = Refusal {
                message: message.into(),
                ..refusal
            };
            refusal.rule("limit/writes")
        })
    }
}

/// Says that arguments do not match, at the first, second, fourth, eighth … time: an operator must see that it happens, and
/// a caller must not be able to fill the log with it.
fn warn_seldom(facts: &ToolFacts, destination: &Destination, violation: &Violation) {
    let times = facts.mismatches.fetch_add(1, Ordering::Relaxed) + 1;
    if times.is_power_of_two() {
        let tool = destination.name.as_deref();
        tracing::warn!(tool, times, %violation, "arguments do not match the tool's schema and are let through");
    }
}
