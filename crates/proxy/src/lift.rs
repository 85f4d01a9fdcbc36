//! A legacy server behind a modern face: the driver of `bridge::lift` over HTTP and stdio.
//!
//! Callers see a modern server. Beneath is one session with empty client capabilities, shared by everybody: it is opened
//! once, and opened again when the server answers 404 to it, which also proves that the request did not run and may be
//! sent again. That is the only case in which anything is sent twice.
//!
//! What the messages mean is decided in `bridge::lift`; how they travel, in [`channel`]; one call is [`flow`], one
//! listen [`listening`], what nobody has asked for [`background`]. Every task belongs to the [`Lifted`] and ends with it.

mod background;
mod channel;
mod errands;
mod flow;
mod handshake;
mod limits;
mod listening;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use meshgate_bridge::lift::{Plan, Unlifted};
use meshgate_mcp::{Revision, codes};

use self::channel::Fault;
use self::limits::ERRAND_MAX;
use self::shared::{Shared, now};
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
}

impl Lifted {
    /// Leads the handshake and begins to listen to the server. The deadline covers the handshake.
    ///
    /// # Errors
    /// When the server cannot be reached or no revision is found that both speak. Nothing was called, so every refusal
    /// says `executed: no`.
    pub async fn connect(link: Link, deadline: Instant) -> Result<Arc<Self>, Refusal> {
        let mut strays = match &link {
            Link::Stdio(link) => Some(link.unsolicited()),
            Link::Http(_) => None,
        };
        let live = handshake::open(&link, &mut strays, 1, deadline).await?;
        let shared = Shared::new(link, live);
        background::start(&shared, strays);
        Ok(Arc::new(Self { shared }))
    }

    /// Carries one modern request, in the server's own names, and answers in modern messages with the same id.
    ///
    /// # Errors
    /// When the request cannot be carried to a legacy server, or the server did not answer it.
    pub async fn call(self: &Arc<Self>, out: Outbound) -> Result<Reply, Refusal> {
        let mut live = self.shared.live();
        for renewed in [false, true] {
            let forward = match live.session.plan(&out.body, out.method).map_err(|why| refusal(&why))? {
                Plan::Discover => return Ok(Reply::One(live.session.discover(out.id).into())),
                Plan::Listen(filter) => return Ok(listening::open(&self.shared, out.id, filter).await),
                Plan::Resume(_) => return Err(gone("no call of yours waits under this `requestState`")),
                Plan::Forward(forward) => forward,
            };
            match flow::run(&self.shared, &live, &out, forward).await {
                Ok(reply) => return Ok(reply),
                Err(Fault::Refused(refusal) | Fault::Status(refusal)) => return Err(refusal),
                Err(Fault::SessionLost) if renewed => break,
                Err(Fault::SessionLost) => live = handshake::renew(&self.shared, &live, out.deadline).await?,
            }
        }
        Err(Refusal::server(
            Reason::ServerAway,
            Executed::No,
            "server does not know the session that it has just opened",
        ))
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
        self.shared.end_listens();
        self.shared.stop.cancel();
        let live = self.shared.live();
        if let (Link::Http(link), true) = (&self.shared.link, live.named) {
            let _ = link.delete(live.headers.clone(), now() + ERRAND_MAX).await;
        }
        self.shared.gone.cancel();
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

/// Nothing of it was sent, so the gateway refuses it itself.
fn refusal(why: &Unlifted) -> Refusal {
    let reason = match why.code {
        codes::METHOD_NOT_FOUND => Reason::MethodNotFound,
        codes::INVALID_PARAMS => Reason::InvalidParams,
        _ => Reason::Internal,
    };
    Refusal::new(reason, why.message.clone())
}

/// What a request hears that wants to go on with a call which is not there any more. It is never made again.
fn gone(why: &str) -> Refusal {
    let message = format!("{why}: it may have run, and is not made a second time; call again without `requestState`");
    Refusal {
        executed: Executed::Unknown,
        ..Refusal::new(Reason::ParkedCallGone, message)
    }
    .rule("lift/parked")
}
