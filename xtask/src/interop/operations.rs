//! The operations that every client does, as `tests/interop/operations.json` lists them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;

use super::Stage;
use crate::Failure;

const FIELDS: &[&str] = &["operation", "do", "expect"];
/// Stands for the client's name where an operation leaves something behind.
const CLIENT: &str = "CLIENT";

/// One thing that every client does, as far as the table needs it; the rest is between the file and the clients.
#[derive(serde::Deserialize)]
pub(super) struct Operation {
    pub(super) operation: String,
    #[serde(rename = "do")]
    pub(super) verb: String,
    /// Texts that must be in what comes back, or in the error when it must fail.
    pub(super) expect: Vec<String>,
    #[serde(default)]
    pub(super) fails: bool,
    /// The clients that cannot do it, each with the reason.
    #[serde(default)]
    not: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Operation {
    /// Why this client does not do it, if it does not.
    pub(super) fn reason_against(&self, client: &str) -> Option<&str> {
        self.not.get(client).map(String::as_str)
    }

    /// A text among what only clients read.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.rest.get(name).and_then(Value::as_str)
    }

    /// An object among what only clients read, as `name=value` with texts unquoted.
    pub(super) fn pairs(&self, name: &str) -> Vec<String> {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let object = self.rest.get(name).and_then(Value::as_object).into_iter().flatten();
        object.map(|(name, value)| format!("{name}={}", plain(value))).collect()
    }
}

/// Reads the operations, and refuses exceptions for clients that do not exist or that give no reason.
pub(super) fn parse(text: &str, clients: &[&str]) -> Result<Vec<Operation>, Failure> {
    let operations: Vec<Operation> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    for operation in &operations {
        for (client, reason) in &operation.not {
            if !clients.contains(&client.as_str()) || reason.is_empty() {
                return Err(format!(
                    "`{}`: `not` must give a known client and a reason; it says `{client}`: `{reason}`",
                    operation.operation
                ));
            }
        }
    }
    Ok(operations)
}

/// Writes the file of one client: the operations it can do, with its own name where something is left behind.
pub(super) fn file_of(stage: &Stage<'_>, client: &str) -> Result<PathBuf, Failure> {
    let all: Vec<Value> = serde_json::from_str(&stage.text.replace(CLIENT, client)).map_err(|e| e.to_string())?;
    let able = all.into_iter().filter(|operation| {
        let reason = operation.get("not").and_then(|not| not.get(client));
        reason.is_none() && FIELDS.iter().all(|field| operation.get(field).is_some())
    });
    let file = stage.scratch.join(format!("operations-{client}.json"));
    let text = Value::Array(able.collect()).to_string();
    fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(file)
}

/// What an operation must bring for this client.
pub(super) fn expected(operation: &Operation, client: &str) -> Vec<String> {
    operation
        .expect
        .iter()
        .map(|text| text.replace(CLIENT, client))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_for_a_client_that_does_not_exist_is_refused() {
        let text = r#"[{"operation": "list", "do": "list", "expect": [], "not": {"pyhton": "it cannot"}}]"#;
        assert!(parse(text, &["python"]).is_err_and(|e| e.contains("pyhton")));
    }

    #[test]
    fn an_exception_needs_a_reason() {
        let text = r#"[{"operation": "list", "do": "list", "expect": [], "not": {"python": ""}}]"#;
        assert!(parse(text, &["python"]).is_err());
    }
}
