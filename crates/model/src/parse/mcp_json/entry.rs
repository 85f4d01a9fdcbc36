//! What one entry says, read field by field and leniently.
//!
//! The programs that write these files differ in the names of fields more than in what they mean. What means something
//! here is read whatever program wrote it; everything else is named, with what to do about it, and lost.

use crate::finding::codes;
use crate::naming::ALIAS_CHARS_MAX;
use crate::parse::tree::{Key, Node, Shape, Step, steps};

use super::notes::Notes;

/// What an entry says, as far as it means something here.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// `stdio`, `http` and so on, and the field that says it.
    pub(super) transport: Option<(&'static str, String)>,
    pub(super) command: Option<String>,
    /// The field that holds `args`, `env` and the program: one level deeper in some files.
    pub(super) inner: Option<&'static str>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Variables handed on from the gateway's own environment.
    pub(super) handed_on: Vec<String>,
    pub(super) cwd: Option<String>,
    /// The address, and the field it is in.
    pub(super) url: Option<(&'static str, String)>,
    pub(super) headers: Vec<(String, String)>,
    /// Headers whose value is a variable of the environment.
    pub(super) headers_from: Vec<(String, String)>,
    /// The variable that holds a bearer token.
    pub(super) bearer_from: Option<String>,
    /// A bearer token.
    pub(super) bearer: Option<String>,
    pub(super) off: bool,
    pub(super) allow: Option<Vec<String>>,
    pub(super) hide: Vec<String>,
    /// A time limit of a call, its field, and whether the program counts in seconds; `None` where nobody can know.
    pub(super) timeout: Option<(&'static str, String, Option<bool>)>,
}

/// Fields that only look or say something, and are dropped in silence.
const DECORATION: [&str; 12] = [
    "name",
    "description",
    "title",
    "icon",
    "note",
    "notes",
    "comment",
    "source",
    "gallery",
    "version",
    "$schema",
    "id",
];
const ASKS: &str =
    "no call is confirmed by anybody here; what a caller may use is what its view shows (`View`, `tools.allow`)";
const SIGNS_IN: &str = "this program signs in nowhere by itself; give a token as the header `Authorization`";
const WAITS: &str = "servers start in the background here, and nobody waits for them";
const FILE: &str =
    "name its variables under `env`, each `{fromEnvironment: NAME}`, and give the file to whatever starts the gateway";

/// Fields that mean something to the program they were written for, and what to do about them here.
const FOREIGN: [(&str, &str); 30] = [
    ("autoApprove", ASKS),
    ("alwaysAllow", ASKS),
    ("autoAllow", ASKS),
    ("trust", ASKS),
    ("required", WAITS),
    ("default_tools_approval_mode", ASKS),
    ("tool_approval_mode", ASKS),
    ("approval_mode", ASKS),
    ("envFile", FILE),
    ("env_file", FILE),
    ("oauth", SIGNS_IN),
    ("auth", SIGNS_IN),
    ("authProviderType", SIGNS_IN),
    ("targetAudience", SIGNS_IN),
    ("targetServiceAccount", SIGNS_IN),
    ("headersHelper", SIGNS_IN),
    ("scopes", SIGNS_IN),
    (
        "bearer_token",
        "write `bearer_token_env_var` with the name of a variable",
    ),
    ("startup_timeout_sec", WAITS),
    ("startup_timeout_ms", WAITS),
    ("connectionTimeout", WAITS),
    ("alwaysLoad", WAITS),
    (
        "settings",
        "it is read by the extension of an editor that starts the server; write `command` and `args`",
    ),
    (
        "sandboxEnabled",
        "run the server in a sandbox of your own; this program starts it as it is",
    ),
    (
        "sandbox",
        "run the server in a sandbox of your own; this program starts it as it is",
    ),
    ("watchPaths", "the server is not started again when files change"),
    ("dev", "the server is not started again when files change"),
    (
        "supports_parallel_tool_calls",
        "calls of one server run side by side here",
    ),
    ("uses", "copy what it refers to into this file"),
    ("faviconUrl", ""),
];

/// The name and alias an entry's name gives: lower case, everything but letters and digits a `-`. Empty for none.
pub(crate) fn alias_of(entry: &str) -> String {
    let mut name = String::new();
    for c in entry.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.trim_matches('-').chars().take(ALIAS_CHARS_MAX).collect();
    name.trim_end_matches('-').to_owned()
}

impl Entry {
    /// Reads every field; what has the wrong form or means nothing is noted.
    pub(super) fn read(node: &Node, notes: &mut Notes<'_>) -> Self {
        let mut entry = Self::default();
        let Shape::Map(members) = &node.shape else { return entry };
        let seconds = ["autoApprove", "alwaysAllow", "disabledTools", "tool_timeout_sec"];
        let milliseconds = ["httpUrl", "trust", "includeTools", "excludeTools"];
        let has = |names: &[&str]| members.iter().any(|(key, _)| names.contains(&key.text.as_str()));
        let unit = match (has(&seconds), has(&milliseconds)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        for (key, value) in members {
            if !is_nothing(value) && !entry.field(key, value, unit, notes) && !is_off(value) {
                foreign(key, notes);
            }
        }
        entry
    }

    /// Whether the field means something.
    fn field(&mut self, key: &Key, value: &Node, unit: Option<bool>, notes: &mut Notes<'_>) -> bool {
        let at = steps![&key.text];
        match key.text.as_str() {
            "type" => self.transport = notes.text(at, value).map(|text| ("type", text)),
            "transport" => self.transport = notes.text(at, value).map(|text| ("transport", text)),
            "command" => self.program(value, notes),
            "args" => self.args = notes.texts(at, value),
            "env" => self.env = notes.pairs(at, value),
            "env_vars" => self.handed_on = handed_on(value, notes),
            "cwd" => self.cwd = notes.text(at, value),
            "url" => self.url = notes.text(at, value).map(|text| ("url", text)),
            "serverUrl" => self.url = notes.text(at, value).map(|text| ("serverUrl", text)),
            "httpUrl" => self.url = notes.text(at, value).map(|text| ("httpUrl", text)),
            "headers" | "http_headers" => self.headers.extend(notes.pairs(at, value)),
            "env_http_headers" => self.headers_from = notes.pairs(at, value),
            "requestOptions" => match value.get("headers") {
                Some(headers) => self
                    .headers
                    .extend(notes.pairs(steps!["requestOptions", "headers"], headers)),
                None => return false,
            },
            "bearer_token_env_var" => self.bearer_from = notes.text(at, value),
            "apiKey" => self.bearer = notes.text(at, value),
            "disabled" => self.off |= value.scalar() == Some("true"),
            "enabled" => self.off |= value.scalar() == Some("false"),
            "includeTools" | "enabled_tools" | "tools" => {
                let names = notes.texts(at, value);
                self.allow = (!names.iter().any(|name| name == "*")).then_some(names);
            }
            "excludeTools" | "disabled_tools" | "disabledTools" => self.hide = notes.texts(at, value),
            "timeout" => self.timeout = notes.text(at, value).map(|text| ("timeout", text, unit)),
            "tool_timeout_sec" => {
                self.timeout = notes.text(at, value).map(|text| ("tool_timeout_sec", text, Some(true)));
            }
            other => return DECORATION.contains(&other),
        }
        true
    }

    /// A program, or an object of a program with its arguments and environment.
    fn program(&mut self, value: &Node, notes: &mut Notes<'_>) {
        let Shape::Map(members) = &value.shape else {
            self.command = notes.text(steps!["command"], value);
            return;
        };
        self.inner = Some("command");
        for (key, value) in members.iter().filter(|(_, value)| !is_nothing(value)) {
            let at = steps!["command", &key.text];
            match key.text.as_str() {
                "path" | "command" => self.command = notes.text(at, value),
                "args" => self.args = notes.texts(at, value),
                "env" => self.env = notes.pairs(at, value),
                _ if is_off(value) => {}
                _ => foreign(key, notes),
            }
        }
    }
}

/// Names, or objects that name themselves.
fn handed_on(value: &Node, notes: &mut Notes<'_>) -> Vec<String> {
    let Shape::List(items) = &value.shape else {
        return notes.texts(steps!["env_vars"], value);
    };
    let names = items.iter().map(|item| item.get("name").unwrap_or(item));
    names.filter_map(|name| name.scalar()).map(str::to_owned).collect()
}

fn foreign(key: &Key, notes: &mut Notes<'_>) {
    let remedy = FOREIGN
        .iter()
        .find(|(name, _)| *name == key.text)
        .map_or("", |(_, remedy)| remedy);
    let message = format!("`{}` means nothing to this program and is ignored", key.text);
    notes.warn(codes::ENTRY_FIELD, &[Step::Key(&key.text)], &message, remedy);
}

/// A field that is written and holds nothing.
fn is_nothing(value: &Node) -> bool {
    value
        .scalar()
        .is_some_and(|text| matches!(text, "null" | "~") || (text.is_empty() && value.span.is_empty()))
}

/// A setting that is switched off or empty, so that nothing is lost without it.
fn is_off(value: &Node) -> bool {
    match &value.shape {
        Shape::Map(members) => members.is_empty(),
        Shape::List(items) => items.is_empty(),
        Shape::Scalar(text) => text == "false",
        Shape::Other => false,
    }
}
