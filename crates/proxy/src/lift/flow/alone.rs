//! What a call has that has its session to itself: questions that can be asked, and a time in which nobody listens.

use std::sync::Arc;

use meshgate_bridge::lift::{Answers, Forward, Question};
use meshgate_mcp::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Cancel, Flow, headers};
use crate::call::Outbound;
use crate::lift::channel::{self, Fault};
use crate::lift::errands;
use crate::lift::limits::{GATHER, OPEN_MAX};
use crate::lift::own::Lease;
use crate::lift::park::{self, Next};
use crate::lift::shared::now;
use crate::refusal::Executed;
use crate::simulated;
use bytes::Bytes;
use std::collections::VecDeque;

/// What a call has that has a session to itself.
pub(in crate::lift) struct Line {
    pub(in crate::lift) lease: Lease,
    /// What comes on the session's standalone stream.
    pub(super) strays: Option<mpsc::Receiver<Bytes>>,
    pub(in crate::lift) round: u32,
    /// Until when siblings of a question are waited for.
    pub(super) window: Option<tokio::time::Instant>,
    /// Whether the questions are pages that the server wants opened before the call.
    pub(super) pages: bool,
    /// Why the call failed while it was parked.
    failed: Option<Fault>,
}

/// Sends the request of a call that has its session to itself.
pub(in crate::lift) async fn alone(
    mut lease: Lease,
    out: &Outbound,
    forward: Forward,
    round: u32,
) -> Result<Flow, Fault> {
    let Some(shared) = lease.shared().cloned() else {
        return Err(channel::cut_off().into());
    };
    let live = shared.live();
    let (ticket, level) = shared.enter(forward.level);
    if let Some(level) = level.filter(|_| live.session.offered.logging) {
        errands::set_level(&shared, level, out.deadline).await;
    }
    // A pipe brings everything to the only call on it.
    let http = shared.link.is_http();
    let logs = (http && ticket.wants_logs()).then(|| shared.logs.subscribe());
    let strays = http.then(|| shared.strays());
    lease.clean = false;
    lease.live = Some(Arc::clone(&live));
    lease.open = Some(out.id);
    let source = channel::request_alone(
        &shared.link,
        headers(&live, out),
        live.named,
        (out.id, forward.body.into()),
        now() + OPEN_MAX,
    )
    .await;
    let source = source.inspect_err(|refusal| {
        if refusal.executed == Executed::No {
            lease.open = None;
        }
    })?;
    let line = Line {
        lease,
        strays,
        round,
        window: None,
        pages: false,
        failed: None,
    };
    Ok(Flow {
        live: Arc::clone(&live),
        pending: forward.pending,
        source: Some(source),
        logs,
        ready: VecDeque::new(),
        response: None,
        told: out.id,
        deadline: out.deadline,
        ticket,
        cancel: Cancel {
            shared,
            live,
            id: out.id,
            due: false,
        },
        line: Some(Box::new(line)),
    })
}

impl Flow {
    /// A question: one for the client where it can be asked, and otherwise answered with `reply`.
    pub(super) fn asked(&mut self, part: &Bytes, message: &Message, reply: Vec<u8>) {
        let question = Question::read(part, message, self.pending.can);
        let (Some(line), Some(question)) = (&mut self.line, question) else {
            return errands::answer(&self.cancel.shared, &self.live, reply);
        };
        match line.lease.asked.add(question, simulated::random()) {
            Ok(()) => {
                line.window.get_or_insert_with(|| tokio::time::Instant::now() + GATHER);
            }
            Err(too_many) => errands::answer(&self.cancel.shared, &self.live, too_many),
        }
    }

    /// Whether the client is to be asked now.
    pub(super) fn asks_now(&mut self) -> bool {
        let Some(line) = &mut self.line else { return false };
        if line.lease.asked.is_empty() {
            line.window = None;
            return false;
        }
        line.pages || line.window.is_some_and(|until| until <= tokio::time::Instant::now())
    }

    pub(in crate::lift) fn line(&self) -> Option<&Line> {
        self.line.as_deref()
    }

    pub(in crate::lift) fn told(&self) -> u64 {
        self.told
    }

    pub(in crate::lift) fn runtime(&self) -> Option<Handle> {
        let shared = self.line.as_ref()?.lease.shared()?;
        Some(shared.runtime.clone())
    }

    /// Takes in what the server says while nobody listens: progress and logs are of no use to anyone later. Returns after
    /// each message, and not at all once there is nothing more to come.
    pub(in crate::lift) async fn overhear(&mut self) {
        let event = self.event().await;
        if let Err(fault) = self.take(event) {
            self.source = None;
            if let Some(line) = &mut self.line {
                line.failed = Some(fault);
            }
        }
        self.ready.clear();
        if let Some(line) = &mut self.line {
            line.window = None;
        }
    }

    /// Why nothing will come of the call any more.
    pub(in crate::lift) fn failed_while_parked(&mut self) -> Option<String> {
        let fault = self.line.as_mut()?.failed.take()?;
        let refusal = park::refused(fault);
        Some(format!("the call ended while it waited for its answers: {refusal}"))
    }

    /// The request of another round carries the call from here on.
    pub(in crate::lift) fn next_round(&mut self, out: &Outbound, round: u32) {
        self.told = out.id;
        self.deadline = out.deadline;
        if let Some(line) = &mut self.line {
            line.round = round;
        }
    }

    /// Hands the client's answers to the server. Those that are missing are asked for again.
    pub(in crate::lift) fn answered(&mut self, answers: &Answers) -> Next {
        let Some(line) = &mut self.line else {
            return Next::Deliver;
        };
        if line.pages {
            return match line.lease.asked.agreed(answers) {
                None => Next::Deliver,
                Some(true) => Next::Again,
                Some(false) => Next::Declined,
            };
        }
        let responses = line.lease.asked.answer(answers, self.live.session.revision);
        if !line.lease.asked.is_empty() {
            line.window = Some(tokio::time::Instant::now() + GATHER);
        }
        errands::answer_all(&self.cancel.shared, &self.live, responses);
        Next::Deliver
    }

    /// The session, for the same call to be sent on again, and the round that it is in.
    pub(in crate::lift) fn into_lease(self) -> Option<(Lease, u32)> {
        let mut line = *self.line?;
        drop(line.lease.asked.give_up());
        Some((line.lease, line.round))
    }
}
