//! A server that can be called right now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use meshgate_mcp::{Envelope, Era, MODERN, Rules, scan};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::dial::Dialler;
use super::http::{HttpLink, broken};
use super::limits::{DISCOVER_AGE_MAX, SWEEP_EVERY};
use super::modern;
use super::patience::{self, Patience};
use super::probe::{self, Verdict};
use super::stale::Stale;
use super::stdio::StdioLink;
use super::turns::Turn;
use super::{Owner, mesh};
use crate::call::{Outbound, Reply};
use crate::hop::Sidecars;
use crate::lift::{Lifted, Link};
use crate::refusal::Refusal;

/// How the server is spoken to.
pub(super) enum Way {
    /// Modern, over HTTP.
    Http(Arc<HttpLink>),
    /// Modern, over a pipe.
    Stdio(Arc<StdioLink>),
    /// Legacy, lifted, with the link below it.
    Lifted(Arc<Lifted>, Link),
    /// Through sidecars, whatever is behind them.
    Mesh(Arc<Sidecars>),
}

/// One connection, from its handshake to its end.
pub(super) struct Connected {
    way: Way,
    discover: Mutex<Option<(Bytes, Instant)>>,
    /// Set when the era has turned out to be another one.
    doubt: CancellationToken,
    /// Held by the call that asks for the era again; one at a time is enough.
    asking: tokio::sync::Mutex<()>,
    over: AtomicBool,
    /// Told when the server refuses a call for what its catalogue says.
    stale: Arc<Stale>,
    dialler: Arc<Dialler>,
}

impl Connected {
    pub(super) fn new(way: Way, discover: Option<Bytes>, stale: Arc<Stale>, dialler: Arc<Dialler>) -> Self {
        let discover = discover.map(|result| (result, Instant::now()));
        Self {
            way,
            discover: Mutex::new(discover),
            doubt: CancellationToken::new(),
            asking: tokio::sync::Mutex::default(),
            over: AtomicBool::new(false),
            stale,
            dialler,
        }
    }

    pub(super) fn era(&self) -> Era {
        match self.way {
            Way::Http(_) | Way::Stdio(_) | Way::Mesh(_) => Era::Modern,
            Way::Lifted(..) => Era::Legacy,
        }
    }

    pub(super) fn revision(&self) -> &'static str {
        match &self.way {
            Way::Http(_) | Way::Stdio(_) | Way::Mesh(_) => MODERN.name,
            Way::Lifted(lifted, _) => lifted.revision().name,
        }
    }

    pub(super) fn stdio(&self) -> Option<&Arc<StdioLink>> {
        match &self.way {
            Way::Stdio(link) | Way::Lifted(_, Link::Stdio(link)) => Some(link),
            Way::Http(_) | Way::Lifted(_, Link::Http(_)) | Way::Mesh(_) => None,
        }
    }

    fn http(&self) -> Option<&Arc<HttpLink>> {
        match &self.way {
            Way::Http(link) | Way::Lifted(_, Link::Http(link)) => Some(link),
            Way::Stdio(_) | Way::Lifted(_, Link::Stdio(_)) | Way::Mesh(_) => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        let over = self.over.load(Ordering::Relaxed) || self.doubt.is_cancelled();
        !over && self.stdio().is_none_or(|link| !link.is_closed())
    }

    /// Makes a call; answers with the number of who holds what it may be gone on with, too. What is rare or slow anyway is
    /// boxed: the future of a call is moved to the heap as a whole, and every call would pay for the size of its largest
    /// branch.
    pub(super) async fn call(&self, out: &Outbound, patience: Patience, turn: Turn) -> Result<(Owner, Reply), Refusal> {
        let reply = match &self.way {
            Way::Http(link) => {
                let reply = modern::call_http(link, out, patience, turn, &self.stale).await;
                if let Err(refusal) = &reply
                    && modern::casts_doubt(refusal)
                {
                    Box::pin(self.ask_again(link)).await;
                }
                // Any gateway may go on with it: a modern server over HTTP keeps nothing between two requests.
                return reply.map(|reply| (None, reply));
            }
            Way::Mesh(sidecars) => {
                let (instance, reply) = mesh::call(sidecars, out, patience, turn, &self.stale).await?;
                return Ok((Some(instance), reply));
            }
            Way::Stdio(link) => Box::pin(modern::call_stdio(link, out, patience, turn)).await?,
            Way::Lifted(lifted, _) => match Box::pin(lifted.call(out.clone(), patience.until())).await? {
                Reply::One(message) => Reply::One(message),
                Reply::Stream(messages) => Reply::Stream(patience::bounded(messages, patience, turn)),
            },
        };
        Ok((Some(self.dialler.owner()), reply))
    }

    /// Asks the server what it is after an answer that a modern one does not give. That answer alone decides nothing: a
    /// caller may know how to bring it about, and every other call would pay for it.
    async fn ask_again(&self, link: &HttpLink) {
        let Ok(_asking) = self.asking.try_lock() else { return };
        if let Ok(Verdict::Legacy) = probe::ask_http(link).await {
            self.doubt.cancel();
        }
    }

    /// The `DiscoverResult`, if it is young enough.
    pub(super) fn known_discover(&self) -> Option<Bytes> {
        if let Way::Lifted(lifted, _) = &self.way {
            return Some(lifted.discover_result());
        }
        let known = self.discover.lock();
        let (result, since) = known.as_ref()?;
        (since.elapsed() < DISCOVER_AGE_MAX).then(|| result.clone())
    }

    /// Asks for the `DiscoverResult`.
    pub(super) async fn discover(&self, out: &Outbound, patience: Patience, turn: Turn) -> Result<Bytes, Refusal> {
        let (_, Reply::One(body)) = self.call(out, patience, turn).await? else {
            return Err(broken("server answered `server/discover` with a stream"));
        };
        let answer = scan(&body, &Rules::SERVER)
            .ok()
            .filter(|message| message.envelope == Envelope::Result);
        let Some(result) = answer.and_then(|message| message.body) else {
            return Err(broken("server answered `server/discover` without a result"));
        };
        let result = body.slice(result.span.start as usize..result.span.end as usize);
        *self.discover.lock() = Some((result.clone(), Instant::now()));
        Ok(result)
    }

    /// Waits until the connection is over, and says whether its era is in doubt.
    pub(super) async fn over(&self) -> bool {
        let doubted = tokio::select! {
            () = self.link_closed() => false,
            () = self.session_closed() => false,
            () = self.sidecars_lost() => false,
            () = self.sweep() => false,
            () = self.doubt.cancelled() => true,
        };
        self.over.store(true, Ordering::Relaxed);
        doubted
    }

    /// Ends the connection in peace.
    pub(super) async fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Way::Lifted(lifted, _) = &self.way {
            lifted.close().await;
        }
        if let Some(link) = self.stdio() {
            link.close().await;
        }
    }

    /// Why the connection is over.
    pub(super) fn close_reason(&self) -> Option<Arc<str>> {
        if let Way::Mesh(_) = &self.way {
            return Some("server is away: none of its sidecars can be reached".into());
        }
        self.stdio().and_then(|link| link.close_reason())
    }

    async fn link_closed(&self) {
        match self.stdio() {
            Some(link) => link.closed().await,
            None => std::future::pending().await,
        }
    }

    async fn session_closed(&self) {
        match &self.way {
            Way::Lifted(lifted, _) => lifted.closed().await,
            Way::Http(_) | Way::Stdio(_) | Way::Mesh(_) => std::future::pending().await,
        }
    }

    async fn sidecars_lost(&self) {
        match &self.way {
            Way::Mesh(sidecars) => sidecars.lost().await,
            Way::Http(_) | Way::Stdio(_) | Way::Lifted(..) => std::future::pending().await,
        }
    }

    /// Looks after idle connections for ever.
    async fn sweep(&self) {
        let Some(link) = self.http() else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            link.sweep();
            self.dialler.sweep();
        }
    }
}
