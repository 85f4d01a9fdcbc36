//! Keeps a core from falling asleep.
//!
//! A virtual core that sleeps is woken by its host, when the host finds the time: that takes longer than a whole call, and
//! how much longer is the host's affair. So where latencies are compared, something runs on each core that gives way to
//! everything else at once.

use std::time::{Duration, Instant};

use crate::{
    Failure,
    running::{Core, Running},
};

/// Nobody measures so long.
const LIFE: Duration = Duration::from_secs(3600);

/// Runs until it is ended.
#[expect(clippy::unnecessary_wraps, reason = "every part may fail")]
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < LIFE {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Keeps these cores awake as long as what it gives lives.
pub(crate) fn keep(ourselves: &std::path::Path, cores: [Core; 2]) -> Result<Vec<Running>, Failure> {
    let pinned = cores.into_iter().filter(|core| core.number.is_some());
    pinned
        .map(|core| Running::start(core.behind(ourselves, &["awake".to_owned()]), "what keeps a core awake"))
        .collect()
}
