//! Requests that belong to another replica of this gateway.
//!
//! A legacy session lives at the replica that opened it, and a call that waits at a server of a replica's own waits there.
//! Any replica may be asked. The one that is passes the request on as it came, to that one and once, and gives the answer
//! on as it is made. Everything about the request is checked again there, but for the name of the listener that it came to.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts as RequestParts;
use http::response::Parts;
use http::{HeaderValue, Method as Verb, Response, Uri};
use meshgate_mcp::{Envelope, MODERN, Message, Method, Rules, scan};
use tokio::time::Instant;

use super::{CallContext, Edge, EdgeDoor, respond, unix_now};
use crate::catalogue::ViewState;
use crate::hop::{Forwarded, Inbound, Peers, words};
use crate::observe::CallRecord;
use crate::refusal::{Executed, Reason, Refusal};
use crate::resolve::{self, Call};
use crate::respond::{Chunks, ReplyBody};

const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// How long the other replica may take to begin its answer: longer than any call may last.
const ANSWER_MAX: Duration = Duration::from_secs(11 * 60);

/// Fields that belong to one hop, or mean something on a mesh port only.
const OF_ONE_HOP: [HeaderName; 11] = [
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    ORIGIN,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    words::CONTEXT,
    words::FORWARDED,
    words::CLIENT,
];

/// The client of a request that another replica has passed on, for the record.
pub(super) fn note_client(headers: &HeaderMap, record: &CallRecord) {
    let said = headers.get(words::CLIENT).and_then(|client| client.to_str().ok());
    if let Some(client) = said.and_then(|client| client.parse().ok()) {
        record.note(|r| r.peer = Some(client));
    }
}

/// A request as it came, for another replica.
struct PassedOn<'a> {
    parts: &'a RequestParts,
    view: &'a ViewState,
    body: Bytes,
    /// The caller's id of the call, for the error that ends a stream which broke; none where there is no call.
    id: Option<Bytes>,
    client: Option<IpAddr>,
}

impl Edge {
    /// The other replicas, where this listener passes on at all: what comes from one of them is not passed on again.
    fn others(&self) -> Option<&Arc<Peers>> {
        match self.door {
            EdgeDoor::Clients(_) => self.peers.as_ref(),
            EdgeDoor::Peers => None,
        }
    }

    /// The replica at which the legacy session of a request lives, where that is another one.
    pub(super) fn home_elsewhere(&self, context: &CallContext, headers: &HeaderMap) -> Option<u64> {
        let peers = self.others()?;
        // A modern request that still carries the id of a session has none.
        let version = headers.get(PROTOCOL_VERSION);
        if version.is_some_and(|version| version.as_bytes() == MODERN.name.as_bytes()) {
            return None;
        }
        let home = self
            .lower
            .home_elsewhere(headers, &context.caller, &context.view.view.name)?;
        peers.has(home).then_some(home)
    }

    /// The replica that holds what a call goes on with, where that is another one and is there. Of one that is gone whoever
    /// is here says so.
    pub(super) fn owned_elsewhere(&self, context: &CallContext, (body, message): (&Bytes, &Message)) -> Option<u64> {
        let (peers, keys) = (self.others()?, self.core.keys.as_ref()?);
        let method = message.method_kind(body);
        let goes_on = match method {
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => true,
            _ => method.row().rounds && message.body.as_ref()?.find(body, "requestState").is_some(),
        };
        if !goes_on {
            return None;
        }
        let call = Call {
            body: body.clone(),
            message: Box::new(message.clone()),
            method,
        };
        let destination = resolve::destination(&context.view, &call, &context.caller, Some(keys), unix_now()).ok()?;
        destination.owner.filter(|owner| peers.has(*owner))
    }

    /// Passes a request of a legacy session on to its home.
    pub(super) async fn to_home(
        &self,
        home: u64,
        context: &CallContext,
        parts: &RequestParts,
        body: Bytes,
    ) -> Result<Response<ReplyBody>, Refusal> {
        // From here on the client may leave: its call runs in its session.
        context.record.goes_on();
        let request = PassedOn {
            parts,
            view: &context.view,
            id: id_of(&body),
            body,
            client: context.record.client(),
        };
        self.pass_on(home, request).await.map_err(homeless)
    }

    /// Passes the retry of a call on to the replica that holds the call.
    pub(super) async fn to_owner(
        &self,
        owner: u64,
        mut context: CallContext,
        parts: &RequestParts,
        (body, id): (Bytes, Option<Bytes>),
    ) -> Result<Response<ReplyBody>, Refusal> {
        let place = context.place.take();
        let request = PassedOn {
            parts,
            view: &context.view,
            body,
            id,
            client: context.record.client(),
        };
        let answer = self.pass_on(owner, request).await.map_err(ownerless)?;
        Ok(answer.map(|body| body.holding(place)))
    }

    /// Passes a request on; the answer is given on as it comes.
    async fn pass_on(&self, to: u64, request: PassedOn<'_>) -> Result<Response<ReplyBody>, Refusal> {
        let Some(peers) = &self.peers else {
            return Err(Refusal::new(Reason::Internal, "this gateway knows no other replica"));
        };
        let uri = Uri::builder().scheme("https").authority("gateway");
        let uri = uri.path_and_query(&*request.view.view.path).build();
        let uri = uri.map_err(|_| Refusal::new(Reason::Internal, "the path of the view cannot be passed on"))?;
        let parts = request.parts;
        let forwarded = Forwarded {
            method: parts.method.clone(),
            uri: &uri,
            headers: fields(&parts.headers, request.client, peers),
            body: &request.body,
            lasts: parts.method == Verb::GET,
            until: Instant::now() + ANSWER_MAX,
        };
        let (head, body) = peers.forward(to, forwarded).await?;
        answer(head, body, request.id, self.core.limits.response_bytes).await
    }
}

/// The id of the request that a body is, if it is one; the other replica judges it.
fn id_of(body: &Bytes) -> Option<Bytes> {
    let message = scan(body, &Rules::SERVER).ok()?;
    let id = message.id.filter(|_| message.envelope == Envelope::Request)?;
    Some(body.slice(id.span.start as usize..id.span.end as usize))
}

/// The session of a request is lost with its home, and its client begins a new one, as its revision demands.
pub(super) fn homeless(refusal: Refusal) -> Refusal {
    if refusal.executed == Executed::Unknown {
        return refusal;
    }
    let text = "no such session, or it has ended; send initialize to begin a new one";
    Refusal::new(Reason::NotFound, text).rule("hop/home")
}

/// The call of a retry is lost with the replica that held it.
pub(super) fn ownerless(refusal: Refusal) -> Refusal {
    if refusal.executed == Executed::Unknown {
        return refusal;
    }
    let text = "the call waited at a replica of the gateway that cannot be reached; whether it ran is not known";
    Refusal {
        executed: Executed::Unknown,
        ..Refusal::new(Reason::ParkedCallGone, text)
    }
    .rule("hop/owner")
}

fn fields(came: &HeaderMap, client: Option<IpAddr>, peers: &Peers) -> HeaderMap {
    let mut fields = without_hop(came);
    if let Ok(by) = HeaderValue::try_from(format!("{:016x}", peers.own())) {
        fields.insert(words::FORWARDED, by);
    }
    if let Some(Ok(client)) = client.map(|client| HeaderValue::try_from(client.to_string())) {
        fields.insert(words::CLIENT, client);
    }
    fields
}

fn without_hop(came: &HeaderMap) -> HeaderMap {
    let stays = came.iter().filter(|(name, _)| !OF_ONE_HOP.contains(name));
    stays.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The other replica's answer: one message whole, so that its length is known, and events as they come.
async fn answer(
    parts: Parts,
    body: Inbound,
    id: Option<Bytes>,
    bytes_max: usize,
) -> Result<Response<ReplyBody>, Refusal> {
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let streams = kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    let body = if streams {
        ReplyBody::stream(events(body, id))
    } else {
        ReplyBody::full(body.whole(bytes_max).await?)
    };
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = without_hop(&parts.headers);
    Ok(response)
}

/// The bytes of an event stream. One that breaks off ends with an error where somebody waits for a response.
fn events(body: Inbound, id: Option<Bytes>) -> Chunks {
    // Behind half an event nothing can be said any more.
    let state = (Some(body), id, true);
    Box::pin(unfold(state, |(mut body, id, whole)| async move {
        let piece = match body.as_mut() {
            Some(body) => poll_fn(|cx| body.poll_piece(cx)).await,
            None => None,
        };
        match (piece?, id) {
            (Ok(piece), id) => {
                let whole = piece.ends_with(b"\n\n");
                Some((piece, (body, id, whole)))
            }
            (Err(refusal), Some(id)) if whole => {
                let mut event = Vec::new();
                meshgate_mcp::encode_sse(&mut event, None, &respond::error_body(Some(&id), &refusal));
                Some((event.into(), (None, None, true)))
            }
            (Err(_), _) => None,
        }
    }))
}
