//! What a lifted server may cost, in one place.

use std::time::Duration;

/// The whole handshake with a server.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// A request of the gateway's own: log level, subscription, cancellation, the answer to a question.
pub(super) const ERRAND_MAX: Duration = Duration::from_secs(5);
/// Messages that one listen may leave unread before it is ended.
pub(super) const LISTEN_MESSAGES_MAX: usize = 256;
/// The largest notification that is kept for somebody who has not asked for it yet.
pub(super) const NOTICE_BYTES_MAX: usize = 64 << 10;
/// Resources that one listen may watch; more are missing from its acknowledgement. One listen serves all clients.
pub(super) const LISTEN_RESOURCES_MAX: usize = 4_096;
/// Subscriptions that are asked for at the same time.
pub(super) const SUBSCRIBING_MAX: usize = 8;
/// Log messages that wait for the request that asked for them.
pub(super) const LOGS_WAITING_MAX: usize = 64;
/// How long a stream that the server let go is left alone when the server does not say.
pub(super) const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause that a server may ask for.
pub(super) const RESUME_PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause that a server may ask for.
pub(super) const RESUME_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Resumptions in a row that bring nothing before a call is given up.
pub(super) const RESUMES_FRUITLESS_MAX: u32 = 5;
/// The longest pause between two attempts to open the standalone stream.
pub(super) const FOLLOW_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the server may take to open the standalone stream: some say nothing at all before they have something to say.
pub(super) const FOLLOW_MAX: Duration = Duration::from_secs(3600);
/// A standalone stream that lived this long was a good one: the next pause is a short one again.
pub(super) const FOLLOW_LONG: Duration = Duration::from_secs(30);
/// Attempts in a row to open the standalone stream that do not reach the server, before it counts as away.
pub(super) const UNREACHABLE_MAX: u32 = 5;
/// Answers to questions of one server that are on their way; a server that asks faster than it listens gets no more.
pub(super) const ANSWERS_MAX: usize = 32;

// --- own sessions and parked calls -------------------------------------------------------------------------------------

/// Own sessions of one caller that carry a call or a parked one; a call beyond waits for one of them.
pub(super) const SESSIONS_PER_CALLER_MAX: usize = 32;
/// Own sessions of all callers of one server, idle ones included.
pub(super) const SESSIONS_PER_SERVER_MAX: usize = 256;
/// Own children of one caller that carry a call or a parked one: each is a process. A caller is an application with many
/// people, of whom some leave their question unanswered.
pub(super) const CHILDREN_PER_CALLER_MAX: usize = 12;
/// Own children of all callers of one server, idle ones included.
pub(super) const CHILDREN_PER_SERVER_MAX: usize = 32;
/// Of a caller's sessions (or children) the half may hold parked calls, so that a forgotten question never takes them all.
pub(super) const PARKED_SHARE: usize = 2;
/// Calls of one server that may wait for an own session; more are turned away at once.
pub(super) const SESSION_WAITERS_MAX: usize = 64;
/// How long an own session is kept for its caller's next call.
pub(super) const SESSION_IDLE_MAX: Duration = Duration::from_secs(120);
/// How long the session of a caller with `sharing: perCaller` is kept for its next call: its state is what it is for.
pub(super) const PER_CALLER_IDLE_MAX: Duration = Duration::from_secs(1800);
/// How often it is looked whether the last calls on sessions of callers have ended, when everything ends.
pub(super) const LAST_CALLS_LOOK: Duration = Duration::from_millis(100);
/// How often idle own sessions are looked through.
pub(super) const SESSION_SWEEP: Duration = Duration::from_secs(5);
/// How long the first call on an own session waits for the session's standalone stream, on which questions may come.
pub(super) const FOLLOWED_MAX: Duration = Duration::from_millis(250);
/// How long after a question its siblings are waited for, so that a client is asked once.
pub(super) const GATHER: Duration = Duration::from_millis(50);
/// How long a parked call waits for its client. What is sealed for the client lives longer.
pub(super) const PARK_MAX: Duration = Duration::from_secs(300);
/// Requests that one call may take, the first and the retries: what the official SDKs stop at, too.
pub(super) const ROUNDS_MAX: u32 = 10;
/// Messages of a standalone stream that one call may leave unread.
pub(super) const STRAYS_MAX: usize = 64;
/// How long the request of a call may stay open at the server; deadlines of the rounds end it long before.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(48 * 3600);
/// How long saying goodbye to the server takes at most: answers, cancellation, the end of the session.
pub(super) const GOODBYE_MAX: Duration = Duration::from_secs(15);
