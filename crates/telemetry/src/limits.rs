//! The limits of this crate, named and in one place.

use std::time::Duration;

/// Records waiting for the other runtime; the next one is dropped and counted.
pub const RECORDS_WAITING_MAX: usize = 16 * 1024;

/// Records whose room is kept while there are few of them; what a rush needed beyond that is let go.
pub const RECORDS_KEPT_MAX: usize = 128;

/// Bytes of formatted lines whose room is kept while there are few of them.
pub const LINES_KEPT_BYTES_MAX: usize = 64 * 1024;

/// How often the ring is drained. A metric is at most this old.
pub const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// Formatted lines that wait for a sink that stalls; further lines are dropped and counted.
pub const LINES_WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long the last lines may take to be written when the process ends.
pub const LAST_WRITE_TIME_MAX: Duration = Duration::from_secs(1);

/// Spans waiting for their receiver; the next one is dropped and counted.
pub const SPANS_WAITING_MAX: usize = 4 * 1024;

/// Spans of one message to the receiver.
pub const SPANS_SENT_MAX: usize = 512;

/// How often spans are sent.
pub const SPANS_INTERVAL: Duration = Duration::from_millis(500);

/// How long the receiver may take for one message; then its spans are dropped and counted.
pub const SPANS_SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the last spans may take to be sent when the process ends.
pub const SPANS_LAST_SEND_TIME_MAX: Duration = Duration::from_secs(1);

/// Longest JSON-RPC id that a span tells; a longer one is left out.
pub const SPAN_REQUEST_ID_BYTES_MAX: usize = 64;

/// Longest text value in a record, before escaping; longer ones are cut and end in `…`.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Tools and prompts that get a label of their own in metrics; the rest are `other`.
pub const TARGET_LABELS_MAX: usize = 1_000;

/// Method names that get a label of their own in metrics; the rest are `other`.
pub const METHOD_LABELS_MAX: usize = 100;

/// Longest name that becomes a metric label.
pub const LABEL_BYTES_MAX: usize = 128;

/// Longest `tracestate` that is carried on (W3C asks for at least 512).
pub const TRACESTATE_BYTES_MAX: usize = 512;
