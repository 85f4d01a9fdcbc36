//! What the gateway found out about the servers behind it.
//!
//! The table of clients says nothing of the other side, and a run in which every server happened to be of one era would
//! prove half of what it seems to.

use serde_json::Value;

use crate::{Failure, gateway::Gateway, place::Place, steps};

/// Prints the servers, and fails when one is away or all are of one era.
pub(super) fn show(place: &Place, gateway: &Gateway) -> Result<(), Failure> {
    let status: Value = serde_json::from_str(&gateway.status(place)?).map_err(|e| format!("`status`: {e}"))?;
    let servers = status.get("servers").and_then(Value::as_array).into_iter().flatten();
    let mut table = steps::table(&["server", "reach", "state", "era", "revision", "tools"]);
    let (mut away, mut eras) = (Vec::new(), Vec::new());
    for server in servers {
        let text = |name: &str| match server.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "–".to_owned(),
        };
        table.add_row(["name", "reach", "state", "era", "revision", "tools"].map(text));
        if text("state") != "up" {
            away.push(format!("{}: {}", text("name"), text("why")));
        }
        eras.push(text("era"));
    }
    println!("{table}");
    if !away.is_empty() {
        return Err(format!("not up: {}", away.join(", ")));
    }
    match ["legacy", "modern"]
        .iter()
        .find(|era| !eras.iter().any(|found| found == *era))
    {
        None => Ok(()),
        Some(era) => Err(format!("no {era} server is among them")),
    }
}
