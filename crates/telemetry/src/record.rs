//! The access record: what one call was and how it ended, in three layers.
//!
//! Transport (HTTP status), protocol (JSON-RPC code) and tool (`isError`) fail independently, and mixing them up is how
//! releases go wrong unseen. So each has a field of its own, and beside them stands who refused, why, by which rule, and
//! whether the call may have run.

use std::borrow::Cow;
use std::fmt::Write as _;
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
    /// The view.
    pub view: Option<Arc<str>>,
    /// The application that called.
    pub application: Option<Arc<str>>,
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
    /// From arrival to the first byte of the answer.
    pub duration_first_byte: Option<Duration>,
    /// The snapshot's revision.
    pub snapshot: u64,
    /// The client's address.
    pub peer: Option<IpAddr>,
}

impl AccessRecord {
    /// A record of a call that just arrived; the rest is filled in as it becomes known.
    pub fn new(time: SystemTime, trace: TraceContext, snapshot: u64) -> Self {
        Self {
            time,
            trace,
            view: None,
            application: None,
            server: None,
            team: None,
            method: Cow::Borrowed(""),
            target: None,
            era_client: None,
            era_server: None,
            http_status: 0,
            rpc_code: None,
            outcome: None,
            refused: None,
            cancelled: false,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            duration_upstream: None,
            duration_first_byte: None,
            snapshot,
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
    pub fn push_line(&self, out: &mut String) {
        let mut line = Line { out, first: true };
        line.time("time", self.time);
        line.word("kind", "call");
        line.word("summary", self.summary());
        line.raw("traceId", format_args!("\"{}\"", self.trace.trace_id()));
        line.raw("spanId", format_args!("\"{}\"", self.trace.span_id()));
        if let Some(parent) = self.trace.parent_id() {
            line.raw("parentId", format_args!("\"{parent}\""));
        }
        line.text("view", self.view.as_deref());
        line.text("application", self.application.as_deref());
        line.text("server", self.server.as_deref());
        line.text("team", self.team.as_deref());
        line.text("method", Some(&self.method));
        match &self.target {
            Some(Target::Tool(name)) => line.text("tool", Some(name)),
            Some(Target::Prompt(name)) => line.text("prompt", Some(name)),
            Some(Target::Resource(uri)) => line.uri("resource", uri),
            None => {}
        }
        line.word_of("eraClient", self.era_client.map(Era::as_str));
        line.word_of("eraServer", self.era_server.map(Era::as_str));
        line.number("httpStatus", self.http_status);
        if let Some(code) = self.rpc_code {
            line.raw("rpcCode", format_args!("{code}"));
        }
        line.word_of("outcome", self.outcome.map(Outcome::as_str));
        if let Some(refused) = &self.refused {
            line.word("refusedBy", refused.by);
            line.word("reason", refused.reason);
            line.text("rule", refused.rule.as_deref());
            line.word("executed", refused.executed);
        }
        if self.cancelled {
            line.raw("cancelled", format_args!("true"));
        }
        line.number("bytesIn", self.bytes_in);
        line.number("bytesOut", self.bytes_out);
        line.micros("durationMicros", Some(self.duration));
        line.micros("upstreamMicros", self.duration_upstream);
        line.micros("firstByteMicros", self.duration_first_byte);
        line.number("snapshot", self.snapshot);
        if let Some(peer) = self.peer {
            line.raw("peer", format_args!("\"{peer}\""));
        }
        line.end();
    }
}

/// The members of one line, in order. Writing to a string does not fail, so results are dropped.
struct Line<'a> {
    out: &'a mut String,
    first: bool,
}

impl Line<'_> {
    fn key(&mut self, name: &str) {
        self.out.push(if self.first { '{' } else { ',' });
        self.first = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    fn raw(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        self.key(name);
        let _ = self.out.write_fmt(value);
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.key(name);
        push_number(self.out, value.into(), 1);
    }

    fn micros(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            self.number(name, u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn time(&mut self, name: &str, value: SystemTime) {
        self.key(name);
        self.out.push('"');
        push_time(self.out, value);
        self.out.push('"');
    }

    /// A word of our own, which needs no escaping.
    fn word(&mut self, name: &str, value: &'static str) {
        self.key(name);
        self.out.push('"');
        self.out.push_str(value);
        self.out.push('"');
    }

    fn word_of(&mut self, name: &str, value: Option<&'static str>) {
        if let Some(value) = value {
            self.word(name, value);
        }
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(name);
            push_json(self.out, value);
        }
    }

    fn uri(&mut self, name: &str, value: &str) {
        self.key(name);
        push_uri(self.out, value);
    }

    fn end(self) {
        self.out.push_str("}\n");
    }
}

/// Appends a time in UTC with milliseconds, as RFC 3339 spells it.
fn push_time(out: &mut String, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let parts = [
        (year, 4, '-'),
        (month, 2, '-'),
        (day, 2, 'T'),
        (second / 3_600, 2, ':'),
        (second / 60 % 60, 2, ':'),
        (second % 60, 2, '.'),
        (u64::from(since.subsec_millis()), 3, 'Z'),
    ];
    for (value, digits, after) in parts {
        push_number(out, value, digits);
        out.push(after);
    }
}

/// Appends a number with at least so many digits. The formatting machinery costs a record more than everything in it.
fn push_number(out: &mut String, mut value: u64, digits_min: usize) {
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
    let shown = spelled.get(spelled.len() - digits..).unwrap_or_default();
    out.push_str(std::str::from_utf8(shown).unwrap_or_default());
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
