//! The way to the sidecars of one version of a server.

use std::pin::Pin;
use std::sync::Arc;

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use meshgate_mcp::{SseDecoder, SseEvent};
use meshgate_model::{Part, SpiffeId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::Budget;
use super::context::Contexts;
use super::end::Carries;
use super::exchange::{Inbound, LOST};
use super::pool::{Outgoing, Pool, Reached, To, Tried};
use super::table::server_group;
use super::{HopOptions, words};
use crate::call::Caller;
use crate::refusal::{Executed, Reason, Refusal};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The sidecars of one version of a server.
pub struct Sidecars {
    pool: Pool,
    contexts: Contexts,
    budget: Budget,
    uri: Uri,
    began: Instant,
}

/// A request to a server behind its sidecars.
pub struct Ask<'a> {
    /// The fields that mirror the request; each attempt gets a copy of its own.
    pub fields: &'a (dyn Fn() -> Result<HeaderMap, Refusal> + Sync),
    /// The whole JSON-RPC request.
    pub body: &'a Bytes,
    /// Who calls through which view; none for what the gateway asks for itself.
    pub from: Option<(&'a Arc<Caller>, &'a Arc<str>)>,
    /// What kind of connection it goes over.
    pub carries: Carries,
    /// The sidecar that holds what this goes on with. Another one is asked when it is not there: what it held is named in
    /// the request itself, and whoever does not have it says so.
    pub owner: Option<u64>,
    /// Whether it may run twice: it reads, and goes on with nothing. Such a request is made once more when its connection
    /// is lost before anything of an answer has come.
    pub reads: bool,
    /// When the answer must have begun, or be whole where it is one message.
    pub until: Instant,
}

/// What a sidecar answered.
#[derive(Debug)]
pub enum Answer {
    /// One message.
    One {
        /// HTTP status.
        status: StatusCode,
        /// Whether the body is declared as JSON.
        json: bool,
        /// The body.
        body: Bytes,
    },
    /// An event stream.
    Stream(Events),
}

/// The events of an answer. Dropping them cancels the call.
#[derive(Debug)]
pub struct Events {
    decoder: SseDecoder,
    /// `None` once the stream has ended.
    body: Option<Inbound>,
}

impl Sidecars {
    /// The sidecars of `version` of `server`, from now on. Must be called on the runtime that serves calls.
    ///
    /// # Errors
    /// When the two cannot be named in our trust domain.
    pub fn start(options: HopOptions, server: &str, version: &str) -> Result<Self, Refusal> {
        let id = sidecar_id(&options, server, version)?;
        let known = options.endpoints.watch(&server_group(server));
        let contexts = Contexts::new(options.limits.contexts);
        let pool = Pool::start(options, known, Box::new(move |endpoint| endpoint.spiffe_id == id));
        Ok(Self {
            pool,
            contexts,
            budget: Budget::default(),
            uri: Uri::from_static("https://sidecar/mcp"),
            began: Instant::now(),
        })
    }

    /// Sends a request; answers with what a sidecar said, and the number of the one that said it.
    ///
    /// # Errors
    /// What a sidecar refused, or the way to it. A call that no sidecar has taken was tried at others, and one that had no
    /// room for it at one other.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<(u64, Answer), Refusal> {
        self.budget.called();
        let shared = &self.pool.shared;
        let outgoing = Outgoing {
            method: Method::POST,
            uri: &self.uri,
            body: ask.body,
            carries: ask.carries,
            to: ask.owner.map_or(To::Any, To::Rather),
            until: ask.until,
        };
        let fields = |endpoint: &super::Endpoint, svid: &Arc<_>| {
            let mut fields = (ask.fields)()?;
            fields.insert(CONTENT_TYPE, JSON);
            fields.insert(ACCEPT, BOTH);
            let context = self.contexts.value(ask.from, &endpoint.spiffe_id, svid)?;
            fields.insert(words::CONTEXT, context);
            Ok(fields)
        };
        let mut tried = Tried::new();
        let reached = match shared.send(&outgoing, &mut tried, fields).await {
            Err(lost) if ask.reads && is_lost(&lost) && self.budget.moves(self.milliseconds()) => {
                if !shared.has_other(&tried) {
                    tried.clear();
                }
                Box::pin(shared.send(&outgoing, &mut tried, fields)).await?
            }
            other => other?,
        };
        let instance = reached.instance;
        let refused = match self.answer(reached, ask.until).await {
            Err(refused) if cannot_here(&refused) => refused,
            other => return other.map(|answer| (instance, answer)),
        };
        // Whoever holds what a call goes on with has no stand-in.
        let moves = ask.owner != Some(instance) && shared.has_other(&tried) && self.budget.moves(self.milliseconds());
        if !moves {
            return Err(refused);
        }
        let elsewhere = Outgoing {
            to: To::Any,
            ..outgoing
        };
        match Box::pin(shared.send(&elsewhere, &mut tried, fields)).await {
            Ok(reached) => {
                let instance = reached.instance;
                let answer = Box::pin(self.answer(reached, ask.until)).await;
                answer.map(|answer| (instance, answer))
            }
            // Nobody else took it either: the first one knew best why.
            Err(refusal) if refusal.executed == Executed::No => Err(refused),
            Err(refusal) => Err(refusal),
        }
    }

    async fn answer(&self, reached: Reached, until: Instant) -> Result<Answer, Refusal> {
        let Reached { parts, body, .. } = reached;
        let limits = &self.pool.shared.options.limits;
        let refused = parts.headers.contains_key(words::REFUSED);
        if !refused && is(&parts, EVENT_STREAM) {
            return Ok(Answer::Stream(Events {
                decoder: SseDecoder::new(limits.event_bytes),
                body: Some(body),
            }));
        }
        let read = tokio::time::timeout_at(until, body.whole(limits.response_bytes)).await;
        let body = read.unwrap_or_else(|_| {
            let text = "server did not answer before the deadline";
            Err(Refusal::server(Reason::Deadline, Executed::Unknown, text))
        })?;
        if refused {
            return Err(super::refused::taken_over(&body));
        }
        Ok(Answer::One {
            status: parts.status,
            json: is(&parts, b"application/json"),
            body,
        })
    }

    fn milliseconds(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Resolves when a sidecar can be called; refuses when there is none, or none can be reached.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.pool.shared.ready().await
    }

    /// Resolves when none can be called any more.
    pub async fn lost(&self) {
        self.pool.shared.lost().await;
    }

    /// Counts connections that stand: a change means that somebody can be reached.
    pub fn opened(&self) -> watch::Receiver<u64> {
        self.pool.shared.opened()
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// What an operator wants to know: the endpoints, and how it stands with each.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let all = self.pool.shared.all();
        let each = all.iter().map(|end| EndpointStatus {
            instance: end.endpoint.instance,
            version: Arc::clone(&end.endpoint.version),
            address: Arc::clone(&end.endpoint.address),
            works: !end.health.is_out(),
            in_flight: end.in_flight(),
            connections: end.connections(Carries::Calls),
            stream_connections: end.connections(Carries::Streams),
        });
        each.collect()
    }
}

/// How it stands with one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Its number.
    pub instance: u64,
    /// The version of the server that it stands beside.
    pub version: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// Whether it has calls.
    pub works: bool,
    /// Calls and streams under way.
    pub in_flight: usize,
    /// Connections for calls.
    pub connections: usize,
    /// Connections for long streams.
    pub stream_connections: usize,
}

/// What the certificates of the sidecars of a version of a server say.
///
/// # Errors
/// When the two cannot be named in our trust domain.
pub fn sidecar_id(options: &HopOptions, server: &str, version: &str) -> Result<SpiffeId, Refusal> {
    let part = Part::Server {
        server: server.into(),
        version: version.into(),
    };
    let id = options.identity.id().trust_domain().id(part);
    id.map_err(|error| {
        Refusal::new(
            Reason::ServerAway,
            format!("the server's sidecars cannot be named: {error}"),
        )
    })
}

/// Whether a sidecar says that it or its own instance of the server, and not the caller or the call, is the reason: an
/// instance that died before it was given the call, too. A policy is never asked twice, and a limit of the caller is one
/// everywhere.
fn cannot_here(refusal: &Refusal) -> bool {
    let here = matches!(
        refusal.reason,
        Reason::Overloaded | Reason::ServerAway | Reason::ServerBroken
    );
    here && refusal.executed == Executed::No
}

/// Whether the connection was lost in the middle, and not the server's time.
fn is_lost(refusal: &Refusal) -> bool {
    refusal.rule.as_deref() == Some(LOST)
}

fn is(parts: &Parts, kind: &[u8]) -> bool {
    let said = parts
        .headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    said.get(..kind.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(kind))
}

impl Events {
    /// Nothing more is wanted, because the answer is complete.
    pub fn finish(self) {
        if let Some(body) = self.body {
            body.finish();
        }
    }
}

impl Stream for Events {
    type Item = Result<SseEvent, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => {
                    self.body = None;
                    let text = format!("the sidecar broke its event stream: {error}");
                    return Poll::Ready(Some(Err(Refusal::server(
                        Reason::ServerBroken,
                        Executed::Unknown,
                        text,
                    ))));
                }
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match ready!(body.poll_piece(cx)) {
                Some(Ok(piece)) => self.decoder.push(&piece),
                Some(Err(refusal)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(refusal)));
                }
                None => self.body = None,
            }
        }
    }
}

/// A field that differs from call to call: it is not to push others out of the table that both ends keep (RFC 7541 §7.1.3).
pub fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}
