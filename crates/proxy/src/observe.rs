//! One access record per call, open from the first byte to the last.
//!
//! The record is a value that every phase may fill in; whoever holds the last clone closes it, so that no way out of a
//! call, however early, goes unrecorded. Writing it down is the other runtime's work.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use meshgate_mcp::Era;
use meshgate_telemetry::{self as telemetry, AccessRecord, Hop, Ids, Records, Refused, TraceContext};
use parking_lot::Mutex;

use crate::refusal::{Executed, Refusal};

/// Opens records; one per assembly.
pub struct Observer {
    records: Arc<Records>,
    ids: Ids,
    hop: Hop,
    identity: Option<Arc<str>>,
}

/// The record of one call. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct CallRecord(Arc<Mutex<Open>>);

/// The state of a record that is not closed yet.
pub struct Open {
    record: Option<Box<AccessRecord>>,
    started: Instant,
    handed_over: Option<Instant>,
    /// The call does not end with its client's connection.
    goes_on: bool,
    records: Arc<Records>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.duration = self.started.elapsed();
            // No status was ever given: the client went away before there was an answer.
            record.cancelled |= record.http_status == 0 && !self.goes_on;
            self.records.push(record);
        }
    }
}

impl Observer {
    /// An observer that hands its records to `records`; `entropy` seeds the span ids.
    pub fn new(records: Arc<Records>, entropy: [u8; 16]) -> Self {
        Self {
            records,
            ids: Ids::new(entropy),
            hop: Hop::Gateway,
            identity: None,
        }
    }

    /// The same for a part of a mesh: its records say which, and who it is.
    #[must_use]
    pub fn of(self, hop: Hop, identity: Arc<str>) -> Self {
        Self {
            hop,
            identity: Some(identity),
            ..self
        }
    }

    /// The record of a request that just arrived. `snapshot` is what it is decided by, `revision` the configuration of the
    /// mesh that this was made of; `traceparent` is the HTTP header, if one came.
    pub fn open(&self, peer: IpAddr, (snapshot, revision): (u64, u64), traceparent: Option<&str>) -> CallRecord {
        let mut record = Box::new(AccessRecord::new(SystemTime::now(), self.trace(traceparent), snapshot));
        record.peer = Some(peer);
        record.hop = self.hop;
        if let Some(identity) = &self.identity {
            record.identity = Some(Arc::clone(identity));
            record.revision = Some(revision);
        }
        self.opened(record)
    }

    fn opened(&self, record: Box<AccessRecord>) -> CallRecord {
        CallRecord(Arc::new(Mutex::new(Open {
            record: Some(record),
            started: Instant::now(),
            handed_over: None,
            goes_on: false,
            records: self.records.clone(),
        })))
    }

    /// The record of one of several calls that came in the request of `whole`: it knows what is known of that.
    pub fn part(&self, whole: &CallRecord) -> CallRecord {
        let of_request = whole.0.lock().record.clone();
        of_request.map_or_else(CallRecord::unkept, |mut record| {
            record.trace = self.under(&record.trace);
            self.opened(record)
        })
    }

    /// Our span under what the caller sent, or a trace of our own where that is not sound.
    pub fn trace(&self, traceparent: Option<&str>) -> TraceContext {
        match traceparent.and_then(TraceContext::from_traceparent) {
            Some(theirs) => theirs.child(self.ids.span()),
            None => TraceContext::root(self.ids.root()),
        }
    }

    /// A span below `trace`, for the hop to the server.
    pub fn under(&self, trace: &TraceContext) -> TraceContext {
        trace.child(self.ids.span())
    }
}

impl From<Arc<Mutex<Open>>> for CallRecord {
    fn from(open: Arc<Mutex<Open>>) -> Self {
        Self(open)
    }
}

impl CallRecord {
    /// A record that nobody keeps: for work that outlives the request it began with.
    pub fn unkept() -> Self {
        Self(Arc::new(Mutex::new(Open {
            record: None,
            started: Instant::now(),
            handed_over: None,
            goes_on: false,
            records: Arc::new(Records::new(0)),
        })))
    }

    /// A reference that does not keep the record open.
    pub fn downgrade(&self) -> Weak<Mutex<Open>> {
        Arc::downgrade(&self.0)
    }

    /// Lets go of it unwritten: others say what it would.
    pub fn discard(&self) {
        self.0.lock().record = None;
    }

    /// The client's address.
    pub fn client(&self) -> Option<IpAddr> {
        self.0.lock().record.as_ref().and_then(|record| record.peer)
    }

    /// A client that leaves has not cancelled this call.
    pub fn goes_on(&self) {
        self.0.lock().goes_on = true;
    }

    /// The client has left its answer half way.
    pub fn left(&self) {
        let mut open = self.0.lock();
        let goes_on = open.goes_on;
        if let Some(record) = open.record.as_mut() {
            record.cancelled |= !goes_on;
        }
    }

    /// Fills in what has become known.
    pub fn note(&self, fill: impl FnOnce(&mut AccessRecord)) {
        if let Some(record) = self.0.lock().record.as_mut() {
            fill(record);
        }
    }

    /// The call's own span.
    pub fn trace(&self) -> Option<TraceContext> {
        self.0.lock().record.as_ref().map(|r| r.trace)
    }

    /// Fills in what only spans tell, where spans are sent.
    pub fn note_for_spans(&self, fill: impl FnOnce(&mut AccessRecord)) {
        let mut open = self.0.lock();
        let wanted = open.records.spans().is_some();
        if let Some(record) = open.record.as_mut().filter(|_| wanted) {
            fill(record);
        }
    }

    /// The request goes to its server now, under a span of its own.
    pub fn handed_over(&self, span: TraceContext) {
        let mut open = self.0.lock();
        open.handed_over = Some(Instant::now());
        if let Some(record) = open.record.as_mut() {
            record.upstream = Some(span);
        }
    }

    /// The server, of this era, has answered or will not any more; `fill` says what is known of its answer.
    pub fn came_back(&self, era: Option<Era>, fill: impl FnOnce(&mut AccessRecord)) {
        let mut open = self.0.lock();
        let upstream = open.handed_over.map(|at| at.elapsed());
        let before = open.handed_over.map(|at| at.duration_since(open.started));
        if let Some(record) = open.record.as_mut() {
            record.duration_before = before;
            record.duration_upstream = upstream;
            record.era_server = era.map(|era| match era {
                Era::Legacy => telemetry::Era::Legacy,
                Era::Modern => telemetry::Era::Modern,
            });
            fill(record);
        }
    }

    /// So many bytes of the answer leave now.
    pub fn leaves(&self, bytes: usize) {
        let mut open = self.0.lock();
        let elapsed = open.started.elapsed();
        if let Some(record) = open.record.as_mut() {
            record.duration_first_byte.get_or_insert(elapsed);
            record.bytes_out += bytes as u64;
        }
    }

    /// A refusal, as the record shows it.
    pub fn refused(&self, refusal: &Refusal) {
        let (_, code, reason) = refusal.reason.row();
        self.note(|record| {
            record.rpc_code = Some(code);
            record.refused = Some(Refused {
                by: refusal.by.as_str(),
                reason,
                rule: refusal.rule.clone(),
                executed: match refusal.executed {
                    Executed::No => "no",
                    Executed::Unknown => "unknown",
                },
            });
        });
    }
}
