//! `meshgate status`: how the running gateway and its servers are.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use meshgate_control::shapes::MeshStatus;
use meshgate_proxy::admin::shape::{Configuration, ServerStatus, Status};
use serde::Serialize;

use crate::api::Api;
use crate::cli::{Output, StatusArgs};
use crate::client::{admin, block_on};
use crate::exit::{FAILED, Failure};
use crate::state::StatePath;
use crate::{findings, out};

pub(crate) mod mesh;

/// What is known of a gateway and of a mesh: either, or both where `up` runs a mesh.
#[derive(Debug, Serialize)]
struct Both {
    #[serde(flatten)]
    gateway: Option<Status>,
    #[serde(rename = "controlPlane", skip_serializing_if = "Option::is_none")]
    mesh: Option<MeshStatus>,
}

/// Asks and prints.
pub(crate) fn run(args: &StatusArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let path = StatePath::find(state)?;
    let both = block_on(asked(args, &path, state))?;
    match args.ask.output {
        Output::Json => out::print(&json(&both)?),
        Output::Text => {
            let parts = [both.gateway.as_ref().map(shown), both.mesh.as_ref().map(mesh::shown)];
            out::print(&parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The gateway and the control plane of this state directory, as far as they are there; a control plane that was named alone.
async fn asked(args: &StatusArgs, path: &StatePath, state: Option<&Path>) -> Result<Both, Failure> {
    let is_named = args.ask.control.control.is_some();
    let gateway = if is_named {
        None
    } else {
        Some(admin(path, "/status").await)
    };
    let mesh = match Api::find(&args.ask.control, state) {
        Ok(api) => Some(api.get("/v1/status").await),
        Err(failure) if is_named => return Err(failure),
        // There is no mesh here.
        Err(_) => None,
    };
    match (gateway, mesh) {
        (Some(Err(failure)), None) => Err(failure),
        (Some(Err(_)) | None, Some(Err(failure))) => Err(failure),
        (gateway, mesh) => Ok(Both {
            gateway: gateway.and_then(Result::ok),
            mesh: mesh.and_then(Result::ok),
        }),
    }
}

/// A value as JSON for programs.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|cause| Failure::new(FAILED, format!("the answer cannot be written: {cause}")))
}

/// A table in the style of this program.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// A time as people say it: `45 s`, `12 min`, `3 h`, `2 d`.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn shown(status: &Status) -> String {
    let mut lines = vec![format!(
        "meshgate {} · mesh {} · process {} · up {} · revision {}",
        status.version,
        status.mesh,
        status.pid,
        ago(Duration::from_secs(status.uptime_seconds).as_secs()),
        status.revision
    )];
    lines.extend(status.unready.iter().map(|why| format!("not ready: {why}")));
    lines.extend(
        status
            .listeners
            .iter()
            .map(|listener| format!("listening on {}", listener.url)),
    );

    lines.extend(status.configuration.iter().flat_map(configuration));

    let mut views = table(&["VIEW", "PATH", "TOOLS", "SERVERS", "AWAY"]);
    for view in &status.views {
        let name = if view.anonymous {
            format!("{} (anonymous)", view.name)
        } else {
            view.name.clone()
        };
        views.add_row([
            name,
            view.path.clone(),
            view.tools.to_string(),
            view.servers.join(", "),
            view.away.join(", "),
        ]);
    }
    lines.push(String::new());
    lines.push(views.trim_fmt());

    let mut servers = table(&["SERVER", "STATE", "ERA", "REACH", "TOOLS", "CALLS", "RESTARTS", "NOTE"]);
    for server in &status.servers {
        servers.add_row(row(server));
    }
    lines.push(String::new());
    lines.push(servers.trim_fmt());
    lines.extend(endpoints(&status.servers));

    let load = &status.load;
    lines.push(String::new());
    lines.push(format!(
        "{} connection(s), {} call(s) running, {} session(s), {} stream(s), {} child process(es), {} record(s) lost",
        load.connections, load.calls_in_flight, load.sessions, load.streams, load.children, load.records_dropped
    ));
    lines.join("\n")
}

/// What became of the file since the start; a file that is served as it is needs no words.
fn configuration(configuration: &Configuration) -> Vec<String> {
    let mut lines = Vec::new();
    if configuration.reloads > 0 {
        lines.push(format!(
            "configuration {} since {} ago",
            configuration.revision,
            ago(configuration.applied_seconds)
        ));
    }
    if let Some(failure) = &configuration.failure {
        lines.push(format!(
            "the file is refused for {}; configuration {} is served on",
            ago(failure.since_seconds),
            configuration.revision
        ));
        lines.extend(failure.findings.iter().map(findings::told));
    }
    if !configuration.waits_for_restart.is_empty() {
        lines.push("waiting for the next start:".to_owned());
        lines.extend(configuration.waits_for_restart.iter().map(findings::told));
    }
    lines
}

/// How it stands with each sidecar; nothing where there are none.
fn endpoints(servers: &[ServerStatus]) -> Vec<String> {
    let mut all = table(&[
        "ENDPOINT",
        "VERSION",
        "STATE",
        "ADDRESS",
        "CALLS",
        "CONNECTIONS",
        "STREAMS",
    ]);
    for server in servers {
        for endpoint in &server.endpoints {
            all.add_row([
                server.name.clone(),
                endpoint.version.clone(),
                endpoint.state.clone(),
                endpoint.address.clone(),
                endpoint.in_flight.to_string(),
                endpoint.connections.to_string(),
                endpoint.stream_connections.to_string(),
            ]);
        }
    }
    if all.is_empty() {
        return Vec::new();
    }
    vec![String::new(), all.trim_fmt()]
}

fn row(server: &ServerStatus) -> [String; 8] {
    let reach = match server.pid {
        Some(pid) => format!("{} ({pid})", server.reach),
        None => server.reach.clone(),
    };
    let note = match (&server.why, server.away_seconds) {
        (Some(why), Some(seconds)) => {
            let next = server.next_attempt_seconds;
            let next = next.map_or_else(String::new, |next| format!("; tried again in {next} s"));
            format!("for {}: {}{next}", ago(seconds), out::one_line(why, 120))
        }
        (Some(why), None) => out::one_line(why, 120),
        (None, _) => server.revision.clone().unwrap_or_default(),
    };
    [
        server.name.clone(),
        server.state.clone(),
        server.era.clone().unwrap_or_default(),
        reach,
        server.tools.map(|tools| tools.to_string()).unwrap_or_default(),
        server.calls_in_flight.to_string(),
        server.restarts.to_string(),
        note,
    ]
}

#[cfg(test)]
mod tests;
