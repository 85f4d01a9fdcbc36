//! Arguments against `inputSchema`, structured results against `outputSchema`.
//!
//! A schema comes from a server, and a server may be hostile; an instance comes from a client, and so may it be. So a
//! schema is compiled once, within bounds on its size, depth and branching, so that even the worst one takes little time;
//! and not before it is first needed, for most tools of most servers are never called. Nothing it refers to is ever fetched, and its patterns run in linear time. A schema that cannot be checked within the bounds is *not validated*,
//! with the reason: the server validates its own arguments anyhow, and refusing a tool for its schema helps nobody.
//!
//! A value is never refused wrongly. Two things cannot be checked exactly and are let through: numbers that have no exact
//! 64-bit form, where the rule that broke compares them (`1e400`, a 30-digit integer and `multipleOf`), and values that
//! together with a recursive schema would take too many steps. The bytes that travel on are always the caller's own; the
//! parsed form lives for the check only.
//!
//! Formats are annotations, as in JSON Schema 2020-12, and never asserted.

mod bounds;
mod numbers;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use bounds::Steps;

/// Bytes of the longest schema that is compiled.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Characters of a violation's message and path.
const WORDS_CHARS_MAX: usize = 300;
/// Broken rules that are looked through for one that counts.
const ERRORS_MAX: usize = 64;

/// The dialects there are. Two ways to write each, and a `#` at the end is the same.
const DIALECTS: [(&str, Draft); 5] = [
    ("json-schema.org/draft/2020-12/schema", Draft::Draft202012),
    ("json-schema.org/draft/2019-09/schema", Draft::Draft201909),
    ("json-schema.org/draft-07/schema", Draft::Draft7),
    ("json-schema.org/draft-06/schema", Draft::Draft6),
    ("json-schema.org/draft-04/schema", Draft::Draft4),
];

/// Why a schema is not used. Shown to operators, not to callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotValidated {
    reason: String,
}

impl NotValidated {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: shortened(&reason.into()),
        }
    }
}

impl fmt::Display for NotValidated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for NotValidated {}

/// A value that breaks its schema: where, which rule, and what that rule says. Never holds the value itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the value (`/filter/limit`); empty for the value as a whole.
    pub path: String,
    /// The keyword that refused it (`type`, `required`, …).
    pub rule: String,
    /// What the rule says.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "`{path}` breaks the rule `{}`: {}", self.rule, self.message)
    }
}

impl std::error::Error for Violation {}

impl Violation {
    /// The text of the tool result (`isError: true`) that answers a call whose arguments break their schema, written so
    /// that a model can repair its call.
    pub fn tool_result_text(&self) -> String {
        format!(
            "The call did not run, because its arguments do not fit the tool's inputSchema: {self}. Correct them and call again."
        )
    }
}

/// A published schema, compiled when it is first asked for.
#[derive(Debug)]
pub struct Schema {
    text: Bytes,
    /// Server, tool and member, for the log.
    whose: (Arc<str>, Arc<str>, &'static str),
    compiled: OnceLock<Option<Validator>>,
}

impl Schema {
    /// A schema as a server published it.
    pub fn new(text: Bytes, server: Arc<str>, tool: Arc<str>, member: &'static str) -> Self {
        Self {
            text,
            whose: (server, tool, member),
            compiled: OnceLock::new(),
        }
    }

    /// The compiled schema; `None` when it cannot be checked within bounds, which the log says once.
    pub fn validator(&self) -> Option<&Validator> {
        let compile = || match Validator::compile(&self.text) {
            Ok(validator) => Some(validator),
            Err(why) => {
                let (server, tool, member) = &self.whose;
                tracing::info!(%server, %tool, member, %why, "the schema is not checked");
                None
            }
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

/// A compiled schema.
pub struct Validator {
    compiled: jsonschema::Validator,
    steps: Steps,
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator")
    }
}

impl Validator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why the schema is not used.
    pub fn compile(schema: &[u8]) -> Result<Self, NotValidated> {
        if schema.len() > SCHEMA_BYTES_MAX {
            return Err(NotValidated::new(format!(
                "the schema has {} bytes, more than {SCHEMA_BYTES_MAX}",
                schema.len()
            )));
        }
        let schema: Value = serde_json::from_slice(schema)
            .map_err(|error| NotValidated::new(format!("the schema cannot be read: {error}")))?;
        let draft = dialect(&schema)?;
        let steps = bounds::measure(&schema)?;
        let compiled = jsonschema::options()
            .with_draft(draft)
            .offline()
            .with_pattern_options(
                PatternOptions::regex()
                    .size_limit(PATTERN_BYTES_MAX)
                    .dfa_size_limit(PATTERN_BYTES_MAX),
            )
            .should_validate_formats(false)
            .build(&schema)
            .map_err(|error| NotValidated::new(format!("the schema cannot be used: {error}")))?;
        Ok(Self { compiled, steps })
    }

    /// Checks a value, given as its bytes.
    ///
    /// # Errors
    /// The first rule that it breaks for certain.
    pub fn check(&self, instance: &[u8]) -> Result<(), Violation> {
        let Some(instance) = numbers::read(instance) else {
            return Ok(());
        };
        if !self.steps.allow(&instance) || self.compiled.is_valid(&instance) {
            return Ok(());
        }
        let broken = self
            .compiled
            .iter_errors(&instance)
            .take(ERRORS_MAX)
            .find(|error| !numbers::may_mislead(error.kind().keyword(), error.instance()));
        match broken {
            Some(error) => Err(Violation {
                path: shortened(error.instance_path().as_str()),
                rule: error.kind().keyword().to_owned(),
                message: shortened(&error.masked().to_string()),
            }),
            None => Ok(()),
        }
    }
}

fn dialect(schema: &Value) -> Result<Draft, NotValidated> {
    let Some(named) = schema.get("$schema") else {
        return Ok(Draft::Draft202012);
    };
    let name = named.as_str().unwrap_or_default();
    let bare = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    let bare = bare.strip_suffix('#').unwrap_or(bare);
    let known = DIALECTS.iter().find(|(dialect, _)| *dialect == bare);
    known
        .map(|(_, draft)| *draft)
        .ok_or_else(|| NotValidated::new(format!("the dialect `{name}` is not known here")))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
