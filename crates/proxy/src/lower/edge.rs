//! The HTTP rules of legacy sessions: what each method and header means, before any message is looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use meshgate_bridge::lower::{answer_id, initialize_result, open};
use meshgate_mcp::{Envelope, Era, Message, Method, Revision, codes, message};

use super::batch::Joint;
use super::claims::Claims;
use super::session::{Beginning, CallId, ClientAnswer, Session};
use super::{Answer, Edge, Lower, SESSION_ID, empty, json, listening, sse};
use crate::call::Caller;
use crate::refusal::{Reason, Refusal};

const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const LAST_EVENT_ID: &str = "last-event-id";

impl Lower {
    /// POST: a request, a notification, or the client's answer to a question.
    pub async fn post(&self, edge: &Edge<'_>, body: &Bytes, msg: &Message) -> Result<Answer, Refusal> {
        self.take(edge, None, body, msg).await
    }

    /// One message, alone or in a batch.
    pub(super) async fn take(
        &self,
        edge: &Edge<'_>,
        batch: Option<&Joint>,
        body: &Bytes,
        msg: &Message,
    ) -> Result<Answer, Refusal> {
        let method = msg
            .method
            .and_then(|m| m.str(body))
            .map_or(Method::Other, |m| Method::parse(&m));
        if msg.envelope == Envelope::Request && method == Method::Initialize {
            return self.initialize(edge, body, msg);
        }
        let session = self.session(edge)?;
        match msg.envelope {
            Envelope::Request => self.request(edge, batch, session, (body, msg), method).await,
            Envelope::Notification => {
                notice(&session, body, msg, method);
                Ok(empty(StatusCode::ACCEPTED))
            }
            Envelope::Result | Envelope::Error => {
                if let Some(id) = answer_id(body, msg) {
                    session.answer(ClientAnswer {
                        id,
                        body: body.clone(),
                        message: msg.clone(),
                    });
                }
                Ok(empty(StatusCode::ACCEPTED))
            }
        }
    }

    /// GET: the session's own stream, or one that broke off.
    pub async fn get(&self, edge: &Edge<'_>) -> Result<Answer, Refusal> {
        let session = self.session(edge)?;
        if !accepts_streams(edge.headers) {
            return Err(Refusal::new(
                Reason::NotAcceptable,
                "GET opens a stream; accept `text/event-stream`",
            ));
        }
        if let Some(last) = edge.headers.get(LAST_EVENT_ID) {
            let unknown = || {
                Refusal::new(
                    Reason::InvalidRequest,
                    "`Last-Event-ID` names no event that is kept for this session; open a new stream without it",
                )
            };
            let (stream, event) = last
                .to_str()
                .ok()
                .and_then(|id| id.split_once('-'))
                .ok_or_else(unknown)?;
            let (stream, event) = stream.parse().ok().zip(event.parse().ok()).ok_or_else(unknown)?;
            let stream = session.stream(stream).ok_or_else(unknown)?;
            return Ok(sse(stream.resume(event)));
        }
        let reader = session.standalone.attach().ok_or_else(|| {
            Refusal::new(
                Reason::Conflict,
                "this session has a GET stream already; close it before opening another",
            )
        })?;
        session.listening.want(&edge.dispatch, |wanted| wanted.lists = true);
        self.listen(&session);
        Ok(sse(reader))
    }

    /// DELETE: the session is over.
    pub async fn delete(&self, edge: &Edge<'_>) -> Result<Answer, Refusal> {
        let session = self.session(edge)?;
        self.inner.table.end(&session.id);
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Keeps the session's subscription inside, from the first time that it wants one.
    pub(super) fn listen(&self, session: &Arc<Session>) {
        if session.listening.start() {
            let run = listening::run(Arc::clone(session), Arc::clone(&self.inner.limits));
            self.inner.tasks.spawn(run);
        }
    }

    /// The session that the headers name: one of this caller, at this view, whose home is here.
    pub(super) fn session(&self, edge: &Edge<'_>) -> Result<Arc<Session>, Refusal> {
        let mut ids = edge.headers.get_all(SESSION_ID).iter();
        let id = match (ids.next(), ids.next()) {
            (Some(id), None) => id,
            (None, _) => {
                return Err(Refusal::new(
                    Reason::InvalidRequest,
                    "`Mcp-Session-Id` is missing; send initialize first and the id it returns with every request",
                ));
            }
            _ => {
                return Err(Refusal::new(
                    Reason::InvalidRequest,
                    "`Mcp-Session-Id` is repeated; send it once",
                ));
            }
        };
        check_version(edge.headers)?;
        let gone = || {
            Refusal::new(
                Reason::NotFound,
                "no such session, or it has ended; send initialize to begin a new one",
            )
        };
        let id = id.to_str().map_err(|_| gone())?;
        let (caller, view) = (edge.caller, &edge.offered.view);
        let Some(session) = self.inner.table.get(id, caller, view) else {
            tracing::debug!(why = self.stranger(caller, view, id), "a session is not here");
            return Err(gone());
        };
        if session.expires_s <= (self.inner.seams.now_s)() {
            return Err(gone());
        }
        session.touch();
        Ok(session)
    }

    /// What an id without a session is, for the operator; its client is told the same in all cases.
    fn stranger(&self, caller: &Caller, view: &str, id: &str) -> &'static str {
        match Claims::open(&self.inner.keys, caller, view, id) {
            None => "the id was not made with these keys for this caller at this view",
            Some(claims) if claims.home != self.inner.home => "its home is another process",
            Some(claims) if claims.expires_s <= (self.inner.seams.now_s)() => "it is too old",
            Some(_) => "it has ended",
        }
    }

    fn initialize(&self, edge: &Edge<'_>, body: &Bytes, msg: &Message) -> Result<Answer, Refusal> {
        let id = msg.id.map_or(&b"null"[..], |id| id.raw(body));
        let opening = match open(body, msg) {
            Ok(opening) => opening,
            Err(why) => {
                return Ok(json(message::error(
                    Some(id),
                    codes::INVALID_PARAMS,
                    &why.to_string(),
                    None,
                )));
            }
        };
        let nonce = self.inner.random().ok_or_else(no_entropy)?;
        let expires_s = (self.inner.seams.now_s)().saturating_add(self.inner.limits.age_max.as_secs());
        let claims = Claims {
            revision: opening.revision,
            capabilities: opening.declared.set,
            expires_s,
            home: self.inner.home,
            nonce,
        };
        let session_id = claims
            .seal(&self.inner.keys, edge.caller, &edge.offered.view)
            .ok_or_else(no_entropy)?;
        let named = Arc::from(session_id.as_str());
        self.begin(edge, &claims, named, (opening.declared.json, opening.client_info))?;
        let result = initialize_result(opening.revision, &edge.offered.offer());
        let mut answer = json(message::result(id, &result));
        if let (Answer::Json { headers, .. }, Ok(value)) = (&mut answer, session_id.parse()) {
            headers.insert(SESSION_ID, value);
        }
        Ok(answer)
    }

    fn begin(
        &self,
        edge: &Edge<'_>,
        claims: &Claims,
        id: Arc<str>,
        (capabilities_json, client_info): (Vec<u8>, Option<Vec<u8>>),
    ) -> Result<(), Refusal> {
        let limits = &self.inner.limits;
        let session = Session::begin(Beginning {
            id,
            caller: Arc::clone(edge.caller),
            view: Arc::clone(&edge.offered.view),
            revision: claims.revision,
            capabilities: claims.capabilities,
            capabilities_json: capabilities_json.into(),
            client_info: client_info.map(Bytes::from),
            expires_s: claims.expires_s,
            standalone: self.inner.new_stream(0, claims.revision),
        });
        let per_caller = if edge.offered.limits_lifted {
            limits.sessions_max
        } else {
            self.inner.sessions_per_caller_max.load(Ordering::Relaxed)
        };
        self.inner
            .table
            .add(Arc::new(session), per_caller, limits.sessions_max)
            .map_err(|_| {
                Refusal::new(
                    Reason::RateLimited,
                    "too many sessions are in use; end one with DELETE, or try again later",
                )
                .rule("limit/sessions")
            })
    }
}

fn no_entropy() -> Refusal {
    Refusal::new(Reason::Internal, "the system's random source failed")
}

pub(super) fn method_of(body: &[u8], msg: &Message) -> Method {
    msg.method
        .and_then(|m| m.str(body))
        .map_or(Method::Other, |m| Method::parse(&m))
}

/// A notification of the client. What is not for us changes nothing: there is nobody to forward it to.
fn notice(session: &Session, body: &[u8], msg: &Message, method: Method) {
    if method == Method::Cancelled
        && let Some(id) = msg.body.as_ref().and_then(|params| params.get(body, "requestId"))
    {
        session.cancel_call(&CallId::of(body, id));
    }
}

/// Every legacy revision is accepted as a header value: the session knows which one it speaks.
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(version) = headers.get(PROTOCOL_VERSION) else {
        return Ok(());
    };
    let known = version
        .to_str()
        .ok()
        .and_then(Revision::find)
        .is_some_and(|r| r.era == Era::Legacy);
    known.then_some(()).ok_or_else(|| {
        Refusal::new(
            Reason::InvalidRequest,
            "`MCP-Protocol-Version` names no revision that a session can speak; send the one that initialize returned",
        )
    })
}

/// Whether the client reads event streams.
pub(super) fn accepts_streams(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    if accepts.peek().is_none() {
        return true;
    }
    let ranges = accepts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut kinds = ranges.map(|range| range.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| {
        ["text/event-stream", "text/*", "*/*"]
            .iter()
            .any(|accepted| kind.eq_ignore_ascii_case(accepted))
    })
}
