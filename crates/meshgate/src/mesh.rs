//! `meshgate control`, `meshgate gateway` and `meshgate sidecar`: the parts of a mesh, each as a process of its own.
//!
//! Gateways and sidecars are the proxy's own code, which `meshgate-proxy` runs without what is here. The control plane runs
//! nowhere else: it holds the keys of the mesh, and belongs where only operators come.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use meshgate_control::{Control, ControlParts, StartError};
use meshgate_identity::tls::ReloadingTls;
use meshgate_model::TrustDomain;
use meshgate_proxy::process::{
    GatewayArgs, ProcessError, ProcessStartError, SidecarArgs, TypedError, log, run_gateway, run_sidecar,
};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::ApiAddress;
use crate::exit::{CONFIGURATION, Failure, IN_USE, STATE, SYSTEM};
use crate::findings;
use crate::out;
use crate::state::StatePath;

/// The control plane's folder in the state directory.
pub(crate) const CONTROL_FOLDER: &str = "control";

/// A control plane as a process of its own.
#[derive(Debug, Args)]
pub(crate) struct ControlRunArgs {
    /// Where gateways and sidecars reach it.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7310")]
    pub(crate) listen: SocketAddr,
    /// Where operators reach its API. Beyond loopback it needs a certificate.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7311")]
    pub(crate) api: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` answer without credentials; loopback only [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Certificate chain of the API (PEM), leaf first; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "api_key")]
    pub(crate) api_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "api_certificate")]
    pub(crate) api_key: Option<PathBuf>,
    /// File with the secret that seals its store, where it is kept apart from it [default: `control.key` beside the store].
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The trust domain of a new mesh, until its `Mesh` document says one [default: default.mesh].
    #[arg(long, value_name = "DOMAIN", value_parser = trust_domain)]
    pub(crate) trust_domain: Option<TrustDomain>,
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    text.parse()
        .map_err(|error: meshgate_model::SpiffeError| error.to_string())
}

/// Runs a control plane until a signal.
pub(crate) fn control(args: &ControlRunArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let folder = StatePath::find(state)?.as_path().join(CONTROL_FOLDER);
    let _log = log::start();
    let api_tls = match (&args.api_certificate, &args.api_key) {
        (Some(certificate), Some(key)) => {
            let tls =
                ReloadingTls::load(certificate, key).map_err(|error| Failure::new(CONFIGURATION, error.to_string()))?;
            Some(Arc::new(tls))
        }
        _ => None,
    };
    let source = api_tls
        .clone()
        .map(|tls| -> meshgate_control::listen::TlsSource { Arc::new(move || tls.current()) });
    let parts = ControlParts {
        key_file: args.key_file.clone(),
        sync: args.listen,
        api: args.api,
        metrics: args.metrics,
        api_tls: source,
        trust_domain: args.trust_domain.clone(),
        ..ControlParts::new(folder)
    };
    let runtime = Builder::new_multi_thread()
        .thread_name("meshgate-control")
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(SYSTEM, format!("the system gives no threads: {cause}")))?;
    runtime.block_on(serve(parts, api_tls))
}

async fn serve(parts: ControlParts, api_tls: Option<Arc<ReloadingTls>>) -> Result<ExitCode, Failure> {
    let take =
        |kind| signal(kind).map_err(|cause| Failure::new(SYSTEM, format!("signals cannot be received: {cause}")));
    let (mut terminate, mut interrupt) = (take(SignalKind::terminate())?, take(SignalKind::interrupt())?);
    let folder = parts.state.clone();
    let running = Control::start(parts).await.map_err(|error| not_started(&error))?;
    let addresses = running.addresses();
    let _address = ApiAddress::leave(&folder, addresses.api, api_tls.is_some())?;
    let metrics = addresses.metrics.map(|at| format!("\n  metrics   {at}"));
    out::note(&format!(
        "control plane of this mesh\n  proxies   {}\n  operators {}{}",
        addresses.sync,
        addresses.api,
        metrics.unwrap_or_default()
    ));
    let mut look = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = look.tick() => {
                if let Some(tls) = &api_tls {
                    // Said once for each content of the files.
                    if let meshgate_identity::tls::Reload::Kept(error) = tls.reload_if_changed() {
                        tracing::error!(%error, "the last good certificate is kept");
                    }
                }
            }
        }
    }
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn not_started(error: &StartError) -> Failure {
    let failure = |code| Failure::new(code, format!("the control plane cannot be started: {error}"));
    match error {
        StartError::Listen { .. } => {
            failure(SYSTEM).remedy("free the address, or choose others with `--listen`, `--api` and `--metrics`")
        }
        StartError::Open(_) => failure(CONFIGURATION).remedy("give `--api-certificate` and `--api-key`"),
        StartError::OpenMetrics(_) => {
            failure(CONFIGURATION).remedy("a scraper of another machine reaches it through an agent on this one")
        }
        StartError::Store(_) => failure(IN_USE),
        _ => failure(STATE),
    }
}

/// Runs a gateway until a signal.
pub(crate) fn gateway(args: &GatewayArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    run_gateway(args, state).map_err(failure)
}

/// Runs sidecars until a signal.
pub(crate) fn sidecar(args: &SidecarArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    run_sidecar(args, state).map_err(failure)
}

fn failure(error: ProcessError) -> Failure {
    if let ProcessError::Typed(TypedError::Findings { text, findings, .. }) = &error {
        for finding in findings {
            out::note(&findings::drawn(finding, text));
        }
    }
    if let ProcessError::Start(ProcessStartError::Start(error)) = &error {
        return Failure::new(SYSTEM, error.to_string()).remedy("free the address, or choose another");
    }
    let failure = Failure::new(error.code(), error.to_string());
    match error.remedy() {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}
