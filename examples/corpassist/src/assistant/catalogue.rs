//! The tools of an endpoint, as far as the assistant has to understand them.

use serde_json::Value;

/// Where Meshgate says which server a tool is from.
pub(super) const SERVER: &str = "dev.meshgate/server";

/// A tool of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name at this endpoint.
    pub name: String,
    /// The server it is from, where the endpoint says so.
    pub server: Option<String>,
    /// Its title and its description.
    pub description: String,
    /// What it takes.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it takes text.
    pub text: bool,
    /// The values it is limited to, where it is.
    pub values: Vec<String>,
}

impl Tool {
    /// Reads an entry of `tools/list`.
    pub fn read(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let schema = entry.get("inputSchema").unwrap_or(&Value::Null);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let parameters = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, rule)| Parameter {
                name: name.clone(),
                description: string(rule, "description"),
                required: required.contains(&name.as_str()),
                text: rule.get("type").and_then(Value::as_str) == Some("string"),
                values: values(rule),
            })
            .collect();
        Some(Self {
            name: entry.get("name")?.as_str()?.to_owned(),
            server: entry
                .pointer("/_meta")
                .and_then(|meta| meta.get(SERVER))
                .and_then(Value::as_str)
                .map(str::to_owned),
            description: format!("{} {}", text("title"), text("description")).trim().to_owned(),
            parameters,
        })
    }

    /// The name without the server's part, which says nothing about what the tool does.
    pub fn own_name(&self) -> &str {
        self.server
            .as_deref()
            .and_then(|server| self.name.strip_prefix(server))
            .map_or(self.name.as_str(), |rest| rest.trim_start_matches('_'))
    }

    /// What it cannot do without.
    pub fn required(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.required)
    }
}

fn string(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The texts that a rule's `enum` allows, also where the rule says "one of these or nothing".
fn values(rule: &Value) -> Vec<String> {
    let listed = rule.get("enum").and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(Value::as_str).map(str::to_owned);
    let ways = rule.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    listed.chain(ways.flat_map(values)).collect()
}
