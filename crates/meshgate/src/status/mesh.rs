//! How the parts of a mesh are, as its control plane sees them.

use meshgate_control::shapes::{MeshStatus, ProxyShape};
use meshgate_model::{Part, SpiffeId};

use super::{ago, table};
use crate::out;

/// Characters of a note.
const NOTE_CHARS_MAX: usize = 120;

/// A table for people.
pub(crate) fn shown(status: &MeshStatus) -> String {
    let mut lines = vec![head(status)];
    if !status.settled {
        lines.push("the control plane has just started: endpoints are added, and none is taken away yet".to_owned());
    }
    if let Some(rotation) = &status.rotation {
        lines.push(format!("the root is being replaced; waits for {}", rotation.waits_for));
    }
    lines.extend(status.alarms.iter().map(|alarm| {
        let since = status.now_ms.saturating_sub(alarm.at_ms) / 1_000;
        format!("alarm, {} ago: {}", ago(since), out::one_line(&alarm.message, 400))
    }));
    if status.proxies.is_empty() {
        lines.push("no gateway and no sidecar has joined".to_owned());
    } else {
        lines.push(String::new());
        lines.push(parts(status));
    }
    lines.join("\n")
}

/// The part of the mesh that a proxy is.
pub(crate) fn part(proxy: &ProxyShape) -> Option<Part> {
    let id: SpiffeId = proxy.proxy.identity.parse().ok()?;
    Some(id.part().clone())
}

fn head(status: &MeshStatus) -> String {
    let connected = status.proxies.iter().filter(|proxy| proxy.connected);
    let (all, have) = connected.fold((0, 0), |(all, have), proxy| {
        (all + 1, have + usize::from(proxy.current))
    });
    let who = match (all, have) {
        (0, _) => "nobody is connected".to_owned(),
        (all, have) if all == have => format!("served by all {all} part(s)"),
        (all, have) => format!("served by {have} of {all} part(s)"),
    };
    let since = ago(status.now_ms.saturating_sub(status.changed_ms) / 1_000);
    format!(
        "mesh {} · revision {} since {since}, {who}",
        status.trust_domain, status.revision
    )
}

/// A line for each part.
pub(crate) fn parts(status: &MeshStatus) -> String {
    let mut parts = table(&[
        "PART",
        "NAME",
        "STATE",
        "ERA",
        "TOOLS",
        "CALLS",
        "REVISION",
        "CERTIFICATE",
        "VERSION",
        "ADDRESS",
        "NOTE",
    ]);
    // Who went before it had said where it is was only on its way in.
    for proxy in status
        .proxies
        .iter()
        .filter(|proxy| proxy.connected || proxy.address.is_some())
    {
        parts.add_row(row(proxy, status));
    }
    parts.trim_fmt()
}

fn row(proxy: &ProxyShape, status: &MeshStatus) -> [String; 11] {
    let (kind, name) = match part(proxy) {
        Some(Part::Server { server, version }) => ("sidecar", format!("{server}/{version}")),
        Some(Part::Gateway(name)) => ("gateway", name.to_string()),
        _ => ("", proxy.proxy.identity.clone()),
    };
    let state = match (proxy.connected, proxy.draining) {
        (false, _) => "gone",
        (true, true) => "draining",
        (true, false) => proxy.state.as_deref().unwrap_or("starting"),
    };
    let tools = if kind == "sidecar" {
        proxy.tools.to_string()
    } else {
        String::new()
    };
    [
        kind.to_owned(),
        name,
        state.to_owned(),
        proxy.era.clone().unwrap_or_default(),
        tools,
        proxy.in_flight.to_string(),
        proxy.revision.to_string(),
        certificate(proxy, status.now_ms),
        proxy.program.clone(),
        proxy.address.clone().unwrap_or_default(),
        note(proxy),
    ]
}

/// How long a certificate has: `35 h left`.
fn certificate(proxy: &ProxyShape, now_ms: u64) -> String {
    match proxy.certificate_ends_ms {
        None => String::new(),
        Some(ends) if ends <= now_ms => format!("expired {} ago", ago((now_ms - ends) / 1_000)),
        Some(ends) => format!("{} left", ago((ends - now_ms) / 1_000)),
    }
}

fn note(proxy: &ProxyShape) -> String {
    let note = match (&proxy.refuses, proxy.reason.as_str()) {
        (Some(why), _) => format!("refuses {why}"),
        (None, reason) => reason.to_owned(),
    };
    out::one_line(&note, NOTE_CHARS_MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use meshgate_control::shapes::ProxyName;

    use super::*;

    /// A mesh at revision 7.
    pub(crate) fn status(proxies: Vec<ProxyShape>) -> MeshStatus {
        MeshStatus {
            trust_domain: "test.mesh".into(),
            revision: 7,
            changed_ms: 1_000_000,
            epoch: 1,
            settled: true,
            proxies,
            key_ring_rotates: false,
            rotation: None,
            alarms: Vec::new(),
            now_ms: 1_060_000,
        }
    }

    /// One that everything is well with.
    pub(crate) fn proxy(identity: &str) -> ProxyShape {
        ProxyShape {
            proxy: ProxyName {
                identity: identity.into(),
                instance: "0000000000000001".into(),
            },
            connected: true,
            seconds: 60,
            address: Some("127.0.0.1:7320".into()),
            program: "0.1.0".into(),
            revision: 7,
            epoch: 1,
            current: true,
            refuses: None,
            state: Some("up".into()),
            reason: String::new(),
            era: Some("legacy".into()),
            catalogue: None,
            tools: 4,
            in_flight: 0,
            draining: false,
            certificate_ends_ms: Some(1_060_000 + 36 * 3_600_000),
        }
    }

    #[test]
    fn every_part_is_a_line_with_what_it_serves_and_how_long_its_certificate_has() {
        let id = "spiffe://test.mesh/server/ledger/v1";
        let behind = ProxyShape {
            revision: 6,
            current: false,
            refuses: Some("View/all: a field\ndoes not exist".into()),
            certificate_ends_ms: Some(1_000_000),
            ..proxy(id)
        };
        let text = shown(&status(vec![proxy(id), behind]));
        assert!(
            text.contains("mesh test.mesh · revision 7 since 60 s, served by 1 of 2 part(s)"),
            "{text}"
        );
        assert!(
            text.contains("sidecar  ledger/v1  up     legacy  4      0      7         36 h left"),
            "{text}"
        );
        assert!(text.contains("expired 60 s ago"), "{text}");
        assert!(text.contains("refuses View/all: a field does not exist"), "{text}");
    }
}
