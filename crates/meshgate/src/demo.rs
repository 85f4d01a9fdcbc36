//! `meshgate demo`: the worked example, from nothing to an answer.
//!
//! CorpAssist is a program like any other application: it knows one address and one token. This command starts its two
//! servers with a sidecar each, a control plane and a gateway in this process, lets it answer one question, and leaves
//! nothing behind. Its programs are
//! found beside this one, or built where this one was built. What people read here is the answer: the log is silent
//! unless it is asked for, and what gateway and sidecars recorded of the calls follows once everything has ended.

mod programs;
mod records;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use meshgate_control::shapes::{MeshStatus, ProxyShape};
use meshgate_model::Part;
use meshgate_proxy::admin::shape::Status;
use tokio::process::Command;

use self::programs::Programs;
use crate::cli::DemoArgs;
use crate::exit::{FAILED, FORCED, Failure, STATE, SYSTEM};
use crate::source::Source;
use crate::state::{StateDirectory, StatePath};
use crate::status::mesh::part;
use crate::up::{Assembly, MeshOptions, Running, Signals};
use crate::{log, out};

const MESH: &str = include_str!("demo/mesh.yaml");
const RECORDS: &str = "records.jsonl";
/// How long the servers may take to show their tools; they fill their databases first.
const SERVERS_TIME: Duration = Duration::from_secs(60);
const WHY_CHARS_MAX: usize = 160;

/// Starts everything, asks, and ends everything.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let programs = Programs::find()?;
    let scratch = Scratch::new()?;
    let name = scratch.0.join("mesh.yaml").display().to_string();
    let source = Source::new(name, mesh(&programs, &scratch.0));
    source.snapshot()?;
    let state = StateDirectory::open(StatePath::find(Some(&scratch.0.join("state")))?)?;
    let _log = std::env::var_os(log::FILTER).map(|_| log::start());
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = MeshOptions {
        control: free,
        api: free,
    };
    let assembly = Assembly::prepare(source, state, options)?;
    let code = assembly.run(async |running, signals| {
        match ask(&programs.assistant, args.ask.as_deref(), &running, signals).await {
            Ok(code) => code,
            Err(failure) => failure.report(),
        }
    })?;
    if let Some(records) = records::shown(&scratch.0.join(RECORDS)) {
        out::print(&records);
    }
    Ok(code)
}

/// Waits for the servers, then lets the assistant answer.
async fn ask(
    assistant: &Path,
    question: Option<&str>,
    running: &Running,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        () = running.asked_all(SERVERS_TIME) => {}
        () = signals.next() => return Ok(ExitCode::from(FORCED)),
    }
    let mesh = running.mesh.as_ref().map(|mesh| mesh.status());
    out::note(&started(&running.sight.status(), mesh.as_ref()));
    let mut command = command(assistant, question, running)?;
    let mut child = command
        .spawn()
        .map_err(|cause| Failure::new(SYSTEM, format!("`{}` cannot be started: {cause}", assistant.display())))?;
    tokio::select! {
        ended = child.wait() => ended
            .map(code)
            .map_err(|cause| Failure::new(SYSTEM, format!("the assistant cannot be waited for: {cause}"))),
        () = signals.next() => Ok(ExitCode::from(FORCED)),
    }
}

/// What runs now: the gateway, and the servers with who stands before each and which era it bridges.
fn started(status: &Status, mesh: Option<&MeshStatus>) -> String {
    let mut lines: Vec<String> = status
        .listeners
        .iter()
        .map(|listener| format!("gateway at {}, for this question only", listener.url))
        .collect();
    for server in &status.servers {
        let name = &server.name;
        let Some(tools) = server.tools.filter(|_| server.state == "up") else {
            let why = server.why.as_deref().unwrap_or("no reason known");
            lines.push(format!("  {name:<10} is away: {}", out::one_line(why, WHY_CHARS_MAX)));
            continue;
        };
        let is_its = |proxy: &&ProxyShape| match part(proxy) {
            Some(Part::Server { server, .. }) => *server == **name,
            _ => false,
        };
        let sidecar = mesh.and_then(|mesh| mesh.proxies.iter().find(is_its));
        let behind = sidecar.map_or_else(String::new, |sidecar| {
            let era = sidecar.era.as_deref().unwrap_or("any era");
            format!(", mTLS to {}, which speaks {era} to it", sidecar.proxy.identity)
        });
        lines.push(format!("  {name:<10} {tools} tools{behind}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The assistant gets an address and a token, as any application does.
fn command(assistant: &Path, question: Option<&str>, running: &Running) -> Result<Command, Failure> {
    let status = running.sight.status();
    let (listener, view) = status
        .listeners
        .first()
        .zip(status.views.first())
        .ok_or_else(|| Failure::new(FAILED, "the demo's gateway has no endpoint"))?;
    let mut command = Command::new(assistant);
    command.env("MESHGATE_URL", format!("{}{}", listener.url, view.path));
    if let Some((token, _)) = &running.token {
        command.env("MESHGATE_TOKEN", token.expose());
    }
    if let Some(question) = question {
        command.arg("--ask").arg(question);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

fn code(status: ExitStatus) -> ExitCode {
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => ExitCode::from(code),
        _ => ExitCode::from(FAILED),
    }
}

/// The mesh file with its words filled in. JSON strings are YAML strings, whatever a path holds.
fn mesh(programs: &Programs, scratch: &Path) -> String {
    let quoted =
        |path: &Path| String::from_utf8(meshgate_mcp::json::quote(&path.display().to_string())).unwrap_or_default();
    MESH.replace("@documents@", &quoted(&programs.documents))
        .replace("@projects@", &quoted(&programs.projects))
        .replace("@documentsDatabase@", &quoted(&scratch.join("documents.sqlite")))
        .replace("@projectsDatabase@", &quoted(&scratch.join("projects.sqlite")))
        .replace("@records@", &quoted(&scratch.join(RECORDS)))
}

/// A directory that goes with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("meshgate-demo-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|cause| Failure::new(STATE, format!("directory `{}` cannot be made: {cause}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's temporary files' business.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_demos_mesh_is_good_wherever_its_programs_are() {
        let odd = Path::new("/opt/a \"quoted\" folder: #1");
        let programs = Programs {
            documents: odd.join("corpassist-documents"),
            projects: odd.join("corpassist-projects"),
            assistant: odd.join("corpassist"),
        };
        let source = Source::new("/tmp/mesh.yaml".into(), mesh(&programs, odd));
        let (snapshot, found) = source.compile();
        let snapshot = snapshot.unwrap();
        assert_eq!(found, [], "{found:?}");
        assert_eq!(snapshot.servers.len(), 2);
        assert!(
            snapshot
                .gateway
                .listeners
                .iter()
                .all(meshgate_model::Listener::is_loopback)
        );
    }
}
