//! Another outside for a simulation: pipes in the place of processes and sockets, and its own chance.
//!
//! The simulation in `sim/` runs the real gateway in one thread on paused time. What would make two runs of one seed
//! differ is replaced here and nowhere else: who a child is, where a connection leads, and randomness that times depend
//! on. It is set for one thread and asked only where something new is begun, never by a call. Nobody sets it in a gateway
//! that serves, and it is no part of what this crate offers.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::DuplexStream;

/// What a simulation has instead of an operating system.
pub trait Outside {
    /// Starts a child of this server: what it reads and writes, seen from the gateway.
    fn child(&self, server: &str) -> Option<DuplexStream>;
    /// Opens a connection to this host.
    fn dial(&self, host: &str) -> Option<DuplexStream>;
    /// A number that nobody can foresee but the seed.
    fn number(&self) -> u64;
}

thread_local! {
    static OUTSIDE: RefCell<Option<Rc<dyn Outside>>> = const { RefCell::new(None) };
}

/// Whatever this thread does is simulated until the value is dropped.
#[must_use]
pub struct Simulated(());

/// Puts a simulation in the place of the outside, for this thread.
pub fn enter(outside: Rc<dyn Outside>) -> Simulated {
    OUTSIDE.set(Some(outside));
    Simulated(())
}

impl Drop for Simulated {
    fn drop(&mut self) {
        OUTSIDE.set(None);
    }
}

/// The simulation of this thread, if it has one.
pub(crate) fn outside() -> Option<Rc<dyn Outside>> {
    OUTSIDE.with_borrow(Clone::clone)
}

/// A random number for what nothing depends on but its being spread: times, and names under a seal.
pub(crate) fn random() -> u64 {
    match outside() {
        Some(outside) => outside.number(),
        // Without randomness what is spread comes at once, and is as right.
        None => getrandom::u64().unwrap_or(0),
    }
}
