//! One call to a legacy server, from its request to its response.
//!
//! The call is pulled by whoever reads its answer: there is no task and no queue between the server's stream and the
//! client's. A call whose reader leaves before the response is cancelled by a message, because in the legacy eras a
//! closed stream means nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use meshgate_bridge::lift::{self, Arrival, Forward, Pending, sort, split};
use meshgate_mcp::{Kind, Message, Rules, Splice, scan};
use tokio::sync::broadcast;

use super::channel::{self, Fault, Source};
use super::shared::{Live, Shared, Ticket};
use super::{Link, errands};
use crate::call::{Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};

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
    let mut headers = live.headers.clone();
    if let Some(traceparent) = &out.traceparent
        && let Ok(traceparent) = http::HeaderValue::from_bytes(traceparent.as_bytes())
    {
        headers.insert("traceparent", traceparent);
    }
    let mut cancel = Cancel {
        shared: Arc::clone(shared),
        live: Arc::clone(live),
        id: out.id,
        due: shared.link.is_http(),
    };
    let asked = channel::request(
        &shared.link,
        headers,
        live.named,
        (out.id, forward.body.into()),
        out.deadline,
    )
    .await;
    let source = match asked {
        Ok((source, _)) => source,
        Err(fault) => {
            cancel.due &= matches!(&fault, Fault::Refused(refusal) if refusal.executed == Executed::Unknown);
            return Err(fault);
        }
    };
    let mut flow = Flow {
        live: Arc::clone(live),
        pending: forward.pending,
        source: Some(source),
        logs,
        ready: VecDeque::new(),
        deadline: out.deadline,
        ticket,
        cancel,
    };
    match flow.next().await {
        None => Err(channel::cut_off().into()),
        Some(Err(refusal)) => Err(refusal.into()),
        Some(Ok(first)) if flow.is_over() => Ok(Reply::One(first)),
        Some(Ok(first)) => {
            flow.ready.push_front(first);
            Ok(Reply::Stream(Box::pin(futures_util::stream::unfold(
                flow,
                |mut flow| async move { flow.next().await.map(|message| (message, flow)) },
            ))))
        }
    }
}

struct Flow {
    live: Arc<Live>,
    pending: Pending,
    /// Nothing once the response has been read, or will never come.
    source: Option<Source>,
    /// Where log messages come that are on nobody's own stream.
    logs: Option<broadcast::Receiver<Bytes>>,
    ready: VecDeque<Bytes>,
    deadline: Instant,
    ticket: Ticket,
    cancel: Cancel,
}

enum Event {
    Deadline,
    Log(Bytes),
    Frame(Option<Result<Bytes, Refusal>>),
}

impl Flow {
    /// Whether everything has been handed out.
    fn is_over(&self) -> bool {
        self.source.is_none() && self.ready.is_empty()
    }

    async fn next(&mut self) -> Option<Result<Bytes, Refusal>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(Ok(message));
            }
            let source = self.source.as_mut()?;
            let event = tokio::select! {
                biased;
                line = next_log(&mut self.logs) => Event::Log(line),
                frame = source.next() => Event::Frame(frame),
                () = tokio::time::sleep_until(self.deadline.into()) => Event::Deadline,
            };
            let failed = match event {
                Event::Log(line) => {
                    self.stray(&line);
                    continue;
                }
                Event::Frame(Some(Ok(frame))) => match self.frame(&frame) {
                    Ok(()) => continue,
                    Err(refusal) => refusal,
                },
                Event::Frame(Some(Err(refusal))) => refusal,
                Event::Frame(None) => channel::cut_off(),
                Event::Deadline => Refusal::server(
                    Reason::Deadline,
                    Executed::Unknown,
                    "server did not answer before the deadline",
                ),
            };
            self.source = None;
            return Some(Err(failed));
        }
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
                let answer = self.live.session.answer(&self.pending, part, message);
                let answer = answer.map_err(|error| broken(error.to_string()))?;
                self.ready.push_back(with_id(answer, self.cancel.id));
                self.cancel.due = false;
                if let Some(source) = self.source.take() {
                    source.finish();
                }
            }
            Arrival::Question(reply) => errands::answer(&self.cancel.shared, &self.live, reply),
            Arrival::Progress(Some(token)) if token == self.cancel.id => {
                self.ready.push_back(with_token(part, message, token));
            }
            Arrival::Log(level) if self.ticket.carries(level) => self.ready.push_back(part.clone()),
            Arrival::Changed => self.cancel.shared.publish(part, message),
            Arrival::Unknown => self.ready.push_back(part.clone()),
            Arrival::Response(_)
            | Arrival::Progress(_)
            | Arrival::Log(_)
            | Arrival::Withdrawn
            | Arrival::Completed
            | Arrival::Dropped => {}
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
    let Ok(message) = scan(&answer, &Rules::SERVER) else {
        return answer.into();
    };
    if message.id.is_some_and(|present| present.u64(&answer) == Some(id)) {
        return answer.into();
    }
    let mut splice = Splice::new(&answer);
    splice.set(&message.root, "id", id.to_string().into_bytes());
    splice.finish().into()
}

/// The token as the number that it was sent as.
fn with_token(part: &Bytes, message: &Message, token: u64) -> Bytes {
    match message.body_value(part, meshgate_mcp::meta::PROGRESS_TOKEN) {
        Some(spelled) if spelled.kind == Kind::String => {
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
