//! `interop`: servers and clients that nobody here wrote, through one merged view.
//!
//! Two legacy servers from npm and two from PyPI that speak every revision stand behind one gateway; four clients list, call,
//! get and read through it with one token. The operations are the same for every client, so a cell of the table that differs
//! from its neighbours names the culprit.

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, process::Command, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Failure,
    command::{Running, output, program, run_logged},
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

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Only this client: python, typescript, typescript-auto or inspector
    #[arg(long)]
    client: Option<String>,
}

/// One thing that every client does.
#[derive(Deserialize)]
struct Operation {
    operation: String,
    tool: Option<String>,
    #[serde(default)]
    arguments: BTreeMap<String, Value>,
    prompt: Option<String>,
    resource: Option<String>,
    /// Texts that must be in what comes back.
    expect: Vec<String>,
}

/// Where a client finds everything it needs.
struct Stage<'a> {
    place: &'a Place,
    url: String,
    token: String,
    /// The operations with this run's paths.
    file: PathBuf,
    operations: Vec<Operation>,
}

/// What came back for each operation, or the error.
type Outcomes = BTreeMap<String, Result<String, String>>;

/// What a cell says about one client, given the revision it must end up with.
type Cell<'a> = dyn Fn(Option<&str>, &Outcomes) -> Result<String, String> + 'a;

/// A client's name, the revision it must end up with, and how to run it.
type Client = (
    &'static str,
    Option<&'static str>,
    fn(&Stage<'_>) -> Result<Outcomes, Failure>,
);

const CLIENTS: &[Client] = &[
    ("python", Some("2026-07-28"), python),
    ("typescript", Some("2025-11-25"), |stage| typescript(stage, "legacy")),
    ("typescript-auto", Some("2026-07-28"), |stage| typescript(stage, "auto")),
    ("inspector", None, inspector),
];

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let scratch = place.scratch("interop")?;
    let (documents, repository) = seed(place, &scratch)?;
    let everything = format!("127.0.0.1:{}", http::free_port()?);
    let replace = |text: &str| {
        text.replace(DOCUMENTS, &documents)
            .replace(REPOSITORY, &repository)
            .replace(EVERYTHING, &everything)
    };
    let committed = read(&place.root().join(OPERATIONS))?;
    let file = scratch.join("operations.json");
    fs::write(&file, replace(&committed)).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let operations: Vec<Operation> =
        serde_json::from_str(&replace(&committed)).map_err(|e| format!("{OPERATIONS}: {e}"))?;

    let _everything = start_everything(place, &everything)?;
    let replacements = [
        (DOCUMENTS, documents.as_str()),
        (REPOSITORY, &repository),
        (EVERYTHING, &everything),
    ];
    let mut gateway = Gateway::start(place, "interop", "tests/interop/mesh.yaml", &replacements)?;
    let token = gateway.token()?;
    let wanted: Vec<&str> = operations
        .first()
        .map(|list| list.expect.iter().map(String::as_str).collect())
        .unwrap_or_default();
    gateway.wait_for_tools(VIEW, Some(&token), &wanted)?;

    let stage = Stage {
        place,
        url: gateway.url(VIEW),
        token,
        file,
        operations,
    };
    let mut results = Vec::new();
    for (name, revision, client) in CLIENTS {
        if options.client.as_deref().is_none_or(|only| only == *name) {
            results.push((*name, *revision, client(&stage)));
        }
    }
    report(&stage, &results)
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

fn python(stage: &Stage<'_>) -> Result<Outcomes, Failure> {
    let mut command = program(stage.place, stage.place.venv("interop").join("bin/python"));
    command
        .arg(stage.place.root().join("tests/interop/client.py"))
        .arg(&stage.file);
    script(stage, "python", &mut command)
}

fn typescript(stage: &Stage<'_>, negotiation: &str) -> Result<Outcomes, Failure> {
    // A module finds packages from where it lies, so it is run from beside them.
    let home = stage.place.npm("interop");
    let copy = home.join("client.mjs");
    fs::copy(stage.place.root().join("tests/interop/client.mjs"), &copy)
        .map_err(|e| format!("cannot copy to {}: {e}", copy.display()))?;
    let mut command = program(stage.place, "node");
    command.arg(&copy).arg(&stage.file).arg(negotiation);
    script(stage, &format!("typescript-{negotiation}"), &mut command)
}

/// Runs a client of ours and reads its JSON lines.
fn script(stage: &Stage<'_>, name: &str, command: &mut Command) -> Result<Outcomes, Failure> {
    let log = stage.place.log(&format!("interop-{name}"));
    run_logged(
        command
            .env("MESHGATE_URL", &stage.url)
            .env("MESHGATE_TOKEN", &stage.token),
        &log,
    )?;
    let mut outcomes = Outcomes::new();
    for line in read(&log)?.lines() {
        let Ok(report) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let text = |field: &str| report.get(field).and_then(Value::as_str).map(str::to_owned);
        let Some(operation) = text("operation") else { continue };
        outcomes.insert(operation, text("text").ok_or_else(|| text("error").unwrap_or_default()));
    }
    Ok(outcomes)
}

/// The Inspector's command line does one operation at a time.
fn inspector(stage: &Stage<'_>) -> Result<Outcomes, Failure> {
    let mut outcomes = Outcomes::new();
    for operation in &stage.operations {
        outcomes.insert(operation.operation.clone(), inspect(stage, operation));
    }
    Ok(outcomes)
}

fn inspect(stage: &Stage<'_>, operation: &Operation) -> Result<String, String> {
    let ask = |arguments: &[&str]| {
        let mut command = program(stage.place, "mcp-inspector");
        command.args(["--cli", &stage.url, "--transport", "http", "--header"]);
        command
            .arg(format!("Authorization: Bearer {}", stage.token))
            .arg("--method")
            .args(arguments);
        output(&mut command)
    };
    match operation {
        Operation {
            tool: Some(tool),
            arguments,
            ..
        } => {
            let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let pairs: Vec<String> = arguments
                .iter()
                .map(|(name, value)| format!("{name}={}", plain(value)))
                .collect();
            let mut words = vec!["tools/call", "--tool-name", tool, "--tool-arg"];
            words.extend(pairs.iter().map(String::as_str));
            ask(&words)
        }
        Operation {
            prompt: Some(prompt), ..
        } => ask(&["prompts/get", "--prompt-name", prompt]),
        Operation {
            resource: Some(name), ..
        } => {
            let listed: Value = serde_json::from_str(&ask(&["resources/list"])?).map_err(|e| e.to_string())?;
            let resources = listed.get("resources").and_then(Value::as_array).into_iter().flatten();
            let field = |resource: &Value, field: &str| resource.get(field).and_then(Value::as_str).map(str::to_owned);
            let mut named = resources.filter(|resource| field(resource, "name").is_some_and(|n| n.ends_with(name)));
            let uri = named.next().and_then(|resource| field(resource, "uri"));
            ask(&[
                "resources/read",
                "--uri",
                &uri.ok_or_else(|| format!("no resource `{name}` is listed"))?,
            ])
        }
        _ => ask(&["tools/list"]),
    }
}

fn report(stage: &Stage<'_>, results: &[(&str, Option<&str>, Result<Outcomes, Failure>)]) -> Result<(), Failure> {
    let names: Vec<&str> = results.iter().map(|(name, ..)| *name).collect();
    let mut table = steps::table(&[&["operation"], names.as_slice()].concat());
    let mut failed = 0;
    let mut row = |label: &str, cell: &Cell<'_>| {
        let cells = results.iter().map(|(name, revision, outcomes)| {
            let cell = outcomes
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|outcomes| cell(*revision, outcomes));
            cell.unwrap_or_else(|why| {
                println!("{name}: {label}: {why}");
                failed += 1;
                "FAILED".to_owned()
            })
        });
        table.add_row([label.to_owned()].into_iter().chain(cells));
    };
    row(
        "connect",
        &|revision, outcomes| match (revision, outcomes.get("connect")) {
            (Some(wanted), Some(Ok(got))) if got == wanted => Ok(wanted.to_owned()),
            (Some(wanted), got) => Err(format!("expected revision {wanted}, got {got:?}")),
            (None, _) => Ok("-".to_owned()),
        },
    );
    for operation in &stage.operations {
        row(&operation.operation, &|_, outcomes| {
            let text = outcomes
                .get(&operation.operation)
                .ok_or("not done")?
                .as_ref()
                .map_err(Clone::clone)?;
            match operation.expect.iter().find(|expected| !text.contains(*expected)) {
                None => Ok("ok".to_owned()),
                Some(missing) => Err(format!(
                    "no `{missing}` in {}",
                    text.chars().take(400).collect::<String>()
                )),
            }
        });
    }
    println!("{table}");
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} cells failed"))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}
