//! `meshgate tools`: what callers of a view can call.

use std::path::Path;
use std::process::ExitCode;

use meshgate_proxy::admin::shape::{Tool, Tools};
use serde::Deserialize;

use crate::cli::{Output, ToolsArgs};
use crate::client::{admin, block_on};
use crate::exit::Failure;
use crate::out;
use crate::state::StatePath;
use crate::status::{json, table};

/// What is shown of a definition.
#[derive(Debug, Default, Deserialize)]
struct Definition {
    title: Option<String>,
    description: Option<String>,
}

/// Asks and prints.
pub(crate) fn run(args: &ToolsArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let state = StatePath::find(state)?;
    let tools = block_on(of_view(&state, args.view.as_deref()))?;
    match args.output {
        Output::Json => out::print(&json(&tools)?),
        Output::Text => out::print(&shown(&tools)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The tools of a view of the running gateway.
pub(crate) async fn of_view(state: &StatePath, view: Option<&str>) -> Result<Tools, Failure> {
    let Some(view) = view else {
        return admin(state, "/tools").await;
    };
    // The grammar of view names; anything else is no view, and must not become another query.
    let is_name = !view.is_empty()
        && view
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let asked = if is_name { view } else { "-" };
    admin(state, &format!("/tools?view={asked}")).await
}

fn shown(tools: &Tools) -> String {
    let mut rows = table(&["TOOL", "SERVER", "WHAT IT DOES"]);
    for tool in &tools.tools {
        rows.add_row([out::one_line(&tool.name, 128), tool.server.clone(), what(tool)]);
    }
    let mut text = rows.trim_fmt();
    if tools.tools.is_empty() {
        text = format!("view `{}` has no tools", tools.view);
    }
    if !tools.away.is_empty() {
        text.push_str(&format!(
            "\n\naway, so their tools are missing: {}",
            tools.away.join(", ")
        ));
    }
    text
}

fn what(tool: &Tool) -> String {
    let definition: Definition = serde_json::from_str(tool.definition.get()).unwrap_or_default();
    let text = definition.description.or(definition.title).unwrap_or_default();
    let first = text.trim().split("\n\n").next().unwrap_or_default();
    out::one_line(first, 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_first_paragraph_says_what_a_tool_does() {
        let definition =
            serde_json::from_str(r#"{"description":"Adds a\n line.\u001b[2J\n\nArgs: much more"}"#).unwrap();
        let tool = Tool {
            name: "append".into(),
            server: "ledger".into(),
            definition,
        };
        assert_eq!(what(&tool), "Adds a line.\\u{1b}[2J");
    }
}
