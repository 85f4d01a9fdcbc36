//! `tidy`: the rules of the house that no compiler checks.
//!
//! What is only written down decays; so the layers, the order of modules, the size of files, the words and the pages that
//! name files and tests are checked here, in every test run. Each rule is one file that returns findings, and a finding
//! names the place, the rule and the remedy.

mod architecture;
pub(crate) mod checks;
mod layers;
mod modules;
mod size;
mod source;
mod words;

use crate::{Failure, place::Place, steps};

/// One place that breaks a rule: where, which, and what to do.
type Finding = String;

type Rule = fn(&Place) -> Result<Vec<Finding>, Failure>;

const RULES: &[(&str, Rule)] = &[
    ("layers of crates", layers::check),
    ("module order", modules::check),
    ("file and function length", size::check),
    ("words and constructs", words::check),
    ("files named in ARCHITECTURE.md", architecture::check),
    ("checks shown by tests", checks::check),
];

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut table = steps::table(&["rule", "findings"]);
    let mut count = 0;
    for (name, rule) in RULES {
        let findings = rule(place)?;
        for finding in &findings {
            println!("{finding}");
        }
        count += findings.len();
        table.add_row([(*name).to_owned(), findings.len().to_string()]);
    }
    println!("{table}");
    if count == 0 {
        Ok(())
    } else {
        Err(format!("{count} findings; each names its remedy"))
    }
}

#[cfg(test)]
mod tests;
