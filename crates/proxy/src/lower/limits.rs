//! What legacy sessions may cost. Legacy is the only stateful thing at the edge, so every part of its state is bounded.

use std::time::Duration;

/// Limits of the legacy face.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Sessions in this process.
    pub sessions_max: usize,
    /// Sessions of one caller; at the limit its longest idle session makes room.
    pub sessions_per_caller_max: usize,
    /// A session without a request, a running call or an open stream ends after this.
    pub idle_max: Duration,
    /// A session id is refused after this, however busy the session.
    pub age_max: Duration,
    /// Calls that run at the same time in one session.
    pub calls_per_session_max: usize,
    /// Resources one session may subscribe to.
    pub subscriptions_per_session_max: usize,
    /// The longest URI a session may subscribe to.
    pub subscription_bytes_max: usize,
    /// From a request to its answer, questions to the client included.
    pub call_max: Duration,
    /// How long a question waits for its answer: less than the ten minutes that the server's state is sealed for, or a
    /// person would answer for nothing.
    pub answer_max: Duration,
    /// How long a question waits for a client that has gone away to come back.
    pub reattach_max: Duration,
    /// How long an answer may stay silent before the response becomes a stream with keep-alives.
    pub silent_max: Duration,
    /// Time between keep-alive comments on a silent stream.
    pub keep_alive: Duration,
    /// How long a message waits for a reader that takes nothing; then the reader counts as gone.
    pub stall_max: Duration,
    /// The reconnection delay that clients of 2025-11-25 are told.
    pub retry_ms: u64,
    /// Events kept per stream for a client that comes back.
    pub replay_events_max: usize,
    /// Bytes kept per stream for a client that comes back.
    pub replay_bytes_max: usize,
    /// Bytes kept for all clients that may come back.
    pub replay_bytes_total_max: usize,
    /// Finished streams kept per session.
    pub finished_streams_max: usize,
    /// How long a server may take to acknowledge a subscription.
    pub acknowledge_max: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            sessions_per_caller_max: 1_000,
            idle_max: Duration::from_secs(30 * 60),
            age_max: Duration::from_secs(24 * 60 * 60),
            calls_per_session_max: 64,
            subscriptions_per_session_max: 256,
            subscription_bytes_max: 4 * 1024,
            call_max: Duration::from_secs(30 * 60),
            answer_max: Duration::from_secs(9 * 60),
            reattach_max: Duration::from_secs(30),
            silent_max: Duration::from_secs(15),
            keep_alive: Duration::from_secs(15),
            stall_max: Duration::from_secs(60),
            retry_ms: 1_000,
            replay_events_max: 256,
            replay_bytes_max: 1024 * 1024,
            replay_bytes_total_max: 64 * 1024 * 1024,
            finished_streams_max: 4,
            acknowledge_max: Duration::from_secs(10),
        }
    }
}
