//! The answer as a person reads it, and as a program does.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Answering, Endpoint, REVISION, Step};

/// Columns of text.
const WIDTH: usize = 100;
/// Words that explain a choice.
const REASONS_MAX: usize = 4;

/// The answer for people: the answer itself first, then the way each request took.
pub fn text(answer: &Answer, endpoint: &Endpoint) -> String {
    let mut out = format!("{}\n", answer.question.text);
    for part in &answer.parts {
        out.push('\n');
        match &part.outcome {
            Ok(found) => {
                push_wrapped(&mut out, &found.text);
                if let Some(source) = &found.source {
                    push_wrapped(&mut out, &format!("— {source}"));
                }
            }
            Err(why) => push_wrapped(&mut out, &format!("No answer to \"{}\": {why}.", part.part.text)),
        }
    }
    if answer.parts.is_empty() {
        out.push_str("\n  This is no question that I understand.\n");
    }
    let _ = writeln!(
        out,
        "\nasked at {} (view {}, {} tools read in {})",
        endpoint.url(),
        endpoint.view(),
        answer.tools,
        time(answer.catalogue)
    );
    let _ = writeln!(out, "in MCP {REVISION}, trace {}", endpoint.trace().id());
    push_ways(&mut out, &answer.parts);
    if !answer.away.is_empty() {
        let _ = writeln!(out, "away, and not asked: {}", answer.away.join(", "));
    }
    out
}

fn push_ways(out: &mut String, parts: &[Answering]) {
    let steps: Vec<&Step> = parts.iter().flat_map(|part| &part.steps).collect();
    let widest = |text: fn(&Step) -> String| steps.iter().map(|step| text(step).chars().count()).max().unwrap_or(0);
    let (tool, server) = (widest(|step| step.choice.tool.name.clone()), widest(server));
    for step in steps {
        let reasons: Vec<&str> = step
            .choice
            .because
            .iter()
            .take(REASONS_MAX)
            .map(String::as_str)
            .collect();
        let _ = writeln!(
            out,
            "  {:tool$} → {:server$}  {:>7}  chosen for: {}",
            step.choice.tool.name,
            self::server(step),
            time(step.took),
            reasons.join(", ")
        );
    }
}

/// The server of a tool, by the name the endpoint gives it, or else by its own.
fn server(step: &Step) -> String {
    let named = step.choice.tool.server.as_ref().or(step.program.as_ref());
    named.cloned().unwrap_or_else(|| "not said".to_owned())
}

fn time(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

/// Lines of at most [`WIDTH`] columns, two in from the left.
fn push_wrapped(out: &mut String, text: &str) {
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace().map(harmless) {
            if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
                let _ = writeln!(out, "  {line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        if !line.is_empty() {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// Text of a server without what a terminal would obey.
fn harmless(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).collect()
}

/// The answer for programs.
pub fn json(answer: &Answer, endpoint: &Endpoint) -> Value {
    let steps = |part: &Answering| {
        let steps = part.steps.iter().map(|step| {
            json!({
                "tool": step.choice.tool.name,
                "server": step.choice.tool.server,
                "program": step.program,
                "arguments": step.choice.arguments,
                "score": step.choice.score,
                "because": step.choice.because,
                "milliseconds": step.took.as_secs_f64() * 1000.0,
                "traceId": endpoint.trace().id(),
                "spanId": step.span,
            })
        });
        steps.collect::<Vec<_>>()
    };
    let parts = answer.parts.iter().map(|part| {
        let found = part.outcome.as_ref().ok();
        json!({
            "asked": part.part.text,
            "answer": found.map(|found| &found.text),
            "source": found.and_then(|found| found.source.as_ref()),
            "noAnswer": part.outcome.as_ref().err(),
            "steps": steps(part),
        })
    });
    json!({
        "question": answer.question.text,
        "subject": answer.question.subject,
        "complete": answer.is_complete(),
        "endpoint": endpoint.url(),
        "view": endpoint.view(),
        "revision": REVISION,
        "tools": answer.tools,
        "serversAway": answer.away,
        "parts": parts.collect::<Vec<_>>(),
    })
}
