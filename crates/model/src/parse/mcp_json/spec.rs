//! From what an entry says to how its server is reached.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::amount::Period;
use crate::compile::is_own_header;
use crate::finding::codes;
use crate::kinds::{HttpSpec, ServerSpec, StdioSpec, ToolsSpec, Transport, Value, ValueFrom};
use crate::limits;
use crate::parse::tree::{Step, steps};

use super::entry::Entry;
use super::notes::Notes;
use super::variables::{self, Input, Replaced, Surroundings};

/// A limit below this is in seconds, one from here on in milliseconds, where nobody says which.
const MILLISECONDS_FROM: f64 = 1_000.0;

/// Makes one entry a server; everything that is lost on the way is noted.
pub(super) struct Maker<'a, 'n> {
    pub(super) notes: &'a mut Notes<'n>,
    pub(super) inputs: &'a [Input],
    pub(super) around: &'a Surroundings<'a>,
}

impl Maker<'_, '_> {
    pub(super) fn server(&mut self, entry: &Entry) -> (ServerSpec, ToolsSpec) {
        let own: Vec<&str> = entry.env.iter().map(|(name, _)| name.as_str()).collect();
        let field = |name| match entry.inner {
            Some(inner) => vec![Step::Key(inner), Step::Key(name)],
            None => vec![Step::Key(name)],
        };
        let mut spec = ServerSpec {
            deadline: self.deadline(entry),
            ..ServerSpec::default()
        };
        if let Some(command) = &entry.command {
            let at = if entry.inner.is_some() {
                steps!["command", "path"]
            } else {
                steps!["command"]
            };
            let mut args = Vec::new();
            for (index, argument) in entry.args.iter().enumerate() {
                let mut at = field("args");
                at.push(Step::At(index));
                args.push(self.text(&at, argument, &own));
            }
            spec.stdio = Some(StdioSpec {
                command: self.text(at, command, &own),
                args,
                env: self.environment(entry, &field("env")),
                cwd: entry.cwd.as_ref().map(|cwd| self.text(steps!["cwd"], cwd, &own).into()),
            });
        }
        if let Some((name, url)) = &entry.url {
            spec.http = Some(HttpSpec {
                url: self.text(steps![*name], url, &[]),
                transport: carried(entry, url),
                headers: self.headers(entry),
            });
        }
        let tools = ToolsSpec {
            allow: entry.allow.clone(),
            hide: entry.hide.clone(),
            rename: BTreeMap::new(),
        };
        (spec, tools)
    }

    fn text(&mut self, at: &[Step<'_>], text: &str, own: &[&str]) -> String {
        match variables::replaced(text, own, self.inputs, self.around) {
            Replaced::Text(text, names) => {
                for name in names {
                    let message = format!("`{name}` was replaced by its value of today");
                    self.notes.warn(codes::ENTRY_REPLACED, at, &message, "");
                }
                text
            }
            Replaced::Refused(why) => {
                let remedy = "write the value out, or give it to the server in a variable of `env`";
                self.notes.fail(codes::VARIABLE, at, &why, remedy);
                text.to_owned()
            }
        }
    }

    fn environment(&mut self, entry: &Entry, at: &[Step<'_>]) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        for name in &entry.handed_on {
            out.insert(name.clone(), from_environment(name, ""));
        }
        for (name, text) in &entry.env {
            let mut at = at.to_vec();
            at.push(Step::Key(name));
            out.extend(self.value(&at, text).map(|value| (name.clone(), value)));
        }
        out
    }

    fn headers(&mut self, entry: &Entry) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        if let Some(token) = &entry.bearer {
            let value = self.value(steps!["apiKey"], &format!("Bearer {token}"));
            out.extend(value.map(|value| ("Authorization".to_owned(), value)));
        }
        if let Some(variable) = &entry.bearer_from {
            out.insert("Authorization".to_owned(), from_environment(variable, "Bearer "));
        }
        for (name, variable) in &entry.headers_from {
            out.insert(name.clone(), from_environment(variable, ""));
        }
        for (name, text) in &entry.headers {
            let at = steps!["headers", name];
            if is_own_header(&name.to_ascii_lowercase()) {
                let message = format!("the header `{name}` is written by the gateway itself and left out");
                self.notes.warn(codes::ENTRY_FIELD, at, &message, "");
                continue;
            }
            out.extend(self.value(at, text).map(|value| (name.clone(), value)));
        }
        out
    }

    fn value(&mut self, at: &[Step<'_>], text: &str) -> Option<Value> {
        let value = variables::value(text, self.inputs, self.around).ok();
        if value.is_none() {
            let message = "a variable stands before other text, or is none this program knows";
            let remedy = "set a variable to the whole value, and write `${ITS_NAME}`";
            self.notes.fail(codes::VARIABLE, at, message, remedy);
        }
        value
    }

    fn deadline(&mut self, entry: &Entry) -> Option<Period> {
        let (field, text, unit) = entry.timeout.as_ref()?;
        let at = steps![*field];
        let Some(number) = text.parse::<f64>().ok().filter(|number| *number > 0.0) else {
            self.notes.warn(
                codes::ENTRY_TIME,
                at,
                "the time limit is no number above 0 and is ignored",
                "",
            );
            return None;
        };
        let in_seconds = unit.unwrap_or(number < MILLISECONDS_FROM);
        let seconds = if in_seconds { number } else { number / 1_000.0 };
        let most = limits::DEADLINE_MAX.as_secs_f64();
        let period = Duration::from_millis((seconds.clamp(0.1, most) * 1_000.0) as u64);
        if unit.is_none() {
            let word = if in_seconds { "seconds" } else { "milliseconds" };
            let message = format!(
                "`{text}` is taken for {word}: a call may be silent for {}",
                Period(period)
            );
            self.notes
                .warn(codes::ENTRY_TIME, at, &message, "correct `deadline` if that is wrong");
        }
        Some(Period(period))
    }
}

/// HTTP+SSE of 2024-11-05 where the entry says so, or says nothing and has an address that is one by custom.
fn carried(entry: &Entry, url: &str) -> Transport {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_sse = match &entry.transport {
        Some((_, written)) => written.eq_ignore_ascii_case("sse"),
        None => path.ends_with("/sse"),
    };
    if is_sse { Transport::Sse } else { Transport::Streamable }
}

fn from_environment(name: &str, prefix: &str) -> Value {
    Value::From(ValueFrom {
        from_environment: Some(name.to_owned()),
        prefix: prefix.to_owned(),
        ..ValueFrom::default()
    })
}
