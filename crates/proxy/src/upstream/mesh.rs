//! A call to a server that sidecars stand in front of.
//!
//! Whatever the server speaks, its sidecar speaks what we speak inside, so the request goes out as it is. What is answered
//! is the server's; what the sidecar refuses itself has been told apart below ([`crate::hop`]).

use http::header::{HeaderMap, HeaderName, HeaderValue};
use meshgate_mcp::{MODERN, Method, headers};

use super::modern::{EventMessages, error_body, refused_by_status};
use super::patience::{self, Patience};
use super::stale::Stale;
use super::turns::Turn;
use crate::call::{Outbound, Reply};
use crate::hop::{Answer, Ask, Carries, Sidecars, once};
use crate::refusal::{Reason, Refusal};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const VERSION: HeaderValue = HeaderValue::from_static(MODERN.name);
/// The fields of a usual call, so that its table is made once.
const FIELDS: usize = 16;

/// Makes a call; answers with the number of the sidecar that answered, too.
pub(super) async fn call(
    sidecars: &Sidecars,
    out: &Outbound,
    patience: Patience,
    turn: Turn,
    stale: &Stale,
) -> Result<(u64, Reply), Refusal> {
    let fields = || routing_fields(out);
    let ask = Ask {
        fields: &fields,
        body: &out.body,
        from: out.caller.as_ref().zip(out.view.as_ref()),
        carries: match out.method {
            Method::Listen => Carries::Streams,
            _ => Carries::Calls,
        },
        owner: out.owner,
        reads: out.owner.is_none() && reads(out.method),
        until: patience.until(),
    };
    let (instance, answer) = sidecars.ask(&ask).await?;
    let reply = match answer {
        Answer::One {
            status,
            json: true,
            body,
        } if status.is_success() => Ok(Reply::One(body)),
        Answer::One { status, body, .. } if body.is_empty() => Err(refused_by_status(status, &HeaderMap::new())),
        Answer::One { status, body, .. } => error_body(out.id, status, &HeaderMap::new(), body, stale),
        Answer::Stream(events) => {
            Box::pin(patience::reply(
                EventMessages::new(events.into(), out.id),
                patience,
                turn,
            ))
            .await
        }
    };
    Ok((instance, reply?))
}

/// Methods that change nothing, by what the protocol says of them; of a tool nobody but its operator could say it.
fn reads(method: Method) -> bool {
    matches!(
        method,
        Method::Discover
            | Method::ToolsList
            | Method::PromptsList
            | Method::PromptsGet
            | Method::ResourcesList
            | Method::ResourcesRead
            | Method::TemplatesList
            | Method::Complete
            | Method::TasksGet
    )
}

/// The header fields that mirror the request.
fn routing_fields(out: &Outbound) -> Result<HeaderMap, Refusal> {
    let mut fields = HeaderMap::with_capacity(FIELDS);
    fields.insert(PROTOCOL_VERSION, VERSION);
    let method = match out.method {
        Method::Other => HeaderValue::from_str(&out.method_name)
            .map_err(|_| Refusal::new(Reason::MethodNotFound, "method cannot be sent as a header"))?,
        known => HeaderValue::from_static(known.as_str()),
    };
    fields.insert(METHOD, method);
    if let Some(name) = &out.name {
        let name = HeaderValue::from_str(&headers::encode(name))
            .map_err(|_| Refusal::new(Reason::InvalidParams, "name cannot be sent as a header"))?;
        fields.insert(NAME, name);
    }
    if let Some(traceparent) = &out.traceparent
        && let Ok(value) = HeaderValue::from_bytes(traceparent.as_bytes())
    {
        fields.insert(TRACEPARENT, once(value));
    }
    for (name, value) in &out.param_headers {
        fields.append(name, value.clone());
    }
    Ok(fields)
}
