//! One text out of the metrics of several parts of a mesh that share a process.
//!
//! Parts count apart, because what passes two hops would count twice in figures that they share. A scraper has one address
//! all the same, and a text may describe each metric only once. So the samples of all parts stand under one description, and
//! those of a part that is not the first say whose they are.

use std::collections::HashMap;
use std::fmt::Write as _;

/// The last line of a text (OpenMetrics 1.0).
const END: &str = "# EOF";

/// One metric: what is said about it, and its samples.
#[derive(Default)]
struct Described {
    about: String,
    samples: String,
}

/// Puts texts of [`Metrics::encode`](super::Metrics::encode) together. Each but the first brings the label that its samples get:
/// a name, and a value in which nothing has to be escaped.
pub fn merged(first: &str, others: &[((&str, &str), &str)]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut all: HashMap<&str, Described> = HashMap::new();
    let texts = std::iter::once((None, first)).chain(others.iter().map(|(label, text)| (Some(*label), *text)));
    for (label, text) in texts {
        let mut metric = "";
        let mut is_told = false;
        for line in text.lines().filter(|line| *line != END) {
            if let Some(named) = described(line) {
                if named != metric {
                    metric = named;
                    is_told = all.contains_key(metric);
                    if !is_told {
                        order.push(metric);
                    }
                }
                let known = all.entry(metric).or_default();
                if !is_told {
                    let _ = writeln!(known.about, "{line}");
                }
                continue;
            }
            let samples = &mut all.entry(metric).or_default().samples;
            let _ = match label {
                Some(label) => writeln!(samples, "{}", labelled(line, label)),
                None => writeln!(samples, "{line}"),
            };
        }
    }
    let mut text = String::new();
    for metric in order {
        if let Some(Described { about, samples }) = all.remove(metric) {
            text.push_str(&about);
            text.push_str(&samples);
        }
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// The metric that a line describes; none for a sample.
fn described(line: &str) -> Option<&str> {
    let said = ["# HELP ", "# TYPE ", "# UNIT "];
    let rest = said.iter().find_map(|prefix| line.strip_prefix(prefix))?;
    Some(rest.split_once(' ').map_or(rest, |(name, _)| name))
}

/// A sample with one more label.
fn labelled(line: &str, (name, value): (&str, &str)) -> String {
    let ends = line.find(['{', ' ']).unwrap_or(line.len());
    let (metric, rest) = line.split_at(ends);
    match rest.strip_prefix('{') {
        Some(rest) if rest.starts_with('}') => format!("{metric}{{{name}=\"{value}\"{rest}"),
        Some(rest) => format!("{metric}{{{name}=\"{value}\",{rest}"),
        None => format!("{metric}{{{name}=\"{value}\"}}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "# HELP calls Calls by how they ended.\n# TYPE calls counter\ncalls_total{server=\"a b\"} 3\n\
        # HELP sessions Sessions.\n# TYPE sessions gauge\nsessions 2\n# EOF\n";

    #[test]
    fn samples_of_all_stand_under_one_description_and_say_whose_they_are() {
        let other = "# HELP sessions Sessions.\n# TYPE sessions gauge\nsessions 0\n# HELP calls Calls by how they ended.\n\
            # TYPE calls counter\ncalls_total{server=\"a b\"} 1\ncalls_total{} 7\n# HELP more More.\n# TYPE more gauge\nmore 1\n# EOF\n";
        assert_eq!(
            merged(FIRST, &[(("sidecar", "a/v1"), other)]),
            "# HELP calls Calls by how they ended.\n# TYPE calls counter\ncalls_total{server=\"a b\"} 3\n\
             calls_total{sidecar=\"a/v1\",server=\"a b\"} 1\ncalls_total{sidecar=\"a/v1\"} 7\n\
             # HELP sessions Sessions.\n# TYPE sessions gauge\nsessions 2\nsessions{sidecar=\"a/v1\"} 0\n\
             # HELP more More.\n# TYPE more gauge\nmore{sidecar=\"a/v1\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn what_is_alone_stays_as_it_is() {
        assert_eq!(merged(FIRST, &[]), FIRST);
        let whole = super::super::Metrics::new().encode();
        assert_eq!(merged(&whole, &[]), whole);
    }
}
