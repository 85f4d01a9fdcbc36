//! `meshgate delete KIND NAME`: an object of a running mesh goes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::api::Api;
use crate::apply::{code, shown};
use crate::cli::{DeleteArgs, Output};
use crate::client::block_on;
use crate::exit::Failure;
use crate::get::{kind, path};
use crate::out;
use crate::status::json;

/// Deletes and prints what became of it.
pub(crate) fn run(args: &DeleteArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let path = path(kind(&args.title.kind)?, &args.title.name)?;
    let terms = format!("dryRun={}&allowShrink={}", args.terms.dry_run, args.terms.allow_shrink);
    let only = args.terms.if_revision.map(|revision| format!("&ifRevision={revision}"));
    let path = format!("{path}?{terms}{}", only.unwrap_or_default());
    let api = Api::find(&args.ask.control, state)?;
    let applied = block_on(api.change(Method::DELETE, &path, Bytes::new(), Duration::ZERO))?;
    match args.ask.output {
        Output::Json => out::print(&json(&applied)?),
        Output::Text => out::print(&shown(&applied, "", "")),
    }
    Ok(code(&applied))
}
