//! What came of it, as `docs/reference/matrix.md`: one table for each server revision, so that it fits a page.

use std::fmt::Write as _;

use meshgate_bridge::eras::{Carriage, Feature, Link};
use meshgate_mcp::REVISIONS;

use crate::{
    merged::FEATURES,
    run::{Cell, Try},
};

/// How a page begins, by what stands between the two peers.
fn head(is_mesh: bool) -> String {
    let (title, verb, through) = if is_mesh {
        (
            "Matrix of the mesh",
            "matrix --mesh",
            "a running gateway and the\nsidecar beside each server, with mTLS between them",
        )
    } else {
        ("Matrix", "matrix", "one running gateway")
    };
    format!(
        "# {title}

<!-- Written by `cargo xtask {verb}`, which runs every cell. Regenerate: `cargo xtask {verb} --update`. -->

Each client revision with each server revision, the server over stdio and over HTTP, through {through}. {REST}"
    )
}

const REST: &str = "Both
peers are spelled by hand (`tests/matrix`), and each cell is looked at from both ends: what the client got, and what the
server saw.

✓ carried · ~ carried, with the loss that [eras](eras.md) lists · – refused, with the code and the words that
[eras](eras.md) lists · **F** failed
";

/// The page.
pub(crate) fn markdown(cells: &[Cell], tries: &[Try], is_mesh: bool) -> String {
    let mut page = head(is_mesh);
    let count = |mark: &str| cells.iter().filter(|cell| self::mark(cell) == mark).count();
    let _ = writeln!(
        page,
        "\n{} cells: {} carried, {} carried with a loss, {} refused, {} failed.",
        cells.len(),
        count("✓"),
        count("~"),
        count("–"),
        count("**F**")
    );
    for server in &REVISIONS {
        let _ = write!(page, "\n## Servers of {}\n\n| client |", server.name);
        for client in &REVISIONS {
            let _ = write!(page, " {} | |", client.name);
        }
        page.push_str("\n|---|");
        page.push_str(&":-:|:-:|".repeat(REVISIONS.len()));
        page.push_str("\n| **server over** |");
        page.push_str(&" stdio | HTTP |".repeat(REVISIONS.len()));
        page.push('\n');
        for feature in Feature::ALL {
            let _ = write!(page, "| {} |", feature.name());
            for client in &REVISIONS {
                for link in [Link::Stdio, Link::Http] {
                    let found = cells.iter().find(|cell| {
                        cell.feature == feature
                            && cell.link == link
                            && cell.client.name == client.name
                            && cell.server.name == server.name
                    });
                    let _ = write!(page, " {} |", found.map_or("", mark));
                }
            }
            page.push('\n');
        }
    }
    all(&mut page, tries);
    page
}

/// The view of all servers.
fn all(page: &mut String, tries: &[Try]) {
    page.push_str("\n## All ten servers in one view\n\nEach client with each server behind one address, and no server saw what was for another.\n\n| client |");
    for client in &REVISIONS {
        let _ = write!(page, " {} |", client.name);
    }
    page.push_str("\n|---|");
    page.push_str(&":-:|".repeat(REVISIONS.len()));
    page.push('\n');
    for feature in FEATURES {
        let _ = write!(page, "| {} |", feature.name());
        for client in &REVISIONS {
            let found = tries
                .iter()
                .find(|one| one.feature == feature && one.client.name == client.name);
            let passed = found.is_some_and(|one| one.outcome.is_ok());
            let _ = write!(page, " {} |", if passed { "✓" } else { "**F**" });
        }
        page.push('\n');
    }
}

fn mark(cell: &Cell) -> &'static str {
    match (&cell.outcome, cell.listed) {
        (Err(_), _) | (Ok(()), None) => "**F**",
        (Ok(()), Some(Carriage::Carried)) => "✓",
        (Ok(()), Some(Carriage::WithLoss(_))) => "~",
        (Ok(()), Some(Carriage::Refused(_))) => "–",
    }
}
