//! A legacy server behind a modern face: the driver of `bridge::lift` over HTTP and stdio.
//!
//! Callers see a modern server. Beneath is one session with empty client capabilities, shared by everybody: it is opened
//! once, and opened again when the server answers 404 to it, which also proves that the request did not run and may be
//! sent again. Beside it are sessions of single callers ([`own`]), for calls whose client can be asked something: what
//! the server asks in the middle of such a call parks it ([`park`]) until its client's next request. A call is sent twice
//! in two cases only: to a session that is not known, and when the server has said that a page must be opened first.
//!
//! What the messages mean is decided in `bridge::lift`; how they travel, in [`channel`]; one call is [`flow`], one
//! listen [`listening`], what nobody has asked for [`background`]. Every task belongs to the [`Lifted`] or to the [`Own`]
//! and ends with it.

mod background;
mod channel;
mod per_caller;
mod errands;
mod flow;
mod handshake;
mod limits;
mod listening;
mod own;
mod park;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use meshgate_bridge::Capabilities;
use meshgate_bridge::lift::{Forward, Handshake, Plan, Unlifted};
use meshgate_mcp::{Method, Revision, codes};

use self::channel::Fault;
use self::own::Key;
pub use self::own::{Dial, Own};
use self::per_caller::CallerSession;
use self::shared::{Live, Shared};
use crate::call::{Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::http::HttpLink;
use crate::upstream::stdio::StdioLink;

/// The way to a legacy server.
#[derive(Clone, Debug)]
pub enum Link {
    /// Streamable HTTP.
    Http(Arc<HttpLink>),
    /// A child on a pipe.
    Stdio(Arc<StdioLink>),
}

impl Link {
    fn is_http(&self) -> bool {
        matches!(self, Self::Http(_))
    }
}

/// A legacy server behind a modern face. Dropping it ends its tasks; [`Lifted::close`] also tells the server.
pub struct Lifted {
    shared: Arc<Shared>,
    own: Arc<Own>,
}

impl Lifted {
    /// Leads the handshake and begins to listen to the server. The deadline covers the handshake. Sessions of single callers
    /// are opened from `own` when they are needed, and outlive this.
    ///
    /// # Errors
    /// When the server cannot be reached or no revision is found that both speak. Nothing was called, so every refusal
    /// says `executed: no`.
    pub async fn connect(link: Link, own: Arc<Own>, deadline: Instant) -> Result<Arc<Self>, Refusal> {
        let mut strays = match &link {
            Link::Stdio(link) => Some(link.unsolicited()),
            Link::Http(_) => None,
        };
        let greeting = Handshake::default();
        let live = handshake::open(&link, &mut strays, (greeting, 1), deadline).await?;
        let shared = Shared::new(link, greeting, live);
        background::start(&shared, strays);
        Ok(Arc::new(Self { shared, own }))
    }

    /// Carries one modern request, in the server's own names, and answers in modern messages with the same id. `until` is
    /// when the first message must be there.
    ///
    /// # Errors
    /// When the request cannot be carried to a legacy server, or the server did not answer it.
    pub async fn call(self: &Arc<Self>, out: Outbound, until: tokio::time::Instant) -> Result<Reply, Refusal> {
        let live = self.shared.live();
        match live.session.plan(&out.body, out.method).map_err(|why| refusal(&why))? {
            Plan::Discover => Ok(Reply::One(live.session.discover(out.id).into())),
            Plan::Listen(filter) => Ok(listening::open(&self.shared, out.id, filter).await),
            Plan::Resume(resume) => Box::pin(park::resume(&self.own, out, resume, until)).await,
            Plan::Forward(mut forward) => {
                let can = forward.pending.can.known_to(live.session.revision);
                let lists = matches!(
                    out.method,
                    Method::ToolsList | Method::ResourcesList | Method::TemplatesList | Method::PromptsList
                );
                if (lists || out.method.row().rounds) && !can.is_empty() {
                    if lists {
                        // What the caller itself is shown; nothing can be asked in the middle of it.
                        forward.pending.can = Capabilities::NONE;
                    }
                    let caller = park::caller(&out);
                    let key = (Key { caller, can }, live.session.revision);
                    return Box::pin(park::call(&self.own, key, (out, forward), until)).await;
                }
                if let (Some(sessions), Some(caller)) = (&self.own.by_caller, &out.caller) {
                    let revision = live.session.revision;
                    let session = Box::pin(sessions.of(&self.own, caller, revision, until)).await?;
                    return caller_call(&session, out, forward, until).await;
                }
                let reply = tokio::time::timeout_at(until, shared_call(&self.shared, live, out, forward)).await;
                reply.unwrap_or_else(|_| Err(park::too_late(Executed::Unknown)))
            }
        }
    }

    /// The result of `server/discover`, as JSON.
    pub fn discover_result(&self) -> Bytes {
        Bytes::copy_from_slice(self.shared.live().session.discover_result())
    }

    /// The revision that the server speaks.
    pub fn revision(&self) -> &'static Revision {
        self.shared.live().session.revision
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Waits until the server can be used no longer: its process has ended, or it opens no session any more.
    pub async fn closed(&self) {
        self.shared.gone.cancelled().await;
    }

    /// Ends the listens in good order and the session at the server.
    pub async fn close(&self) {
        self.shared.end().await;
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl std::fmt::Debug for Lifted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lifted")
            .field("revision", &self.revision().name)
            .finish_non_exhaustive()
    }
}

/// A call on the session that one caller's calls share.
async fn caller_call(
    session: &Arc<CallerSession>,
    out: Outbound,
    forward: Forward,
    until: tokio::time::Instant,
) -> Result<Reply, Refusal> {
    let shared = session.shared();
    let reply = tokio::time::timeout_at(until, shared_call(shared, shared.live(), out, forward)).await;
    Ok(
        match reply.unwrap_or_else(|_| Err(park::too_late(Executed::Unknown)))? {
            Reply::One(message) => Reply::One(message),
            Reply::Stream(messages) => {
                let held = Arc::clone(session);
                Reply::Stream(Box::pin(messages.inspect(move |_| {
                    let _held = &held;
                })))
            }
        },
    )
}

/// A call on a session that other calls share.
async fn shared_call(
    shared: &Arc<Shared>,
    mut live: Arc<Live>,
    out: Outbound,
    mut forward: Forward,
) -> Result<Reply, Refusal> {
    for renewed in [false, true] {
        match flow::run(shared, &live, &out, forward).await {
            Ok(reply) => return Ok(reply),
            Err(Fault::Refused(refusal) | Fault::Status(refusal)) => return Err(refusal),
            Err(Fault::SessionLost) if renewed => break,
            Err(Fault::SessionLost) => live = handshake::renew(shared, &live, out.deadline).await?,
        }
        let again = live.session.plan(&out.body, out.method).map_err(|why| refusal(&why))?;
        let Plan::Forward(planned) = again else { break };
        forward = planned;
    }
    Err(park::refused(Fault::SessionLost))
}

/// Nothing of it was sent, so the gateway refuses it itself.
fn refusal(why: &Unlifted) -> Refusal {
    let reason = match why.code {
        codes::METHOD_NOT_FOUND => Reason::MethodNotFound,
        codes::INVALID_PARAMS => Reason::InvalidParams,
        _ => Reason::Internal,
    };
    Refusal::new(reason, why.message.clone())
}
