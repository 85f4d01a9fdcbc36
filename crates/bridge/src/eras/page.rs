//! The table as the reference page `docs/reference/eras.md`.

use std::fmt::Write as _;

use super::{Carriage, ROWS, cannot};

const HEAD: &str = "# Eras

<!-- Generated from the table that the program uses. Regenerate: `cargo xtask codegen`. -->

Any client works with any server: 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25 are *legacy* (a handshake, sessions,
questions from server to client), 2026-07-28 is *modern* (every request stands alone, questions travel in answers). What
crosses, what loses something on the way and what cannot cross is listed here. [matrix](matrix.md) shows each pair tried.

## Features

For each feature the first row that fits a pair of revisions holds.

| feature | client | server | reached by | |
|---|---|---|---|---|
";

const REFUSALS: &str = "
## What cannot be carried

| what | why | told | code | words | what to do |
|---|---|---|---|---|---|
";

/// The page, as the text of its file.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for row in ROWS {
        let becomes = match row.carriage {
            Carriage::Carried => "carried".to_owned(),
            Carriage::WithLoss(what) => format!("carried, with a loss: {what}"),
            Carriage::Refused(why) => format!("**refused**: {}", why.what),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            row.feature.name(),
            row.client.words(),
            row.server.words(),
            row.link.map_or("any", super::Link::name),
            cell(&becomes)
        );
    }
    page.push_str(REFUSALS);
    for one in cannot::ALL {
        let told = match one.told {
            cannot::Told::Client => "the client",
            cannot::Told::Server => "the server",
            cannot::Told::Nobody => "nobody",
        };
        let code = one.code.map(|code| code.to_string()).unwrap_or_default();
        let _ = writeln!(
            page,
            "| {} | {} | {told} | {code} | {} | {} |",
            cell(one.what),
            cell(one.why),
            cell(one.words),
            cell(one.remedy)
        );
    }
    page
}

/// A text as it may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}
