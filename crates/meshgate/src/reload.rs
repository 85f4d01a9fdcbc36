//! `meshgate reload`: the running gateway reads its file again.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use meshgate_proxy::admin::shape::{PartReloaded, Reloaded};

use crate::cli::{Output, ReloadArgs};
use crate::client::{block_on, tell_admin};
use crate::diff::changes;
use crate::exit::{FAILED, Failure};
use crate::findings::told;
use crate::out;
use crate::state::StatePath;
use crate::status::json;

/// Asks and prints.
pub(crate) fn run(args: &ReloadArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let state = StatePath::find(state)?;
    let path = format!("/reload?allowShrink={}", args.allow_shrink);
    let reloaded: Reloaded = block_on(tell_admin(&state, &path, Bytes::new()))?;
    match args.output {
        Output::Json => out::print(&json(&reloaded)?),
        Output::Text => out::print(&shown(&reloaded)),
    }
    Ok(if reloaded.outcome == "refused" {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// A line for each part of a mesh that does not serve the file, and one about all.
fn parts(parts: &[PartReloaded]) -> Vec<String> {
    if parts.is_empty() {
        return Vec::new();
    }
    let (serve, others): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.state == "serves");
    let mut lines: Vec<String> = others
        .iter()
        .map(|part| {
            let why = part.why.as_deref().unwrap_or("no reason known");
            format!("{} {}: {}", part.identity, part.state, out::one_line(why, 400))
        })
        .collect();
    lines.push(format!("{} of {} part(s) serve it", serve.len(), parts.len()));
    lines
}

fn shown(reloaded: &Reloaded) -> String {
    let mut lines: Vec<String> = reloaded.findings.iter().map(told).collect();
    lines.extend(changes(&reloaded.changes));
    lines.extend(parts(&reloaded.parts));
    let revision = reloaded.revision;
    lines.push(match reloaded.outcome.as_str() {
        "applied" => format!("applied: configuration {revision} is served now"),
        "unchanged" => format!("nothing to do: the file is what is served (configuration {revision})"),
        _ => format!("refused: configuration {revision} is served on"),
    });
    lines.join("\n")
}
