//! What a session listens for, kept as one modern subscription inside.
//!
//! Every change of the wish is a new `subscriptions/listen`. The old one is heard until the new one is acknowledged, and
//! then to its last message; what both have said is told once. A subscription that breaks off is opened again, and
//! because nobody can know what was missed, the client is told that the lists and its resources may have changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use meshgate_bridge::lower::{Acknowledged, Wanted, lower_notice, read_inside};
use meshgate_mcp::{Envelope, Method, json, message};
use tokio::sync::watch;
use tokio::time::Instant;

use super::limits::SessionLimits;
use super::session::Session;
use super::{Dispatch, Inward};
use crate::call::{Messages, Reply};
use crate::refusal::{Executed, Reason, Refusal};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The wish of a session and what became of it.
#[derive(Debug, Default)]
pub(super) struct Listening {
    plan: watch::Sender<Plan>,
    heard: watch::Sender<Heard>,
    started: AtomicBool,
}

#[derive(Clone, Default)]
struct Plan {
    version: u64,
    wanted: Wanted,
    dispatch: Option<Dispatch>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("version", &self.version)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct Heard {
    version: u64,
    outcome: Outcome,
}

// A session that wants nothing has been granted all of it.
impl Default for Outcome {
    fn default() -> Self {
        Self(Ok(Arc::default()))
    }
}

#[derive(Clone, Debug)]
struct Outcome(Result<Arc<Acknowledged>, Arc<Refusal>>);

impl Listening {
    /// Whether a resource is subscribed, or being so.
    pub(super) fn has(&self, uri: &str) -> bool {
        self.plan.borrow().wanted.uris.contains(uri)
    }

    /// Changes the wish; returns the number by which its outcome is known, or `None` when nothing changed.
    pub(super) fn want(&self, dispatch: &Dispatch, change: impl FnOnce(&mut Wanted)) -> Option<u64> {
        let mut changed = None;
        self.plan.send_if_modified(|plan| {
            let before = plan.wanted.clone();
            change(&mut plan.wanted);
            if plan.wanted == before {
                return false;
            }
            plan.version += 1;
            plan.dispatch = Some(Arc::clone(dispatch));
            changed = Some(plan.version);
            true
        });
        changed
    }

    /// What the server took on when the wish had this number, or later.
    pub(super) async fn outcome(&self, version: u64) -> Result<Arc<Acknowledged>, Arc<Refusal>> {
        let mut heard = self.heard.subscribe();
        match heard.wait_for(|heard| heard.version >= version).await {
            Ok(heard) => heard.outcome.0.clone(),
            Err(_) => Err(Arc::new(over())),
        }
    }

    /// Whether this is the first time: then the caller runs [`run`].
    pub(super) fn start(&self) -> bool {
        !self.started.swap(true, Ordering::AcqRel)
    }
}

fn over() -> Refusal {
    Refusal::new(
        Reason::NotFound,
        "the session has ended; send initialize to begin a new one",
    )
}

/// Listens for `session` until it ends.
pub(super) async fn run(session: Arc<Session>, limits: Arc<SessionLimits>) {
    let mut plans = session.listening.plan.subscribe();
    plans.mark_changed();
    let mut ear = Ear {
        session: &session,
        limits: &limits,
        open: None,
        again: None,
        lost: false,
        backoff: BACKOFF_MIN,
    };
    let listen = async {
        loop {
            tokio::select! {
                biased;
                changed = plans.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let plan = plans.borrow_and_update().clone();
                    ear.follow(&plan).await;
                }
                () = wait_until(ear.again), if ear.again.is_some() => {
                    let plan = plans.borrow_and_update().clone();
                    ear.follow(&plan).await;
                }
                heard = next(&mut ear.open), if ear.open.is_some() => ear.hear(heard).await,
            }
        }
    };
    tokio::select! {
        () = session.silenced.cancelled() => {}
        () = listen => {}
    }
}

async fn wait_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

async fn next(open: &mut Option<Messages>) -> Option<Bytes> {
    open.as_mut()?.next().await?.ok()
}

struct Ear<'a> {
    session: &'a Session,
    limits: &'a SessionLimits,
    open: Option<Messages>,
    /// When a subscription that broke off is opened again.
    again: Option<Instant>,
    /// Whether there was a time when nobody listened.
    lost: bool,
    backoff: Duration,
}

impl Ear<'_> {
    /// Opens a subscription for the plan, then lets the old one go.
    async fn follow(&mut self, plan: &Plan) {
        self.again = None;
        let outcome = match &plan.dispatch {
            Some(dispatch) if !plan.wanted.is_empty() => self.subscribe(plan, dispatch).await,
            _ => {
                self.open = None;
                self.lost = false;
                Ok(Acknowledged::default())
            }
        };
        match &outcome {
            Ok(acknowledged) => {
                self.backoff = BACKOFF_MIN;
                if self.open.is_some() && std::mem::take(&mut self.lost) {
                    for notice in whatever_changed(acknowledged) {
                        self.session.standalone.push(&notice).await;
                    }
                }
            }
            Err(_) if self.open.is_none() => self.try_again(),
            Err(_) => {}
        }
        let outcome = Outcome(outcome.map(Arc::new).map_err(Arc::new));
        self.session.listening.heard.send_replace(Heard {
            version: plan.version,
            outcome,
        });
    }

    fn try_again(&mut self) {
        self.lost = true;
        self.again = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }

    async fn subscribe(&mut self, plan: &Plan, dispatch: &Dispatch) -> Result<Acknowledged, Refusal> {
        let id = json::quote(&format!("listen-{}", plan.version));
        let request = self.session.stamped(true, |stamp| plan.wanted.request(&id, stamp));
        let opening = async {
            let inward = Inward {
                body: request.into(),
                revision: self.session.revision,
                uris: true,
            };
            match Reply::from(dispatch(inward).await?) {
                Reply::Stream(mut messages) => {
                    let acknowledged = acknowledged(&mut messages).await?;
                    Ok((messages, acknowledged))
                }
                Reply::One(answer) => Err(said_no(&answer)),
            }
        };
        let opening = tokio::time::timeout(self.limits.acknowledge_max, opening);
        tokio::pin!(opening);
        let opened = loop {
            tokio::select! {
                biased;
                opened = &mut opening => break opened,
                heard = next(&mut self.open), if self.open.is_some() => self.hear(heard).await,
            }
        };
        let late = || {
            Refusal::server(
                Reason::Deadline,
                Executed::Unknown,
                "the subscription was not acknowledged in time",
            )
        };
        let (messages, acknowledged) = opened.map_err(|_| late())??;
        self.take_over(messages).await;
        Ok(acknowledged)
    }

    /// Lets the old subscription go for the new one, which has been open beside it. What has come on both until now has
    /// come twice: of the new one's messages those that the old one had are left out.
    async fn take_over(&mut self, mut fresh: Messages) {
        let mut old = self.open.take();
        let mut told = Vec::new();
        let mut twice: HashMap<Vec<u8>, usize> = HashMap::new();
        // Both are read without a pause between them, because what reaches one reaches the other in the same moment.
        while let Some(Some(bytes)) = next(&mut old).now_or_never() {
            if let Some(Said::Notice(notice)) = said(&bytes) {
                *twice.entry(notice.clone()).or_default() += 1;
                told.push(notice);
            }
        }
        let mut is_over = false;
        while let Some(item) = fresh.next().now_or_never() {
            let heard = item.and_then(Result::ok);
            match heard.as_deref().and_then(said) {
                Some(Said::Notice(notice)) => match twice.get_mut(&notice).filter(|left| **left > 0) {
                    Some(left) => *left -= 1,
                    None => told.push(notice),
                },
                None if heard.is_some() => {}
                Some(Said::End) | None => {
                    is_over = true;
                    break;
                }
            }
        }
        for notice in told {
            self.session.standalone.push(&notice).await;
        }
        if is_over {
            self.try_again();
        } else {
            self.open = Some(fresh);
            self.again = None;
        }
    }

    /// One message of the open subscription, or its end.
    async fn hear(&mut self, heard: Option<bytes::Bytes>) {
        match heard.as_deref().map(said) {
            Some(Some(Said::Notice(notice))) => self.session.standalone.push(&notice).await,
            Some(None) => {}
            Some(Some(Said::End)) | None => {
                self.open = None;
                self.try_again();
            }
        }
    }
}

/// What a subscription says.
enum Said {
    /// A notification, in the client's words.
    Notice(Vec<u8>),
    /// Nothing more.
    End,
}

/// What one message says; `None` when it is nothing to a client.
fn said(bytes: &[u8]) -> Option<Said> {
    let msg = read_inside(bytes)?;
    match msg.envelope {
        Envelope::Notification => lower_notice(bytes, &msg).map(Said::Notice),
        Envelope::Result | Envelope::Error => Some(Said::End),
        Envelope::Request => None,
    }
}

/// Everything that may have changed while nobody listened.
fn whatever_changed(of: &Acknowledged) -> Vec<Vec<u8>> {
    let lists = of.lists.iter().map(|list| message::notification(list.as_str(), None));
    let resources = of.uris.iter().map(|uri| {
        let params = [br#"{"uri":"#.as_slice(), &json::quote(uri), b"}"].concat();
        message::notification(Method::ResourceUpdated.as_str(), Some(&params))
    });
    lists.chain(resources).collect()
}

/// Reads up to the acknowledgement, which comes first.
async fn acknowledged(messages: &mut Messages) -> Result<Acknowledged, Refusal> {
    while let Some(item) = messages.next().await {
        let bytes = item?;
        let Some(msg) = read_inside(&bytes) else { continue };
        if let Some(acknowledged) = Acknowledged::read(&bytes, &msg) {
            return Ok(acknowledged);
        }
        if matches!(msg.envelope, Envelope::Result | Envelope::Error) {
            return Err(said_no(&bytes));
        }
    }
    Err(Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the subscription ended before it was acknowledged",
    ))
}

/// A subscription that was answered instead of opened.
fn said_no(answer: &[u8]) -> Refusal {
    let text = read_inside(answer).and_then(|msg| {
        let text = msg.body.as_ref()?.get(answer, "message")?.str(answer)?.into_owned();
        Some(text)
    });
    Refusal::server(
        Reason::MethodNotFound,
        Executed::No,
        text.unwrap_or_else(|| "no server of this view offers subscriptions".to_owned()),
    )
}
