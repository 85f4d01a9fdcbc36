//! What the way to a server is bounded by, in one place, so that nothing on it can grow without an end.

use std::time::Duration;

/// Sizes that one server may reach, from the mesh's own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// Largest body of an answer.
    pub response_bytes_max: usize,
    /// Largest event of an SSE stream.
    pub event_bytes_max: usize,
    /// Longest line of a stdio server.
    pub line_bytes_max: usize,
    /// What one stream holds for a slow reader.
    pub stream_buffer_bytes_max: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            response_bytes_max: 8 << 20,
            event_bytes_max: 1 << 20,
            line_bytes_max: 8 << 20,
            stream_buffer_bytes_max: 256 << 10,
        }
    }
}

impl From<&meshgate_model::Limits> for WireLimits {
    fn from(limits: &meshgate_model::Limits) -> Self {
        Self {
            response_bytes_max: limits.response_bytes_max,
            event_bytes_max: limits.event_bytes_max,
            line_bytes_max: limits.line_bytes_max,
            stream_buffer_bytes_max: limits.stream_buffer_bytes_max,
        }
    }
}

/// Looking up a name, connecting and shaking hands, together.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Open connections to one server. Each carries one call, so this is also its calls in flight.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Idle connections kept for one server.
pub(crate) const IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an idle plain connection is trusted. Common servers hang up after 5 s, and a call that crosses a hang-up
/// cannot be repeated.
pub(crate) const IDLE_PLAIN_MAX: Duration = Duration::from_secs(4);
/// How long an idle TLS connection is trusted: its servers sit behind balancers that wait a minute or more.
pub(crate) const IDLE_TLS_MAX: Duration = Duration::from_secs(30);
/// How long a connection may take to end a stream whose response has been read.
pub(crate) const TAIL_MAX: Duration = Duration::from_secs(2);
/// Events that a stream may bring as fast as they come.
pub(crate) const EVENTS_BURST: u32 = 2048;
/// Events a second behind those; what comes faster waits on the wire, where it costs nobody but the server.
pub(crate) const EVENTS_PER_SECOND: u32 = 500;
/// Events that a call may bring of its own, whatever other calls of its server bring: all the progress that it may report
/// at once, some words, and its answer.
pub(crate) const CALL_EVENTS_BURST: u32 = 32;
/// Events a second behind those: as many as the progress that passes, so that no call falls silent because others flood.
pub(crate) const CALL_EVENTS_PER_SECOND: u32 = PROGRESS_PER_SECOND;
/// Events that all calls of one server together may bring as fast as they come, beyond those of their own: what a single
/// stream may, so that one long answer comes as it is, and thirty floods cost no more than one.
pub(crate) const SERVER_EVENTS_BURST: u32 = EVENTS_BURST;
/// Events a second behind those, in turns.
pub(crate) const SERVER_EVENTS_PER_SECOND: u32 = EVENTS_PER_SECOND;
/// Events of one answer in a row before other calls have their turn: less work than one call, so that nobody waits longer
/// for a turn of a flood than for somebody's call.
pub(crate) const EVENTS_IN_A_ROW: u32 = 8;
/// Events of a server's allowance that are given out together: to wake a call costs as much as ten events, so it is not
/// done for a few; and with as many, whoever is no flood waits for thirty that are no longer than two seconds.
pub(crate) const EVENTS_RUN: u32 = 32;
/// How long a stream that was too fast is left alone.
pub(crate) const EVENTS_PAUSE: Duration = Duration::from_millis(100);
/// How long a call that brings more each time it is woken waits for its run before what is its own comes alone.
pub(crate) const FLOOD_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes that are read from a server at once.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// Bytes of a stream that are read at once while it brings several events in them: what is read early is only held, and
/// reading ten times as much is a turn ten times as long.
pub(crate) const READ_EVENTS_BYTES: usize = 8 << 10;
/// Longest head of an answer.
pub(crate) const ANSWER_HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields of an answer.
pub(crate) const ANSWER_FIELDS_MAX: usize = 100;
/// Interim answers (status 1xx) before the real one.
pub(crate) const INTERIM_ANSWERS_MAX: usize = 16;
/// What may stand behind the size of a chunk.
pub(crate) const CHUNK_EXTENSION_BYTES_MAX: usize = 1 << 10;
/// What may stand behind the last chunk.
pub(crate) const TRAILER_BYTES_MAX: usize = 16 << 10;
/// What may follow the response on its stream.
pub(crate) const TAIL_BYTES_MAX: usize = 64 << 10;
/// Unacknowledged bytes and silent peers are given up after this long.
pub(crate) const TCP_SILENCE_MAX: Duration = Duration::from_secs(15);
/// Lines that wait for a child's standard input.
pub(crate) const LINES_WAITING_MAX: usize = 256;
/// Bytes written to a child at once.
pub(crate) const WRITE_BATCH_BYTES: usize = 64 << 10;
/// Messages that one call may leave unread.
pub(crate) const INBOX_MESSAGES_MAX: usize = 256;
/// Messages without a call that a slow listener may leave unread.
pub(crate) const UNSOLICITED_MAX: usize = 256;
/// Lines that are no message before the child is started anew.
pub(crate) const NOISE_STRIKES_MAX: u32 = 3;
/// Lines of greeting that a child may print before its first message.
pub(crate) const GREETING_LINES_MAX: u32 = 64;
/// Last lines of standard error that the status shows.
pub(crate) const STDERR_LINES_KEPT: usize = 20;
/// Longest piece of a standard error line that is kept.
pub(crate) const STDERR_LINE_BYTES_MAX: usize = 1024;
/// Standard error lines per second that reach the log.
pub(crate) const STDERR_LINES_PER_SECOND: u32 = 20;
/// How long a server may take to answer the question for its era.
pub(crate) const PROBE_MAX: Duration = Duration::from_secs(10);
/// How long a legacy server may take for its handshake; a package runner may be fetching the server meanwhile.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// The longest pause between two attempts to reach a server.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The shortest pause between two attempts to reach an HTTP server that calls ask for.
pub(crate) const EAGER_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lived this long was a good one: the next pause is a short one again.
pub(crate) const GOOD_LIFE: Duration = Duration::from_secs(60);
/// How long a `DiscoverResult` is given out before it is asked for again.
pub(crate) const DISCOVER_AGE_MAX: Duration = Duration::from_secs(60);
/// How often idle connections are looked at.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// How long a server that said that its catalogue is another one is not believed again.
pub(crate) const STALE_PAUSE: Duration = Duration::from_secs(30);
/// Progress that one call may report per second for long; of what comes faster, the last is kept.
pub(crate) const PROGRESS_PER_SECOND: u32 = 10;
/// Progress that one call may report at once: servers count a few steps in no time.
pub(crate) const PROGRESS_BURST: u32 = 20;
/// Messages of one answer that are looked at before others have their turn.
pub(crate) const MESSAGES_PER_TURN: usize = 64;
/// How long a server of HTTP+SSE may take to open its stream and to say where messages go.
pub(crate) const ENDPOINT_MAX: Duration = Duration::from_secs(10);
/// Messages on their way to a server of HTTP+SSE; each holds a connection.
pub(crate) const POSTS_MAX: usize = 64;
/// How long a server of HTTP+SSE may take to accept a message.
pub(crate) const POST_MAX: Duration = Duration::from_secs(30);
/// How long what a killed supervisor leaves behind is looked for and ended.
pub(crate) const ORPHANS_MAX: Duration = Duration::from_secs(5);
/// Calls that are only counted: as many as their count can hold with room to spare.
pub(crate) const COUNTED_MAX: usize = 1 << 30;
