//! `meshgate check FILE`: what is wrong with a file, before anything runs.

use std::process::ExitCode;

use meshgate_model::{Severity, Snapshot};

use crate::cli::{CheckArgs, Output};
use crate::exit::{FAILED, Failure};
use crate::findings::{Shown, drawn};
use crate::out;
use crate::source::Source;

/// Prints the findings; errors make the command fail.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let source = Source::read(&args.file)?;
    let (snapshot, found) = source.compile();
    match args.output {
        Output::Json => {
            let shown: Vec<_> = found.iter().map(|finding| Shown::new(finding, &source.text)).collect();
            let text = serde_json::to_string_pretty(&shown)
                .map_err(|cause| Failure::new(FAILED, format!("the findings cannot be written: {cause}")))?;
            out::print(&text);
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
