//! Values of environment variables and headers: where they come from, and that no secret is written into the file.

use std::collections::BTreeMap;

use super::report::Report;
use crate::finding::codes;
use crate::kinds::{Value, ValueFrom};
use crate::parse::tree::{Step, steps};
use crate::parse::{Document, Origin};
use crate::secret::sounds_secret;
use crate::snapshot::EnvValue;

/// Headers that carry the protocol, the connection or the trace: the gateway writes them itself.
const OWN_HEADERS: [&str; 20] = [
    "accept",
    "accept-encoding",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "origin",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "forwarded",
];
const OWN_HEADER_PREFIXES: [&str; 3] = ["mcp-", "proxy-", "x-forwarded-"];

/// Whether the gateway writes the header, named in lower case, itself.
pub(crate) fn is_own_header(lower: &str) -> bool {
    OWN_HEADERS.contains(&lower) || OWN_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix))
}

/// Variables that make a program load or run something else than itself.
const LOADING: [&str; 13] = [
    "BASH_ENV",
    "DYLD_INSERT_LIBRARIES",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PATH",
    "PERL5OPT",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "RUBYOPT",
];

pub(super) fn environment(
    document: &Document,
    env: &BTreeMap<String, Value>,
    report: &mut Report,
) -> Vec<(String, EnvValue)> {
    let mut out = Vec::new();
    for (name, value) in env {
        let at = steps!["spec", "stdio", "env", name];
        if name.is_empty() || name.contains(['=', '\0']) {
            report.error(
                (document, at),
                codes::ENVIRONMENT,
                format!("`{name}` is not the name of a variable"),
                "a name is not empty and holds neither `=` nor NUL",
            );
        }
        if LOADING.contains(&name.as_str()) {
            report.warn(
                (document, at),
                codes::LOADING,
                format!("`{name}` makes the server load or run something else than itself"),
                "remove it, unless whoever may write that file may also run programs here",
            );
        }
        let value = one(document, at, name, value, report);
        if let EnvValue::Literal(text) = &value
            && text.contains('\0')
        {
            report.error(
                (document, at),
                codes::ENVIRONMENT,
                format!("the value of `{name}` holds a NUL character"),
                "remove it",
            );
        }
        out.push((name.clone(), value));
    }
    out
}

pub(super) fn headers(
    document: &Document,
    headers: &BTreeMap<String, Value>,
    report: &mut Report,
) -> Vec<(String, EnvValue)> {
    let mut out: Vec<(String, EnvValue)> = Vec::new();
    for (name, value) in headers {
        let at = steps!["spec", "http", "headers", name];
        let lower = name.to_ascii_lowercase();
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            report.error(
                (document, at),
                codes::HEADER,
                format!("`{name}` is not the name of a header"),
                "a header's name holds letters, digits and `-`",
            );
        } else if is_own_header(&lower) {
            report.error(
                (document, at),
                codes::HEADER,
                format!("the header `{name}` is written by the gateway itself"),
                "remove it",
            );
        } else if out.iter().any(|(other, _)| *other == lower) {
            report.error(
                (document, at),
                codes::HEADER,
                format!("the header `{name}` is given twice, in different case"),
                "keep one of the two",
            );
        }
        let value = one(document, at, name, value, report);
        let text = match &value {
            EnvValue::Literal(text) => text,
            EnvValue::Environment { prefix, .. } | EnvValue::File { prefix, .. } => prefix.as_str(),
        };
        if http::HeaderValue::from_str(text).is_err() {
            report.error(
                (document, at),
                codes::HEADER,
                format!("the value of `{name}` holds a character that no header may hold"),
                "write visible ASCII characters and blanks",
            );
        }
        out.push((lower, value));
    }
    out
}

fn one(document: &Document, at: &[Step<'_>], name: &str, value: &Value, report: &mut Report) -> EnvValue {
    match value {
        Value::Literal(text) => {
            if !text.is_empty() && sounds_secret(name) {
                let remedy = match document.origin {
                    Origin::MeshFile => "write `{fromEnvironment: NAME}` or `{fromFile: PATH}` in its place",
                    Origin::McpJson { .. } => "write `${NAME}` in its place and set that variable for the gateway",
                };
                report.warn(
                    (document, at),
                    codes::LITERAL_SECRET,
                    format!("`{name}` seems to be a secret, and it is written in the file"),
                    remedy,
                );
            }
            EnvValue::Literal(text.as_str().into())
        }
        Value::From(from) => from_elsewhere(document, at, name, from, report),
    }
}

fn from_elsewhere(document: &Document, at: &[Step<'_>], name: &str, from: &ValueFrom, report: &mut Report) -> EnvValue {
    let prefix = from.prefix.clone();
    match (&from.from_environment, &from.from_file) {
        (Some(variable), None) if variable.is_empty() || variable.contains(['=', '\0']) => {
            report.error(
                (document, at),
                codes::ENVIRONMENT,
                format!("`{variable}` is not the name of a variable"),
                "a name is not empty and holds neither `=` nor NUL",
            );
            EnvValue::Environment {
                prefix,
                name: variable.clone(),
                default: None,
            }
        }
        (Some(variable), None) => {
            if from.default.as_ref().is_some_and(|text| !text.is_empty()) && sounds_secret(name) {
                let message = format!("`{name}` seems to be a secret, and its default is written in the file");
                let remedy = "remove `default`, so that a missing variable is noticed";
                report.warn((document, at), codes::LITERAL_SECRET, message, remedy);
            }
            EnvValue::Environment {
                prefix,
                name: variable.clone(),
                default: from.default.clone(),
            }
        }
        (None, Some(_)) if from.default.is_some() => {
            let message = format!("`default` of `{name}` stands beside `fromFile`, which has none");
            report.error((document, at), codes::VALUE_SOURCE, message, "remove `default`");
            EnvValue::Literal("".into())
        }
        (None, Some(file)) => EnvValue::File {
            prefix,
            path: report.file((document, at), file),
        },
        (Some(_), Some(_)) | (None, None) => {
            let message = format!(
                "`{name}` comes from {}",
                if from.from_file.is_some() {
                    "two places"
                } else {
                    "nowhere"
                }
            );
            report.error(
                (document, at),
                codes::VALUE_SOURCE,
                message,
                "write exactly one of `fromEnvironment` and `fromFile`",
            );
            EnvValue::Literal("".into())
        }
    }
}

/// The port of an authority: `Some(None)` where it names none, `None` where what it names is no port.
pub(super) fn port(authority: &http::uri::Authority) -> Option<Option<u16>> {
    let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
    match after_user.strip_prefix(authority.host())? {
        "" => Some(None),
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port > 0).map(Some),
    }
}
