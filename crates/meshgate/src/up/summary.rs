//! What a start says: where to call, with which token, and which servers answer. Never the token itself.

use meshgate_control::Addresses;
use meshgate_proxy::admin::shape::{ServerStatus, Status};

use super::Running;
use crate::out;
use crate::status::ago;

/// What a person wants to know once it runs.
pub(super) fn started(running: &Running) -> String {
    let status = running.sight.status();
    let mut lines = vec![format!(
        "meshgate {} · mesh {} · process {}",
        status.version, status.mesh, status.pid
    )];
    lines.extend(endpoints(&status));
    if let Some((_, new)) = &running.token {
        let file = running.state.token_file();
        let made = if *new { ", made just now" } else { "" };
        lines.push(format!(
            "  token     in {}{made}; send it as `Authorization: Bearer …`",
            file.display()
        ));
    }
    if let Some(mesh) = &running.mesh {
        lines.extend(self::mesh(
            &mesh.status().trust_domain,
            &mesh.sidecars(),
            mesh.addresses(),
        ));
    }
    lines.extend(
        running
            .metrics
            .map(|address| format!("  metrics   http://{address}/metrics")),
    );
    lines.join("\n")
}

/// The mesh around the gateway: who is in it, and where others may join.
fn mesh(trust_domain: &str, sidecars: &[String], addresses: Addresses) -> Vec<String> {
    let sidecars = match sidecars {
        [] => "no sidecars here".to_owned(),
        all => format!("sidecars: {}", all.join(", ")),
    };
    vec![
        format!("  mesh      {trust_domain}, {sidecars}"),
        format!(
            "  control   {} for gateways and sidecars, http://{} for `meshgate apply`, `status`, `check`",
            addresses.sync, addresses.api
        ),
    ]
}

fn endpoints(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    for view in &status.views {
        for listener in &status.listeners {
            let open = if view.anonymous { ", no token needed" } else { "" };
            let servers = view.servers.join(", ");
            lines.push(format!(
                "  {:<9} {}{}  ({servers}{open})",
                view.name, listener.url, view.path
            ));
        }
    }
    lines
}

/// One line about a server that came or went.
pub(super) fn server(server: &ServerStatus) -> String {
    let name = &server.name;
    if server.state == "up" {
        let tools = server.tools.unwrap_or_default();
        let era = server.era.as_deref().unwrap_or("unknown era");
        return format!("  server    {name} is up: {era}, {tools} tool(s)");
    }
    let why = server
        .why
        .as_deref()
        .map_or_else(|| "no reason known".to_owned(), |why| out::one_line(why, 200));
    let since = server
        .away_seconds
        .filter(|seconds| *seconds > 0)
        .map(|s| format!(" for {}", ago(s)));
    format!(
        "  server    {name} is {}{}: {why}",
        server.state,
        since.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_comes_or_goes_is_one_line() {
        let up = ServerStatus {
            name: "ledger".into(),
            state: "up".into(),
            era: Some("legacy".into()),
            tools: Some(4),
            ..ServerStatus::default()
        };
        assert_eq!(server(&up), "  server    ledger is up: legacy, 4 tool(s)");
        let away = ServerStatus {
            name: "ledger".into(),
            state: "away".into(),
            why: Some("exited\nwith code 1".into()),
            away_seconds: Some(3),
            ..ServerStatus::default()
        };
        assert_eq!(server(&away), "  server    ledger is away for 3 s: exited with code 1");
    }
}
