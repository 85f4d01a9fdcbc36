//! Spans of calls, sent to an OTLP receiver.
//!
//! A span is made from the access record when the call is over, on the runtime that keeps: so a call pays nothing for it
//! but the record it has anyway, and a receiver that is slow or away costs spans, which are counted, and never a call.
//! One record makes two spans: the request as we were asked it (kind server), and the request as we asked the server
//! (kind client), which is the parent of whatever the server does.
//!
//! Names and attributes are those of the semantic conventions for MCP (`mcp.*`, `gen_ai.*`, `rpc.*`); what they have no
//! word for is ours (`meshgate.*`). There is no attribute for arguments, results, headers or tokens.

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::limits::{
    SPAN_REQUEST_ID_BYTES_MAX, SPANS_INTERVAL, SPANS_LAST_SEND_TIME_MAX, SPANS_SEND_TIME_MAX, SPANS_SENT_MAX,
    SPANS_WAITING_MAX,
};
use crate::metrics::Metrics;
use crate::record::{AccessRecord, Era, Outcome, Target};
use crate::text::{shown, shown_uri};
use crate::trace::TraceContext;

#[cfg(test)]
mod tests;

/// JSON-RPC errors that a server's span does not count as its own failure: the caller's mistakes.
const CALLERS_FAULTS: [i64; 5] = [-32700, -32600, -32601, -32602, -32002];

/// The spans that wait to be sent.
#[derive(Debug)]
pub struct Spans {
    endpoint: Arc<str>,
    instance: Box<str>,
    scope: InstrumentationScope,
    waiting: Mutex<Vec<SpanData>>,
    dropped: AtomicU64,
    sent: AtomicU64,
}

impl Spans {
    /// For a receiver of OTLP over gRPC, `http://` or `https://`. `instance` tells this process from its like.
    pub fn new(endpoint: Arc<str>, instance: &str) -> Self {
        Self {
            endpoint,
            instance: instance.into(),
            scope: InstrumentationScope::builder("meshgate")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            waiting: Mutex::new(Vec::new()),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Spans that were lost: no room, or the receiver did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Spans that the receiver has taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Makes the spans of a call that is over. A trace that its caller does not keep has none.
    pub(crate) fn take(&self, record: &AccessRecord) {
        if !record.trace.sampled() {
            return;
        }
        let spans = [Some(self.server(record)), self.client(record)];
        let mut waiting = self.waiting.lock();
        for span in spans.into_iter().flatten() {
            if waiting.len() < SPANS_WAITING_MAX {
                waiting.push(span);
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sends what waits, until `closing` ends, then once more. To be owned by the keep runtime.
    pub async fn run(self: Arc<Self>, metrics: Arc<Metrics>, closing: impl Future<Output = ()>) {
        let exporter = match self.exporter() {
            Ok(exporter) => exporter,
            Err(why) => {
                tracing::error!(receiver = %self.endpoint, %why, "spans cannot be sent");
                return;
            }
        };
        let mut tick = interval(SPANS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        let mut closing = pin!(closing);
        loop {
            let last = tokio::select! {
                () = &mut closing => true,
                _ = tick.tick() => false,
            };
            let time_max = if last {
                SPANS_LAST_SEND_TIME_MAX
            } else {
                SPANS_SEND_TIME_MAX
            };
            while let Some(batch) = self.batch() {
                let count = batch.len() as u64;
                match timeout(time_max, exporter.export(batch)).await {
                    Ok(Ok(())) => {
                        self.sent.fetch_add(count, Ordering::Relaxed);
                        if std::mem::take(&mut away) {
                            tracing::info!(receiver = %self.endpoint, "the receiver of spans is back");
                        }
                    }
                    failed => {
                        self.dropped.fetch_add(count, Ordering::Relaxed);
                        if !std::mem::replace(&mut away, true) {
                            let why = match failed {
                                Ok(Err(error)) => error.to_string(),
                                _ => "it did not answer in time".to_owned(),
                            };
                            tracing::warn!(receiver = %self.endpoint, %why, "spans are lost: their receiver is away");
                        }
                        break;
                    }
                }
            }
            metrics.spans(self.sent(), self.dropped());
            if last {
                return;
            }
        }
    }

    fn exporter(&self) -> Result<SpanExporter, String> {
        let built = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&*self.endpoint)
            .with_timeout(SPANS_SEND_TIME_MAX)
            .build();
        let mut exporter = built.map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty()
            .with_service_name("meshgate")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", self.instance.to_string()))
            .build();
        exporter.set_resource(&resource);
        Ok(exporter)
    }

    /// The oldest spans, as many as one message may have.
    fn batch(&self) -> Option<Vec<SpanData>> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(SPANS_SENT_MAX);
        (count > 0).then(|| waiting.drain(..count).collect())
    }

    /// The request as we were asked it.
    fn server(&self, record: &AccessRecord) -> SpanData {
        let mut attributes = common(record);
        let mut add = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
        let protocol = match record.era_client {
            Some(Era::Legacy) => "legacy",
            _ => "2026-07-28",
        };
        if protocol != "legacy" {
            add("mcp.protocol.version", protocol.into());
        }
        add("network.transport", "tcp".into());
        add("network.protocol.name", "http".into());
        add("http.response.status_code", i64::from(record.http_status).into());
        if let Some(peer) = record.peer {
            add("client.address", peer.to_string().into());
        }
        let error = error(record, |code| !CALLERS_FAULTS.contains(&code));
        self.span(
            record,
            record.trace,
            SpanKind::Server,
            (Duration::ZERO, record.duration),
            attributes,
            error,
        )
    }

    /// The request as we asked the server, where it was handed over.
    fn client(&self, record: &AccessRecord) -> Option<SpanData> {
        let (context, before) = (record.upstream?, record.duration_before?);
        let end = before + record.duration_upstream.unwrap_or_default();
        let mut attributes = common(record);
        if record.era_server != Some(Era::Legacy) {
            attributes.push(KeyValue::new("mcp.protocol.version", "2026-07-28"));
        }
        let error = error(record, |_| true);
        Some(self.span(record, context, SpanKind::Client, (before, end), attributes, error))
    }

    fn span(
        &self,
        record: &AccessRecord,
        context: TraceContext,
        span_kind: SpanKind,
        (from, to): (Duration, Duration),
        mut attributes: Vec<KeyValue>,
        error: Option<Cow<'static, str>>,
    ) -> SpanData {
        let (trace, span, parent, flags) = context.parts();
        let status = match error {
            Some(error) => {
                attributes.push(KeyValue::new("error.type", error));
                Status::error("")
            }
            None => Status::Unset,
        };
        let (trace_id, span_id) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
        let flags = TraceFlags::new(flags);
        SpanData {
            span_context: SpanContext::new(trace_id, span_id, flags, false, TraceState::default()),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: span_kind == SpanKind::Server,
            span_kind,
            name: name(record),
            start_time: later(record.time, from),
            end_time: later(record.time, to),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn later(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

/// `{method} {target}`; resources are not in names, because there is no end of them.
fn name(record: &AccessRecord) -> Cow<'static, str> {
    let method = match &*record.method {
        "" => return Cow::Borrowed("mcp"),
        method => method,
    };
    match &record.target {
        Some(Target::Tool(name) | Target::Prompt(name)) => format!("{} {}", shown(method), shown(name)).into(),
        Some(Target::Resource(_)) | None => shown(method).into_owned().into(),
    }
}

/// What both spans of a call say.
fn common(record: &AccessRecord) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(20);
    let mut add = |name: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            attributes.push(KeyValue::new(name, value));
        }
    };
    let text = |text: &str| Value::from(shown(text).into_owned());
    add("mcp.method.name", Some(text(&record.method)));
    match &record.target {
        Some(Target::Tool(name)) => {
            add("gen_ai.tool.name", Some(text(name)));
            add("gen_ai.operation.name", Some("execute_tool".into()));
        }
        Some(Target::Prompt(name)) => add("gen_ai.prompt.name", Some(text(name))),
        Some(Target::Resource(uri)) => add("mcp.resource.uri", Some(shown_uri(uri).into())),
        None => {}
    }
    let id = record.request_id.as_deref();
    let id = id.filter(|id| id.len() <= SPAN_REQUEST_ID_BYTES_MAX);
    add("jsonrpc.request.id", id.map(text));
    add(
        "rpc.response.status_code",
        record.rpc_code.map(|code| code.to_string().into()),
    );
    add("meshgate.hop", Some(record.hop.as_str().into()));
    add("meshgate.identity", record.identity.as_deref().map(text));
    add("meshgate.peer.identity", record.peer_identity.as_deref().map(text));
    add("meshgate.view", record.view.as_deref().map(text));
    add("meshgate.application", record.application.as_deref().map(text));
    add("meshgate.user", record.user.as_deref().map(text));
    add("meshgate.server", record.server.as_deref().map(text));
    add("meshgate.team", record.team.as_deref().map(text));
    add(
        "meshgate.snapshot",
        i64::try_from(record.snapshot).ok().map(Value::from),
    );
    add("meshgate.outcome", Some(record.summary().into()));
    if let Some(refused) = &record.refused {
        add("meshgate.refused.by", Some(refused.by.into()));
        add("meshgate.refused.reason", Some(refused.reason.into()));
        add("meshgate.refused.rule", refused.rule.as_deref().map(text));
        add("meshgate.executed", Some(refused.executed.into()));
    }
    attributes
}

/// What went wrong, in the word that `error.type` has for it.
fn error(record: &AccessRecord, counts: impl Fn(i64) -> bool) -> Option<Cow<'static, str>> {
    match record {
        AccessRecord { cancelled: true, .. } => Some("cancelled".into()),
        AccessRecord {
            rpc_code: Some(code), ..
        } => counts(*code).then(|| code.to_string().into()),
        AccessRecord {
            http_status: status @ 500..,
            ..
        } => Some(status.to_string().into()),
        AccessRecord {
            outcome: Some(Outcome::Error),
            ..
        } => Some("tool_error".into()),
        _ => None,
    }
}
