//! What the hop between parts of the mesh is bounded by, in one place.

use std::time::Duration;

/// Limits of the connections to other parts of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopLimits {
    /// Calls of one connection at once; the next one opens another connection. Fewer where the other end allows fewer.
    /// Sidecars allow 1,000; one connection is one task at both ends, and a second one is a second core.
    pub streams_per_connection: usize,
    /// Connections to one endpoint, for calls and again for long streams. What does not fit is refused, not queued: the
    /// queue is at the sidecar.
    pub connections_per_endpoint: usize,
    /// What one answer that is not read may hold here, in bytes. The window of a connection is as large as those of all its
    /// streams together, so that no stalled reader holds up another.
    pub stream_buffer_bytes: usize,
    /// Streams given up within a second on which what still comes is passed over in silence.
    pub resets_remembered: usize,
    /// Frames on streams that are not known any more, each answered with a reset, after which a connection ends.
    pub resets_per_connection: usize,
    /// Largest body of an answer that is not an event stream.
    pub response_bytes: usize,
    /// Largest event of a stream.
    pub event_bytes: usize,
    /// Largest list of header fields of an answer.
    pub head_bytes: usize,
    /// Name, TCP, TLS and the first exchange together.
    pub connect_time: Duration,
    /// How long whoever needs any endpoint waits for the first one, or for one that has just failed, before there is none:
    /// parts come and go, and certificates change, within less.
    pub hold_time: Duration,
    /// How often an open connection is asked whether the other end is there.
    pub ping_time: Duration,
    /// A question that is not answered for this long ends the connection.
    pub ping_answer_time: Duration,
    /// A connection is replaced after this, give or take a tenth, so that load moves and certificates renew.
    pub connection_age: Duration,
    /// How long a replaced connection may go on with what it carries: longer than any call may last.
    pub retired_age: Duration,
    /// Failures in a row after which an endpoint has no calls for a while.
    pub failures_to_eject: u32,
    /// The first pause of an endpoint that does not work; each further one is twice as long.
    pub pause_min: Duration,
    /// The longest.
    pub pause_max: Duration,
    /// Endpoints or connections that one call may be given to, as long as none of them has taken a byte of it.
    pub attempts: usize,
    /// Caller contexts that are kept for one server.
    pub contexts: usize,
}

impl Default for HopLimits {
    fn default() -> Self {
        Self {
            streams_per_connection: 200,
            connections_per_endpoint: 16,
            stream_buffer_bytes: 256 << 10,
            resets_remembered: 4_096,
            resets_per_connection: 1_000_000,
            response_bytes: 8 << 20,
            event_bytes: 1 << 20,
            head_bytes: 16 << 10,
            connect_time: Duration::from_secs(5),
            hold_time: Duration::from_secs(2),
            ping_time: Duration::from_secs(5),
            ping_answer_time: Duration::from_secs(10),
            connection_age: Duration::from_secs(60 * 60),
            retired_age: Duration::from_secs(11 * 60),
            failures_to_eject: 5,
            pause_min: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            attempts: 3,
            contexts: 10_000,
        }
    }
}

/// The longest window that HTTP/2 knows (RFC 9113 §6.9.1).
const WINDOW_BYTES_MAX: usize = (1 << 31) - 1;

impl HopLimits {
    /// The receive window of one stream.
    pub(super) fn stream_window(&self) -> u32 {
        u32::try_from(self.stream_buffer_bytes.min(WINDOW_BYTES_MAX)).unwrap_or(u32::MAX >> 1)
    }

    /// The receive window of a connection.
    pub(super) fn connection_window(&self) -> u32 {
        let all = self.stream_buffer_bytes.saturating_mul(self.streams_per_connection);
        u32::try_from(all.min(WINDOW_BYTES_MAX)).unwrap_or(u32::MAX >> 1)
    }
}
