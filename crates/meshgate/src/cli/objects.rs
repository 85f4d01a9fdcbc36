//! What is typed to a control plane: objects, tokens, certificates.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Output;

/// Where the control plane is. Without a word it is the one that runs with this state directory.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ControlArgs {
    /// Address of the control plane's API: `http://127.0.0.1:7311` on this machine, `https://HOST:PORT` on any [default:
    /// that of the `up` or `control` which runs with this state directory].
    #[arg(long, value_name = "URL", env = "MESHGATE_API")]
    pub(crate) control: Option<String>,
    /// Certificates (PEM) that an `https` address of it is trusted by, in place of the public ones.
    #[arg(long, value_name = "FILE", env = "MESHGATE_API_CA")]
    pub(crate) control_ca: Option<PathBuf>,
    /// File with the operator token [default: the one in the state directory].
    #[arg(long, value_name = "FILE", env = "MESHGATE_OPERATOR_TOKEN_FILE")]
    pub(crate) operator_token_file: Option<PathBuf>,
}

/// Whom to ask, and how to print what is answered.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// What a change may do, and on what it rests.
#[derive(Clone, Debug, Args)]
pub(crate) struct TermsArgs {
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Let servers, views and applications go, however many.
    #[arg(long)]
    pub(crate) allow_shrink: bool,
    /// Only if nothing has changed since this revision.
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_revision: Option<u64>,
}

/// An object, by its kind and name.
#[derive(Clone, Debug, Args)]
pub(crate) struct TitleArgs {
    /// The kind, such as `Server`.
    pub(crate) kind: String,
    /// The name.
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0   applied, or nothing to do; with `--wait`: and every connected proxy serves it
  1   refused, or with `--wait`: a proxy refused it, or did not take it in time
  3   with `--dry-run`: it would change something
  69  no control plane is running with this state directory, or it does not answer")]
pub(crate) struct ApplyArgs {
    /// Mesh file: the objects that shall be as it says.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// Return when every connected proxy has acknowledged the change.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// Longest time to wait.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub(crate) timeout: Duration,
    /// The file is all there is: objects that it does not have are deleted.
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The kind: `Mesh`, `Gateway`, `Server`, `View` or `Application` [default: all].
    pub(crate) kind: Option<String>,
    /// The name [default: all of the kind].
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub(crate) title: TitleArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) title: TitleArgs,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JoinTokenArgs {
    /// The server whose sidecar may join with it.
    #[arg(long, value_name = "NAME", required_unless_present = "gateway")]
    pub(crate) server: Option<String>,
    /// The version of that server.
    #[arg(long, value_name = "VERSION", default_value = "v1", conflicts_with = "gateway")]
    pub(crate) version: String,
    /// The gateway that may join with it.
    #[arg(long, value_name = "NAME", conflicts_with = "server")]
    pub(crate) gateway: Option<String>,
    /// How long it is good: 10 s to 24 h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub(crate) life: Duration,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Show the authority, and the certificate of each part.
    Show(AskArgs),
    /// Sign with a new intermediate, and let every connected part renew its certificate soon.
    Rotate(AskArgs),
    /// Replace the root: a new one is made, distributed, signs, and the old one is retired. No call fails.
    RotateRoot(CertRotateRootArgs),
    /// Replace the key that gateways seal session ids, cursors and states with. The old one still opens.
    RotateKeyRing(AskArgs),
    /// Refuse an identity, or one certificate: connections are cut everywhere within seconds.
    Deny(CertDenyArgs),
    /// Let an identity, or a certificate, in again.
    Allow(CertAllowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CertRotateRootArgs {
    /// Return when the old root is retired.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub(crate) timeout: Duration,
    /// End the step that it is in, whoever is not ready: for a root that must not be trusted any longer. Parts that are not
    /// ready join anew.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CertDenyArgs {
    /// A SPIFFE ID, or the serial number of a certificate, as `cert show` prints them.
    pub(crate) subject: String,
    /// Why, for whoever finds it in a year.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CertAllowArgs {
    /// The SPIFFE ID or serial number that was denied.
    pub(crate) subject: String,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// A time as it is typed: `10m`, `36h`, `500ms`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    meshgate_model::amount::Period::parse(text)
        .map(|period| period.0)
        .ok_or_else(|| "write a whole number with a unit: `250ms`, `60s`, `10m` or `1h`".to_owned())
}
