//! `Gateway`: nothing but loopback without TLS and somebody who can prove who they are.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Given;
use super::report::Report;
use super::values;
use crate::finding::codes;
use crate::kinds::{ListenerSpec, TlsSpec};
use crate::limits;
use crate::parse::tree::steps;
use crate::parse::{Document, Spec};
use crate::snapshot::{GatewaySpec, Listener, MeshSpec, TlsFiles, View};

/// The edge while views are still to be resolved.
pub(super) struct Edge<'a> {
    gateway: GatewaySpec,
    /// The document, and the views it names; `None` is every view.
    document: Option<(&'a Document, Option<&'a [String]>)>,
}

impl Edge<'_> {
    /// Whether it serves the view.
    pub(super) fn serves(&self, view: &str) -> bool {
        let chosen = self.document.and_then(|(_, chosen)| chosen);
        chosen.is_none_or(|chosen| chosen.iter().any(|name| name == view))
    }

    /// The first listener that other machines can reach.
    pub(super) fn beyond_loopback(&self) -> Option<&Listener> {
        self.gateway.listeners.iter().find(|listener| !listener.is_loopback())
    }
}

pub(super) fn compile<'a>(given: Given<'a>, mesh: &MeshSpec, report: &mut Report) -> Edge<'a> {
    let documents = given.documents;
    let wanted = given.role.gateway();
    let found = documents.iter().find_map(|d| match &d.spec {
        Spec::Gateway(spec) if wanted.is_none_or(|name| **name == *d.metadata.name) => Some((d, spec)),
        _ => None,
    });
    let Some((document, spec)) = found.filter(|_| given.role.server().is_none()) else {
        return Edge {
            gateway: GatewaySpec {
                name: wanted.cloned().unwrap_or_else(|| "default".into()),
                listeners: default_listeners(),
            },
            document: None,
        };
    };
    // Who was told of no application was told of nobody, and lets nobody in.
    let has_applications = given.whole || documents.iter().any(|d| matches!(d.spec, Spec::Application(_)));
    let listeners = match &spec.listeners {
        None => default_listeners(),
        Some(written) => {
            if written.is_empty() {
                let remedy = format!("name an address, or remove `listeners` for `{}`", limits::LISTEN);
                report.error(
                    (document, steps!["spec", "listeners"]),
                    codes::NO_LISTENER,
                    "the gateway listens nowhere",
                    remedy,
                );
            }
            written
                .iter()
                .enumerate()
                .map(|(index, one)| listener(document, index, one, has_applications, report))
                .collect()
        }
    };
    addresses_once(document, &listeners, mesh, report);
    let gateway = GatewaySpec {
        name: document.metadata.name.as_str().into(),
        listeners,
    };
    Edge {
        gateway,
        document: Some((document, spec.views.as_deref())),
    }
}

fn default_listeners() -> Vec<Listener> {
    let address = SocketAddr::from(([127, 0, 0, 1], 7300));
    vec![Listener {
        address,
        tls: None,
        hosts: None,
        origins: None,
    }]
}

fn listener(
    document: &Document,
    index: usize,
    spec: &ListenerSpec,
    has_applications: bool,
    report: &mut Report,
) -> Listener {
    let tls = spec.tls.as_ref().map(|TlsSpec { certificate, key }| TlsFiles {
        certificate: report.file(
            (document, steps!["spec", "listeners", index, "tls", "certificate"]),
            certificate,
        ),
        key: report.file((document, steps!["spec", "listeners", index, "tls", "key"]), key),
    });
    let hosts = spec.hosts.as_ref().map(|hosts| {
        hosts
            .iter()
            .enumerate()
            .map(|(i, host)| self::host(document, (index, i), host, report))
            .collect()
    });
    let origins = spec.origins.as_ref().map(|origins| {
        origins
            .iter()
            .enumerate()
            .map(|(i, origin)| self::origin(document, (index, i), origin, report))
            .collect()
    });
    let listener = Listener {
        address: spec.address,
        tls,
        hosts,
        origins,
    };
    if !listener.is_loopback() {
        beyond_loopback(document, index, &listener, has_applications, report);
    }
    listener
}

fn beyond_loopback(
    document: &Document,
    index: usize,
    listener: &Listener,
    has_applications: bool,
    report: &mut Report,
) {
    let address = listener.address;
    let at = (document, steps!["spec", "listeners", index, "address"]);
    if listener.tls.is_none() {
        let message = format!("`{address}` can be reached from other machines, and has no TLS");
        let remedy = format!(
            "add `tls: {{certificate: FILE, key: FILE}}`, or listen on `127.0.0.1:{}`",
            address.port()
        );
        report.error(at, codes::LISTENER_TLS, message, remedy);
    }
    if !has_applications {
        let message =
            format!("`{address}` can be reached from other machines, and no application could prove who it is");
        let remedy = "add a document of kind `Application` with a token";
        report.error(at, codes::LISTENER_OPEN, message, remedy);
    }
    if listener.hosts.is_none() {
        let message = format!("`{address}` does not say which host names it serves");
        report.error(at, codes::LISTENER_HOSTS, message, "add `hosts: [mcp.example.com]`");
    }
}

fn addresses_once(document: &Document, listeners: &[Listener], mesh: &MeshSpec, report: &mut Report) {
    for (index, listener) in listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| listener.address.port() != 0)
    {
        let at = (document, steps!["spec", "listeners", index, "address"]);
        if listeners
            .iter()
            .take(index)
            .any(|earlier| earlier.address == listener.address)
        {
            report.error(
                at,
                codes::LISTENER_TWICE,
                format!("`{}` is listened on already", listener.address),
                "remove one of the two",
            );
        }
        if mesh.admin == Some(listener.address) {
            report.error(
                at,
                codes::ADMIN_ADDRESS,
                format!("`{}` is the admin listener's address", listener.address),
                "give one of the two another port",
            );
        }
    }
}

fn host(document: &Document, (listener, index): (usize, usize), host: &str, report: &mut Report) -> Arc<str> {
    let lower = host.to_ascii_lowercase();
    let valid = lower
        .parse::<http::uri::Authority>()
        .is_ok_and(|a| !a.host().is_empty() && values::port(&a).is_some())
        && !lower.contains(['@', '*', '%']);
    if !valid {
        let remedy = "write a name or an address, with or without a port: `mcp.example.com`, `[::1]:7300`; no wildcard";
        report.error(
            (document, steps!["spec", "listeners", listener, "hosts", index]),
            codes::HOST,
            format!("`{host}` is not a host"),
            remedy,
        );
    }
    lower.into()
}

fn origin(document: &Document, (listener, index): (usize, usize), origin: &str, report: &mut Report) -> Arc<str> {
    let lower = origin.to_ascii_lowercase();
    let valid = lower.split_once("://").is_some_and(|(scheme, authority)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            && authority
                .parse::<http::uri::Authority>()
                .is_ok_and(|a| !a.host().is_empty() && values::port(&a).is_some())
            && !authority.contains(['@', '*', '/', '%'])
    });
    if !valid {
        let remedy = "write scheme, host and port where it is not the usual one: `https://chat.example.com`; no path, no wildcard";
        report.error(
            (document, steps!["spec", "listeners", listener, "origins", index]),
            codes::ORIGIN,
            format!("`{origin}` is not an origin"),
            remedy,
        );
    }
    lower.into()
}

/// Keeps the views that the gateway serves.
pub(super) fn choose_views(
    edge: Edge<'_>,
    views: Vec<Arc<View>>,
    report: &mut Report,
) -> (GatewaySpec, Vec<Arc<View>>) {
    let Some((document, Some(chosen))) = edge.document else {
        return (edge.gateway, views);
    };
    for (index, name) in chosen.iter().enumerate() {
        if !views.iter().any(|view| *view.name == **name) {
            report.error(
                (document, steps!["spec", "views", index]),
                codes::UNKNOWN_VIEW,
                format!("there is no view `{name}`"),
                super::views::known(&views),
            );
        }
    }
    let served = views
        .into_iter()
        .filter(|view| chosen.iter().any(|name| **name == *view.name))
        .collect();
    (edge.gateway, served)
}
