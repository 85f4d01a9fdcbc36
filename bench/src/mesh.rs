//! `mesh`: two hops beside one, and the processes of a mesh: two parts of one page, each of which can be measured alone.

use crate::{Failure, gateway, proxies, set};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    hops: gateway::Options,
    /// Only this part; the rest of the page stays as it is
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Changes that every proxy has to enforce
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    changes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Calls over two hops, and over pairs of others
    Hops,
    /// Twenty proxies: from a change to its enforcement, and what each weighs idle
    Proxies,
}

/// Measures what was asked for.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let wanted = |part| options.only.is_none_or(|only| only == part);
    if wanted(Part::Hops) {
        gateway::run(&options.hops, &set::MESH)?;
    }
    if wanted(Part::Proxies) {
        proxies::run(&options.hops, options.changes)?;
    }
    Ok(())
}
