//! `meshgate check` without a file: looking at a running mesh.
//!
//! The control plane is asked for what it sees, every address it names is tried from here, and the objects are read by the
//! same code that reads files, so that what a file would be warned of is found here too.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshgate_control::alarms::AlarmKind;
use meshgate_control::shapes::{Certificates, DocumentShape, MeshStatus, ProxyShape};
use meshgate_model::{Config, Finding, Reach, Severity, Snapshot};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::cli::{CheckArgs, Output};
use crate::client::block_on;
use crate::exit::{FAILED, Failure};
use crate::get;
use crate::health::codes::{self, Code, Level};
use crate::health::{Facts, Found, Part, Server, judge};
use crate::out;
use crate::status::{json, mesh};

/// How long an address may take to answer.
const DIAL_TIME: Duration = Duration::from_secs(2);
/// Addresses that are tried at once.
const DIALS_MAX: usize = 64;
/// The page that explains the codes.
const PAGE: &str = "docs/reference/mesh-checks.md";

/// A finding for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    severity: &'static str,
    code: &'static str,
    message: String,
    remedy: String,
}

/// Looks, judges and prints; what is broken makes the command fail.
pub(super) fn run(args: &CheckArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let api = Api::find(&args.ask.control, state)?;
    let (facts, found) = block_on(look(&api))?;
    let mut shown: Vec<Shown> = judge(&facts).into_iter().map(of_mesh).collect();
    shown.extend(found.into_iter().map(of_object));
    let errors = shown
        .iter()
        .filter(|shown| shown.severity == Level::Error.word())
        .count();
    match args.ask.output {
        Output::Json => out::print(&json(&shown)?),
        Output::Text => {
            for finding in &shown {
                let Shown {
                    severity,
                    code,
                    message,
                    remedy,
                } = finding;
                out::print(&out::harmless(&format!(
                    "{severity} {code}: {message}\n  help: {remedy}"
                )));
            }
            out::print(&verdict(&facts, shown.len(), errors));
        }
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn verdict(facts: &Facts, all: usize, errors: usize) -> String {
    let parts = facts.parts.iter().filter(|part| part.is_connected).count();
    let servers = facts.servers.len();
    match (errors, all) {
        (0, 0) => format!("the mesh is healthy: {parts} part(s) connected, {servers} server(s)"),
        (errors, all) => format!(
            "{errors} error(s), {} warning(s); each code is explained in {PAGE}",
            all - errors
        ),
    }
}

fn of_mesh(found: Found) -> Shown {
    Shown {
        severity: found.code.level.word(),
        code: found.code.code,
        message: format!("{}: {}", found.code.meaning, found.message),
        remedy: found.code.remedy.to_owned(),
    }
}

fn of_object(finding: Finding) -> Shown {
    let document = finding.document.as_deref().unwrap_or("the mesh");
    Shown {
        severity: if finding.severity == Severity::Error {
            "error"
        } else {
            "warning"
        },
        code: finding.code,
        message: format!("{document}: {}", finding.message),
        remedy: finding.remedy,
    }
}

/// Asks the control plane, and tries the addresses.
async fn look(api: &Api) -> Result<(Facts, Vec<Finding>), Failure> {
    let status: MeshStatus = api.get("/v1/status").await?;
    // Taken at once, so that what follows does not count as a clock that is off.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let certificates: Certificates = api.get("/v1/certificates").await?;
    let objects = get::of(api, None, None).await?;
    let dialled = dial_all(&status.proxies).await;
    let (snapshot, found) = of_objects(&objects);
    Ok((facts(now, status, &certificates, dialled, snapshot.as_ref()), found))
}

fn facts(
    now: u64,
    status: MeshStatus,
    certificates: &Certificates,
    mut dialled: Vec<Option<String>>,
    snapshot: Option<&Snapshot>,
) -> Facts {
    dialled.resize(status.proxies.len(), None);
    Facts {
        now,
        control_now: status.now_ms / 1_000,
        control_version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: status.revision,
        revision_seconds: status.now_ms.saturating_sub(status.changed_ms) / 1_000,
        settled: status.settled,
        root_ends: certificates
            .roots
            .first()
            .and_then(|root| ends(&root.pem))
            .unwrap_or(u64::MAX),
        certificate_life: snapshot.map_or(0, |snapshot| snapshot.mesh.certificate_life.as_secs()),
        rotation_waits: status.rotation.map(|rotation| rotation.waits_for),
        alarms: status
            .alarms
            .into_iter()
            .map(|alarm| (code(alarm.kind), alarm.message))
            .collect(),
        parts: status
            .proxies
            .into_iter()
            .zip(dialled)
            .map(|(proxy, failed)| part(proxy, failed))
            .collect(),
        servers: snapshot.map(servers).unwrap_or_default(),
    }
}

/// What an alarm of the control plane is here.
fn code(kind: AlarmKind) -> &'static Code {
    match kind {
        AlarmKind::TokenReused => codes::TOKEN_REUSED,
        AlarmKind::UnknownIssuance => codes::UNKNOWN_ISSUANCE,
        AlarmKind::LogBroken => codes::LOG_BROKEN,
        AlarmKind::SetBack => codes::SET_BACK,
        AlarmKind::Guessing => codes::GUESSING,
        AlarmKind::RootWaits => codes::ROTATION_OPEN,
    }
}

/// When a certificate in PEM ends, in seconds since 1970.
fn ends(pem: &str) -> Option<u64> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

fn part(proxy: ProxyShape, failed: Option<String>) -> Part {
    let (kind, name, version) = match mesh::part(&proxy) {
        Some(meshgate_model::Part::Gateway(name)) => ("gateway", name.to_string(), None),
        Some(meshgate_model::Part::Server { server, version }) => {
            ("server", server.to_string(), Some(version.to_string()))
        }
        _ => ("", String::new(), None),
    };
    let is_away = proxy.state.as_deref() == Some("away");
    Part {
        identity: proxy.proxy.identity,
        kind: kind.to_owned(),
        name,
        version,
        program: Some(proxy.program),
        address: proxy.address.map(|address| (address, failed)),
        is_connected: proxy.connected,
        revision: proxy.revision,
        is_current: proxy.current,
        nack: proxy.refuses,
        certificate_ends: proxy.certificate_ends_ms.map(|ends| ends / 1_000),
        // A gateway is not away when a server of it is.
        away: (is_away && kind == "server").then_some(proxy.reason),
    }
}

/// What came of connecting to each part that is there; nothing where it worked.
async fn dial_all(parts: &[ProxyShape]) -> Vec<Option<String>> {
    let mut failed = vec![None; parts.len()];
    let mut waiting = parts.iter().enumerate().filter(|(_, part)| part.connected);
    let mut dials = JoinSet::new();
    loop {
        while dials.len() < DIALS_MAX
            && let Some((at, part)) = waiting.next()
        {
            let Some(address) = part.address.clone() else { continue };
            dials.spawn(async move { (at, dial(&address).await) });
        }
        let Some(done) = dials.join_next().await else {
            return failed;
        };
        if let Ok((at, outcome)) = done
            && let Some(slot) = failed.get_mut(at)
        {
            *slot = outcome;
        }
    }
}

async fn dial(address: &str) -> Option<String> {
    match tokio::time::timeout(DIAL_TIME, TcpStream::connect(address)).await {
        Ok(Ok(_)) => None,
        Ok(Err(cause)) => Some(cause.to_string()),
        Err(_) => Some(format!("no answer within {} s", DIAL_TIME.as_secs())),
    }
}

/// What the objects mean, and what is to be said about them.
fn of_objects(objects: &[DocumentShape]) -> (Option<Snapshot>, Vec<Finding>) {
    let documents: Vec<String> = objects.iter().map(|object| object.document.to_string()).collect();
    match Config::of_objects(documents.iter().map(String::as_bytes)).and_then(Config::compile) {
        Ok((snapshot, warnings)) => (Some(snapshot), warnings),
        Err(found) => (None, found),
    }
}

fn servers(snapshot: &Snapshot) -> Vec<Server> {
    let shows = |name: &str| {
        let mut views = snapshot.views.iter();
        views.any(|view| view.servers.iter().any(|shown| &*shown.server.name == name))
    };
    let server = |server: &std::sync::Arc<meshgate_model::Server>| Server {
        name: server.name.to_string(),
        version: match &server.reach {
            Reach::Sidecar { version, .. } => Some(version.to_string()),
            _ => None,
        },
        is_shown: shows(&server.name),
    };
    snapshot.servers.values().map(server).collect()
}
