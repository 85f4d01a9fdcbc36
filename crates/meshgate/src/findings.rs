//! Findings, drawn over the text they are about.

use std::fmt;
use std::io::IsTerminal as _;

use meshgate_model::finding::codes;
use meshgate_model::{Finding, Severity};
use meshgate_proxy::admin::shape;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::out;

/// A finding on one line is not longer than this.
const NAMED_CHARS_MAX: usize = 1_000;

/// A finding with its source text, as `miette` wants it.
#[derive(Debug)]
struct Drawn<'a> {
    finding: &'a Finding,
    source: Option<NamedSource<String>>,
    message: String,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let remedy = &self.finding.remedy;
        (!remedy.is_empty()).then(|| Box::new(remedy) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.finding.span.clone()?;
        let label = if self.finding.path.is_empty() {
            "here".to_owned()
        } else {
            self.finding.path.clone()
        };
        Some(Box::new(std::iter::once(LabeledSpan::new(
            Some(label),
            span.start,
            span.len(),
        ))))
    }
}

/// A finding for people, with the lines it is about; coloured on a terminal.
pub(crate) fn drawn(finding: &Finding, text: &str) -> String {
    let wants_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if wants_colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    drawn_with(finding, text, theme)
}

fn drawn_with(finding: &Finding, text: &str, theme: GraphicalTheme) -> String {
    // A line that seems to hold a secret is named and not shown: terminals and build logs are read by others.
    let shows = finding.span.is_some() && finding.code != codes::LITERAL_SECRET;
    let message = match (&finding.document, shows) {
        (Some(document), true) => format!("{document}: {}", finding.message),
        (document, false) => {
            let line = finding.span.as_ref().map(|span| line_of(text, span.start));
            let mut place = finding.source.to_string();
            place.extend(line.map(|line| format!(":{line}")));
            place.extend(document.iter().map(|document| format!(": {document}")));
            if !finding.path.is_empty() {
                place.push_str(&format!(": `{}`", finding.path));
            }
            format!("{place}: {}", finding.message)
        }
        (None, true) => finding.message.clone(),
    };
    let source = shows.then(|| NamedSource::new(&*finding.source, visible(text)));
    let drawn = Drawn {
        finding,
        source,
        message: out::harmless(&message),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(100);
    let mut report = String::new();
    match handler.render_report(&mut report, &drawn) {
        Ok(()) => report.trim_end().to_owned(),
        Err(_) => finding.to_string(),
    }
}

/// A finding on one line with its place, for files whose lines nobody should see.
pub(crate) fn named(finding: &Finding, text: &str) -> String {
    let line = finding
        .span
        .as_ref()
        .map(|span| format!(":{}", line_of(text, span.start)));
    out::one_line(
        &format!("{}{}: {finding}", finding.source, line.unwrap_or_default()),
        NAMED_CHARS_MAX,
    )
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The same number of bytes without what a terminal would obey.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' || out::harmless(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8() {
            out.push(c);
        } else {
            out.extend(std::iter::repeat_n('?', c.len_utf8()));
        }
    }
    out
}

/// A finding for programs, with its place in `text`.
pub(crate) fn shown(finding: &Finding, text: &str) -> shape::Finding {
    let start = finding.span.as_ref().map(|span| span.start);
    let before = start.and_then(|at| text.get(..at));
    shape::Finding {
        severity: finding.severity.to_string(),
        code: finding.code.to_owned(),
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        source: finding.source.to_string(),
        document: finding.document.clone(),
        path: finding.path.clone(),
        line: start.map(|at| line_of(text, at)),
        column: before.map(|text| text.chars().rev().take_while(|c| *c != '\n').count() + 1),
        start,
        end: finding.span.as_ref().map(|span| span.end),
    }
}

/// A finding that came back with its place in `text`, drawn like one of our own.
pub(crate) fn drawn_shape(finding: &shape::Finding, text: &str) -> String {
    let span = finding
        .start
        .zip(finding.end)
        .filter(|(start, end)| text.get(*start..*end).is_some());
    let Some((code, (start, end))) = code(&finding.code).zip(span) else {
        return told(finding);
    };
    let own = Finding {
        code,
        severity: if finding.severity == "error" {
            Severity::Error
        } else {
            Severity::Warning
        },
        message: finding.message.clone(),
        remedy: finding.remedy.clone(),
        source: finding.source.as_str().into(),
        document: finding.document.clone(),
        path: finding.path.clone(),
        span: Some(start..end),
    };
    drawn(&own, text)
}

/// A finding with its place in `text`.
pub(crate) fn place_in(finding: shape::Finding, (start, end): (usize, usize), text: &str) -> shape::Finding {
    let before = text.get(..start);
    shape::Finding {
        line: Some(line_of(text, start)),
        column: before.map(|text| text.chars().rev().take_while(|c| *c != '\n').count() + 1),
        start: Some(start),
        end: Some(end),
        ..finding
    }
}

/// The code of that name.
fn code(name: &str) -> Option<&'static str> {
    codes::ALL.iter().map(|(code, _)| *code).find(|code| *code == name)
}

/// A finding on two lines, for where the file is not at hand: the place, what is wrong and what to do.
pub(crate) fn told(finding: &shape::Finding) -> String {
    let mut text = format!("{} {} {}", finding.severity, finding.code, place(finding));
    text.push_str(&format!(": {}", finding.message));
    if !finding.remedy.is_empty() {
        text.push_str(&format!("\n  help: {}", finding.remedy));
    }
    out::harmless(&text)
}

/// `file:line:column: Kind/name: `path``, as far as it is known.
pub(crate) fn place(finding: &shape::Finding) -> String {
    let mut text = finding.source.clone();
    if let (Some(line), Some(column)) = (finding.line, finding.column) {
        text.push_str(&format!(":{line}:{column}"));
    }
    text.extend(finding.document.iter().map(|document| format!(": {document}")));
    if !finding.path.is_empty() {
        text.push_str(&format!(": `{}`", finding.path));
    }
    text
}

#[cfg(test)]
mod tests;
