//! What can be seen of the mesh: one record per call, metrics, trace context.
//!
//! Looking must not slow a call down. On the path of a call there is one record, moved into a bounded ring; everything
//! else, formatting, counting, writing, happens on the other runtime, which drains the ring a few times per second. When
//! a sink stalls, lines are dropped and counted; calls are not.
//!
//! What is written was partly chosen by strangers (tool names, URIs, rules that quote them), so one place escapes and
//! caps all text, and there is no field for arguments, results, headers or tokens: what cannot be recorded cannot leak.

pub mod limits;
pub mod metrics;
pub mod record;
pub mod records;
pub mod reference;
pub mod spans;
pub mod trace;

mod text;

pub use metrics::{Gauge, MemberLevels, Metrics, ParkedLevels};
pub use record::{AccessRecord, Era, Hop, Outcome, Refused, Target};
pub use records::{AccessLog, Records};
pub use spans::Spans;
pub use trace::{Ids, TraceContext, Traceparent};
