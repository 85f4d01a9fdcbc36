//! The command line: what can be typed, and where it leads.

mod objects;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use meshgate_proxy::process::{GatewayArgs, SidecarArgs};

use crate::exit::{self, Failure};
use crate::mesh::ControlRunArgs;
use crate::{
    apply, call, cert, check, delete, demo, describe, diff, get, import, join, mesh, out, reference, reload, status,
    tools, up,
};

pub(crate) use self::objects::{
    ApplyArgs, AskArgs, CertCommand, CertDenyArgs, CertRotateRootArgs, ControlArgs, DeleteArgs, DescribeArgs, GetArgs,
    JoinTokenArgs,
};

/// The mesh gateway for MCP: one authenticated endpoint in front of any MCP servers.
#[derive(Debug, Parser)]
#[command(name = "meshgate", version, about, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Directory for the token, the key ring and the admin socket [default: meshgate in the XDG state folder].
    #[arg(long, global = true, env = "MESHGATE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a gateway from a mesh file or an `mcp.json`; where a server has a sidecar, with control plane and sidecars.
    Up(UpArgs),
    /// Run the control plane of a mesh.
    Control(ControlRunArgs),
    /// Run a gateway of a mesh, which its control plane tells what to serve.
    Gateway(GatewayArgs),
    /// Run a sidecar of a mesh, beside a server.
    Sidecar(SidecarArgs),
    /// Say what is wrong with a mesh file or an `mcp.json`, without starting anything; without a file, with the running mesh.
    Check(CheckArgs),
    /// Make the objects of a running mesh what a file says.
    Apply(ApplyArgs),
    /// Show objects of a running mesh.
    Get(GetArgs),
    /// Show all about an object of a running mesh.
    Describe(DescribeArgs),
    /// Delete an object of a running mesh.
    Delete(DeleteArgs),
    /// Print a token with which one sidecar or gateway may join, once.
    JoinToken(JoinTokenArgs),
    /// Show and rotate certificates, and refuse identities.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Say that the control plane's state was put back from a backup, so that the parts follow it again.
    AcceptRestore(AskArgs),
    /// Write a mesh file from the files of other programs: `mcp.json` of Claude, Cursor, VS Code, Windsurf, Cline, Zed,
    /// Gemini, Continue, or `config.toml` of Codex; or proposals from an MCP registry.
    Import(ImportArgs),
    /// Let the running gateway read its file again, and say what became of it.
    Reload(ReloadArgs),
    /// Say what a file would change in the running gateway, and who would gain or lose which tools.
    Diff(DiffArgs),
    /// Show how the running gateway, its servers and the parts of its mesh are.
    Status(StatusArgs),
    /// List the tools of the running gateway.
    Tools(ToolsArgs),
    /// Call a tool of the running gateway.
    Call(CallArgs),
    /// Start the worked example, CorpAssist, and let it answer one question.
    Demo(DemoArgs),
    /// Print the JSON Schema of the mesh file, for editors.
    Schema,
    /// Print a page of the reference documentation.
    #[command(hide = true)]
    Reference {
        /// The page.
        page: reference::Page,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Mesh file (YAML or JSON) or `mcp.json` [default: ./mesh.yaml, then ./mcp.json].
    pub(crate) file: Option<PathBuf>,
    /// Threads that serve calls [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Do not watch the file; it is still read again on SIGHUP and by `meshgate reload`.
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Give every server a sidecar, with a control plane and mTLS in between.
    #[arg(long)]
    pub(crate) mesh: bool,
    /// Where gateways and sidecars reach the control plane, where there is one [default: 127.0.0.1:7310].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) control_address: Option<SocketAddr>,
    /// Where operators reach its API, on loopback [default: 127.0.0.1:7311].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api_address: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0   the file is good; with `--against-running`: and would change nothing; without a file: nothing is broken
  1   the file has errors; with `--against-running`: or would be refused; without a file: something is broken
  3   with `--against-running`: the file is good and would change the running gateway
  69  without a file: no control plane is running with this state directory, or it does not answer")]
pub(crate) struct CheckArgs {
    /// Mesh file or `mcp.json` [default: none; the running mesh is looked at].
    pub(crate) file: Option<PathBuf>,
    /// Also say what the file would change in the running gateway, and whether that would refuse it.
    #[arg(long, requires = "file")]
    pub(crate) against_running: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0   the file is served now, or was served before
  1   the file is refused; the last good one is served on
  69  no gateway is running with this state directory, or it does not answer")]
pub(crate) struct ReloadArgs {
    /// Let servers, views and applications go, however many.
    #[arg(long)]
    pub(crate) allow_shrink: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0   the file would change nothing
  1   the file would be refused
  3   the file would change the running gateway or mesh
  69  no gateway is running with this state directory, or it does not answer")]
pub(crate) struct DiffArgs {
    /// Mesh file or `mcp.json` [default: the one that the gateway follows, as it is now].
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Files of other programs, known by what they hold; of two servers of one name, the first file's keeps it.
    #[arg(
        required_unless_present = "registry",
        conflicts_with = "registry",
        value_name = "FILE"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write; `-` is standard output [default: mesh.yaml, with `--registry` proposals.yaml].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file when it is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Copy secrets into the file. Without it, each is read from a variable that the file names.
    #[arg(long, conflicts_with = "registry")]
    pub(crate) inline_values: bool,
    /// The project that the files belong to: `${workspaceFolder}`, and where relative paths start [default: the directory
    /// of the file, or the one above its `.vscode`, `.cursor` and the like].
    #[arg(long, value_name = "DIR", conflicts_with = "registry")]
    pub(crate) workspace: Option<PathBuf>,
    /// Write proposals from the MCP registry at this `https` address, in place of files. Nothing in them runs until a
    /// person accepts it.
    #[arg(long, value_name = "URL")]
    pub(crate) registry: Option<String>,
    /// Only servers of the registry whose name holds this.
    #[arg(long, value_name = "WORD", requires = "registry", conflicts_with = "name")]
    pub(crate) search: Option<String>,
    /// Only this server of the registry, such as `io.example/weather`.
    #[arg(long, value_name = "SERVER", requires = "registry")]
    pub(crate) name: Option<String>,
    /// This version of it.
    #[arg(long, value_name = "VERSION", requires = "name", default_value = "latest")]
    pub(crate) version: String,
    /// At most so many servers of the registry.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) max: u16,
    /// Let the registry be at an address that is not public: a company's own.
    #[arg(long, requires = "registry")]
    pub(crate) allow_private_registry: bool,
    /// Certificates (PEM) that the registry is trusted by, in place of the public ones.
    #[arg(long, value_name = "FILE", requires = "registry")]
    pub(crate) registry_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ToolsArgs {
    /// The view [default: the first one].
    #[arg(long)]
    pub(crate) view: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The tool, as `meshgate tools` shows it.
    pub(crate) tool: String,
    /// An argument; read as the tool's schema says, otherwise as JSON, otherwise as text.
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    pub(crate) args: Vec<String>,
    /// All arguments as one JSON object; `--arg` adds to it.
    #[arg(long, value_name = "OBJECT")]
    pub(crate) args_json: Option<String>,
    /// The view [default: the first one].
    #[arg(long)]
    pub(crate) view: Option<String>,
    /// Seconds to wait for the answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The question.
    #[arg(long, value_name = "TEXT")]
    pub(crate) ask: Option<String>,
}

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let state = cli.state.as_deref();
    match &cli.command {
        Command::Up(args) => up::run(args, state),
        Command::Control(args) => mesh::control(args, state),
        Command::Gateway(args) => mesh::gateway(args, state),
        Command::Sidecar(args) => mesh::sidecar(args, state),
        Command::Check(args) => check::run(args, state),
        Command::Import(args) => import::run(args),
        Command::Apply(args) => apply::run(args, state),
        Command::Get(args) => get::run(args, state),
        Command::Describe(args) => describe::run(args, state),
        Command::Delete(args) => delete::run(args, state),
        Command::JoinToken(args) => join::run(args, state),
        Command::Cert(command) => cert::run(command, state),
        Command::AcceptRestore(args) => cert::accept_restore(args, state),
        Command::Reload(args) => reload::run(args, state),
        Command::Diff(args) => diff::run(args, state),
        Command::Status(args) => status::run(args, state),
        Command::Tools(args) => tools::run(args, state),
        Command::Call(args) => call::run(args, state),
        Command::Demo(args) => demo::run(args),
        Command::Schema => {
            out::print(meshgate_model::json_schema_text().trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Reference { page } => Ok(reference::run(*page, Cli::command())),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "meshgate", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
