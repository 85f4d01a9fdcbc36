//! What the YAML reader found, in the words and with the codes of a finding.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::localizer::Localizer;
use serde_saphyr::{Error, Location, UserMessageFormatter};

use super::tree::{Piece, TreeError};
use crate::finding::{Finding, codes};

/// The reader's words without the position it would append: a finding carries its span.
struct Plain;

impl Localizer for Plain {
    fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        base
    }
}

/// A source that is not YAML (or JSON) at all.
pub(super) fn of_tree(source: &Arc<str>, text: &str, error: TreeError) -> Finding {
    match error {
        TreeError::Syntax(error) => {
            let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
            let words = error.to_string();
            let words = words.split(" at char ").next().unwrap_or(&words);
            Finding::error(codes::SYNTAX, source, format!("this is not YAML: {words}")).at(at..at)
        }
        TreeError::TooDeep(span) => {
            let message = format!(
                "values are nested more than {} levels deep",
                crate::limits::SOURCE_DEPTH
            );
            Finding::error(codes::TOO_LARGE, source, message).at(span)
        }
        TreeError::TooMany(span) => {
            let message = format!("the file holds more than {} documents", crate::limits::DOCUMENTS);
            Finding::error(codes::TOO_LARGE, source, message)
                .remedy("split it into several files")
                .at(span)
        }
    }
}

/// A document whose values do not have the form of their fields.
pub(super) fn of_values(source: &Arc<str>, document: Option<String>, piece: &Piece, error: &Error) -> Finding {
    let mut error = error.without_snippet();
    let span = span_of(piece, error);
    while let Error::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    let path = span
        .as_ref()
        .map(|span| piece.root.path_at(span.start))
        .unwrap_or_default();
    let mut finding = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let message = format!(
                "{} has no field `{field}`",
                holder(path.strip_suffix(field.as_str()).unwrap_or(&path))
            );
            Finding::error(codes::UNKNOWN_FIELD, source, message).remedy(expectation("its fields are", field, expected))
        }
        Error::SerdeMissingField { field, .. } => return missing(source, document, piece, field, span),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let message = format!("`{variant}` is not a value of this field");
            Finding::error(codes::UNKNOWN_VALUE, source, message).remedy(expectation(
                "its values are",
                variant,
                expected,
            ))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let name = key
                .as_deref()
                .map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"));
            Finding::error(codes::DUPLICATE_FIELD, source, format!("{name} is written twice"))
                .remedy("keep one of the two")
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasExpansionLimitExceeded { .. } => {
            Finding::error(codes::TOO_LARGE, source, plain(error))
                .remedy("write the values out instead of repeating them by alias")
        }
        _ => form(source, error),
    };
    finding.document = document;
    finding.path = path;
    finding.span = span;
    finding
}

fn holder(path: &str) -> String {
    let path = path.trim_end_matches('.');
    if path.is_empty() {
        "the document".to_owned()
    } else {
        format!("`{path}`")
    }
}

/// A missing field is shown at what lacks it, not at what happens to stand there.
fn missing(
    source: &Arc<str>,
    document: Option<String>,
    piece: &Piece,
    field: &str,
    span: Option<Range<usize>>,
) -> Finding {
    let (path, span) = piece.root.holder_at(span.map_or(piece.text.start, |span| span.start));
    let message = format!("{} lacks the field `{field}`", holder(&path));
    let mut finding = Finding::error(codes::MISSING_FIELD, source, message)
        .remedy(format!("add `{field}:`"))
        .at(span);
    finding.document = document;
    finding.path = path;
    finding
}

/// A value of the wrong form. The value itself is not repeated: it may be a secret in the wrong place.
fn form(source: &Arc<str>, error: &Error) -> Finding {
    let message = match error {
        Error::SerdeInvalidType {
            unexpected, expected, ..
        } => {
            let found = unexpected.split(" `").next().unwrap_or(unexpected);
            let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) {
                "an"
            } else {
                "a"
            };
            format!("this is {article} {found}, expected {expected}")
        }
        other => plain(other),
    };
    let (what, remedy) = message.split_once("; ").unwrap_or((&message, ""));
    let what = match what {
        "expected string scalar" => "expected a text",
        "expected mapping start" => "expected a mapping (`key: value`)",
        "expected sequence start" => "expected a list (`[…]`, or lines that begin with `- `)",
        other => other,
    };
    Finding::error(codes::FORM, source, what).remedy(remedy)
}

fn plain(error: &Error) -> String {
    error.render_with_formatter(&UserMessageFormatter.with_localizer(&Plain))
}

/// The error's place in the whole source: the reader saw one document of it.
fn span_of(piece: &Piece, error: &Error) -> Option<Range<usize>> {
    let span = error.location()?.span();
    let start = piece.text.start + usize::try_from(span.byte_offset()?).ok()?;
    let end = start + usize::try_from(span.byte_len().unwrap_or(0)).ok()?;
    let end = end.min(piece.text.end);
    (start <= end).then_some(start..end)
}

/// `did you mean …` when one of the expected names is near, otherwise all of them.
pub(super) fn expectation(intro: &str, found: &str, expected: &[&str]) -> String {
    if let Some(near) = expected.iter().find(|name| near(name, found)) {
        return format!("did you mean `{near}`?");
    }
    let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("{intro} {}", names.join(", "))
    }
}

/// Whether two names differ by case, separators, a plural or at most two slips of the keyboard.
fn near(a: &str, b: &str) -> bool {
    let fold = |name: &str| -> Vec<char> {
        name.chars()
            .take(64)
            .filter(|c| c.is_alphanumeric())
            .map(|c| c.to_ascii_lowercase())
            .collect()
    };
    let (a, b) = (fold(a), fold(b));
    let allowed = if a.len().min(b.len()) > 4 { 2 } else { 1 };
    distance(&a, &b) <= allowed
}

/// Levenshtein distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            previous = replaced.min(*cell + 1).min(previous + 1);
            *cell = previous;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
