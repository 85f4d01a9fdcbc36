//! What machines and wires cost here. The figures are of one core and one network card, and on the careful side.

use std::time::Duration;

/// A handshake with two certificates, and what is allocated for a stream.
pub(crate) const HANDSHAKE: Duration = Duration::from_micros(1_000);
/// Selecting, comparing and signing a change, before its bytes. The page says what it really took.
pub(crate) const PUSH: Duration = Duration::from_micros(100);
/// Writing and encrypting a byte: a gigabyte a second.
const BYTE: Duration = Duration::from_nanos(1);
/// A byte on a card of 1 Gbit/s.
const BYTE_ON_CARD: Duration = Duration::from_nanos(8);
/// What a proxy takes to compile a change, write it to disk and swap.
pub(crate) const COMPILE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(12));
/// What a slow proxy takes; some of them longer than anybody waits.
pub(crate) const COMPILE_SLOWLY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(40));
/// One way between a proxy and the control plane.
pub(crate) const LATENCY: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(3));

/// One core and one card, each doing one thing after another.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    core: Duration,
    card: Duration,
}

impl Machine {
    /// When some work is done that is given now.
    pub(crate) fn work(&mut self, now: Duration, work: Duration) -> Duration {
        self.core = self.core.max(now) + work;
        self.core
    }

    /// When some bytes have left.
    pub(crate) fn send(&mut self, now: Duration, bytes: usize) -> Duration {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let written = self.work(now, BYTE * count);
        self.card = self.card.max(written) + BYTE_ON_CARD * count;
        self.card
    }
}
