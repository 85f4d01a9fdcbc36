//! The life of a call, phase by phase.
//!
//! [`Edge::answer`] reads as the table in ARCHITECTURE.md: take the routing, check the head, find the view, prove the
//! caller, read and scan the message, choose the era, and hand a modern request to [`Core::dispatch`], which resolves,
//! authorises, validates, sends and shapes. Every way out is a [`Refusal`] or a reply, and each ends in the record.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, Response, StatusCode};
use hyper::body::Incoming;
use meshgate_identity::KeyRing;
use meshgate_mcp::{Envelope, Era, Message, Method, Sender, json, message, meta};
use meshgate_model::Check;
use meshgate_telemetry as telemetry;

use crate::admit::{self, Authorities, Face};
use crate::authenticate::authenticate;
use crate::authorize::use_view;
use crate::call::{Caller, Messages, Reply};
use crate::catalogue::{Catalogues, ListKind, Routing, ViewState, gateway_identity, page};
use crate::classify::{Outcome, Reshape, Shaped};
use crate::drain::Drain;
use crate::limit::Rate;
use crate::limits::Limits;
use crate::listen::{Connection, check_head, read_body};
use crate::listen_hub;
use crate::lower::Lower;
use crate::observe::{CallRecord, Observer};
use crate::refusal::{Executed, Reason, Refusal};
use crate::resolve::{self, Call, Destination, TraceKeys};
use crate::respond::{self, ReplyBody};

/// Items of one page of a list.
pub const PAGE_ITEMS: usize = 1_000;

/// What all listeners of a gateway share.
pub struct Core {
    /// The servers' catalogues, and the routing made of them.
    pub catalogues: Arc<Catalogues>,
    /// Seals cursors, states, task ids and sessions.
    pub keys: Arc<KeyRing>,
    /// Limits of the data plane.
    pub limits: Arc<Limits>,
    /// Opens access records.
    pub observer: Observer,
    /// Ids of calls on the hops to servers.
    pub ids: Arc<AtomicU64>,
    /// The face of legacy clients.
    pub lower: Arc<Lower>,
    /// Calls per caller.
    pub rate: Rate,
    /// Requests per address that prove nobody.
    pub unproven_rate: Rate,
    /// Says when to finish.
    pub drain: Drain,
}

/// One listener's face of the gateway.
#[derive(Clone)]
pub struct Edge {
    /// What all listeners share.
    pub core: Arc<Core>,
    /// The names this listener answers to.
    pub authorities: Arc<Authorities>,
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
}

/// What is known of a request while it is being admitted; how a refusal is answered depends on it.
#[derive(Default)]
struct Arrival {
    id: Option<Bytes>,
    legacy: bool,
}

impl Edge {
    /// Answers one request. Whatever goes wrong is an answer.
    pub async fn answer(self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<ReplyBody> {
        let routing = self.core.catalogues.routing().load_full();
        let (parts, body) = request.into_parts();
        let traceparent = parts.headers.get("traceparent").and_then(|v| v.to_str().ok());
        let record = self
            .core
            .observer
            .open(connection.peer().ip(), routing.revision, traceparent);
        let mut arrival = Arrival::default();
        let response = match self
            .admitted(&mut arrival, routing, &parts, body, &connection, &record)
            .await
        {
            Ok(response) => response,
            Err(refusal) => {
                record.refused(&refusal);
                let id = arrival.id.as_deref();
                if arrival.legacy {
                    respond::refused_as(legacy_status(refusal.reason), id, &refusal)
                } else {
                    respond::refused(id, &refusal)
                }
            }
        };
        let status = response.status().as_u16();
        record.note(|r| r.http_status = status);
        response.map(|body| body.recorded(record))
    }

    /// Steps 3 to 6: from a request to a message of a known caller, then to the face of its era.
    async fn admitted(
        &self,
        arrival: &mut Arrival,
        routing: Arc<Routing>,
        parts: &Parts,
        body: Incoming,
        connection: &Arc<Connection>,
        record: &CallRecord,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let core = &self.core;
        let _unproven = connection.unproven()?;
        check_head(parts, &core.limits)?;
        self.authorities.check(parts)?;
        let (view, caller) = self.proven(&routing, parts, connection)?;
        record.note(|r| {
            r.view = Some(view.view.name.clone());
            r.application = caller.application.clone();
        });
        let context = |mirrored| CallContext {
            routing: routing.clone(),
            view: view.clone(),
            caller: caller.clone(),
            mirrored,
            record: record.clone(),
        };
        match parts.method {
            Verb::POST => {}
            Verb::GET | Verb::DELETE if parts.headers.contains_key(admit::SESSION) => {
                arrival.legacy = true;
                return core.attached(context(None), parts).await;
            }
            _ => return Err(method_not_allowed()),
        }
        admit::check_form(&parts.headers)?;
        if !view.view.limits_lifted {
            core.rate.admit(caller.binding(), now())?;
        }
        let body = read_body(body, core.limits.body_bytes, &core.limits).await?;
        record.note(|r| r.bytes_in = body.len() as u64);
        if body.first() == Some(&b'[')
            && let Some(answer) = core.batched(context(None), parts, &body).await
        {
            arrival.legacy = true;
            return answer;
        }
        let message = admit::scan(&body, core.limits.body_bytes, view.tolerates_duplicates)?;
        arrival.id = message
            .id
            .map(|id| body.slice(id.span.start as usize..id.span.end as usize));
        note_method(record, &body, &message);
        match admit::face(&parts.headers, &body, &message) {
            Face::Legacy => {
                arrival.legacy = true;
                record.note(|r| r.era_client = Some(telemetry::Era::Legacy));
                core.lowered(context(None), parts, body, message).await
            }
            Face::Modern => {
                record.note(|r| r.era_client = Some(telemetry::Era::Modern));
                core.modern(context(Some(parts.headers.clone())), parts, body, message)
                    .await
            }
        }
    }

    /// Who calls which view. A path that is not served answers strangers as one that is.
    fn proven(
        &self,
        routing: &Routing,
        parts: &Parts,
        connection: &Connection,
    ) -> Result<(Arc<ViewState>, Arc<Caller>), Refusal> {
        let not_found = || Refusal::new(Reason::NotFound, "there is no endpoint at this path").rule("view");
        let snapshot = &routing.snapshot;
        let found = routing.views.get(parts.uri.path());
        let proven = match found {
            Some(view) => authenticate(snapshot, &view.view, &parts.headers),
            None => match snapshot.views.first() {
                Some(any) if !any.anonymous => {
                    authenticate(snapshot, any, &parts.headers).and_then(|_| Err(not_found()))
                }
                _ => Err(not_found()),
            },
        };
        let caller = proven.inspect_err(|refusal| {
            if refusal.reason == Reason::Unauthenticated {
                tracing::debug!(peer = %connection.peer(), "a request proved nobody");
            }
        });
        let caller = match caller {
            Ok(caller) => caller,
            Err(refusal) => return Err(self.slowed(connection.peer().ip()).err().unwrap_or(refusal)),
        };
        let view = found.ok_or_else(not_found)?;
        use_view(snapshot, &view.view, &caller)?;
        if caller.application.is_some() || view.view.anonymous {
            connection.prove();
        }
        Ok((view.clone(), Arc::new(caller)))
    }

    /// Counts a failed proof of an address; loopback shares one cell like any other address.
    fn slowed(&self, peer: IpAddr) -> Result<(), Refusal> {
        let key = match peer {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().into_iter().take(8).collect(),
        };
        self.core.unproven_rate.admit(&key, now())
    }
}

impl Core {
    /// Step 5 to the end for a modern client.
    async fn modern(
        self: &Arc<Self>,
        context: CallContext,
        parts: &Parts,
        body: Bytes,
        message: Message,
    ) -> Result<Response<ReplyBody>, Refusal> {
        match message.envelope {
            Envelope::Request => {}
            // The core protocol defines no notification from client to server over HTTP: taken, and dropped.
            Envelope::Notification => return Ok(respond::empty_answer(StatusCode::ACCEPTED)),
            Envelope::Result | Envelope::Error => {
                return Err(Refusal::new(
                    Reason::InvalidRequest,
                    "a response is not a request; 2026-07-28 has no client responses",
                ));
            }
        }
        let method = admit::check_modern(parts, &body, &message, true)?;
        let call = Call { body, message, method };
        let id = call.id();
        let reply = self.dispatch_call(Arc::new(context), call).await?;
        respond::modern(id, reply).await
    }

    /// A modern request in the caller's exposed names, from bytes; what the face of legacy clients dispatches.
    pub async fn dispatch(self: Arc<Self>, context: Arc<CallContext>, body: Bytes) -> Result<Reply, Refusal> {
        let message = admit::scan(&body, self.limits.body_bytes, context.view.tolerates_duplicates)?;
        let method = Method::parse(&message.method.as_ref().and_then(|m| m.str(&body)).unwrap_or_default());
        self.dispatch_call(context, Call { body, message, method }).await
    }

    /// Steps 7 to 15: resolve, authorise, validate, send, shape.
    async fn dispatch_call(self: &Arc<Self>, context: Arc<CallContext>, call: Call) -> Result<Reply, Refusal> {
        if let Some(reply) = self.own_answer(&context, &call).await? {
            return Ok(reply);
        }
        let view = &context.view;
        let unix = unix_now();
        let destination = resolve::destination(view, &call, &context.caller, &self.keys, unix)?;
        let Some(server) = view.servers.get(destination.server).cloned() else {
            return Err(resolve::method_not_found(&call.method_name()));
        };
        note_destination(&context.record, &call, &destination, &server.server);
        if view.tolerates_duplicates && !server.server.duplicate_arguments {
            admit::scan(&call.body, self.limits.body_bytes, false)?;
        }
        check_mirrored(&context, &call, &destination)?;
        if let Some(refused) = check_arguments(&call, &destination, server.server.validate_arguments) {
            context.record.note(|r| r.outcome = Some(telemetry::Outcome::Error));
            return Ok(Reply::One(refused));
        }
        let hop_id = self.ids.fetch_add(1, Ordering::Relaxed);
        let trace = self.trace(&context, &call);
        let out = resolve::outbound(
            view,
            &call,
            &destination,
            hop_id,
            now() + server.server.hard_deadline,
            &trace,
        )?;
        context.record.handed_over();
        let reply = server.upstream.call(out).await?;
        let era = server.upstream.era();
        context.record.note(|r| {
            r.era_server = era.map(|era| match era {
                Era::Legacy => telemetry::Era::Legacy,
                Era::Modern => telemetry::Era::Modern,
            });
        });
        let shape = Reshape {
            view: context.view.clone(),
            call: Arc::new(call),
            destination: Arc::new(destination),
            caller: context.caller.clone(),
            keys: self.keys.clone(),
            hop_id,
            now: unix,
            bytes_max: self.limits.response_bytes,
            progress: None,
        };
        shaped(shape, context, reply)
    }

    /// What the gateway answers by itself: discover, lists, subscriptions, and methods nobody of the view offers.
    async fn own_answer(&self, context: &CallContext, call: &Call) -> Result<Option<Reply>, Refusal> {
        let view = &context.view;
        let offers = |capability: &str| match capability {
            "tools" => view.capabilities.tools,
            "prompts" => view.capabilities.prompts,
            "resources" => view.capabilities.resources,
            "completions" => view.capabilities.completions,
            _ => true,
        };
        let row = call.method.row();
        let served = row.eras.has(Era::Modern) && !row.notification && row.sender != Sender::Server;
        let known = call.method == Method::Other || served;
        if !known || row.capability.is_some_and(|c| !offers(c)) {
            return Err(resolve::method_not_found(&call.method_name()));
        }
        let kind = match call.method {
            Method::Discover => return Ok(Some(Reply::One(result(call, &view.discover)))),
            Method::Listen => {
                let events = self.catalogues.events();
                let reply =
                    listen_hub::listen(view.clone(), call, events, self.ids.clone(), self.drain.clone()).await?;
                return Ok(Some(reply));
            }
            Method::ToolsList => ListKind::Tools,
            Method::ResourcesList => ListKind::Resources,
            Method::TemplatesList => ListKind::Templates,
            Method::PromptsList => ListKind::Prompts,
            _ => return Ok(None),
        };
        let cursor =
            match call.param("cursor") {
                None => None,
                Some(cursor) => Some(cursor.str(&call.body).ok_or_else(|| {
                    Refusal::new(Reason::InvalidParams, "`cursor` must be a string").rule("view/cursor")
                })?),
            };
        let body = page(
            view,
            kind,
            cursor.as_deref(),
            &context.caller,
            &self.keys,
            PAGE_ITEMS,
            unix_now(),
        )?;
        Ok(Some(Reply::One(result(call, &body))))
    }

    /// Our own span towards the server, under the caller's trace where the caller has one.
    fn trace(&self, context: &CallContext, call: &Call) -> TraceKeys {
        let theirs = call
            .message
            .meta
            .as_ref()
            .and_then(|m| m.get(&call.body, meta::TRACEPARENT))
            .and_then(|v| v.str(&call.body));
        if let Some(theirs) = theirs {
            let ours = self.observer.trace(Some(&theirs));
            context.record.note(|r| r.trace = ours);
        }
        let trace = context.record.trace().unwrap_or_else(|| self.observer.trace(None));
        TraceKeys {
            traceparent: self.observer.child(&trace).header_value().as_str().to_owned(),
        }
    }
}

/// A response of our own around a result object.
fn result(call: &Call, result: &[u8]) -> Bytes {
    Bytes::from(message::result(&call.id(), result))
}

/// Arguments that HTTP mirrors must be mirrored rightly, by the schema that was published.
fn check_mirrored(context: &CallContext, call: &Call, destination: &Destination) -> Result<(), Refusal> {
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
fn check_arguments(call: &Call, destination: &Destination, check: Check) -> Option<Bytes> {
    let validator = destination.tool.as_ref()?.facts.input.as_ref()?;
    let arguments = call.param("arguments").map_or(b"{}".as_slice(), |a| a.raw(&call.body));
    let violation = validator.check(arguments).err()?;
    if check != Check::Enforce {
        tracing::debug!(%violation, "arguments do not match the tool's schema");
        return None;
    }
    let mut body = b"{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":".to_vec();
    json::push_quoted(&mut body, &violation.tool_result_text());
    body.extend_from_slice(b"}],\"isError\":true,\"_meta\":{");
    json::push_quoted(&mut body, meta::SERVER_INFO);
    body.push(b':');
    body.extend_from_slice(&gateway_identity());
    body.extend_from_slice(b"}}");
    Some(result(call, &body))
}

/// Shapes a reply message by message.
fn shaped(mut shape: Reshape, context: Arc<CallContext>, reply: Reply) -> Result<Reply, Refusal> {
    let messages = match reply {
        Reply::Stream(messages) => messages,
        Reply::One(body) => {
            context.record.came_back();
            return match shape.shape(&body)? {
                Shaped::Response(body, outcome) => {
                    note_outcome(&context.record, &shape, &body, outcome);
                    Ok(Reply::One(body))
                }
                Shaped::Notification(_) | Shaped::Dropped(_) => Err(no_response()),
            };
        }
    };
    let state = (messages, shape, context, false);
    let stream: Messages = Box::pin(futures_util::stream::unfold(
        state,
        |(mut messages, mut shape, context, done)| async move {
            if done {
                return None;
            }
            loop {
                let next = match messages.next().await {
                    None => Err(no_response()),
                    Some(Err(refusal)) => Err(refusal),
                    Some(Ok(body)) => match shape.shape(&body) {
                        Ok(Shaped::Dropped(why)) => {
                            tracing::debug!(why, "a message of the server is not passed on");
                            continue;
                        }
                        Ok(Shaped::Notification(body)) => return Some((Ok(body), (messages, shape, context, false))),
                        Ok(Shaped::Response(body, outcome)) => {
                            context.record.came_back();
                            note_outcome(&context.record, &shape, &body, outcome);
                            Ok(body)
                        }
                        Err(refusal) => Err(refusal),
                    },
                };
                if let Err(refusal) = &next {
                    context.record.refused(refusal);
                }
                return Some((next, (messages, shape, context, true)));
            }
        },
    ));
    Ok(Reply::Stream(stream))
}

fn no_response() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the server ended its answer without a response",
    )
}

fn method_not_allowed() -> Refusal {
    Refusal::new(
        Reason::MethodNotAllowed,
        "this endpoint takes POST; GET and DELETE only within a legacy session",
    )
    .header(http::header::ALLOW, HeaderValue::from_static("POST"))
}

/// Errors of the protocol ride on 200 for legacy clients; errors of HTTP keep their status.
fn legacy_status(reason: Reason) -> StatusCode {
    match reason {
        Reason::MethodNotFound | Reason::InvalidMeta | Reason::MissingCapability => StatusCode::OK,
        other => other.row().0,
    }
}

fn note_method(record: &CallRecord, body: &Bytes, message: &Message) {
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

fn note_destination(record: &CallRecord, call: &Call, destination: &Destination, server: &meshgate_model::Server) {
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

fn note_outcome(record: &CallRecord, shape: &Reshape, body: &Bytes, outcome: Outcome) {
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

/// Monotonic time.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Unix seconds, for the life of what is sealed.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

mod legacy;
