//! What an operator types to start a part of the mesh, and what it means.
//!
//! How a server is reached is said here and nowhere else: a command of a program, or an address, typed on the server's own
//! machine. The control plane can neither add to it nor change it. The words are those of a mesh file, so that
//! one line on a command line, a file with several servers and `meshgate up` are read by the same code and refused for the same
//! reasons.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use meshgate_model::{Config, Finding, Reach, Role};
use serde_json::{Map, Value, json};
use thiserror::Error;

#[cfg(test)]
mod tests;

/// Longest file with servers that is read.
const FILE_BYTES_MAX: u64 = meshgate_model::limits::SOURCE_BYTES as u64 + 1;
/// Where a typed line is said to stand.
const COMMAND_LINE: &str = "command line";

/// What every part of a mesh is told about the mesh.
#[derive(Clone, Debug, Args)]
pub struct MemberArgs {
    /// Address of the control plane, such as `mesh.example.com:7310`. When it is away, a part that has joined starts without it.
    #[arg(long, value_name = "HOST:PORT", env = "MESHGATE_CONTROL")]
    pub control: String,
    /// File with the join token, needed once [default: the variable MESHGATE_JOIN_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Address that other parts of the mesh call [default: port 7320 for a sidecar, 7321 for a gateway, on every address; a
    /// free port where that one is taken].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub mesh_listen: Option<SocketAddr>,
    /// Address that other parts are told to call [default: this machine's address on the way to the control plane].
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Threads that serve calls [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
}

/// A gateway that joins a mesh.
#[derive(Clone, Debug, Args)]
pub struct GatewayArgs {
    /// The gateway's name, that of its `Gateway` document.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where applications call it, in place of the address of its first listener. TLS and host names stay those of the document.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// How it belongs to the mesh.
    #[command(flatten)]
    pub member: MemberArgs,
}

/// A sidecar that joins a mesh.
#[derive(Clone, Debug, Args)]
pub struct SidecarArgs {
    /// The server that it stands beside.
    #[arg(long, required_unless_present = "file")]
    pub server: Option<String>,
    /// The version of the server [default: v1].
    #[arg(long, requires = "server", conflicts_with = "file")]
    pub version: Option<String>,
    /// The server's address, such as `http://127.0.0.1:9000/mcp`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "file"])]
    pub upstream: Option<String>,
    /// A variable of the command: `NAME` passes this process's own on, `NAME=VALUE` sets it. It sees no other.
    #[arg(long, value_name = "NAME[=VALUE]", requires = "command")]
    pub env: Vec<String>,
    /// Mesh file: a sidecar for each `Server` in it that has `sidecar` and says with `stdio` or `http` how it is reached; with
    /// `--server`, for that one.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub file: Option<PathBuf>,
    /// How it belongs to the mesh.
    #[command(flatten)]
    pub member: MemberArgs,
    /// The server's command and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A server as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedServer {
    /// Its name.
    pub server: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// How its sidecar reaches it.
    pub reach: Reach,
}

/// What was typed, and what is worth knowing about it.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The servers, in the order of their names; one at least.
    pub servers: Vec<TypedServer>,
    /// Warnings about them, by the rules of a mesh file.
    pub warnings: Vec<Finding>,
}

/// What was typed means nothing.
#[derive(Debug, Error)]
pub enum TypedError {
    /// Something is wrong with it, by the rules of a mesh file.
    #[error("{} finding(s) in `{source_name}`", findings.len())]
    Findings {
        /// What it was read from.
        source_name: String,
        /// Its text.
        text: String,
        /// What is wrong.
        findings: Vec<Finding>,
    },
    /// The file cannot be read.
    #[error("`{file}` cannot be read: {why}")]
    File {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// Nothing says how the server is reached.
    #[error("nothing says how `{0}` is reached; give `--upstream URL`, or its command after `--`")]
    Nothing(String),
    /// No server of the file has a sidecar to run here.
    #[error("no `Server` in `{0}` has `sidecar` with `stdio` or `http` beside it{1}")]
    Nobody(String, String),
}

impl SidecarArgs {
    /// The servers that were typed, in the order of their names.
    ///
    /// # Errors
    /// When there is none, or what is said of one breaks the rules of a mesh file.
    pub fn servers(&self) -> Result<Typed, TypedError> {
        match (&self.file, &self.server) {
            (Some(file), wanted) => of_file(file, wanted.as_deref()),
            (None, Some(server)) => self.of_line(server),
            (None, None) => Err(TypedError::Nothing(String::new())),
        }
    }

    fn of_line(&self, server: &str) -> Result<Typed, TypedError> {
        let mut spec = Map::new();
        let sidecar = self
            .version
            .as_ref()
            .map_or(json!({}), |version| json!({ "version": version }));
        spec.insert("sidecar".to_owned(), sidecar);
        match (&self.upstream, self.command.split_first()) {
            (Some(url), _) => spec.insert("http".to_owned(), json!({ "url": url })),
            (None, Some((command, args))) => {
                let env: Map<String, Value> = self.env.iter().map(|entry| variable(entry)).collect();
                let stdio = json!({ "command": command, "args": args, "env": env });
                spec.insert("stdio".to_owned(), stdio)
            }
            (None, None) => return Err(TypedError::Nothing(server.to_owned())),
        };
        let document = json!({
            "apiVersion": meshgate_model::API_VERSION,
            "kind": "Server",
            "metadata": { "name": server },
            "spec": spec,
        });
        let text = document.to_string();
        chosen(COMMAND_LINE, &text, None, || {
            Config::of_objects_from(COMMAND_LINE, [text.as_bytes()])
        })
    }
}

/// A typed variable as a mesh file has it.
fn variable(entry: &str) -> (String, Value) {
    match entry.split_once('=') {
        Some((name, value)) => (name.to_owned(), Value::from(value)),
        None => (entry.to_owned(), json!({ "fromEnvironment": entry })),
    }
}

fn of_file(file: &Path, wanted: Option<&str>) -> Result<Typed, TypedError> {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let name = path.display().to_string();
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|cause| TypedError::File {
            file: name.clone(),
            why: cause.to_string(),
        })?;
    chosen(&name, &text, wanted, || meshgate_model::parse(&name, &text))
}

/// The sidecars that documents say to run, once they are read.
fn chosen(
    source_name: &str,
    text: &str,
    wanted: Option<&str>,
    read: impl FnOnce() -> Result<Config, Vec<Finding>>,
) -> Result<Typed, TypedError> {
    let refused = |findings| TypedError::Findings {
        source_name: source_name.to_owned(),
        text: text.to_owned(),
        findings,
    };
    // A file for several gateways is as good as one for none: only its servers matter here.
    let role = Role::Gateway {
        name: "default".into(),
        started: Arc::new(BTreeMap::new()),
    };
    let (snapshot, mut warnings) = read().and_then(|config| config.compile_as(&role)).map_err(refused)?;
    let servers = snapshot.servers.values().filter_map(|server| match &server.reach {
        Reach::Sidecar {
            version,
            beside: Some(beside),
        } if wanted.is_none_or(|wanted| *server.name == *wanted) => Some(TypedServer {
            server: server.name.clone(),
            version: version.clone(),
            reach: (**beside).clone(),
        }),
        _ => None,
    });
    let servers: Vec<TypedServer> = servers.collect();
    if servers.is_empty() {
        let which = wanted
            .map(|name| format!(", and is named `{name}`"))
            .unwrap_or_default();
        return Err(TypedError::Nobody(source_name.to_owned(), which));
    }
    // What else the file says is for whoever applies it.
    let documents: Vec<String> = servers.iter().map(|one| format!("Server/{}", one.server)).collect();
    warnings.retain(|warning| warning.document.as_ref().is_some_and(|of| documents.contains(of)));
    Ok(Typed { servers, warnings })
}
