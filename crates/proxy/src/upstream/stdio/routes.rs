//! Which message on a shared pipe belongs to which call.
//!
//! A child answers many calls on one pipe, and it may be wrong or hostile: it may answer what nobody asked, answer
//! twice, or print its log where messages belong. Only an id or token that is open right now, and was made by us, leads
//! anywhere. Everything else is counted and dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use meshgate_mcp::{Envelope, Message, Method, Rules, Value, batch, meta, scan};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::inbox::{Inbox, Notice, Wants};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::limits::{GREETING_LINES_MAX, LINES_WAITING_MAX, NOISE_STRIKES_MAX, UNSOLICITED_MAX};

/// A line on its way to the child.
pub(super) struct Outgoing {
    pub(super) line: Bytes,
    /// The call it begins.
    pub(super) call: Option<Arc<Inbox>>,
}

/// What the writer reads from.
pub(super) struct Outbox {
    pub(super) lines: mpsc::Receiver<Outgoing>,
    /// Cancellations, which must never wait behind the calls they cancel. At most one for each open call.
    pub(super) cancels: mpsc::UnboundedReceiver<Bytes>,
}

/// What a child has said that led nowhere.
#[derive(Debug, Default)]
pub struct Strays {
    /// Lines that are no JSON-RPC message.
    pub noise: AtomicU64,
    /// Responses to nothing that is open.
    pub unasked: AtomicU64,
    /// Notifications dropped because their reader was slow.
    pub dropped: AtomicU64,
}

/// The open calls of one child, and the queue of lines to it.
pub(super) struct Routes {
    /// `None` once the pipe is gone.
    calls: Mutex<Option<HashMap<u64, Arc<Inbox>>>>,
    reason: Mutex<Option<Arc<str>>>,
    lines: mpsc::Sender<Outgoing>,
    cancels: mpsc::UnboundedSender<Bytes>,
    unsolicited: broadcast::Sender<Bytes>,
    rules: Rules,
    stream_bytes_max: usize,
    noise: Mutex<NoiseWatch>,
    /// Whether a call has ever had the pipe to itself.
    alone: AtomicBool,
    pub(super) strays: Strays,
    /// Fires when the pipe is gone.
    pub(super) gone: CancellationToken,
}

/// Counts lines that are no message: a greeting is forgiven, a habit is not.
#[derive(Default)]
struct NoiseWatch {
    spoken: bool,
    strikes: u32,
}

impl NoiseWatch {
    /// Counts one line; `true` when it was one too many.
    fn strike(&mut self) -> bool {
        self.strikes += 1;
        self.strikes
            >= if self.spoken {
                NOISE_STRIKES_MAX
            } else {
                GREETING_LINES_MAX
            }
    }

    fn message(&mut self) {
        self.spoken = true;
        self.strikes = 0;
    }
}

impl Routes {
    pub(super) fn new(line_bytes_max: usize, stream_bytes_max: usize) -> (Self, Outbox) {
        let (lines, lines_out) = mpsc::channel(LINES_WAITING_MAX);
        let (cancels, cancels_out) = mpsc::unbounded_channel();
        let routes = Self {
            calls: Mutex::new(Some(HashMap::new())),
            reason: Mutex::new(None),
            lines,
            cancels,
            unsolicited: broadcast::Sender::new(UNSOLICITED_MAX),
            rules: Rules {
                bytes_max: line_bytes_max,
                ..Rules::SERVER
            },
            stream_bytes_max,
            noise: Mutex::default(),
            alone: AtomicBool::new(false),
            strays: Strays::default(),
            gone: CancellationToken::new(),
        };
        (
            routes,
            Outbox {
                lines: lines_out,
                cancels: cancels_out,
            },
        )
    }

    /// Queues the request of a call and opens its inbox. What else comes there is said by `wants`.
    pub(super) async fn open(&self, id: u64, line: Bytes, wants: Wants) -> Result<Arc<Inbox>, Refusal> {
        let permit = self.lines.reserve().await.map_err(|_| self.away())?;
        let inbox = Arc::new(Inbox::new(self.stream_bytes_max, wants));
        if wants == Wants::Everything {
            self.alone.store(true, Ordering::Relaxed);
        }
        match self.calls.lock().as_mut() {
            None => return Err(self.away()),
            Some(calls) => {
                if calls.contains_key(&id) {
                    return Err(Refusal::new(Reason::Internal, "request id is in use on this hop"));
                }
                calls.insert(id, Arc::clone(&inbox));
            }
        }
        permit.send(Outgoing {
            line,
            call: Some(Arc::clone(&inbox)),
        });
        Ok(inbox)
    }

    /// Queues a line that begins no call.
    pub(super) async fn send(&self, line: Bytes) -> Result<(), Refusal> {
        self.lines
            .send(Outgoing { line, call: None })
            .await
            .map_err(|_| self.away())
    }

    /// Forgets a call. Tells the server to stop when its request has been written and `tell` says so.
    pub(super) fn abandon(&self, id: u64, inbox: &Inbox, tell: bool) {
        if let Some(calls) = self.calls.lock().as_mut() {
            calls.remove(&id);
        }
        if !inbox.withdraw() && tell {
            let params = format!(r#"{{"requestId":{id},"reason":"the caller is gone"}}"#);
            let cancel = meshgate_mcp::message::notification(Method::Cancelled.as_str(), Some(params.as_bytes()));
            // Fails only when the writer has ended, and the child with it.
            let _ = self.cancels.send(Bytes::from(cancel));
        }
    }

    /// Ends one call with a refusal.
    pub(super) fn refuse(&self, call: &Arc<Inbox>, refusal: Refusal) {
        if let Some(calls) = self.calls.lock().as_mut() {
            calls.retain(|_, open| !Arc::ptr_eq(open, call));
        }
        call.refuse(refusal);
    }

    pub(super) fn unsolicited(&self) -> broadcast::Receiver<Bytes> {
        self.unsolicited.subscribe()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.calls.lock().as_ref().map_or(0, HashMap::len)
    }

    /// The pipe is gone: every open call fails, and no new one begins. The first reason stays.
    pub(super) fn close(&self, why: &str) {
        let Some(calls) = self.calls.lock().take() else { return };
        *self.reason.lock() = Some(Arc::from(why));
        for inbox in calls.into_values() {
            inbox.fail(Reason::ServerBroken, why);
        }
        self.gone.cancel();
    }

    /// Why the pipe is gone.
    pub(super) fn reason(&self) -> Option<Arc<str>> {
        self.reason.lock().clone()
    }

    fn away(&self) -> Refusal {
        let why = self.reason().map_or_else(
            || "server is away: its process has ended".to_owned(),
            |why| why.to_string(),
        );
        Refusal::server(Reason::ServerAway, Executed::No, why)
    }

    /// Takes one line of the child. An error says why the child must be started anew.
    pub(super) fn receive(&self, line: Bytes) -> Result<(), &'static str> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if line.trim_ascii_start().starts_with(b"[") {
            return self.receive_batch(&line);
        }
        match scan(&line, &self.rules) {
            Ok(message) => {
                self.noise.lock().message();
                self.route(&message, line);
                Ok(())
            }
            Err(_) => self.noise(),
        }
    }

    /// Servers of 2025-03-26 may answer in batches.
    fn receive_batch(&self, line: &Bytes) -> Result<(), &'static str> {
        let Ok(spans) = batch(line, &self.rules) else {
            return self.noise();
        };
        for span in spans {
            let part = line.slice(span.start as usize..span.end as usize);
            match scan(&part, &self.rules) {
                Ok(message) => self.route(&message, part),
                Err(_) => return self.noise(),
            }
        }
        self.noise.lock().message();
        Ok(())
    }

    /// Counts a line that is no message.
    pub(super) fn noise(&self) -> Result<(), &'static str> {
        self.strays.noise.fetch_add(1, Ordering::Relaxed);
        if self.noise.lock().strike() {
            Err("server wrote lines that are no messages to its standard output")
        } else {
            Ok(())
        }
    }

    fn route(&self, message: &Message, line: Bytes) {
        match message.envelope {
            Envelope::Result | Envelope::Error => self.route_response(message, line),
            Envelope::Notification => self.route_notification(message, line),
            Envelope::Request => self.route_stray(line),
        }
    }

    fn route_response(&self, message: &Message, line: Bytes) {
        // Our ids are numbers. The same digits in quotes are an answer to somebody else's question.
        let id = message.id.and_then(|id| id.u64(&line));
        let inbox = id.and_then(|id| self.calls.lock().as_mut()?.remove(&id));
        match inbox {
            Some(inbox) => inbox.answer(line),
            None => count(&self.strays.unasked),
        }
    }

    fn route_notification(&self, message: &Message, line: Bytes) {
        let method = message.method_kind(&line);
        if method == Method::LogMessage
            && let Some(inbox) = self.only_one_who_wants_logs()
        {
            if !inbox.push(line, Notice::Progress) {
                count(&self.strays.dropped);
            }
            return;
        }
        let (token, kind) = match method {
            Method::Progress => (message.body_value(&line, meta::PROGRESS_TOKEN), Notice::Progress),
            _ => (message.meta_value(&line, meta::SUBSCRIPTION_ID), Notice::Event),
        };
        let Some(token) = token else {
            return self.route_stray(line);
        };
        let inbox = number(token, &line).and_then(|id| self.calls.lock().as_ref()?.get(&id).cloned());
        if !inbox.is_some_and(|inbox| inbox.push(line, kind)) {
            count(&self.strays.dropped);
        }
    }
}

impl Routes {
    /// What carries no sign of its call goes to the call that has the pipe to itself, and else to whoever listens. Nobody
    /// does where no request of a server is allowed.
    fn route_stray(&self, line: Bytes) {
        match self.the_only_one() {
            Some(inbox) => drop(inbox.push(line, Notice::Event)),
            None => drop(self.unsolicited.send(line)),
        }
    }

    fn the_only_one(&self) -> Option<Arc<Inbox>> {
        if !self.alone.load(Ordering::Relaxed) {
            return None;
        }
        let calls = self.calls.lock();
        let mut all = calls.as_ref()?.values().filter(|inbox| inbox.wants_everything());
        all.next().cloned()
    }

    /// A log message names no call, so it belongs to one only while no other has asked for logs.
    fn only_one_who_wants_logs(&self) -> Option<Arc<Inbox>> {
        let calls = self.calls.lock();
        let mut wanting = calls.as_ref()?.values().filter(|inbox| inbox.wants_logs());
        wanting.next().filter(|_| wanting.next().is_none()).cloned()
    }
}

/// A token of ours, as a number or as the same digits in quotes: tokens may be either, and some servers turn one into
/// the other.
fn number(token: Value, line: &[u8]) -> Option<u64> {
    token.u64(line).or_else(|| token.str(line)?.parse().ok())
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
