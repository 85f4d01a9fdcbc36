//! `meshgate diff`: what a file would change in the running gateway.
//!
//! The gateway itself is asked, because only it knows what it serves, what the servers have shown and what the files
//! hold that it took values from. What may be a secret never leaves it.

use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use meshgate_proxy::admin::Candidate;
use meshgate_proxy::admin::shape::{Change, Compared, FieldChange, How, ToolChange};

use crate::apply;
use crate::cli::{DiffArgs, Output};
use crate::client::{block_on, tell_admin};
use crate::exit::{DIFFERS, FAILED, Failure, UNAVAILABLE};
use crate::findings::told;
use crate::out;
use crate::source::Source;
use crate::state::StatePath;
use crate::status::json;

/// Tools that one line names.
const TOOLS_SHOWN_MAX: usize = 12;
/// Characters of one value.
const VALUE_CHARS_MAX: usize = 120;

/// Asks and prints.
pub(crate) fn run(args: &DiffArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let source = args.file.as_deref().map(Source::read).transpose()?;
    // A gateway that follows a file knows its servers' tools; a control plane knows the objects.
    let path = StatePath::find(state)?;
    if let Some(source) = source
        .as_ref()
        .filter(|_| args.ask.control.control.is_some() || !path.admin_socket().exists())
    {
        return apply::compare(source, &args.ask, state);
    }
    let state = path;
    let compared = compared(&state, source)?;
    match args.ask.output {
        Output::Json => out::print(&json(&compared)?),
        Output::Text => {
            let findings = compared.findings.iter().map(told);
            out::print(&findings.chain(shown(&compared)).collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(code(&compared))
}

/// What the gateway says about a file; without one, about its own.
pub(crate) fn compared(state: &StatePath, source: Option<Source>) -> Result<Compared, Failure> {
    let body = match source {
        None => Vec::new(),
        Some(source) => {
            let Source { name, text, .. } = source.under_root();
            serde_json::to_vec(&Candidate { name, text })
                .map_err(|cause| Failure::new(UNAVAILABLE, format!("the file cannot be sent: {cause}")))?
        }
    };
    block_on(tell_admin(state, "/diff", Bytes::from(body)))
}

/// The code that says what would happen.
pub(crate) fn code(compared: &Compared) -> ExitCode {
    match compared.outcome.as_str() {
        "same" => ExitCode::SUCCESS,
        "changes" => ExitCode::from(DIFFERS),
        _ => ExitCode::from(FAILED),
    }
}

/// Everything but the findings.
pub(crate) fn shown(compared: &Compared) -> Vec<String> {
    let mut lines = changes(&compared.changes);
    lines.extend(compared.tools.iter().flat_map(of_caller));
    if !compared.changes.is_empty() && !compared.unknown.is_empty() {
        let names = compared.unknown.join(", ");
        lines.push(format!("the tools of {names} are not known before they run"));
    }
    lines.push(match compared.outcome.as_str() {
        "same" => "the file would change nothing".to_owned(),
        "changes" => format!("{} object(s) would change", compared.changes.len()),
        _ => "the file would be refused".to_owned(),
    });
    lines
}

/// One line per object, and one below it per field.
pub(crate) fn changes(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    for change in changes {
        let sign = match change.how {
            How::Added => '+',
            How::Removed => '-',
            How::Changed => '~',
        };
        let title = match change.name.as_str() {
            "" => change.kind.clone(),
            name => format!("{}/{name}", change.kind),
        };
        lines.push(out::harmless(&format!("{sign} {title}")));
        lines.extend(change.fields.iter().map(|field| format!("    {}", of_field(field))));
    }
    lines
}

fn of_field(field: &FieldChange) -> String {
    let value = |value: &Option<String>| match value {
        Some(value) => format!("`{}`", out::one_line(value, VALUE_CHARS_MAX)),
        None if field.secret => "(not shown)".to_owned(),
        None => "(none)".to_owned(),
    };
    let restart = if field.at_restart { ", at the next start" } else { "" };
    let path = out::one_line(&field.path, VALUE_CHARS_MAX);
    if field.before.is_none() && field.after.is_none() {
        return format!("{path}: changed{restart}");
    }
    format!("{path}: {} → {}{restart}", value(&field.before), value(&field.after))
}

fn of_caller(change: &ToolChange) -> Vec<String> {
    let who = match &change.application {
        Some(application) => format!("application {application}"),
        None => "callers without a token".to_owned(),
    };
    let line = |verb: &str, tools: &[String]| {
        let mut names: Vec<&str> = tools.iter().take(TOOLS_SHOWN_MAX).map(String::as_str).collect();
        let more = format!("and {} more", tools.len().saturating_sub(TOOLS_SHOWN_MAX));
        if tools.len() > TOOLS_SHOWN_MAX {
            names.push(&more);
        }
        let (view, count) = (&change.view, tools.len());
        out::harmless(&format!(
            "{who} {verb} {count} tool(s) in view {view}: {}",
            names.join(", ")
        ))
    };
    let mut lines = Vec::new();
    if !change.gained.is_empty() {
        lines.push(line("gains", &change.gained));
    }
    if !change.lost.is_empty() {
        lines.push(line("loses", &change.lost));
    }
    lines
}
