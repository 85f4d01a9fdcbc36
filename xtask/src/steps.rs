//! A run of named steps: each timed, none hiding the next, summed up in a table.

use std::time::{Duration, Instant};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

use crate::Failure;

/// What has run so far.
#[derive(Default)]
pub(crate) struct Steps {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    outcome: Outcome,
    took: Duration,
}

enum Outcome {
    Passed,
    /// Why, in one line.
    Failed(String),
    Skipped(String),
}

impl Steps {
    /// Runs one step now; its failure is shown at once and kept for the table.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<(), Failure>) -> bool {
        eprintln!("\n── {name}");
        let start = Instant::now();
        let result = step();
        let took = start.elapsed();
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(failure) => {
                eprintln!("{name} failed: {failure}");
                Outcome::Failed(failure.lines().next().unwrap_or_default().to_owned())
            }
        };
        let passed = matches!(outcome, Outcome::Passed);
        self.rows.push(Row {
            name: name.to_owned(),
            outcome,
            took,
        });
        passed
    }

    /// Notes a step that could not run, which counts as failed: what was not checked is not right.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        eprintln!("\n── {name}\nskipped: {why}");
        let outcome = Outcome::Skipped(why.to_owned());
        self.rows.push(Row {
            name: name.to_owned(),
            outcome,
            took: Duration::ZERO,
        });
    }

    /// Prints the table and the closing line.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut table = table(&["step", "outcome", "time"]);
        let mut failed = Vec::new();
        for row in &self.rows {
            let outcome = match &row.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed(_) => "FAILED".to_owned(),
                Outcome::Skipped(why) => format!("not run: {why}"),
            };
            match &row.outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => failed.push(format!("{} ({why})", row.name)),
                Outcome::Skipped(_) => failed.push(row.name.clone()),
            }
            table.add_row([row.name.clone(), outcome, format!("{:.1} s", row.took.as_secs_f64())]);
        }
        println!(
            "\n{table}\n{} passed, {} failed",
            self.rows.len() - failed.len(),
            failed.len()
        );
        if failed.is_empty() {
            Ok(())
        } else {
            Err(format!("not right yet: {}", failed.join(", ")))
        }
    }
}

/// A table in the style of all verbs.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.to_vec());
    table
}
