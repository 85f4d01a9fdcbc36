//! Secrets are taken out before anything is written: each becomes a variable that the operator sets.

use std::collections::BTreeMap;

use crate::finding::{Finding, codes};
use crate::kinds::{ServerSpec, Value, ValueFrom};
use crate::parse::Document;
use crate::parse::tree::{Step, steps};
use crate::secret::{looks_secret, may_be_secret};

use super::value_at;

/// Words before a credential in a header, kept as its prefix.
const SCHEMES: [&str; 5] = ["Bearer ", "Basic ", "Token ", "token ", "ApiKey "];

/// The variables named so far: the value that each stands for, to tell two secrets of one name apart, and where it is used.
#[derive(Default)]
pub(super) struct Secrets {
    variables: BTreeMap<String, Variable>,
}

#[derive(Default)]
struct Variable {
    /// `None` for one that the file named already.
    value: Option<String>,
    uses: Vec<String>,
}

impl Secrets {
    /// Puts a reference in the place of every secret. `false` where one stands in a place that holds no references.
    pub(super) fn take_out(&mut self, document: &Document, spec: &mut ServerSpec, findings: &mut Vec<Finding>) -> bool {
        let server = document.metadata.name.clone();
        let before = findings.len();
        if let Some(stdio) = &mut spec.stdio {
            for index in secret_arguments(&stdio.args) {
                let at = steps!["spec", "stdio", "args", index];
                findings.push(lost(document, at, &format!("argument {index} seems to hold a secret")));
            }
            for (name, value) in &mut stdio.env {
                let at = value_at("stdio", "env", name);
                self.one(
                    document,
                    &at,
                    (name, name),
                    &format!("`{name}` of server `{server}`"),
                    value,
                    findings,
                );
            }
        }
        if let Some(http) = &mut spec.http {
            if url_holds_secret(&http.url) {
                findings.push(lost(
                    document,
                    steps!["spec", "http", "url"],
                    "the URL seems to hold a secret",
                ));
            }
            for (name, value) in &mut http.headers {
                let variable = variable_of(&server, name);
                let at = value_at("http", "headers", name);
                let used = format!("header `{name}` of server `{server}`");
                self.one(document, &at, (name, &variable), &used, value, findings);
            }
        }
        !findings.iter().skip(before).any(|f| f.code == codes::ENTRY_SECRET_LOST)
    }

    fn one(
        &mut self,
        document: &Document,
        at: &[Step<'_>],
        (name, variable): (&str, &str),
        used: &str,
        value: &mut Value,
        findings: &mut Vec<Finding>,
    ) {
        let text = match value {
            Value::Literal(text) => text,
            Value::From(ValueFrom {
                from_environment: Some(known),
                ..
            }) => {
                self.variables
                    .entry(known.clone())
                    .or_default()
                    .uses
                    .push(used.to_owned());
                return;
            }
            Value::From(_) => return,
        };
        let is_credential = SCHEMES.iter().any(|scheme| text.starts_with(scheme));
        let is_secret = is_credential || looks_secret(text) || (may_be_secret(name) && !is_setting(name, text));
        if text.is_empty() || !is_secret {
            return;
        }
        let (prefix, secret) = match SCHEMES
            .iter()
            .find_map(|scheme| text.split_at_checked(scheme.len()).filter(|(head, _)| head == scheme))
        {
            Some((prefix, secret)) => (prefix.to_owned(), secret.to_owned()),
            None => (String::new(), text.clone()),
        };
        let variable = self.variable(variable, &document.metadata.name, &secret, used);
        let message = format!("`{name}` is read from the variable `{variable}`, because it seems to be a secret");
        let remedy =
            format!("set `{variable}` for the gateway, or write `{{fromFile: PATH}}`; `--inline-values` copies it");
        let mut finding = Finding::warning(codes::ENTRY_SECRET, &document.source, message).remedy(remedy);
        finding.document = Some(document.title());
        finding.path = document.path(at);
        finding.span = Some(document.tree.span_of(at));
        findings.push(finding);
        *value = Value::From(ValueFrom {
            from_environment: Some(variable),
            prefix,
            ..ValueFrom::default()
        });
    }

    /// The variable for a secret: the wanted one, or one with the server's name where that stands for something else.
    fn variable(&mut self, wanted: &str, server: &str, secret: &str, used: &str) -> String {
        let own = variable_of(server, wanted);
        let names = [wanted.to_owned(), own.clone()].into_iter();
        let numbered = (2..).map(|number| format!("{own}_{number}"));
        for name in names.chain(numbered) {
            let known = self.variables.entry(name.clone()).or_insert_with(|| Variable {
                value: Some(secret.to_owned()),
                uses: Vec::new(),
            });
            if known.value.as_deref() == Some(secret) {
                known.uses.push(used.to_owned());
                return name;
            }
        }
        own
    }

    /// The variables, as lines for the head of the file.
    pub(super) fn list(&self) -> Vec<String> {
        if self.variables.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![
            String::new(),
            "Variables that it reads from the gateway's environment:".to_owned(),
        ];
        lines.extend(
            self.variables
                .iter()
                .map(|(name, variable)| format!("  {name}: {}", variable.uses.join(", "))),
        );
        lines
    }
}

fn lost(document: &Document, at: &[Step<'_>], what: &str) -> Finding {
    let message = format!("{what}, and none can be read from elsewhere there, so the entry is left out");
    let remedy = "give it to the server in a variable or a header, or copy it with `--inline-values`";
    let mut finding = Finding::error(codes::ENTRY_SECRET_LOST, &document.source, message).remedy(remedy);
    finding.document = Some(document.title());
    finding.path = document.path(at);
    finding.span = Some(document.tree.span_of(at));
    finding
}

/// `GITHUB_X_API_KEY` for the header `X-Api-Key` of `github`.
pub(super) fn variable_of(server: &str, name: &str) -> String {
    let joined = format!("{server}_{name}");
    let name: String = joined
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

/// A switch, or a number of tokens: named like a secret, and none.
fn is_setting(name: &str, text: &str) -> bool {
    let switch = ["true", "false", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    let number = text.len() <= 7 && text.bytes().all(|b| b.is_ascii_digit());
    switch || (number && name.to_ascii_lowercase().contains("tokens"))
}

fn secret_arguments(args: &[String]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut expects = false;
    for (index, argument) in args.iter().enumerate() {
        let named = argument
            .split_once(['=', ':'])
            .is_some_and(|(name, value)| may_be_secret(name) && !value.trim().is_empty() && !value.contains("${"));
        let is_option = argument.starts_with('-');
        if looks_secret(argument) || named || (expects && !is_option && !argument.contains("${")) {
            found.push(index);
        }
        expects = is_option && !argument.contains('=') && may_be_secret(argument.trim_start_matches('-'));
    }
    found
}

fn url_holds_secret(url: &str) -> bool {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let named = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| may_be_secret(name) && !value.is_empty());
    named || looks_secret(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_and_numbers_of_tokens_are_no_secrets() {
        assert!(is_setting("API_KEY_REQUIRED", "True") && is_setting("MAX_TOKENS", "4096"));
        assert!(
            !is_setting("PASSWORD", "123456")
                && !is_setting("API_TOKENS", "abc")
                && !is_setting("MAX_TOKENS", "12345678")
        );
    }

    #[test]
    fn secrets_in_arguments_are_found_by_the_option_before_them() {
        let found = |args: &[&str]| secret_arguments(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&["--api-key", "k", "--port", "80"]), [1]);
        assert_eq!(found(&["--api-key=k", "--header", "Authorization: x"]), [0, 2]);
        assert_eq!(
            found(&["--header", "Authorization:${AUTH}", "--token", "${T}", "--token", "--x"]),
            [0; 0]
        );
        assert_eq!(found(&["--token-file", "/run/token", "-y", "pkg@1.2.3", "."]), [0; 0]);
    }

    #[test]
    fn secrets_in_a_url_are_found() {
        assert!(url_holds_secret("https://a.example/mcp?api_key=k") && url_holds_secret("https://u:p@a.example/mcp"));
        assert!(!url_holds_secret("https://a.example/v1/mcp?workspace=main&token="));
    }
}
