//! `meshgate check FILE`: what is wrong with a file, before anything runs; and what it would do to what runs. Without a file:
//! what is wrong with the mesh that runs.

mod mesh;

use std::path::Path;
use std::process::ExitCode;

use meshgate_model::{Severity, Snapshot};

use crate::cli::{CheckArgs, Output};
use crate::diff;
use crate::exit::{FAILED, Failure};
use crate::findings::{drawn, shown, told};
use crate::out;
use crate::source::Source;
use crate::state::StatePath;
use crate::status::json;

/// Prints the findings; errors make the command fail.
pub(crate) fn run(args: &CheckArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let Some(file) = &args.file else {
        return mesh::run(args, state);
    };
    let source = Source::read(file)?;
    if args.against_running {
        return against_running(args, source, &StatePath::find(state)?);
    }
    let (snapshot, found) = source.compile();
    match args.ask.output {
        Output::Json => {
            let shown: Vec<_> = found.iter().map(|finding| shown(finding, &source.text)).collect();
            out::print(&json(&shown)?);
        }
        Output::Text => {
            for finding in &found {
                out::print(&drawn(finding, &source.text));
            }
            out::print(&verdict(&source.name, snapshot.as_ref(), &found));
        }
    }
    Ok(if snapshot.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// The file as the running gateway would take it: its own findings are drawn, those of the gateway told.
fn against_running(args: &CheckArgs, source: Source, state: &StatePath) -> Result<ExitCode, Failure> {
    let (_, found) = source.compile();
    let text = source.text.clone();
    let compared = diff::compared(state, Some(source))?;
    match args.ask.output {
        Output::Json => out::print(&json(&compared)?),
        Output::Text => {
            for finding in &found {
                out::print(&drawn(finding, &text));
            }
            // The same findings come back first; what follows is about the process.
            for finding in compared.findings.iter().skip(found.len()) {
                out::print(&told(finding));
            }
            out::print(&diff::shown(&compared).join("\n"));
        }
    }
    Ok(diff::code(&compared))
}

fn verdict(name: &str, snapshot: Option<&Snapshot>, found: &[meshgate_model::Finding]) -> String {
    let count = |severity, one: &str| {
        let n = found.iter().filter(|finding| finding.severity == severity).count();
        if n == 1 {
            format!("1 {one}")
        } else {
            format!("{n} {one}s")
        }
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    match snapshot {
        None => format!("`{name}`: {errors}, {warnings}"),
        Some(snapshot) => {
            let (servers, views) = (snapshot.servers.len(), snapshot.views.len());
            format!("`{name}` is good: {servers} server(s), {views} view(s), {warnings}")
        }
    }
}
