//! A mesh file as a person would have written it: fields in the order of the reference, defaults left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::kinds::{HttpSpec, StdioSpec, ToolsSpec, Transport, Value, ValueFrom};

use super::Written;

/// Words that YAML readers take for something else than a text.
const WORDS: [&str; 14] = [
    "true",
    "false",
    "null",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "nan",
    "inf",
    "none",
    "undefined",
    "default",
];

/// Lines as comments, each on one line.
pub(crate) fn comment(lines: &[String]) -> String {
    let mut out = String::new();
    for line in lines {
        let line = plain(line);
        let _ = writeln!(out, "#{}{line}", if line.is_empty() { "" } else { " " });
    }
    out
}

/// A line without what would end it, or what a terminal obeys.
fn plain(line: &str) -> String {
    line.chars()
        .map(|c| {
            let moves = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || moves { ' ' } else { c }
        })
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// The document of a server, with its remarks above.
pub(crate) fn server(server: &Written) -> String {
    let mut out = comment(&server.remarks);
    out.push_str("apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata:\n");
    let _ = writeln!(out, "  name: {}\nspec:", text(&server.name));
    if let Some(stdio) = &server.spec.stdio {
        of_stdio(&mut out, stdio);
    }
    if let Some(http) = &server.spec.http {
        of_http(&mut out, http);
    }
    if let Some(deadline) = &server.spec.deadline {
        let _ = writeln!(out, "  deadline: {deadline}");
    }
    out
}

/// The view of all of them.
pub(crate) fn view(servers: &[Written]) -> String {
    let mut out = String::from("apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata:\n  name: default\nspec:\n");
    out.push_str(if servers.is_empty() {
        "  servers: []\n"
    } else {
        "  servers:\n"
    });
    for server in servers {
        let _ = writeln!(out, "    - name: {}", text(&server.name));
        of_tools(&mut out, &server.tools);
    }
    out
}

fn of_tools(out: &mut String, tools: &ToolsSpec) {
    if *tools == ToolsSpec::default() {
        return;
    }
    out.push_str("      tools:\n");
    if let Some(allow) = &tools.allow {
        let _ = writeln!(out, "        allow: {}", flow(allow));
    }
    if !tools.hide.is_empty() {
        let _ = writeln!(out, "        hide: {}", flow(&tools.hide));
    }
}

fn of_stdio(out: &mut String, stdio: &StdioSpec) {
    let _ = writeln!(out, "  stdio:\n    command: {}", text(&stdio.command));
    if !stdio.args.is_empty() {
        let _ = writeln!(out, "    args: {}", flow(&stdio.args));
    }
    if let Some(cwd) = &stdio.cwd {
        let _ = writeln!(out, "    cwd: {}", text(&cwd.to_string_lossy()));
    }
    values(out, "env", &stdio.env);
}

fn of_http(out: &mut String, http: &HttpSpec) {
    let _ = writeln!(out, "  http:\n    url: {}", text(&http.url));
    if http.transport == Transport::Sse {
        out.push_str("    transport: sse\n");
    }
    values(out, "headers", &http.headers);
}

fn values(out: &mut String, field: &str, values: &BTreeMap<String, Value>) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(out, "    {field}:");
    for (name, value) in values {
        let written = match value {
            Value::Literal(literal) => quoted(literal),
            Value::From(from) => reference(from),
        };
        let _ = writeln!(out, "      {}: {written}", text(name));
    }
}

fn reference(from: &ValueFrom) -> String {
    let mut parts = Vec::new();
    if let Some(name) = &from.from_environment {
        parts.push(format!("fromEnvironment: {}", text(name)));
    }
    if let Some(path) = &from.from_file {
        parts.push(format!("fromFile: {}", text(&path.to_string_lossy())));
    }
    if let Some(default) = &from.default {
        parts.push(format!("default: {}", quoted(default)));
    }
    if !from.prefix.is_empty() {
        parts.push(format!("prefix: {}", quoted(&from.prefix)));
    }
    format!("{{{}}}", parts.join(", "))
}

fn flow(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A text as it is where every reader takes it for one, otherwise in quotes.
fn text(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let inside = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'));
    if starts && inside && !WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text in double quotes, on one line.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if plain(c.encode_utf8(&mut [0; 4])).is_empty() && c != ' ' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
