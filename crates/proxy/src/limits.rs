//! Every limit of the data plane, in one place.
//!
//! A proxy between parties that do not trust each other is as strong as its weakest unbounded queue. So nothing here is
//! optional and nothing is spread over the modules: each limit has a name that ends in what it counts (`_bytes`,
//! `_time`, `_per_second`, or the counted noun itself), a default that is safe on an open network, and a reason.
//! Whoever enforces a limit takes it from here; a number in the code of a module is a mistake.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Longest credentials that a connection remembers, in bytes: every service token, and signed tokens of usual size.
pub const PROOF_BYTES_MAX: usize = 2048;

/// The limits of one process. Changing a default needs a reason that holds for the open network.
#[derive(Clone, Debug)]
pub struct Limits {
    // --- connections -------------------------------------------------------------------------------------------------
    /// Open connections over all listeners; the next one is closed at once.
    pub connections: usize,
    /// Open connections of one address (IPv6: one /64) that have not authenticated yet.
    pub connections_per_address: usize,
    /// File descriptors that are never given to clients: servers, records and the admin listener need them.
    pub descriptors_kept: usize,
    /// From accept to the end of the TLS handshake.
    pub tls_handshake_time: Duration,
    /// From the handshake to the first byte, and again from a head's first byte to its last.
    pub head_time: Duration,
    /// A connection on which nothing is in flight is closed after this.
    pub idle_time: Duration,
    /// How long an HTTP/1 connection that is to end waits for a request that may be on its way.
    pub last_request_time: Duration,
    /// A connection is asked to end after this, give or take a tenth, so that load moves and certificates renew.
    pub connection_age_time: Duration,
    /// A write that makes no progress for this long ends its connection.
    pub write_stall_time: Duration,
    /// An answer may not be taken slower than this, once `write_stall_time` has been spent waiting for its reader.
    pub answer_bytes_per_second: usize,
    /// How long a closing connection still reads and discards, so that the last answer is not lost to a reset.
    pub linger_time: Duration,
    /// How many bytes a closing connection discards at most.
    pub linger_bytes: usize,

    // --- request heads and bodies --------------------------------------------------------------------------------------
    /// A request head: request line and fields in HTTP/1.1, the decoded field list in HTTP/2.
    pub head_bytes: usize,
    /// Fields in a request head.
    pub head_fields: usize,
    /// A request body.
    pub body_bytes: usize,
    /// How much of a body is taken from an HTTP/2 client that is refused by its head, before it is answered. Some clients lose
    /// the answer when their stream ends while they are sending; this is what they send at once.
    pub h2_refused_bytes: usize,
    /// And for how long.
    pub h2_refused_time: Duration,
    /// A request body must be whole after waiting this long for its bytes.
    pub body_time: Duration,
    /// A request body may not arrive slower than this, once `body_grace_time` is used up.
    pub body_bytes_per_second: usize,
    /// How long a body may stall before its speed counts.
    pub body_grace_time: Duration,

    // --- HTTP/2 ----------------------------------------------------------------------------------------------------------
    /// Streams of one connection.
    pub h2_streams: usize,
    /// Streams of one connection on which nothing has authenticated yet; the next is refused without reading its body.
    pub h2_unproven_streams: usize,
    /// Caller contexts that one connection inside the mesh remembers as verified: one for each caller and view that calls
    /// within a minute, and verifying one again costs less than keeping more.
    pub contexts_per_connection: usize,
    /// Receive window of one stream.
    pub h2_stream_window_bytes: usize,
    /// Receive window of one connection.
    pub h2_connection_window_bytes: usize,
    /// An answer is handed over in pieces of this size; one that is not taken within `write_stall_time` ends its stream.
    pub h2_piece_bytes: usize,
    /// The compressed header block of one request, over HEADERS and its CONTINUATION frames.
    pub h2_header_block_bytes: usize,
    /// CONTINUATION frames of one header block.
    pub h2_continuations: usize,
    /// Streams that the client may reset, sustained.
    pub h2_resets_per_second: usize,
    /// Streams that the client may reset at once: a client that gives up cancels all it has open.
    pub h2_resets: usize,
    /// Frames that cost us work and bring nothing (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, near-empty DATA), sustained
    /// and beyond those that answer frames of ours.
    pub h2_control_frames_per_second: usize,
    /// The same, at once.
    pub h2_control_frames: usize,
    /// An open connection is pinged after this much silence.
    pub h2_ping_time: Duration,
    /// A ping that is not answered for this long ends its connection.
    pub h2_ping_answer_time: Duration,

    // --- messages ----------------------------------------------------------------------------------------------------------
    /// Nesting of a client's JSON.
    pub json_depth: usize,
    /// Values in a client's JSON.
    pub json_nodes: usize,
    /// Characters of one number.
    pub json_number_chars: usize,
    /// One message of a server over HTTP.
    pub response_bytes: usize,
    /// One line of a server over stdio.
    pub stdio_line_bytes: usize,
    /// One event of an event stream.
    pub sse_event_bytes: usize,
    /// What one stream holds for a client that reads slowly.
    pub stream_buffer_bytes: usize,
    /// Long streams of one caller.
    pub streams_per_caller: usize,

    // --- calls -----------------------------------------------------------------------------------------------------------
    /// Calls of one caller, sustained.
    pub calls_per_second: u32,
    /// Calls of one caller, at once.
    pub calls_burst: u32,
    /// Calls of one caller to one tool that may change something, sustained.
    pub writes_per_second: u32,
    /// The same, at once.
    pub writes_burst: u32,
    /// Requests of one address (IPv6: one /64) that fail to authenticate, sustained.
    pub unproven_calls_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 256,
            descriptors_kept: 64,
            tls_handshake_time: Duration::from_secs(5),
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            last_request_time: Duration::from_secs(1),
            connection_age_time: Duration::from_secs(60 * 60),
            write_stall_time: Duration::from_secs(30),
            answer_bytes_per_second: 4 * KIB,
            linger_time: Duration::from_secs(2),
            linger_bytes: 4 * MIB,

            head_bytes: 8 * KIB,
            head_fields: 64,
            body_bytes: 4 * MIB,
            h2_refused_bytes: 64 * KIB,
            h2_refused_time: Duration::from_millis(100),
            body_time: Duration::from_secs(30),
            body_bytes_per_second: KIB,
            body_grace_time: Duration::from_secs(5),

            h2_streams: 100,
            h2_unproven_streams: 16,
            contexts_per_connection: 1_024,
            h2_stream_window_bytes: 64 * KIB,
            h2_connection_window_bytes: MIB,
            h2_piece_bytes: 16 * KIB,
            h2_header_block_bytes: 16 * KIB,
            h2_continuations: 8,
            h2_resets_per_second: 20,
            h2_resets: 100,
            h2_control_frames_per_second: 50,
            h2_control_frames: 200,
            h2_ping_time: Duration::from_secs(20),
            h2_ping_answer_time: Duration::from_secs(10),

            json_depth: 64,
            json_nodes: 20_000,
            json_number_chars: 40,
            response_bytes: 8 * MIB,
            stdio_line_bytes: 8 * MIB,
            sse_event_bytes: MIB,
            stream_buffer_bytes: 256 * KIB,
            streams_per_caller: 32,

            calls_per_second: 50,
            calls_burst: 100,
            writes_per_second: 10,
            writes_burst: 20,
            unproven_calls_per_second: 20,
        }
    }
}

impl Limits {
    /// The same for a listener inside the mesh. At its other end is a gateway that has proven itself before it could send a
    /// byte, and that brings the calls of many callers on one connection; so a connection carries more, lives through pauses,
    /// and is looked after more closely. What a single call may cost stays as it is, with room for what a gateway adds to it.
    #[must_use]
    pub fn inside(self) -> Self {
        Self {
            // A handshake costs more than a connection that waits.
            idle_time: Duration::from_secs(600),
            // A caller context beside what a client may send.
            head_bytes: self.head_bytes + 16 * KIB,
            head_fields: self.head_fields + 16,
            h2_header_block_bytes: self.h2_header_block_bytes + 16 * KIB,
            // What a gateway writes into a message: names, trace, capabilities.
            body_bytes: self.body_bytes + 256 * KIB,
            json_nodes: self.json_nodes + 1_000,
            h2_streams: 1_000,
            h2_stream_window_bytes: 256 * KIB,
            h2_connection_window_bytes: 8 * MIB,
            // Every client that leaves resets its streams, and a thousand may leave at once.
            h2_resets_per_second: 1_000,
            h2_resets: 2_000,
            h2_control_frames_per_second: 1_000,
            h2_control_frames: 4_000,
            // A gateway that is gone without a word is noticed within fifteen seconds.
            h2_ping_time: Duration::from_secs(5),
            ..self
        }
    }
}
