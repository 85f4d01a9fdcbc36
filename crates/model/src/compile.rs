//! From documents to a snapshot: what they mean together.
//!
//! Each kind is checked in a file of its own, in the order in which they build on each other, and every check goes on
//! after a finding, so that one run shows everything there is to repair. Only a configuration without a single error
//! becomes a snapshot: nothing half right is ever served.

mod applications;
mod calls;
mod gateway;
mod mesh;
mod names;
mod questions;
mod report;
mod servers;
mod unpinned;
mod values;
mod views;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::finding::{Finding, Severity};
use crate::parse::{Config, Document};
use crate::role::Role;
use crate::snapshot::{Reach, Snapshot, TokenSource};
use report::Report;
pub(crate) use values::is_own_header;

/// What is compiled.
#[derive(Clone, Copy)]
struct Given<'a> {
    documents: &'a [Document],
    /// For whom.
    role: &'a Role,
    /// Whether the documents say everything: what they do not have there is not.
    whole: bool,
}

pub(crate) fn compile(config: Config, role: &Role) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
    let Config {
        documents,
        warnings,
        sources,
        whole,
    } = config;
    let given = Given {
        documents: &documents,
        role,
        whole,
    };
    let mut report = Report::new(warnings);
    names::check(given, &mut report);
    let (mesh, validation) = mesh::compile(&documents, &mut report);
    let servers = servers::compile(given, &validation, &mut report);
    let edge = gateway::compile(given, &mesh, &mut report);
    let all_views = views::compile(given, &servers, &edge, &mut report);
    let applications = applications::compile(given, &all_views, &mut report);
    let (gateway, views) = gateway::choose_views(edge, all_views, &mut report);
    if servers.is_empty() && !whole {
        report.no_server(sources.first());
    }
    let children = servers
        .values()
        .filter(|s| matches!(s.reach, Reach::Stdio { .. }))
        .count();
    if children > mesh.limits.children_max {
        report.too_many_children(sources.first(), children, mesh.limits.children_max);
    }

    let findings = report.findings;
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    let paths = views
        .iter()
        .enumerate()
        .map(|(index, view)| (view.path.clone(), index))
        .collect();
    let mut tokens = HashMap::new();
    for (index, application) in applications.iter().enumerate() {
        for token in &application.tokens {
            if let TokenSource::Sha256(digest) = token {
                tokens.insert(*digest, index);
            }
        }
    }
    Ok((
        Snapshot {
            revision: 0,
            mesh,
            gateway,
            servers,
            views,
            applications,
            paths,
            tokens,
        },
        findings,
    ))
}
