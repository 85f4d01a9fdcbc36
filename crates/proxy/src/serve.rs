//! The life of a call, phase by phase.
//!
//! [`Edge::answer`] reads as the table in ARCHITECTURE.md: take the routing, check the head, find the view, prove the
//! caller, read and scan the message, choose the era, and hand a modern request to [`Core::dispatch`], which resolves,
//! authorises, validates, sends and shapes. Every way out is a [`Refusal`] or a reply, and each ends in the record.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use meshgate_mcp::{Envelope, Message, Method, Revision, meta};
use meshgate_telemetry::{self as telemetry, Hop, TraceContext};

use crate::admit::{self, Authorities, Face};
use crate::call::{Answered, Caller, Told};
use crate::catalogue::{Routing, ViewState, gateway_identity};
use crate::classify::Reshape;
use crate::hop::Peers;
use crate::limit::{Counted, Place};
use crate::listen::{Connection, check_head};
use crate::lower::{Inward, Lower};
use crate::observe::CallRecord;
use crate::refusal::{By, Reason, Refusal};
use crate::resolve::{self, Call, TraceKeys};
use crate::respond::{self, ReplyBody};

mod arrival;
mod checks;
mod forward;
mod legacy;
mod mesh;
mod modern;
mod notes;
mod own;
mod proof;
mod shaped;
mod shared;

use self::arrival::Arrival;
use self::checks::{check_arguments, check_mirrored};
pub use self::mesh::Inside;
use self::modern::Modern;
use self::notes::{note_arrival, note_destination};
use self::proof::Proven;
use self::shaped::shaped;
pub use self::shared::{Core, CoreParts};

/// Items of one page of a list.
pub const PAGE_ITEMS: usize = 1_000;

/// One listener's face of the gateway.
pub struct Edge {
    /// What all listeners share.
    pub core: Arc<Core>,
    /// The face of legacy clients.
    pub lower: Arc<Lower>,
    /// Who comes to this listener.
    pub door: EdgeDoor,
    /// The other replicas of this gateway; none where it has none to pass on to.
    pub peers: Option<Arc<Peers>>,
}

/// Who comes to a listener.
#[derive(Clone)]
pub enum EdgeDoor {
    /// Clients, under one of these names.
    Clients(Arc<Authorities>),
    /// Other replicas of this gateway, proven by their certificates: with requests that came to them under one of their
    /// names, and that are not passed on again.
    Peers,
}

/// What every phase of one call may need.
pub struct CallContext {
    /// The routing that the whole call sees.
    pub routing: Arc<Routing>,
    /// The caller's view.
    pub view: Arc<ViewState>,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// The client's headers where they mirror arguments (modern face), for the check against the published schema.
    pub mirrored: Option<HeaderMap>,
    /// The access record.
    pub record: CallRecord,
    /// Counts the call as in flight for as long as anything of it is.
    pub place: Option<Place>,
    /// The revision of a legacy client's session; none for a modern client.
    pub session: Option<&'static Revision>,
    /// Who refuses what is refused on its way.
    pub by: By,
}

/// A request that has come in: what it is admitted by.
struct Asked {
    routing: Arc<Routing>,
    parts: Parts,
    connection: Arc<Connection>,
    record: CallRecord,
}

/// What a request comes to once its message is known.
enum Going<'a> {
    /// A modern one: what it is answered with, or its call.
    Modern(Modern),
    /// Anything else. On the heap, because it is rare, or slow anyway, and every call would keep room for it.
    Other(Pin<Box<dyn Future<Output = Result<Response<ReplyBody>, Refusal>> + Send + 'a>>),
}

impl Edge {
    /// Answers one request. Whatever goes wrong is an answer.
    ///
    /// No `async fn`, because that would keep room for the request twice: as it is given, and as it is taken apart.
    pub fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<ReplyBody>> + Send {
        let (mut arrival, mut asked) = self.core.asked(request, connection);
        async move {
            let admitted = respond::caught(self.admitted(&mut arrival, &mut asked)).await;
            if Core::lingers(&admitted, &asked) {
                arrival.take_rest(&self.core.limits).await;
            }
            self.core.answered(&arrival, admitted, &asked.record)
        }
    }

    /// Steps 3 to 6: from a request to a message of a known caller, then to the face of its era.
    async fn admitted(&self, arrival: &mut Arrival, asked: &mut Asked) -> Result<Response<ReplyBody>, Refusal> {
        let Asked {
            routing,
            parts,
            connection,
            record,
        } = asked;
        let core = &self.core;
        let _unproven = connection.unproven()?;
        check_head(parts, &core.limits)?;
        match &self.door {
            EdgeDoor::Clients(authorities) => authorities.check(parts)?,
            EdgeDoor::Peers => forward::note_client(&parts.headers, record),
        }
        arrival.legacy = attaches(parts)?;
        if !arrival.legacy {
            arrival.check_announced(&core.limits)?;
            admit::check_form(&parts.headers)?;
        }
        let Proven { view, caller, counted } = self.proven(routing, parts, connection)?;
        record.note(|r| {
            r.view = Some(view.view.name.clone());
            r.application = caller.application.clone();
            r.era_client = arrival.legacy.then_some(telemetry::Era::Legacy);
        });
        let over = counted.as_ref().and_then(|counted| counted.over.clone());
        let mut context = CallContext {
            routing: Arc::clone(routing),
            view,
            caller,
            mirrored: None,
            record: record.clone(),
            place: None,
            session: None,
            by: By::Gateway,
        };
        let home = self.home_elsewhere(&context, &parts.headers);
        if arrival.legacy {
            refuse(over)?;
            return match home {
                Some(home) => Box::pin(self.to_home(home, &context, parts, Bytes::new())).await,
                None => Box::pin(self.attached(context, parts)).await,
            };
        }
        // Taken before the body is read: bodies are what calls cost memory with.
        context.place = Some(core.place(counted.as_ref(), context.view.view.limits_lifted)?);
        let body = arrival.read(&core.limits).await?;
        if let Some(home) = home {
            arrival.legacy = true;
            refuse(over)?;
            return Box::pin(self.to_home(home, &context, parts, body)).await;
        }
        match self.said(arrival, context, over, parts, body)? {
            Going::Modern(modern) => core.modern_answer(modern).await,
            Going::Other(answer) => answer.await,
        }
    }

    /// From the body of a request to the face of its era.
    fn said<'a>(
        &'a self,
        arrival: &mut Arrival,
        mut context: CallContext,
        over: Option<Box<Refusal>>,
        parts: &'a mut Parts,
        body: Bytes,
    ) -> Result<Going<'a>, Refusal> {
        let core = &self.core;
        if body.trim_ascii_start().first() == Some(&b'[') && self.takes_batches(&context, parts) {
            arrival.legacy = true;
            note_arrival(&context.record, &body, Some(Face::Legacy), None);
            // Each of its calls takes a place of its own.
            context.place = None;
            let batch = self.split(context, parts, &body)?;
            return Ok(Going::Other(Box::pin(self.batched(batch, over, parts))));
        }
        let scanned = admit::scan(&body, &core.limits, context.view.tolerates_duplicates);
        let face = scanned.as_ref().map(|m| admit::face(&parts.headers, &body, m)).ok();
        note_arrival(&context.record, &body, face, scanned.as_deref().ok());
        let message = scanned?;
        arrival.id = message_id(&message, &body);
        if face == Some(Face::Modern) {
            let owner = self.owned_elsewhere(&context, (&body, &message));
            return Ok(match owner.filter(|_| over.is_none()) {
                Some(owner) => Going::Other(Box::pin(self.to_owner(
                    owner,
                    context,
                    parts,
                    (body, arrival.id.clone()),
                ))),
                None => Going::Modern(core.modern(context, over, std::mem::take(&mut parts.headers), body, message)?),
            });
        }
        arrival.legacy = true;
        admit::check_once(&parts.headers)?;
        refuse(over)?;
        // What a session sends inside takes its own place, because it may outlive this request.
        context.place = None;
        Ok(Going::Other(Box::pin(self.lowered(context, parts, (body, message)))))
    }
}

impl Core {
    /// Steps 1 and 2: the routing that the whole call sees, and its record.
    fn asked(&self, request: Request<Incoming>, connection: Arc<Connection>) -> (Arrival, Asked) {
        let routing = self.catalogues.routing().load_full();
        let (parts, body) = request.into_parts();
        let traceparent = parts.headers.get("traceparent").and_then(|v| v.to_str().ok());
        let record = self
            .observer
            .open(connection.peer().ip(), routing.revisions(), traceparent);
        let asked = Asked {
            routing,
            parts,
            connection,
            record,
        };
        (Arrival::of(body), asked)
    }

    /// Whether the rest of a request is to be taken before it is answered. HTTP/1.1 has its own way to linger, after the
    /// answer; in HTTP/2 the stream ends with it.
    fn lingers(admitted: &Result<Response<ReplyBody>, Refusal>, asked: &Asked) -> bool {
        admitted.is_err() && asked.parts.version == Version::HTTP_2
    }

    /// The answer to a request, or to a refused one, under its record.
    fn answered(
        &self,
        arrival: &Arrival,
        admitted: Result<Response<ReplyBody>, Refusal>,
        record: &CallRecord,
    ) -> Response<ReplyBody> {
        let response = admitted.unwrap_or_else(|refusal| {
            let refusal = refusal.at(self.by());
            record.refused(&refusal);
            let id = arrival.id.as_deref();
            if arrival.legacy {
                return respond::refused_as(legacy_status(refusal.reason), id, &refusal);
            }
            let refused = respond::refused(id, &refusal);
            match self.hop {
                Hop::Gateway => refused,
                Hop::Sidecar => respond::own_refusal(refused),
            }
        });
        let status = response.status().as_u16();
        record.note(|r| r.http_status = status);
        response.map(|body| body.recorded(record.clone()))
    }

    /// A place among the calls in flight, and in the caller's share of them.
    fn place(&self, counted: Option<&Counted>, lifted: bool) -> Result<Place, Refusal> {
        let place = self.calls.enter(lifted)?;
        let share = counted.map(|counted| counted.share(self.calls.share_max()));
        Ok(place.shared(share.transpose()?))
    }

    /// A modern request in the caller's exposed names; what the face of legacy clients dispatches. Its client's own
    /// messages have been scanned, and what was made of them is not read for its grammar once more.
    pub async fn dispatch(self: Arc<Self>, context: Arc<CallContext>, inward: Inward) -> Result<Answered, Refusal> {
        let Inward { body, uris, .. } = inward;
        let message = meshgate_mcp::again(&body, uris)
            .ok_or_else(|| Refusal::new(Reason::Internal, "the session's request is no message"))?;
        let method = Method::parse(&message.method.as_ref().and_then(|m| m.str(&body)).unwrap_or_default());
        let answered = self.dispatch_call(context, Call { body, message, method });
        respond::caught(answered).await
    }

    /// Steps 7 to 15: resolve, authorise, validate, send, shape.
    async fn dispatch_call(self: &Arc<Self>, mut context: Arc<CallContext>, call: Call) -> Result<Answered, Refusal> {
        if context.view.own_lists {
            Box::pin(self.use_own_lists(&mut context, &call)).await;
        }
        if let Some(answered) = self.own_answer(&context, &call).await? {
            return Ok(answered);
        }
        own::on_behalf_of_a_caller(&context.caller)?;
        let view = &context.view;
        let unix = unix_now();
        let destination = resolve::destination(view, &call, &context.caller, self.keys.as_deref(), unix)?;
        let Some(server) = view.servers.get(destination.server) else {
            return Err(resolve::method_not_found(&call.method_name()));
        };
        note_destination(&context.record, &call, &destination, server);
        if view.tolerates_duplicates && !server.server.duplicate_arguments {
            admit::scan(&call.body, &self.limits, false)?;
        }
        check_mirrored(&context, &call, &destination)?;
        if let Some(refused) = check_arguments(&call, &destination, server.server.validate_arguments, self.hop) {
            context.record.note(|r| r.outcome = Some(telemetry::Outcome::Error));
            return Ok(Answered::One(Told::Result(refused)));
        }
        self.check_writes(&context, &call, &destination, &server.server.name)?;
        let hop_id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (trace, span) = self.trace(&context, &call);
        let tool = destination.name.as_deref().filter(|_| call.method == Method::ToolsCall);
        let deadline = now() + server.server.deadlines(tool).hard;
        let mut out = resolve::outbound(view, &call, &destination, hop_id, deadline, &trace)?;
        out.caller = Some(context.caller.clone());
        out.view = Some(view.view.name.clone());
        context.record.handed_over(span);
        let reply = server.upstream.call_owned(&out).await;
        let reply = reply.map_err(|refusal| destination.of_whole_call(refusal));
        let era = server.upstream.era();
        if reply.is_err() {
            context.record.came_back(era, |_| {});
        }
        let (owner, reply) = reply?;
        let shape = Reshape {
            view: context.view.clone(),
            call,
            destination,
            caller: context.caller.clone(),
            keys: self.keys.clone(),
            owner,
            hop_id,
            now: unix_now,
            bytes_max: self.limits.response_bytes,
            progress: None,
            lowered: context.session,
        };
        shaped(shape, context, reply, era)
    }

    /// Our own span towards the server, under the caller's trace where the caller has one.
    fn trace(&self, context: &CallContext, call: &Call) -> (TraceKeys, TraceContext) {
        let theirs = call.message.meta_value(&call.body, meta::TRACEPARENT);
        let theirs = theirs.and_then(|v| TraceContext::from_traceparent(&v.str(&call.body)?));
        if let Some(theirs) = theirs {
            let ours = self.observer.under(&theirs);
            context.record.note(|r| r.trace = ours);
        }
        let trace = context.record.trace().unwrap_or_else(|| self.observer.trace(None));
        let span = self.observer.under(&trace);
        let keys = TraceKeys {
            traceparent: span.header_value(),
            continued: theirs.is_some(),
        };
        (keys, span)
    }
}

/// The refusal that is due, if one is.
fn refuse(over: Option<Box<Refusal>>) -> Result<(), Refusal> {
    over.map_or(Ok(()), |over| Err(*over))
}

/// Whether a request is a legacy session's GET or DELETE; everything else that is served is a POST.
fn attaches(parts: &Parts) -> Result<bool, Refusal> {
    match parts.method {
        Verb::POST => Ok(false),
        Verb::GET | Verb::DELETE if parts.headers.contains_key(admit::SESSION) => Ok(true),
        _ => Err(Refusal::new(
            Reason::MethodNotAllowed,
            "this endpoint takes POST; GET and DELETE only within a legacy session",
        )
        .header(http::header::ALLOW, HeaderValue::from_static("POST"))),
    }
}

/// The id of a message as it is spelled.
fn message_id(message: &Message, body: &Bytes) -> Option<Bytes> {
    let id = message.id.as_ref()?;
    Some(body.slice(id.span.start as usize..id.span.end as usize))
}

/// Errors of the protocol ride on 200 for legacy clients; errors of HTTP keep their status.
fn legacy_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::MethodNotFound | Reason::InvalidMeta | Reason::MissingCapability => StatusCode::OK,
        other => other.row().0,
    }
}

/// Monotonic time.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Unix seconds, for the life of what is sealed.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests;
