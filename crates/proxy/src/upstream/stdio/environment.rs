//! What a child inherits: almost nothing.
//!
//! The gateway's own environment holds tokens that no server should see. So a child starts with the few variables that
//! every program needs and with what its configuration gives it.

use std::ffi::OsString;

use meshgate_model::EnvValue;

use crate::refusal::{Reason, Refusal};

/// What a child gets from our own environment.
const INHERITED: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// Where programs are looked for when our own environment does not say.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Variables that make a program load or run something else than itself.
const LOADING: [&str; 8] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "NODE_OPTIONS",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PERL5OPT",
    "RUBYOPT",
];

/// Words in the name of a variable that holds something secret.
const SECRET_WORDS: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "KEY"];
/// Shorter values are too common in ordinary text to be blotted out of it.
const SECRET_CHARS_MIN: usize = 8;

/// The environment of one child.
#[derive(Default)]
pub(super) struct Environment {
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Values that must not appear in a log.
    pub(super) secrets: Vec<String>,
}

impl Environment {
    /// Reads the configured values and adds the inherited ones.
    pub(super) fn build(server: &str, configured: &[(String, EnvValue)]) -> Result<Self, Refusal> {
        let mut built = Self::default();
        for name in INHERITED {
            let value = std::env::var_os(name).or_else(|| (name == "PATH").then(|| PATH_DEFAULT.into()));
            if let Some(value) = value {
                built.variables.push((name.into(), value));
            }
        }
        for (name, value) in configured {
            if LOADING.contains(&name.as_str()) {
                tracing::warn!(
                    server,
                    variable = name,
                    "this variable makes the server load foreign code"
                );
            }
            let text = read_value(name, value)?;
            if is_secret(name, value) && text.len() >= SECRET_CHARS_MIN {
                built.secrets.push(text.clone());
            }
            built.variables.retain(|(known, _)| known != name.as_str());
            built.variables.push((name.into(), text.into()));
        }
        Ok(built)
    }
}

fn is_secret(name: &str, value: &EnvValue) -> bool {
    let upper = name.to_ascii_uppercase();
    !matches!(value, EnvValue::Literal(_)) || SECRET_WORDS.iter().any(|word| upper.contains(word))
}

/// The text of a configured value. An error names the variable or file, never its content.
pub(crate) fn read_value(what: &str, value: &EnvValue) -> Result<String, Refusal> {
    let missing = |rule: String| Refusal::new(Reason::ServerAway, format!("`{what}` of the server: {rule}"));
    match value {
        EnvValue::Literal(text) => Ok(text.to_string()),
        EnvValue::Environment { prefix, name, default } => match (std::env::var(name), default) {
            (Ok(text), _) => Ok(format!("{prefix}{text}")),
            (Err(_), Some(text)) => Ok(format!("{prefix}{text}")),
            (Err(_), None) => Err(missing(format!(
                "variable `{name}` is not set in the gateway's environment"
            ))),
        },
        EnvValue::File { prefix, path } => match std::fs::read_to_string(path) {
            Ok(text) => Ok(format!("{prefix}{}", text.trim_end_matches(['\r', '\n']))),
            Err(error) => Err(missing(format!(
                "file `{}` cannot be read: {}",
                path.display(),
                error.kind()
            ))),
        },
    }
}
