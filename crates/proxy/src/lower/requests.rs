//! The requests of a session: those that only a session has are answered here, all others go inside.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use meshgate_bridge::eras::cannot;
use meshgate_bridge::lower::{Capabilities, Offer, Rounds, stamp};
use meshgate_mcp::{Message, Method, Span, lookup, message};
use tokio::sync::oneshot;

use super::batch::Joint;
use super::edge::accepts_streams;
use super::errors::{error_message, is_transport};
use super::running::{First, Line, Registered, Running};
use super::session::{Busy, CallId, Session};
use super::underway::Underway;
use super::{Answer, Edge, Lower, Offered, empty, json, sse};
use crate::refusal::{Reason, Refusal};

const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

impl Lower {
    pub(super) async fn request(
        &self,
        edge: &Edge<'_>,
        batch: Option<&Joint>,
        session: Arc<Session>,
        (body, msg): (&Bytes, &Message),
        method: Method,
    ) -> Result<Answer, Refusal> {
        let id = msg.id.map_or(&b"null"[..], |id| id.raw(body));
        let refused = |refusal: &Refusal| {
            edge.note(refusal);
            Ok(json(error_message(id, refusal, method, session.revision)))
        };
        match method {
            Method::Ping => Ok(json(message::result(id, b"{}"))),
            Method::SetLevel => match set_level(&session, edge.offered, body, msg) {
                Ok(()) => Ok(json(message::result(id, b"{}"))),
                Err(refusal) => refused(&refusal),
            },
            Method::Subscribe => match self.subscribe(edge, &session, body, msg).await {
                Ok(()) => Ok(json(message::result(id, b"{}"))),
                Err(refusal) => refused(&refusal),
            },
            Method::Unsubscribe => match unsubscribe(edge, &session, body, msg) {
                Ok(()) => Ok(json(message::result(id, b"{}"))),
                Err(refusal) => refused(&refusal),
            },
            method if !is_ours_to_carry(method) => {
                let name = msg.method.and_then(|m| m.str(body)).unwrap_or_default();
                let text = cannot::NO_SESSION_METHOD.say(&[&name]);
                refused(&Refusal::new(Reason::MethodNotFound, text))
            }
            _ => self.call(edge, batch, session, (body, msg), method).await,
        }
    }

    /// Runs a call inside and waits for the form of its response.
    async fn call(
        &self,
        edge: &Edge<'_>,
        batch: Option<&Joint>,
        session: Arc<Session>,
        (body, msg): (&Bytes, &Message),
        method: Method,
    ) -> Result<Answer, Refusal> {
        let Some(id) = &msg.id else {
            return Err(Refusal::new(Reason::InvalidRequest, "the request has no id"));
        };
        let limits = &self.inner.limits;
        let streams = accepts_streams(edge.headers);
        let call_id = CallId::of(body, id);
        let fate = session
            .begin_call(call_id.clone(), limits.calls_per_session_max)
            .map_err(busy)?;
        let can = if streams {
            session.capabilities
        } else {
            Capabilities::NONE
        };
        let stamped = session.stamped(streams, |with| stamp(body, msg, method, with));
        let raw_id = id.raw(body).to_vec();
        let rounds = Rounds::new(method, session.revision, can, raw_id.clone(), stamped);
        let line = Arc::new(Line::new(&self.inner, batch.map(|joint| &joint.outbox)));
        let (first, response) = oneshot::channel();
        let running = Running {
            registered: Registered::new(&session, call_id),
            session: Arc::clone(&session),
            raw_id: raw_id.clone(),
            method,
            dispatch: Arc::clone(&edge.dispatch),
            line: Arc::clone(&line),
            streams,
            uris: msg.uris,
            first: Some(first),
            fate: Arc::clone(&fate),
            record: batch.and(edge.record).cloned(),
        };
        let underway = Underway::new(running.run(rounds), fate, &self.inner);
        let silent_max = streams.then_some(limits.silent_max);
        match underway
            .first(response, silent_max, batch.map(|joint| &joint.spoken))
            .await
        {
            First::Answer(answer) => Ok(json(answer)),
            First::Refused(refusal) if is_transport(refusal.reason) => Err(refusal),
            First::Refused(refusal) => {
                edge.note(&refusal);
                Ok(json(error_message(&raw_id, &refusal, method, session.revision)))
            }
            First::Stream(_) | First::Silence if let Some(joint) = batch => {
                joint.spoken.cancel();
                Ok(empty(StatusCode::ACCEPTED))
            }
            First::Stream(reader) => {
                session.keep_stream(line.open(&session));
                reader.map(sse).ok_or_else(taken)
            }
            First::Silence => {
                let outbox = line.open(&session);
                session.keep_stream(Arc::clone(&outbox));
                outbox.attach().map(sse).ok_or_else(taken)
            }
        }
    }

    /// Adds a resource to the session's subscription, and waits until the server took it on.
    async fn subscribe(
        &self,
        edge: &Edge<'_>,
        session: &Arc<Session>,
        body: &[u8],
        msg: &Message,
    ) -> Result<(), Refusal> {
        offers(edge.offered, &["resources", "subscribe"])?;
        let uri = uri(body, msg)?;
        if uri.len() > self.inner.limits.subscription_bytes_max {
            return Err(Refusal::new(
                Reason::InvalidParams,
                "`uri` is too long to subscribe to; name a shorter one",
            ));
        }
        let subscriptions_max = self.inner.limits.subscriptions_per_session_max;
        let Some(version) = session.listening.want(&edge.dispatch, |wanted| {
            if wanted.uris.len() < subscriptions_max {
                wanted.uris.insert(uri.clone());
            }
        }) else {
            let full = "this session is subscribed to as many resources as it may be; unsubscribe from one first";
            let known = session.listening.has(&uri);
            return known
                .then_some(())
                .ok_or_else(|| Refusal::new(Reason::InvalidParams, full));
        };
        self.listen(session);
        let outcome = session.listening.outcome(version).await;
        let refusal = match outcome {
            Ok(acknowledged) if acknowledged.uris.contains(&uri) => return Ok(()),
            Ok(_) => Refusal::new(Reason::InvalidParams, "no such resource, or it cannot be subscribed to")
                .data([br#"{"uri":"#.as_slice(), &meshgate_mcp::json::quote(&uri), b"}"].concat()),
            Err(refusal) => (*refusal).clone(),
        };
        session.listening.want(&edge.dispatch, |wanted| {
            wanted.uris.remove(&uri);
        });
        Err(refusal)
    }
}

fn taken() -> Refusal {
    Refusal::new(Reason::Internal, "the stream of a new call is taken")
}

fn busy(why: Busy) -> Refusal {
    match why {
        Busy::SameId => Refusal::new(
            Reason::InvalidRequest,
            "a request with this `id` is still running; use a new id for each request",
        ),
        Busy::Full => Refusal::new(
            Reason::RateLimited,
            "this session runs as many calls as it may; wait for one to end",
        )
        .rule("limit/session-calls"),
    }
}

/// Whether a session may send this method inside. Tasks of 2025-11-25 are not bridged, and what only the modern era has
/// means nothing here.
fn is_ours_to_carry(method: Method) -> bool {
    use Method::{
        Complete, Other, PromptsGet, PromptsList, ResourcesList, ResourcesRead, TemplatesList, ToolsCall, ToolsList,
    };
    matches!(
        method,
        ToolsList
            | ToolsCall
            | ResourcesList
            | TemplatesList
            | ResourcesRead
            | PromptsList
            | PromptsGet
            | Complete
            | Other
    )
}

fn set_level(session: &Session, offered: &Offered, body: &[u8], msg: &Message) -> Result<(), Refusal> {
    offers(offered, &["logging"])?;
    let level = msg
        .body
        .as_ref()
        .and_then(|params| params.get(body, "level"))
        .and_then(|v| v.str(body));
    let known = level.filter(|level| LEVELS.contains(&&**level)).ok_or_else(|| {
        Refusal::new(
            Reason::InvalidParams,
            "`level` must be one of the RFC 5424 names, from `debug` to `emergency`",
        )
    })?;
    session.set_log_level(&known);
    Ok(())
}

fn unsubscribe(edge: &Edge<'_>, session: &Session, body: &[u8], msg: &Message) -> Result<(), Refusal> {
    offers(edge.offered, &["resources", "subscribe"])?;
    let uri = uri(body, msg)?;
    session.listening.want(&edge.dispatch, |wanted| {
        wanted.uris.remove(&uri);
    });
    Ok(())
}

fn uri(body: &[u8], msg: &Message) -> Result<String, Refusal> {
    let uri = msg
        .body
        .as_ref()
        .and_then(|params| params.get(body, "uri"))
        .and_then(|v| v.str(body));
    uri.map(std::borrow::Cow::into_owned)
        .ok_or_else(|| Refusal::new(Reason::InvalidParams, "`uri` must be a string; name the resource"))
}

/// A method whose capability is not offered does not exist.
fn offers(offered: &Offered, capability: &[&str]) -> Result<(), Refusal> {
    let src = &offered.capabilities;
    let whole = Span {
        start: 0,
        end: u32::try_from(src.len()).unwrap_or(u32::MAX),
    };
    let found = lookup(src, whole, capability);
    found
        .filter(|v| matches!(v.kind, meshgate_mcp::Kind::Object | meshgate_mcp::Kind::True))
        .map(|_| ())
        .ok_or_else(|| {
            Refusal::new(
                Reason::MethodNotFound,
                format!("this view does not offer `{}`", capability.join(".")),
            )
        })
}

impl Edge<'_> {
    pub(super) fn note(&self, refusal: &Refusal) {
        if let Some(record) = self.record {
            record.refused(refusal);
        }
    }
}

impl Offered {
    pub(super) fn offer(&self) -> Offer<'_> {
        Offer {
            capabilities: &self.capabilities,
            server_info: &self.server_info,
            instructions: self.instructions.as_deref(),
        }
    }
}
