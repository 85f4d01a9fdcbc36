//! Chance that can be repeated: a stream of numbers for each actor, so that what one does never moves the dice of another.

use std::time::Duration;

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x6d65_7368_6761_7465)
    }

    /// A stream of its own for somebody, the same for the same name.
    pub(crate) fn of(&self, name: &str) -> Self {
        let mut own = Self(self.0);
        for byte in name.bytes() {
            own.0 = (own.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            own.next();
        }
        own
    }

    /// The next number (SplitMix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..count`; 0 where there is nothing to choose from.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        usize::try_from(self.next() % count).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }

    /// A time of at least 1 ms and less than this.
    pub(crate) fn millis(&mut self, less_than: usize) -> Duration {
        Duration::from_millis(1 + u64::try_from(self.below(less_than)).unwrap_or(0))
    }
}
