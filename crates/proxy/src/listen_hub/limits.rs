//! What subscriptions may cost, in one place.

use std::time::Duration;

/// Resources one listen of a client may name; more is an error, so that the client opens another stream.
pub(super) const LISTEN_RESOURCES_MAX: usize = 1_000;
/// Resources one caller may watch at one server, over all its streams; more are missing from the acknowledgement. Four
/// callers fill a server, one does not.
pub(super) const CALLER_RESOURCES_MAX: usize = 1_000;
/// Resources watched at one server, for all callers; more are missing from the acknowledgement. All of them are named
/// in one request, which common servers take up to a few MiB.
pub(super) const SERVER_RESOURCES_MAX: usize = 4_096;
/// How long a client waits for what its servers grant; what comes later is missing from its acknowledgement.
pub(super) const ACK_PATIENCE: Duration = Duration::from_secs(2);
/// How long a server may take to acknowledge a subscription.
pub(super) const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a subscription is still heard after a larger one has taken its place, and so the shortest time between two
/// openings: what a server sent on the old one before it knew of the new one arrives within that.
pub(super) const OVERLAP: Duration = Duration::from_millis(100);
/// How long a resource that nobody watches any more stays subscribed: a client that listens again finds it.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The pause before a subscription that could not be made smaller is tried again.
pub(super) const SHRINK_PAUSE: Duration = Duration::from_secs(30);
/// The longest first pause before a lost subscription is opened again; it doubles up to [`REOPEN_MAX`].
pub(super) const REOPEN_MIN: Duration = Duration::from_millis(250);
/// The longest pause before a lost subscription is opened again.
pub(super) const REOPEN_MAX: Duration = Duration::from_secs(30);
/// Updates of the old subscription that wait for the new one to say the same; more are passed on at once.
pub(super) const HELD_MAX: usize = 1_024;
/// Attempts to find out which wish a server refuses; the wishes left after them are refused.
pub(super) const ATTEMPTS_MAX: u32 = 32;
/// Listeners that are woken before others get a turn.
pub(super) const WOKEN_AT_ONCE: usize = 64;
