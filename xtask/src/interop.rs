//! `interop`: servers and clients that nobody here wrote, through one merged view.
//!
//! Two legacy servers from npm and two from PyPI that speak every revision stand behind one gateway; every client does the
//! same operations through it with one token, so a cell of the table that differs from its neighbours names the culprit.
//! What a client cannot do is committed beside the operation with the reason, and shown as a dash.

mod clients;
mod inspector;
mod operations;
mod servers;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, time::Duration};

use self::{
    clients::{CLIENTS, Client},
    operations::Operation,
};
use crate::{
    Failure,
    command::{Running, output, program},
    gateway::Gateway,
    http,
    place::Place,
    steps,
};

const OPERATIONS: &str = "tests/interop/operations.json";
const VIEW: &str = "/mcp";
/// What the committed files say, replaced by what this run has.
const DOCUMENTS: &str = "/srv/documents";
const REPOSITORY: &str = "/srv/repository";
const EVERYTHING: &str = "127.0.0.1:7393";
const START_MAX: Duration = Duration::from_secs(60);
/// How much of an unexpected answer a person is shown, in characters.
const SHOWN_MAX: usize = 400;

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only this client, by its name in the table
    #[arg(long)]
    client: Option<String>,
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
    let (documents, repository) = seed(place, &scratch)?;
    let everything = format!("127.0.0.1:{}", http::free_port()?);
    let replacements = [
        (DOCUMENTS, documents.as_str()),
        (REPOSITORY, &repository),
        (EVERYTHING, &everything),
    ];
    let committed = read(&place.root().join(OPERATIONS))?;
    let text = replacements
        .iter()
        .fold(committed, |text, (from, to)| text.replace(from, to));
    let names: Vec<&str> = CLIENTS.iter().map(|client| client.name).collect();
    let operations = operations::parse(&text, &names).map_err(|e| format!("{OPERATIONS}: {e}"))?;

    let _everything = start_everything(place, &everything)?;
    let mut gateway = Gateway::start(place, "interop", "tests/interop/mesh.yaml", &replacements)?;
    let token = gateway.token()?;
    let wanted: Vec<&str> = operations
        .first()
        .map(|list| list.expect.iter().map(String::as_str).collect())
        .unwrap_or_default();
    gateway.wait_for_tools(VIEW, Some(&token), &wanted)?;
    servers::show(place, &gateway)?;

    let stage = Stage {
        place,
        scratch,
        url: gateway.url(VIEW),
        token,
        text,
        operations,
    };
    let chosen = CLIENTS
        .iter()
        .filter(|client| options.client.as_deref().is_none_or(|only| only == client.name));
    let done: Vec<Done<'_>> = chosen.map(|client| (client, (client.run)(&stage))).collect();
    if done.is_empty() {
        return Err(format!("no such client; there are {}", names.join(", ")));
    }
    report(&stage, &done)
}

/// A folder of documents and a repository with one commit.
fn seed(place: &Place, scratch: &Path) -> Result<(String, String), Failure> {
    let failure = |e: std::io::Error| format!("cannot write into {}: {e}", scratch.display());
    let (documents, repository) = (scratch.join("documents"), scratch.join("repository"));
    fs::create_dir_all(&documents).map_err(failure)?;
    fs::create_dir_all(&repository).map_err(failure)?;
    fs::write(
        documents.join("strategy.txt"),
        "In the first quarter we grow in the north.\n",
    )
    .map_err(failure)?;
    fs::write(repository.join("plan.txt"), "Plan\n").map_err(failure)?;
    let author = ["-c", "user.name=Interop", "-c", "user.email=interop@example.invalid"];
    let commit = ["commit", "--quiet", "--message", "Write down the plan"];
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "plan.txt"],
        &[&author[..], &commit].concat(),
    ] {
        output(program(place, "git").args(arguments).current_dir(&repository))?;
    }
    Ok((
        documents.to_string_lossy().into_owned(),
        repository.to_string_lossy().into_owned(),
    ))
}

/// The everything server over HTTP, which the gateway does not start by itself.
fn start_everything(place: &Place, authority: &str) -> Result<Running, Failure> {
    let port = authority.rsplit(':').next().unwrap_or_default().to_owned();
    let mut command = program(place, "mcp-server-everything");
    command.arg("streamableHttp").env("PORT", port);
    let log = place.log("interop-everything");
    let mut running = Running::start(&mut command, log)?;
    running.wait_until("its port", START_MAX, || {
        std::net::TcpStream::connect(authority).is_ok()
    })?;
    Ok(running)
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
