//! `Application`: tokens that prove one application each, and views that exist.

use std::collections::HashMap;
use std::sync::Arc;

use super::Given;
use super::report::Report;
use super::views::known;
use crate::finding::codes;
use crate::kinds::{ApplicationSpec, Token};
use crate::parse::tree::steps;
use crate::parse::{Document, Spec};
use crate::snapshot::{Application, Digest, LOCAL_APPLICATION, TokenSource, View};

const EVERY_VIEW: &str = "*";

/// Every application, ordered by name; without a document, the one that the generated local token proves.
pub(super) fn compile(given: Given<'_>, views: &[Arc<View>], report: &mut Report) -> Vec<Arc<Application>> {
    let mut applications = Vec::new();
    let mut seen: HashMap<TokenSource, &str> = HashMap::new();
    for document in given.documents {
        let Spec::Application(spec) = &document.spec else {
            continue;
        };
        if spec.tokens.is_empty() && document.metadata.name != LOCAL_APPLICATION && !given.whole {
            no_token(document, report);
        }
        let tokens = tokens(document, spec, &mut seen, report);
        applications.push(Arc::new(Application {
            name: document.metadata.name.as_str().into(),
            team: document.metadata.team.as_deref().map(Into::into),
            tokens,
            views: allowed_views(document, spec, (views, given.whole), report),
        }));
    }
    if applications.is_empty() && !given.whole {
        applications.push(Arc::new(Application {
            name: LOCAL_APPLICATION.into(),
            team: None,
            tokens: Vec::new(),
            views: None,
        }));
    }
    applications.sort_by(|a, b| a.name.cmp(&b.name));
    applications
}

/// `of_part`: views that are not known are another part's.
fn allowed_views(
    document: &Document,
    spec: &ApplicationSpec,
    (views, of_part): (&[Arc<View>], bool),
    report: &mut Report,
) -> Option<Vec<Arc<str>>> {
    if spec.views.iter().any(|name| name == EVERY_VIEW) {
        if spec.views.len() > 1 {
            report.error(
                (document, steps!["spec", "views"]),
                codes::EVERY_VIEW,
                "`*` is every view, and stands alone",
                "remove `*` or the names beside it",
            );
        }
        return None;
    }
    if spec.views.is_empty() {
        report.warn(
            (document, steps!["spec", "views"]),
            codes::NO_VIEW,
            "the application may use no view",
            "name the views it may use",
        );
    }
    for (index, name) in spec.views.iter().enumerate() {
        if !of_part && !views.iter().any(|view| *view.name == **name) {
            report.error(
                (document, steps!["spec", "views", index]),
                codes::UNKNOWN_VIEW,
                format!("there is no view `{name}`"),
                known(views),
            );
        }
    }
    Some(spec.views.iter().map(|name| name.as_str().into()).collect())
}

fn no_token(document: &Document, report: &mut Report) {
    let message = "the application has no token, so nobody can prove to be it";
    report.warn(
        (document, steps!["spec", "tokens"]),
        codes::NO_TOKEN,
        message,
        "add `{file: PATH}`, `{environment: NAME}` or `{sha256: DIGEST}`",
    );
}

fn tokens<'a>(
    document: &'a Document,
    spec: &ApplicationSpec,
    seen: &mut HashMap<TokenSource, &'a str>,
    report: &mut Report,
) -> Vec<TokenSource> {
    let name = document.metadata.name.as_str();
    let mut out = Vec::new();
    for (index, token) in spec.tokens.iter().enumerate() {
        let Some(source) = source(document, index, token, report) else {
            continue;
        };
        if let Some(owner) = seen.insert(source.clone(), name) {
            let message = format!("the token proves `{owner}` already, and a token proves one application");
            report.error(
                (document, steps!["spec", "tokens", index]),
                codes::TOKEN_TWICE,
                message,
                "give each its own",
            );
        }
        out.push(source);
    }
    out
}

fn source(document: &Document, index: usize, token: &Token, report: &mut Report) -> Option<TokenSource> {
    match (&token.file, &token.environment, &token.sha256) {
        (Some(file), None, None) => Some(TokenSource::File(
            report.file((document, steps!["spec", "tokens", index, "file"]), file),
        )),
        (None, Some(variable), None) => {
            if variable.is_empty() || variable.contains(['=', '\0']) {
                let at = (document, steps!["spec", "tokens", index, "environment"]);
                report.error(
                    at,
                    codes::ENVIRONMENT,
                    format!("`{variable}` is not the name of a variable"),
                    "a name is not empty and holds neither `=` nor NUL",
                );
            }
            Some(TokenSource::Environment(variable.clone()))
        }
        (None, None, Some(digest)) => {
            let read = hexadecimal(digest);
            if read.is_none() {
                let at = (document, steps!["spec", "tokens", index, "sha256"]);
                let remedy = "write the output of `printf %s TOKEN | sha256sum`, and never the token itself";
                report.error(
                    at,
                    codes::TOKEN_DIGEST,
                    "the digest is not 64 hexadecimal digits",
                    remedy,
                );
            }
            read.map(TokenSource::Sha256)
        }
        _ => {
            let remedy = "write exactly one of `file`, `environment` and `sha256`";
            report.error(
                (document, steps!["spec", "tokens", index]),
                codes::TOKEN_SOURCE,
                "the token does not come from exactly one place",
                remedy,
            );
            None
        }
    }
}

fn hexadecimal(text: &str) -> Option<Digest> {
    let mut digest = [0u8; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}
