//! The Inspector's command line, which does one operation at a time.

use serde_json::Value;

use super::{Outcomes, Stage, operations::Operation};
use crate::{Failure, command::program};

/// The name in the table and in the reasons.
const NAME: &str = "inspector";

/// What the command line ends with when a tool answers `isError`: the answer is on its standard output all the same.
const TOOL_IS_ERROR: i32 = 5;

pub(super) fn run(stage: &Stage<'_>) -> Result<Outcomes, Failure> {
    let able = stage
        .operations
        .iter()
        .filter(|operation| operation.reason_against(NAME).is_none());
    // Each is a program start of its own, so they run side by side.
    let mut outcomes: Outcomes = std::thread::scope(|scope| {
        let running: Vec<_> = able
            .map(|operation| (operation.operation.clone(), scope.spawn(|| inspect(stage, operation))))
            .collect();
        running
            .into_iter()
            .map(|(name, thread)| {
                let outcome = thread
                    .join()
                    .unwrap_or_else(|_| Err("its thread ended badly".to_owned()));
                (name, outcome)
            })
            .collect()
    });
    outcomes.insert("connect".to_owned(), revision(stage));
    Ok(outcomes)
}

/// The revision it ends up with.
fn revision(stage: &Stage<'_>) -> Result<String, String> {
    let answer: Value = serde_json::from_str(&ask(stage, &["initialize"])?).map_err(|e| e.to_string())?;
    let version = answer.get("protocolVersion").and_then(Value::as_str);
    Ok(version.ok_or("`initialize` shows no revision")?.to_owned())
}

fn inspect(stage: &Stage<'_>, operation: &Operation) -> Result<String, String> {
    let text = |name: &str| {
        operation
            .text(name)
            .ok_or_else(|| format!("the operation has no `{name}`"))
    };
    match operation.verb.as_str() {
        "list" => match text("of")? {
            "templates" => ask(stage, &["resources/templates/list"]),
            of => ask(stage, &[&format!("{of}/list")]),
        },
        "call" => with_pairs(
            stage,
            &["tools/call", "--tool-name", text("tool")?],
            "--tool-arg",
            operation,
        ),
        "get" => with_pairs(
            stage,
            &["prompts/get", "--prompt-name", text("prompt")?],
            "--prompt-args",
            operation,
        ),
        "read" => ask(stage, &["resources/read", "--uri", &uri(stage, operation)?]),
        verb => Err(format!(
            "the Inspector's command line has no `{verb}`; give the reason in `not`"
        )),
    }
}

fn ask(stage: &Stage<'_>, words: &[&str]) -> Result<String, String> {
    let mut command = program(stage.place, "mcp-inspector");
    command.args(["--cli", &stage.url, "--transport", "http", "--header"]);
    command.arg(format!("Authorization: Bearer {}", stage.token));
    let ended = command.arg("--method").args(words).output();
    let ended = ended.map_err(|e| format!("cannot start `mcp-inspector`: {e}; run `cargo xtask setup`"))?;
    if ended.status.success() || (ended.status.code() == Some(TOOL_IS_ERROR) && !ended.stdout.is_empty()) {
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

fn with_pairs(stage: &Stage<'_>, words: &[&str], option: &str, operation: &Operation) -> Result<String, String> {
    let pairs = operation.pairs("arguments");
    let mut words = words.to_vec();
    if !pairs.is_empty() {
        words.push(option);
    }
    words.extend(pairs.iter().map(String::as_str));
    ask(stage, &words)
}

/// The address of a listed resource, or what a listed template spells.
fn uri(stage: &Stage<'_>, operation: &Operation) -> Result<String, String> {
    if let Some(name) = operation.text("resource") {
        return listed(stage, "resources/list", "resources", "uri", |listed| {
            listed.ends_with(name)
        });
    }
    let name = operation.text("template").unwrap_or_default();
    let template = listed(
        stage,
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
        |n| n == name,
    )?;
    let variables = operation.pairs("variables");
    Ok(variables
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .fold(template, |uri, (name, value)| {
            uri.replace(&format!("{{{name}}}"), value)
        }))
}

/// A field of the first listed item with a fitting name.
fn listed(
    stage: &Stage<'_>,
    method: &str,
    list: &str,
    field: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let answer: Value = serde_json::from_str(&ask(stage, &[method])?).map_err(|e| e.to_string())?;
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut items = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let found = items.find(|item| text(item, "name").is_some_and(|name| fits(&name)));
    found
        .and_then(|item| text(item, field))
        .ok_or_else(|| format!("`{method}` shows no fitting name"))
}
