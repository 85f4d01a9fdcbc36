//! `meshgate apply -f FILE`: the objects of a running mesh become what a file says.
//!
//! The control plane judges the change together with everything it keeps, so a file may hold one object of many. What it
//! finds comes back with its place in the file, and is drawn over the lines that the person who typed wrote.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use meshgate_control::registry::Outcome;
use meshgate_control::shapes::{AppliedShape, Apply, FindingShape, ProgressShape, Source as Sent};
use meshgate_proxy::admin::shape::Finding;

use crate::api::Api;
use crate::cli::{ApplyArgs, AskArgs, Output};
use crate::client::block_on;
use crate::diff::changes;
use crate::exit::{DIFFERS, FAILED, Failure};
use crate::findings::{drawn_shape, place_in, told};
use crate::out;
use crate::source::Source;
use crate::status::json;

/// The longest that the control plane waits for its proxies.
const WAIT_SECONDS_MAX: u64 = 300;
const WHY_CHARS_MAX: usize = 400;

/// Applies and prints what became of it.
pub(crate) fn run(args: &ApplyArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let terms = Apply {
        replace: args.replace,
        dry_run: args.terms.dry_run,
        if_revision: args.terms.if_revision,
        allow_shrink: args.terms.allow_shrink,
        wait_seconds: args.wait.then(|| args.timeout.as_secs().clamp(1, WAIT_SECONDS_MAX)),
        ..Apply::default()
    };
    let source = Source::read(&args.file)?;
    tell(&source, terms, &Api::find(&args.ask.control, state)?, args.ask.output)
}

/// Says what applying a file would change, as the control plane sees it.
pub(crate) fn compare(source: &Source, ask: &AskArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let terms = Apply {
        dry_run: true,
        ..Apply::default()
    };
    tell(source, terms, &Api::find(&ask.control, state)?, ask.output)
}

fn tell(source: &Source, terms: Apply, api: &Api, output: Output) -> Result<ExitCode, Failure> {
    let name =
        std::path::absolute(&source.name).map_or_else(|_| source.name.clone(), |path| path.display().to_string());
    let sent = Sent {
        name: name.clone(),
        text: source.text.clone(),
    };
    let wanted = Apply {
        sources: vec![sent],
        ..terms
    };
    let wait = Duration::from_secs(wanted.wait_seconds.unwrap_or_default());
    let mut applied = block_on(api.change(Method::POST, "/v1/apply", body(&wanted)?, wait))?;
    for finding in applied.findings.iter_mut().filter(|finding| finding.source == name) {
        finding.source.clone_from(&source.name);
    }
    match output {
        Output::Json => out::print(&json(&applied)?),
        Output::Text => out::print(&shown(&applied, &source.name, &source.text)),
    }
    Ok(code(&applied))
}

/// A value as the body of a request.
pub(crate) fn body(value: &impl serde::Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|cause| Failure::new(FAILED, format!("the request cannot be written: {cause}")))
}

/// The code that says what became of it.
pub(crate) fn code(applied: &AppliedShape) -> ExitCode {
    let all_serve = applied
        .progress
        .as_ref()
        .is_none_or(|progress| progress.refused.is_empty() && progress.waiting.is_empty());
    match applied.outcome {
        Outcome::Applied | Outcome::Unchanged if all_serve => ExitCode::SUCCESS,
        Outcome::WouldApply => ExitCode::from(DIFFERS),
        _ => ExitCode::from(FAILED),
    }
}

/// Findings, changes, who serves it, and a last line that says it all. Findings of the file `name` are drawn over `text`.
pub(crate) fn shown(applied: &AppliedShape, name: &str, text: &str) -> String {
    let mut lines: Vec<String> = applied
        .findings
        .iter()
        .map(|found| finding(found, name, text))
        .collect();
    lines.extend(changes(&applied.changes));
    lines.extend(applied.progress.iter().flat_map(progress));
    let (revision, count) = (applied.revision, applied.changes.len());
    lines.push(match applied.outcome {
        Outcome::Applied => format!("applied: revision {revision}, {count} object(s) changed"),
        Outcome::Unchanged => format!("nothing to do: the mesh is as it says (revision {revision})"),
        Outcome::WouldApply => format!("{count} object(s) would change (revision {revision} is served)"),
        Outcome::Refused => format!("refused: revision {revision} is served on"),
    });
    lines.join("\n")
}

/// A finding over the lines of the file it is about, where it is about this one.
fn finding(found: &FindingShape, name: &str, text: &str) -> String {
    let of_file = found.span.filter(|_| found.source == name);
    let shape = Finding {
        severity: found.severity.clone(),
        code: found.code.clone(),
        message: found.message.clone(),
        remedy: found.remedy.clone(),
        source: found.source.clone(),
        document: found.document.clone(),
        path: found.path.clone(),
        ..Finding::default()
    };
    match of_file {
        Some(span) => drawn_shape(&place_in(shape, span, text), text),
        None => told(&shape),
    }
}

/// A line for each proxy that does not serve what was applied, and one about all.
pub(crate) fn progress(progress: &ProgressShape) -> Vec<String> {
    let refused = progress.refused.iter().map(|refused| {
        let why = out::one_line(&refused.message, WHY_CHARS_MAX);
        format!("{} refuses: {why}", refused.proxy.identity)
    });
    let waiting = progress
        .waiting
        .iter()
        .map(|proxy| format!("{} has not answered", proxy.identity));
    let mut lines: Vec<String> = refused.chain(waiting).collect();
    let all = progress.taken + lines.len();
    lines.push(format!("{} of {all} part(s) serve it", progress.taken));
    lines
}

#[cfg(test)]
mod tests {
    use meshgate_control::shapes::{ProxyName, RefusedShape};

    use super::*;

    fn some(taken: usize, refused: &[&str]) -> ProgressShape {
        let refused = refused.iter().map(|why| RefusedShape {
            proxy: ProxyName {
                identity: "spiffe://m/gateway/edge".into(),
                instance: "00".into(),
            },
            message: (*why).into(),
        });
        ProgressShape {
            taken,
            refused: refused.collect(),
            waiting: Vec::new(),
        }
    }

    #[test]
    fn a_part_that_refuses_is_named_with_the_reason() {
        assert_eq!(
            progress(&some(1, &["View/all: a field\ndoes not exist"])),
            [
                "spiffe://m/gateway/edge refuses: View/all: a field does not exist",
                "1 of 2 part(s) serve it"
            ]
        );
    }

    #[test]
    fn success_is_only_what_everybody_serves() {
        let of = |outcome, progress| {
            let applied = AppliedShape {
                outcome,
                revision: 1,
                findings: Vec::new(),
                changes: Vec::new(),
                progress,
            };
            format!("{:?}", code(&applied))
        };
        let (good, bad, differs) = (
            format!("{:?}", ExitCode::SUCCESS),
            format!("{:?}", ExitCode::from(FAILED)),
            format!("{:?}", ExitCode::from(DIFFERS)),
        );
        assert_eq!(of(Outcome::Applied, None), good);
        assert_eq!(of(Outcome::Unchanged, Some(some(2, &[]))), good);
        assert_eq!(of(Outcome::Applied, Some(some(1, &["no"]))), bad);
        assert_eq!(of(Outcome::WouldApply, None), differs);
        assert_eq!(of(Outcome::Refused, None), bad);
    }
}
