//! `interop`: servers and clients that nobody here wrote, through one merged view.
//!
//! Two legacy servers from npm and two from PyPI that speak every revision stand behind one gateway; every client does the
//! same operations through it with one token, so a cell of the table that differs from its neighbours names the culprit.
//! What a client cannot do is committed beside the operation with the reason, and shown as a dash.

mod clients;
mod inspector;
mod operations;
mod servers;
mod sets;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use self::{
    clients::{CLIENTS, Client},
    operations::Operation,
    sets::Set,
};
use crate::{Failure, gateway::Gateway, place::Place, steps};

const VIEW: &str = "/mcp";
/// How much of an unexpected answer a person is shown, in characters.
const SHOWN_MAX: usize = 400;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only this client, by its name in the table
    #[arg(long)]
    client: Option<String>,
    /// Other servers than the usual ones: `more`, which are installed first and have no revision in common; they are met by
    /// a modern-only and a legacy-only client unless --client says another
    #[arg(long)]
    servers: Option<String>,
}

impl Options {
    /// The servers that have no revision in common.
    pub(crate) fn more() -> Self {
        Self {
            servers: Some("more".to_owned()),
            ..Self::default()
        }
    }
}

/// Where a client finds everything it needs.
struct Stage<'a> {
    place: &'a Place,
    scratch: PathBuf,
    url: String,
    token: String,
    /// The operations with this run's paths, as text and as far as the table needs them.
    text: String,
    operations: Vec<Operation>,
}

/// What came back for each operation, or the error.
type Outcomes = BTreeMap<String, Result<String, String>>;

/// What one client did, or why it could not start.
type Done<'a> = (&'a Client, Result<Outcomes, Failure>);

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let scratch = place.scratch("interop")?;
    let set = match options.servers.as_deref() {
        None => Set::usual(place, &scratch)?,
        Some("more") => Set::more(place, &scratch)?,
        Some(other) => return Err(format!("no set of servers `{other}`; there is `more`")),
    };
    let file = format!("{}/operations.json", set.folder);
    let text = set.replaced(read(&place.root().join(&file))?);
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    let operations = operations::parse(&text, &names).map_err(|e| format!("{file}: {e}"))?;

    let mut gateway = Gateway::start(
        place,
        "interop",
        &format!("{}/mesh.yaml", set.folder),
        &set.replacements(),
    )?;
    let token = gateway.token()?;
    let wanted: Vec<&str> = operations
        .first()
        .map(|list| list.expect.iter().map(String::as_str).collect())
        .unwrap_or_default();
    gateway.wait_for_tools(VIEW, Some(&token), &wanted)?;
    servers::show(place, &gateway, set.revisions)?;

    let stage = Stage {
        place,
        scratch,
        url: gateway.url(VIEW),
        token,
        text,
        operations,
    };
    let chosen = CLIENTS.iter().filter(|client| match options.client.as_deref() {
        Some(only) => only == client.name,
        None => set.clients.is_empty() || set.clients.contains(&client.name),
    });
    let done: Vec<Done<'_>> = chosen.map(|client| (client, (client.run)(&stage))).collect();
    if done.is_empty() {
        return Err(format!("no such client; there are {}", names.join(", ")));
    }
    report(&stage, &done)
}

fn report(stage: &Stage<'_>, done: &[Done<'_>]) -> Result<(), Failure> {
    let names: Vec<&str> = done.iter().map(|(client, _)| client.name).collect();
    let mut table = steps::table(&[&["operation"], names.as_slice()].concat());
    let mut failed = 0;
    let mut row = |label: &str, cell: &dyn Fn(&Client, &Outcomes) -> Result<String, String>| {
        let cells = done.iter().map(|(client, outcomes)| {
            let cell = outcomes
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|outcomes| cell(client, outcomes));
            cell.unwrap_or_else(|why| {
                println!("{}: {label}: {why}", client.name);
                failed += 1;
                "FAILED".to_owned()
            })
        });
        table.add_row([label.to_owned()].into_iter().chain(cells));
    };
    row("connect", &|client, outcomes| match outcomes.get("connect") {
        Some(Ok(got)) if got == client.revision => Ok(got.clone()),
        got => Err(format!("expected revision {}, got {got:?}", client.revision)),
    });
    for operation in &stage.operations {
        row(&operation.operation, &|client, outcomes| {
            cell(operation, client, outcomes)
        });
    }
    println!("{table}");
    for operation in &stage.operations {
        for (client, _) in done {
            if let Some(reason) = operation.reason_against(client.name) {
                println!("– {}: {}: {reason}", client.name, operation.operation);
            }
        }
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} cells failed"))
    }
}

/// What the table says about one operation of one client.
fn cell(operation: &Operation, client: &Client, outcomes: &Outcomes) -> Result<String, String> {
    let outcome = outcomes.get(&operation.operation);
    if operation.reason_against(client.name).is_some() {
        return outcome.map_or_else(
            || Ok("–".to_owned()),
            |_| Err("done although `not` says it cannot".to_owned()),
        );
    }
    let text = match (operation.fails, outcome.ok_or("not done")?) {
        (false, Ok(text)) | (true, Err(text)) => text,
        (false, Err(error)) => return Err(error.clone()),
        (true, Ok(text)) => return Err(format!("must fail, and brought {}", shown(text))),
    };
    let expected = operations::expected(operation, client.name);
    match expected.iter().find(|expected| !text.contains(*expected)) {
        None => Ok("ok".to_owned()),
        Some(missing) => Err(format!("no `{missing}` in {}", shown(text))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}
