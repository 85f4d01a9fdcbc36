//! The one subscription that a feed has open at its server.
//!
//! When the wish grows, the larger subscription is opened before the smaller one is let go, and for a moment both are
//! heard: what the server said on the old one is passed on unless the new one says it too. Nothing falls between them
//! and nothing is told twice. A subscription that breaks off is opened again, after a random pause so that all who lost
//! one server do not come back as one, and because nobody knows what was missed, every resource then counts as updated.
//!
//! A server that refuses a whole subscription because of one resource would let one client take those of all others
//! away; so after a refusal the wishes are tried in halves until it is known whose it is.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use meshgate_mcp::Method;
use tokio::time::Instant;

use super::feed::{Ask, Feed, Move};
use super::limits::{ATTEMPTS_MAX, HELD_MAX, OPEN_PATIENCE, OVERLAP, REOPEN_MAX, REOPEN_MIN, SHRINK_PAUSE};
use super::words::{self, Heard};
use crate::call::{Messages, Reply};
use crate::catalogue::internal_request;
use crate::upstream::Upstream;

/// A subscription has no end of its own: the deadline of calls does not apply to it.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Keeps the subscription of a feed until nobody watches anything.
pub(super) async fn keep(feed: Arc<Feed>) {
    let mut line = Line {
        feed,
        open: None,
        retiring: None,
        opening: None,
        waiting: Vec::new(),
        attempts: 0,
        lost: HashSet::new(),
        again: None,
        failures: 0,
    };
    while line.step().await {}
}

/// One wish within a larger one: a listener's, or that a lost resource be watched again.
enum Wish {
    Ask(Ask),
    Restore(Arc<str>),
}

impl Wish {
    fn uris(&self) -> &[Arc<str>] {
        match self {
            Self::Ask(ask) => &ask.uris,
            Self::Restore(uri) => std::slice::from_ref(uri),
        }
    }
}

/// A subscription on its way.
struct Opening {
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    wishes: Vec<Wish>,
}

enum Outcome {
    Granted(Messages, HashSet<Arc<str>>),
    /// The server has said no.
    Refused,
    /// The server was not reached, or did not answer.
    Failed,
}

/// The subscription before the open one.
struct Retiring {
    messages: Option<Messages>,
    until: Instant,
    /// What the open one has said since.
    said: HashSet<Arc<str>>,
    /// What only this one has said.
    held: HashMap<Arc<str>, Bytes>,
}

struct Line {
    feed: Arc<Feed>,
    open: Option<Messages>,
    retiring: Option<Retiring>,
    opening: Option<Opening>,
    /// Parts of a wish that was refused as a whole.
    waiting: Vec<Vec<Wish>>,
    attempts: u32,
    /// What was granted once, is watched still, and is not granted now.
    lost: HashSet<Arc<str>>,
    /// When what is lost is asked for again.
    again: Option<Instant>,
    failures: u32,
}

enum Event {
    Opened(Outcome),
    Heard(Option<Bytes>),
    HeardLate(Option<Bytes>),
    Time,
    Wished,
}

impl Line {
    /// Does what is to be done next; whether there is more.
    async fn step(&mut self) -> bool {
        if self.opening.is_none() && self.retiring.is_none() && !self.begin() {
            return false;
        }
        let due = self.due();
        let late = self.retiring.as_mut().and_then(|retiring| retiring.messages.as_mut());
        let event = tokio::select! {
            outcome = outcome(self.opening.as_mut()) => Event::Opened(outcome),
            heard = next(self.open.as_mut()) => Event::Heard(heard),
            heard = next(late) => Event::HeardLate(heard),
            () = sleep_until(due) => Event::Time,
            () = self.feed.wished.notified() => Event::Wished,
        };
        match event {
            Event::Opened(outcome) => self.opened(outcome).await,
            Event::Heard(heard) => self.heard(heard).await,
            Event::HeardLate(heard) => self.heard_late(heard).await,
            Event::Time => self.retire(Instant::now()).await,
            Event::Wished => {}
        }
        true
    }

    /// When time alone changes something.
    fn due(&self) -> Option<Instant> {
        if let Some(retiring) = &self.retiring {
            return Some(retiring.until);
        }
        if self.opening.is_some() {
            return None;
        }
        [self.again, self.feed.idle_at()].into_iter().flatten().min()
    }

    /// Begins what the book wants, if anything; whether there is anything left to do ever.
    fn begin(&mut self) -> bool {
        let now = Instant::now();
        if let Some(part) = self.waiting.pop() {
            self.ask(part);
            return true;
        }
        self.attempts = 0;
        let restoring = self.again.take_if(|at| *at <= now).is_some();
        match self.feed.next_move(now, restoring) {
            Move::Grow { asks, restore } => {
                let asks = asks.into_iter().map(Wish::Ask);
                self.ask(asks.chain(restore.into_iter().map(Wish::Restore)).collect());
            }
            Move::Shrink => self.ask(Vec::new()),
            // The subscription goes with the line; somebody may have come just now.
            Move::Nothing => return !self.feed.close_if_unused(),
            Move::Wait => {}
        }
        true
    }

    /// Opens a subscription to these beside what is granted already.
    fn ask(&mut self, wishes: Vec<Wish>) {
        self.attempts += 1;
        let mut uris = self.feed.kept();
        uris.extend(wishes.iter().flat_map(|wish| wish.uris().iter().cloned()));
        let upstream = self.feed.upstream.clone();
        let id = self.feed.ids.fetch_add(1, Ordering::Relaxed);
        self.opening = Some(Opening {
            outcome: Box::pin(open(upstream, id, uris)),
            wishes,
        });
    }

    async fn opened(&mut self, outcome: Outcome) {
        let Some(Opening { mut wishes, .. }) = self.opening.take() else {
            return;
        };
        match outcome {
            Outcome::Granted(messages, granted) => {
                let before = self.open.replace(messages);
                self.retiring = before.map(|messages| Retiring {
                    messages: Some(messages),
                    until: Instant::now() + OVERLAP,
                    said: HashSet::new(),
                    held: HashMap::new(),
                });
                let found: Vec<_> = self.lost.extract_if(|uri| granted.contains(uri)).collect();
                let missing = self.feed.grants(granted);
                self.answer(wishes);
                self.again = None;
                if missing.is_empty() {
                    self.failures = 0;
                } else if self.waiting.is_empty() {
                    self.try_again();
                }
                self.lost.extend(missing);
                for uri in found {
                    self.feed.deliver_if_watched(&uri, &words::made_up_update(&uri)).await;
                }
            }
            Outcome::Refused if wishes.len() > 1 && self.attempts < ATTEMPTS_MAX => {
                let half = wishes.split_off(wishes.len() / 2);
                self.waiting.extend([half, wishes]);
            }
            Outcome::Refused | Outcome::Failed => {
                if wishes.is_empty() {
                    self.feed.put_off(Instant::now() + SHRINK_PAUSE);
                }
                self.answer(wishes);
                self.try_again();
            }
        }
    }

    fn answer(&self, wishes: Vec<Wish>) {
        for wish in wishes {
            if let Wish::Ask(ask) = wish {
                self.feed.answer(ask);
            }
        }
    }

    fn try_again(&mut self) {
        let longest = REOPEN_MIN.saturating_mul(1 << self.failures.min(16)).min(REOPEN_MAX);
        self.failures = self.failures.saturating_add(1);
        self.again = Some(Instant::now() + random_part(longest));
    }

    /// What the open subscription says.
    async fn heard(&mut self, heard: Option<Bytes>) {
        let Some(body) = heard else { return self.lost().await };
        match words::heard(&body) {
            Heard::Updated(uri) => {
                if let Some(retiring) = &mut self.retiring {
                    retiring.held.remove(&uri);
                    retiring.said.insert(uri.clone());
                }
                self.feed.deliver(&uri, &body).await;
            }
            Heard::Ended => self.lost().await,
            Heard::Other => {}
        }
    }

    /// What the one before it still says. It waits, because the open one is about to say the same.
    async fn heard_late(&mut self, heard: Option<Bytes>) {
        let Some(retiring) = &mut self.retiring else { return };
        let Some(body) = heard else {
            retiring.messages = None;
            return;
        };
        if let Heard::Updated(uri) = words::heard(&body)
            && !retiring.said.contains(&uri)
        {
            if retiring.held.len() < HELD_MAX {
                retiring.held.insert(uri, body);
            } else {
                self.feed.deliver(&uri, &body).await;
            }
        }
    }

    /// Lets the old subscription go when its time is over.
    async fn retire(&mut self, now: Instant) {
        if let Some(retiring) = self.retiring.take_if(|retiring| retiring.until <= now) {
            for (uri, body) in retiring.held {
                self.feed.deliver(&uri, &body).await;
            }
        }
    }

    async fn lost(&mut self) {
        self.open = None;
        if let Some(retiring) = &mut self.retiring {
            let until = retiring.until;
            self.retire(until).await;
        }
        if self.feed.upstream.is_closed() {
            self.feed.end();
        }
        self.lost.extend(self.feed.grants(HashSet::new()));
        self.try_again();
    }
}

/// Asks a server for a subscription to these and waits for what it grants of them.
async fn open(upstream: Arc<Upstream>, id: u64, uris: HashSet<Arc<str>>) -> Outcome {
    let mut sorted: Vec<&str> = uris.iter().map(|uri| &**uri).collect();
    sorted.sort_unstable();
    let params = words::listen_params(sorted.into_iter());
    let deadline = Instant::now().into_std() + FOREVER;
    let asked = async {
        match upstream
            .call(internal_request(id, Method::Listen, &params, deadline))
            .await
        {
            Ok(Reply::Stream(mut messages)) => match messages.next().await {
                Some(Ok(first)) => match words::granted(&first) {
                    Some(granted) => Outcome::Granted(messages, granted.intersection(&uris).cloned().collect()),
                    None => Outcome::Refused,
                },
                Some(Err(_)) | None => Outcome::Failed,
            },
            Ok(Reply::One(_)) => Outcome::Refused,
            Err(refusal) => {
                tracing::debug!(why = %refusal, "no subscription");
                Outcome::Failed
            }
        }
    };
    tokio::time::timeout(OPEN_PATIENCE, asked)
        .await
        .unwrap_or(Outcome::Failed)
}

async fn outcome(opening: Option<&mut Opening>) -> Outcome {
    match opening {
        Some(opening) => opening.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The next message; none when there will be no more. Waits for ever where there is nobody to say anything.
async fn next(messages: Option<&mut Messages>) -> Option<Bytes> {
    match messages {
        Some(messages) => messages.next().await?.ok(),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A random part of a pause.
fn random_part(longest: Duration) -> Duration {
    let random = crate::simulated::random() % 1_000;
    longest * u32::try_from(random).unwrap_or(0) / 1_000
}
