//! What the gateway found out about the servers behind it.
//!
//! The table of clients says nothing of the other side, and a run in which a server had quietly become one of another era
//! would prove half of what it seems to.

use serde_json::Value;

use super::sets::Revisions;
use crate::{Failure, gateway::Gateway, place::Place, steps};

const COLUMNS: [&str; 6] = ["name", "reach", "state", "era", "revision", "tools"];

/// Prints the servers, and fails when one is away or is met with another revision than it must be.
pub(super) fn show(place: &Place, gateway: &Gateway, revisions: Revisions) -> Result<(), Failure> {
    let status: Value = serde_json::from_str(&gateway.status(place)?).map_err(|e| format!("`status`: {e}"))?;
    let servers = status.get("servers").and_then(Value::as_array).into_iter().flatten();
    let mut table = steps::table(&["server", "reach", "state", "era", "revision", "tools"]);
    let (mut away, mut met) = (Vec::new(), Vec::new());
    for server in servers {
        let text = |name: &str| match server.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "–".to_owned(),
        };
        table.add_row(COLUMNS.map(text));
        if text("state") != "up" {
            away.push(format!("{}: {}", text("name"), text("why")));
        }
        met.push((text("name"), text("revision")));
    }
    println!("{table}");
    if !away.is_empty() {
        return Err(format!("not up: {}", away.join(", ")));
    }
    let expected = revisions
        .iter()
        .map(|(name, revision)| ((*name).to_owned(), (*revision).to_owned()));
    if met == expected.collect::<Vec<_>>() {
        Ok(())
    } else {
        Err(format!("the servers are to be met as {revisions:?}"))
    }
}
