//! One call to a legacy server, from its request to its response.
//!
//! The call is pulled by whoever reads its answer: there is no task and no queue between the server's stream and the
//! client's. A call whose reader leaves before the response is cancelled by a message, because in the legacy eras a
//! closed stream means nothing.
//!
//! On the session that all callers share a question is refused where it is met. A call that has a session to itself
//! ([`alone`]) gathers its questions instead, and is parked with them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use meshgate_bridge::lift::{self, Arrival, Forward, Pending, Question, sort, split};
use meshgate_mcp::{Kind, Message, Rules, Splice, again, scan};
use tokio::sync::{broadcast, mpsc};

use super::channel::{self, Fault, Source};
use super::park;
use super::shared::{Live, Shared, Ticket};
use super::{Link, errands};
use crate::call::{Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

use self::alone::Line;
pub(super) use self::alone::alone;

mod alone;

/// Sends the request and answers with what comes first: the response alone, or a stream that begins with a notification.
pub(super) async fn run(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    out: &Outbound,
    forward: Forward,
) -> Result<Reply, Fault> {
    let (ticket, level) = shared.enter(forward.level);
    if let Some(level) = level.filter(|_| live.session.offered.logging) {
        errands::set_level(shared, level, out.deadline).await;
    }
    let logs = ticket.wants_logs().then(|| match &shared.link {
        Link::Stdio(link) => link.unsolicited(),
        Link::Http(_) => shared.logs.subscribe(),
    });
    let mut cancel = Cancel {
        shared: Arc::clone(shared),
        live: Arc::clone(live),
        id: out.id,
        due: shared.link.is_http(),
    };
    let asked = channel::request(
        &shared.link,
        headers(live, out),
        live.named,
        (out.id, forward.body.into()),
        out.deadline,
    )
    .await;
    let source = match asked {
        Ok((source, _)) => source,
        Err(fault) => {
            cancel.due &= may_go_on(&fault);
            return Err(fault);
        }
    };
    deliver(Flow {
        live: Arc::clone(live),
        pending: forward.pending,
        source: Some(source),
        logs,
        ready: VecDeque::new(),
        response: None,
        told: out.id,
        deadline: out.deadline,
        ticket,
        cancel,
        line: None,
    })
    .await
}

fn headers(live: &Live, out: &Outbound) -> HeaderMap {
    let mut headers = live.headers.clone();
    if let Some(traceparent) = &out.traceparent
        && let Ok(traceparent) = http::HeaderValue::from_bytes(traceparent.as_bytes())
    {
        headers.insert("traceparent", traceparent);
    }
    headers
}

/// Whether the server may still work on a request that ended so.
fn may_go_on(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(refusal) if refusal.executed == Executed::Unknown)
}

/// Waits for what comes first.
pub(super) async fn deliver(mut flow: Flow) -> Result<Reply, Fault> {
    match flow.next().await {
        Said::Nothing => Err(channel::cut_off().into()),
        Said::Failed(fault) => Err(fault),
        Said::Asks => Ok(Reply::One(park::park(flow)?)),
        Said::Message(first) if flow.is_over() => Ok(Reply::One(first)),
        Said::Message(first) => {
            flow.ready.push_front(first);
            Ok(Reply::Stream(Box::pin(futures_util::stream::unfold(
                Some(flow),
                |flow| async move {
                    let mut flow = flow?;
                    match flow.next().await {
                        Said::Nothing => None,
                        Said::Message(message) => Some((Ok(message), Some(flow))),
                        Said::Failed(fault) => Some((Err(park::refused(fault)), Some(flow))),
                        Said::Asks => Some((park::park(flow), None)),
                    }
                },
            ))))
        }
    }
}

/// A call in flight, or parked.
pub(super) struct Flow {
    live: Arc<Live>,
    pending: Pending,
    /// Nothing once the response has been read, or will never come.
    source: Option<Source>,
    /// Where log messages come that are on nobody's own stream.
    logs: Option<broadcast::Receiver<Bytes>>,
    ready: VecDeque<Bytes>,
    /// The response, under whatever id.
    response: Option<Vec<u8>>,
    /// The id that the client's side knows the call by; in later rounds it is not the one that the server knows.
    told: u64,
    deadline: Instant,
    ticket: Ticket,
    cancel: Cancel,
    line: Option<Box<Line>>,
}

/// What a call says next.
enum Said {
    Message(Bytes),
    /// Its questions are gathered.
    Asks,
    Failed(Fault),
    Nothing,
}

enum Event {
    Deadline,
    Log(Bytes),
    Stray(Bytes),
    Window,
    Frame(Option<Result<Bytes, Fault>>),
}

impl Flow {
    /// Whether everything has been handed out.
    fn is_over(&self) -> bool {
        self.source.is_none() && self.ready.is_empty() && self.response.is_none()
    }

    async fn next(&mut self) -> Said {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Said::Message(message);
            }
            if let Some(response) = self.response.take() {
                return Said::Message(with_id(response, self.told));
            }
            if self.asks_now() {
                return Said::Asks;
            }
            if self.source.is_none() {
                return Said::Nothing;
            }
            let deadline = self.deadline;
            let event = tokio::select! {
                biased;
                event = self.event() => event,
                () = tokio::time::sleep_until(deadline.into()) => Event::Deadline,
            };
            if let Err(fault) = self.take(event) {
                self.source = None;
                return Said::Failed(fault);
            }
        }
    }

    /// What comes next, from wherever. Whoever waits for it may look away at any time.
    async fn event(&mut self) -> Event {
        let Some(source) = &mut self.source else {
            return std::future::pending().await;
        };
        let Some(line) = &mut self.line else {
            return tokio::select! {
                biased;
                line = next_log(&mut self.logs) => Event::Log(line),
                frame = source.next() => Event::Frame(frame),
            };
        };
        let window = line.window;
        tokio::select! {
            biased;
            line = next_log(&mut self.logs) => Event::Log(line),
            part = next_stray(&mut line.strays) => Event::Stray(part),
            frame = source.next() => Event::Frame(frame),
            () = until(window) => Event::Window,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Fault> {
        match event {
            Event::Log(line) => self.stray(&line),
            Event::Stray(part) => {
                if let Ok(message) = scan(&part, &Rules::SERVER) {
                    self.message(&part, &message)?;
                }
            }
            // Looked at before the next event.
            Event::Window => {}
            Event::Frame(Some(Ok(frame))) => self.frame(&frame)?,
            Event::Frame(Some(Err(fault))) => {
                if let Some(line) = self.line.as_mut().filter(|_| !may_go_on(&fault)) {
                    line.lease.open = None;
                }
                return Err(fault);
            }
            Event::Frame(None) => return Err(channel::cut_off().into()),
            Event::Deadline => {
                return Err(Fault::Refused(Refusal::server(
                    Reason::Deadline,
                    Executed::Unknown,
                    "server did not answer before the deadline",
                )));
            }
        }
        Ok(())
    }

    /// Takes a frame of the call's own stream apart.
    fn frame(&mut self, frame: &Bytes) -> Result<(), Refusal> {
        // What was said before this frame comes before it.
        while let Some(line) = self.logs.as_mut().and_then(|logs| logs.try_recv().ok()) {
            self.stray(&line);
        }
        for part in split(frame) {
            let part = frame.slice(part);
            let message = scan(&part, &Rules::SERVER).map_err(|error| broken(error.to_string()))?;
            self.message(&part, &message)?;
        }
        Ok(())
    }

    fn message(&mut self, part: &Bytes, message: &Message) -> Result<(), Refusal> {
        match sort(part, message) {
            Arrival::Response(id) if id == Some(self.cancel.id) || belongs_to_nobody(part, message) => {
                self.responded(part, message)?;
            }
            Arrival::Question(reply) => self.asked(part, message, reply),
            Arrival::Withdrawn => {
                if let Some(line) = &mut self.line {
                    line.lease.asked.withdraw(part, message);
                }
            }
            Arrival::Completed => {
                let done = self
                    .line
                    .as_mut()
                    .and_then(|line| line.lease.asked.complete(part, message));
                errands::answer_all(&self.cancel.shared, &self.live, done.into_iter().collect());
            }
            Arrival::Progress(Some(token)) if token == self.cancel.id => {
                self.ready.push_back(with_token(part, message, self.told));
            }
            Arrival::Log(level) if self.ticket.carries(level) => self.ready.push_back(part.clone()),
            Arrival::Changed => self.cancel.shared.publish(part, message),
            Arrival::Unknown => self.ready.push_back(part.clone()),
            Arrival::Response(_) | Arrival::Progress(_) | Arrival::Log(_) | Arrival::Dropped => {}
        }
        Ok(())
    }

    fn responded(&mut self, part: &Bytes, message: &Message) -> Result<(), Refusal> {
        self.cancel.due = false;
        if let Some(line) = &mut self.line {
            line.lease.open = None;
            line.lease.clean = true;
            // It has gone on without the answers.
            let unanswered = line.lease.asked.give_up();
            errands::answer_all(&self.cancel.shared, &self.live, unanswered);
            for page in Question::pages(part, message, self.pending.can) {
                line.pages |= line.lease.asked.add(page, simulated::random()).is_ok();
            }
        }
        if !self.line.as_ref().is_some_and(|line| line.pages) {
            let answer = self.live.session.answer(&self.pending, part, message);
            self.response = Some(answer.map_err(|error| broken(error.to_string()))?);
        }
        if let Some(source) = self.source.take() {
            source.finish();
        }
        Ok(())
    }

    /// A message that came on no call's own stream: of interest here only if it is a log message, and only if no other
    /// request was in flight since the last one.
    fn stray(&mut self, line: &Bytes) {
        let Ok(message) = scan(line, &Rules::SERVER) else {
            return;
        };
        let Arrival::Log(level) = sort(line, &message) else {
            return;
        };
        if !self.ticket.undisturbed() {
            while self.logs.as_mut().is_some_and(|logs| logs.try_recv().is_ok()) {}
            return;
        }
        if self.ticket.carries(level) {
            self.ready.push_back(line.clone());
        }
    }
}

async fn next_stray(strays: &mut Option<mpsc::Receiver<Bytes>>) -> Bytes {
    if let Some(strays) = strays
        && let Some(part) = strays.recv().await
    {
        return part;
    }
    std::future::pending().await
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn next_log(logs: &mut Option<broadcast::Receiver<Bytes>>) -> Bytes {
    let Some(logs) = logs else {
        return std::future::pending().await;
    };
    loop {
        match logs.recv().await {
            Ok(line) => return line,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// An error without an id, on a stream that serves one request, is about that request.
fn belongs_to_nobody(part: &[u8], message: &Message) -> bool {
    message
        .id
        .is_none_or(|id| id.kind == Kind::Null || id.u64(part).is_none())
}

/// Some servers repeat a number as text, or answer with an id of their own when they refuse a request unread.
fn with_id(answer: Vec<u8>, id: u64) -> Bytes {
    let Some(message) = again(&answer, true) else {
        return answer.into();
    };
    if message.id.is_some_and(|present| present.u64(&answer) == Some(id)) {
        return answer.into();
    }
    let mut splice = Splice::new(&answer);
    splice.set(&message.root, "id", id.to_string().into_bytes());
    splice.finish().into()
}

/// The token as the number that the client's side knows the call by.
fn with_token(part: &Bytes, message: &Message, token: u64) -> Bytes {
    match message.body_value(part, meshgate_mcp::meta::PROGRESS_TOKEN) {
        Some(spelled) if spelled.u64(part) != Some(token) => {
            let mut splice = Splice::new(part);
            splice.replace(spelled.span, token.to_string().into_bytes());
            splice.finish().into()
        }
        _ => part.clone(),
    }
}

fn broken(why: impl std::fmt::Display) -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        format!("server broke the protocol: {why}"),
    )
}

/// Tells an HTTP server that nobody waits any more, when it is dropped while that is due. On a pipe the link does so.
struct Cancel {
    shared: Arc<Shared>,
    live: Arc<Live>,
    id: u64,
    due: bool,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if self.due {
            errands::tell(&self.shared, &self.live, lift::cancelled(self.id, "the caller is gone"));
        }
    }
}
