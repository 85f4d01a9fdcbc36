//! The page of the neighbours: what was found, beside what chance alone finds.

use super::NULL;
use crate::{machine::Machine, measure::Plan, pairs::Comparison};

/// The p99 of calls to the others may be so much more.
const GOAL: f64 = 1.05;

/// Everything the page says.
pub(crate) struct Page<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) plan: &'a Plan,
    pub(crate) rounds: u32,
    pub(crate) target: &'a str,
    pub(crate) found: &'a [(&'static str, Comparison)],
}

impl Page<'_> {
    /// As Markdown.
    pub(crate) fn text(&self) -> String {
        let Self {
            machine, plan, rounds, ..
        } = self;
        let lines = [
            format!("# A bad neighbour, {}", machine.date),
            String::new(),
            machine.line(),
            String::new(),
            format!(
                "One of ten servers of `{}` misbehaves and is called all the time; measured is the p99 of calls to another one, {} a second. {rounds} rounds with gateways started anew, {} rotations each; a turn takes {} s. The first figure is the p99 of all calls over that beside a good server, the second the median of the ratios of each two turns of one rotation; in parentheses where 95 % of 1,000 draws of the turns lie. `{NULL}` is compared in the same way and differs in nothing: what it shows is noise.",
                self.target, plan.rate, plan.turns, plan.seconds
            ),
            String::new(),
            self.table(),
        ];
        lines.join("\n")
    }

    /// The figures and an honest mark.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "| beside a server that is | p99 without, µs | with, µs | p99 over p99 | median of pairs | ≤ {GOAL} |"
            ),
            "|---|---|---|---|---|---|".to_owned(),
        ];
        for (kind, found) in self.found {
            let Comparison { pooled, paired, .. } = found;
            lines.push(format!(
                "| {kind} | {:.0} | {:.0} | **{:.3}** ({:.3} to {:.3}) | **{:.3}** ({:.3} to {:.3}) | {} |",
                found.without_us,
                found.with_us,
                pooled.value,
                pooled.least,
                pooled.most,
                paired.value,
                paired.least,
                paired.most,
                mark(found)
            ));
        }
        lines.push(String::new());
        let calls = self.found.iter().map(|(_, found)| found.calls).min();
        let pairs = self.found.iter().map(|(_, found)| found.pairs).min();
        lines.push(format!(
            "{} pairs of turns and {} calls of each side. ✓ both figures are within the goal, and of the pairs the whole interval; ? both figures are and the interval is not: noise does not allow to tell; ✗ a figure is above it.",
            pairs.unwrap_or_default(),
            calls.unwrap_or_default()
        ));
        lines.push(String::new());
        lines.join("\n")
    }
}

fn mark(found: &Comparison) -> &'static str {
    // A single stall of the machine widens the interval of all calls, and says nothing about a neighbour.
    match (found.pooled.value.max(found.paired.value), found.paired.most) {
        (value, _) if value > GOAL => "✗",
        (_, most) if most > GOAL => "?",
        _ => "✓",
    }
}

#[cfg(test)]
mod tests {
    use super::mark;
    use crate::pairs::{Comparison, Ratio};

    #[test]
    fn a_goal_is_reached_only_where_noise_is_smaller_than_what_is_left_of_it() {
        let ratio = |value, most| Ratio {
            value,
            least: 0.9,
            most,
        };
        let found = |pooled, paired| Comparison {
            pairs: 2,
            calls: 2,
            without_us: 1.0,
            with_us: 1.0,
            pooled,
            paired,
        };
        assert_eq!(mark(&found(ratio(1.0, 1.05), ratio(1.0, 1.05))), "✓");
        assert_eq!(mark(&found(ratio(1.0, 1.0), ratio(1.0, 1.051))), "?");
        assert_eq!(mark(&found(ratio(1.0, 1.05), ratio(1.051, 1.06))), "✗");
        assert_eq!(mark(&found(ratio(1.051, 1.06), ratio(1.0, 1.05))), "✗");
    }
}
