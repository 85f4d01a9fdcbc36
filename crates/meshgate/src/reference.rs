//! The reference pages that the program itself can write: `cargo xtask codegen` keeps them in the tree, and the test
//! command compares them, so that no page says what the program does not do.

mod command_line;
mod errors;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Command, ValueEnum};

use crate::out;

/// A page of `docs/reference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Commands, options, exit codes.
    Cli,
    /// What crosses from one revision to another, and what cannot.
    Eras,
    /// Refusals, JSON-RPC codes, findings.
    Errors,
    /// Metrics and the fields of access records.
    Metrics,
    /// Kinds of a mesh file.
    Kinds,
    /// What `check` finds in a running mesh.
    MeshChecks,
}

/// Prints a page.
pub(crate) fn run(page: Page, command: Command) -> ExitCode {
    let text = match page {
        Page::Cli => command_line::markdown(command),
        Page::Eras => meshgate_bridge::eras::markdown(),
        Page::Errors => errors::markdown(),
        Page::Metrics => meshgate_telemetry::reference::markdown(),
        Page::MeshChecks => crate::health::codes::markdown(),
        Page::Kinds => meshgate_model::kinds_markdown(),
    };
    out::print(text.trim_end());
    ExitCode::SUCCESS
}

/// A text as it may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}
