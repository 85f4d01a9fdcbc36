//! The program's own log: standard error, text on a terminal and JSON lines elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// The variable that sets what is logged, in the syntax of `tracing` (`info`, `meshgate_proxy=debug`).
const FILTER: &str = "MESHGATE_LOG";
const DEFAULT: &str = "warn,meshgate=info,meshgate_proxy=info";

/// Starts logging. A filter that cannot be read is named and replaced by the default.
pub(crate) fn start() {
    let wanted = std::env::var(FILTER).unwrap_or_else(|_| DEFAULT.to_owned());
    let (filter, refused) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
    };
    let terminal = std::io::stderr().is_terminal();
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    // A second start in one process (tests) keeps the first logger.
    let _ = if terminal {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    if let Some(error) = refused {
        tracing::warn!(%error, "{FILTER} cannot be read; the default filter is used");
    }
}
