//! The access record: what one call was and how it ended, in three layers.
//!
//! Transport (HTTP status), protocol (JSON-RPC code) and tool (`isError`) fail independently, and mixing them up is how
//! releases go wrong unseen. So each has a field of its own, and beside them stands who refused, why, by which rule, and
//! whether the call may have run.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::text::{push_json, push_uri};
use crate::trace::TraceContext;

#[cfg(test)]
mod tests;

/// Which kind of MCP revision a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28 and later.
    Modern,
}

impl Era {
    /// `legacy` or `modern`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// Which part of a mesh a record is of: a call that passes two has two records, with one trace id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The edge.
    #[default]
    Gateway,
    /// Beside the server.
    Sidecar,
}

impl Hop {
    /// `gateway` or `sidecar`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Sidecar => "sidecar",
        }
    }
}

/// What a call was aimed at, in the names of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tool.
    Tool(Arc<str>),
    /// A prompt.
    Prompt(Arc<str>),
    /// A resource; recorded without user name, query and fragment.
    Resource(Arc<str>),
}

/// How a call ended in the eyes of its tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A result.
    Ok,
    /// A result that says `isError: true`.
    Error,
    /// The server asked for input.
    InputRequired,
}

impl Outcome {
    /// `ok`, `error` or `input_required`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::InputRequired => "input_required",
        }
    }
}

/// A refusal, as the record shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `gateway` or `server`.
    pub by: &'static str,
    /// The reason's name.
    pub reason: &'static str,
    /// The rule that refused (`view/corpassist`).
    pub rule: Option<Cow<'static, str>>,
    /// `no` or `unknown`.
    pub executed: &'static str,
}

/// One call. Fill in what is known; `None` is left out of the line.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When the call arrived.
    pub time: SystemTime,
    /// The call's own span.
    pub trace: TraceContext,
    /// Which part of the mesh wrote it.
    pub hop: Hop,
    /// The SPIFFE ID of that part; `None` outside a mesh.
    pub identity: Option<Arc<str>>,
    /// The SPIFFE ID at the other end of the hop between gateway and sidecar; `None` where the call took none.
    pub peer_identity: Option<Arc<str>>,
    /// The view.
    pub view: Option<Arc<str>>,
    /// The application that called.
    pub application: Option<Arc<str>>,
    /// The person that the application acted for.
    pub user: Option<Arc<str>>,
    /// The server that answered, or was to answer. `None` as long as no name was resolved.
    pub server: Option<Arc<str>>,
    /// The team that owns the server.
    pub team: Option<Arc<str>>,
    /// The JSON-RPC method.
    pub method: Cow<'static, str>,
    /// What the call was aimed at.
    pub target: Option<Target>,
    /// The client's era.
    pub era_client: Option<Era>,
    /// The server's era.
    pub era_server: Option<Era>,
    /// Transport: the HTTP status given to the client.
    pub http_status: u16,
    /// Protocol: the JSON-RPC error code given to the client.
    pub rpc_code: Option<i64>,
    /// Tool: what the result said.
    pub outcome: Option<Outcome>,
    /// Which of a call's requests it is, from the second on.
    pub round: Option<u8>,
    /// Who refused, and why.
    pub refused: Option<Refused>,
    /// The client went away before the answer was complete.
    pub cancelled: bool,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// From arrival to the last byte.
    pub duration: Duration,
    /// From handing the request to the server to the end of its answer.
    pub duration_upstream: Option<Duration>,
    /// The span of the request to the server, once it was handed over.
    pub upstream: Option<TraceContext>,
    /// From arrival to handing the request to the server.
    pub duration_before: Option<Duration>,
    /// The JSON-RPC id as it was written, where spans are sent.
    pub request_id: Option<Box<str>>,
    /// From arrival to the first byte of the answer.
    pub duration_first_byte: Option<Duration>,
    /// Counts what a part decides by: each change of its configuration, and of what servers offer.
    pub snapshot: u64,
    /// The revision of the mesh's configuration that it decided by; `None` outside a mesh.
    pub revision: Option<u64>,
    /// The client's address.
    pub peer: Option<IpAddr>,
}

impl AccessRecord {
    /// A record of a call that just arrived; the rest is filled in as it becomes known.
    pub fn new(time: SystemTime, trace: TraceContext, snapshot: u64) -> Self {
        Self {
            time,
            trace,
            hop: Hop::Gateway,
            identity: None,
            peer_identity: None,
            view: None,
            application: None,
            user: None,
            server: None,
            team: None,
            method: Cow::Borrowed(""),
            target: None,
            era_client: None,
            era_server: None,
            http_status: 0,
            rpc_code: None,
            outcome: None,
            round: None,
            refused: None,
            cancelled: false,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            duration_upstream: None,
            upstream: None,
            duration_before: None,
            request_id: None,
            duration_first_byte: None,
            snapshot,
            revision: None,
            peer: None,
        }
    }

    /// One word for the whole call: `ok`, `tool_error`, `input_required`, `rpc_error`, `refused`, `cancelled`, `http_error`.
    pub fn summary(&self) -> &'static str {
        match self {
            Self { refused: Some(_), .. } => "refused",
            Self { cancelled: true, .. } => "cancelled",
            Self { rpc_code: Some(_), .. } => "rpc_error",
            Self { http_status: 400.., .. } => "http_error",
            Self {
                outcome: Some(Outcome::Error),
                ..
            } => "tool_error",
            Self {
                outcome: Some(Outcome::InputRequired),
                ..
            } => "input_required",
            _ => "ok",
        }
    }

    /// Appends the record as one JSON object and a newline. Text is escaped and capped here, and only here.
    pub fn push_line(&self, out: &mut Vec<u8>, clock: &mut Clock) {
        out.reserve(LINE_BYTES);
        let mut line = Line { out };
        line.piece(b"{\"time\":\"");
        clock.push(line.out, self.time);
        line.piece(b"\",\"kind\":\"call\"");
        line.word(",\"summary\":\"", self.summary());
        line.piece(b",\"traceId\":\"");
        line.piece(&self.trace.trace_id_digits());
        line.piece(b"\",\"spanId\":\"");
        line.piece(&self.trace.span_id_digits());
        if let Some(parent) = self.trace.parent_id_digits() {
            line.piece(b"\",\"parentId\":\"");
            line.piece(&parent);
        }
        line.word("\",\"hop\":\"", self.hop.as_str());
        line.text(",\"identity\":", self.identity.as_deref());
        line.text(",\"peerIdentity\":", self.peer_identity.as_deref());
        line.text(",\"view\":", self.view.as_deref());
        line.text(",\"application\":", self.application.as_deref());
        line.text(",\"user\":", self.user.as_deref());
        line.text(",\"server\":", self.server.as_deref());
        line.text(",\"team\":", self.team.as_deref());
        line.text(",\"method\":", Some(&self.method));
        match &self.target {
            Some(Target::Tool(name)) => line.text(",\"tool\":", Some(name)),
            Some(Target::Prompt(name)) => line.text(",\"prompt\":", Some(name)),
            Some(Target::Resource(uri)) => {
                line.piece(b",\"resource\":");
                push_uri(line.out, uri);
            }
            None => {}
        }
        line.word_of(",\"eraClient\":\"", self.era_client.map(Era::as_str));
        line.word_of(",\"eraServer\":\"", self.era_server.map(Era::as_str));
        line.number(",\"httpStatus\":", self.http_status);
        if let Some(code) = self.rpc_code {
            line.piece(b",\"rpcCode\":");
            line.formatted(format_args!("{code}"));
        }
        line.word_of(",\"outcome\":\"", self.outcome.map(Outcome::as_str));
        if let Some(round) = self.round {
            line.number(",\"round\":", round);
        }
        if let Some(refused) = &self.refused {
            line.word(",\"refusedBy\":\"", refused.by);
            line.word(",\"reason\":\"", refused.reason);
            line.text(",\"rule\":", refused.rule.as_deref());
            line.word(",\"executed\":\"", refused.executed);
        }
        if self.cancelled {
            line.piece(b",\"cancelled\":true");
        }
        line.number(",\"bytesIn\":", self.bytes_in);
        line.number(",\"bytesOut\":", self.bytes_out);
        line.micros(",\"durationMicros\":", Some(self.duration));
        line.micros(",\"upstreamMicros\":", self.duration_upstream);
        line.micros(",\"firstByteMicros\":", self.duration_first_byte);
        line.number(",\"snapshot\":", self.snapshot);
        if let Some(revision) = self.revision {
            line.number(",\"revision\":", revision);
        }
        if let Some(peer) = self.peer {
            line.peer(peer);
        }
        line.piece(b"}\n");
    }
}

/// Room that is made for a line at once: nearly all are shorter.
const LINE_BYTES: usize = 768;

/// The members of one line, in order. A member comes with all that stands before its value, because putting lines together
/// piece by piece costs the keep runtime more than all the counting.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    fn piece(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The formatting machinery costs more than the rest of a line: for what is rare.
    fn formatted(&mut self, value: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.out.write_fmt(value);
    }

    fn number(&mut self, member: &str, value: impl Into<u64>) {
        self.piece(member.as_bytes());
        push_number(self.out, value.into(), 1);
    }

    fn micros(&mut self, member: &str, value: Option<Duration>) {
        if let Some(value) = value {
            self.number(member, u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// A word of our own, which needs no escaping; the member ends in the opening quote.
    fn word(&mut self, member: &str, value: &'static str) {
        self.piece(member.as_bytes());
        self.piece(value.as_bytes());
        self.piece(b"\"");
    }

    fn word_of(&mut self, member: &str, value: Option<&'static str>) {
        if let Some(value) = value {
            self.word(member, value);
        }
    }

    fn text(&mut self, member: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.piece(member.as_bytes());
            push_json(self.out, value);
        }
    }

    fn peer(&mut self, peer: IpAddr) {
        self.piece(b",\"peer\":\"");
        match peer {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                push_number(self.out, a.into(), 1);
                for octet in [b, c, d] {
                    self.piece(b".");
                    push_number(self.out, octet.into(), 1);
                }
            }
            IpAddr::V6(v6) => self.formatted(format_args!("{v6}")),
        }
        self.piece(b"\"");
    }
}

/// Spells times; remembers the last second, because many lines begin with the same one.
#[derive(Debug, Default)]
pub struct Clock {
    second: Option<u64>,
    spelled: Vec<u8>,
}

impl Clock {
    /// Appends a time in UTC with milliseconds, as RFC 3339 spells it.
    fn push(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.spelled.clear();
            push_second(&mut self.spelled, since.as_secs());
            self.second = Some(since.as_secs());
        }
        out.extend_from_slice(&self.spelled);
        push_number(out, since.subsec_millis().into(), 3);
        out.push(b'Z');
    }
}

/// Appends a time up to the point behind its seconds.
fn push_second(out: &mut Vec<u8>, since_1970: u64) {
    let (days, second) = (since_1970 / 86_400, since_1970 % 86_400);
    let (year, month, day) = civil(days);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3_600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
    ];
    for (value, digits, after) in parts {
        push_number(out, value, digits);
        out.push(after);
    }
}

/// Appends a number with at least so many digits.
fn push_number(out: &mut Vec<u8>, mut value: u64, digits_min: usize) {
    let mut spelled = [b'0'; 20];
    let mut digits = 0;
    for place in spelled.iter_mut().rev() {
        if value == 0 && digits >= digits_min {
            break;
        }
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        digits += 1;
    }
    out.extend_from_slice(spelled.get(spelled.len() - digits..).unwrap_or_default());
}

/// Days since 1970 to a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}
