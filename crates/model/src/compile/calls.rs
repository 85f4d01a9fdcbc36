//! What a `Server` says about its calls: deadlines that make sense, and how many there may be at once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::mesh::out_of_range;
use super::report::Report;
use crate::amount::Period;
use crate::finding::codes;
use crate::kinds::{ConcurrencySpec, ServerSpec};
use crate::limits;
use crate::parse::Document;
use crate::parse::tree::{Step, steps};
use crate::snapshot::{Concurrency, Deadlines};

/// The shortest deadline: less than that is a mistake in the unit.
const DEADLINE_MIN: Duration = Duration::from_millis(100);
/// The shortest time in a queue.
const QUEUE_TIME_MIN: Duration = Duration::from_millis(10);

/// The deadlines of the server itself.
pub(super) fn deadlines(document: &Document, spec: &ServerSpec, report: &mut Report) -> Deadlines {
    let written = (spec.deadline, spec.hard_deadline);
    let standard = Deadlines {
        silence: limits::DEADLINE,
        hard: limits::HARD_DEADLINE,
    };
    pair(document, &[Step::Key("spec")], written, standard, report)
}

/// The deadlines of single tools; what one does not say is the server's.
pub(super) fn tools(
    document: &Document,
    spec: &ServerSpec,
    server: Deadlines,
    report: &mut Report,
) -> BTreeMap<Arc<str>, Deadlines> {
    let each = spec.tools.iter().map(|(name, tool)| {
        let at = steps!["spec", "tools", name];
        let written = (tool.deadline, tool.hard_deadline);
        (Arc::from(name.as_str()), pair(document, at, written, server, report))
    });
    each.collect()
}

fn pair(
    document: &Document,
    at: &[Step<'_>],
    (deadline, hard): (Option<Period>, Option<Period>),
    standard: Deadlines,
    report: &mut Report,
) -> Deadlines {
    let range = DEADLINE_MIN..=limits::DEADLINE_MAX;
    let silence = period(document, at, ("deadline", deadline), range.clone(), report).unwrap_or(standard.silence);
    let hard = period(document, at, ("hardDeadline", hard), range, report);
    if let Some(hard) = hard.filter(|hard| *hard < silence) {
        let message = format!(
            "`deadline` ({}) is longer than `hardDeadline` ({})",
            Period(silence),
            Period(hard)
        );
        report.error(
            (document, &below(at, "hardDeadline")),
            codes::DEADLINES,
            message,
            "make `hardDeadline` at least as long",
        );
    }
    Deadlines {
        silence,
        hard: hard.unwrap_or(standard.hard.max(silence)),
    }
}

/// How many calls there may be at once.
pub(super) fn concurrency(document: &Document, spec: &ConcurrencySpec, report: &mut Report) -> Concurrency {
    let standard = Concurrency::default();
    let mut count = |field, value, range| number(document, (field, value), range, report);
    let max = count("max", spec.max, 1..=limits::SERVER_CALLS_MAX).unwrap_or(standard.max);
    let queue = count("queue", spec.queue, 0..=limits::SERVER_QUEUE_MAX).unwrap_or(standard.queue);
    let at = steps!["spec", "concurrency"];
    let range = QUEUE_TIME_MIN..=limits::SERVER_QUEUE_TIME_MAX;
    let queue_time = period(document, at, ("queueTime", spec.queue_time), range, report);
    Concurrency {
        max,
        queue,
        queue_time: queue_time.unwrap_or(standard.queue_time),
    }
}

fn number(
    document: &Document,
    (field, value): (&str, Option<u32>),
    range: RangeInclusive<u32>,
    report: &mut Report,
) -> Option<usize> {
    let value = value?;
    if !range.contains(&value) {
        let bounds = (&*range.start().to_string(), &*range.end().to_string());
        let at = steps!["spec", "concurrency", field];
        out_of_range(report, (document, at), field, &value.to_string(), bounds);
    }
    usize::try_from(value).ok()
}

/// A length of time within its range; what is outside is reported.
pub(super) fn period(
    document: &Document,
    at: &[Step<'_>],
    (field, written): (&str, Option<Period>),
    range: RangeInclusive<Duration>,
    report: &mut Report,
) -> Option<Duration> {
    let written = written?;
    if !range.contains(&written.0) {
        let (least, most) = (Period(*range.start()).to_string(), Period(*range.end()).to_string());
        let at = below(at, field);
        out_of_range(report, (document, &at), field, &written.to_string(), (&least, &most));
    }
    Some(written.0)
}

fn below<'a>(at: &[Step<'a>], field: &'a str) -> Vec<Step<'a>> {
    at.iter().copied().chain([Step::Key(field)]).collect()
}
