//! What stands against taking a configuration over in a process that runs.
//!
//! A file that would be right for a new process may be wrong for this one: it may take away so much that it is rather a
//! mistake, lock everybody out, or rely on listeners that this process does not have.

use std::sync::Arc;

use super::{shrinks, waits_for_restart};
use crate::finding::{Finding, codes};
use crate::snapshot::{Snapshot, TokenSource};

/// Names of removed objects that a message lists.
const NAMED_MAX: usize = 5;

/// What a reload is held against.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// What the process was started with: its listeners are these.
    pub started: &'a Snapshot,
    /// What it serves by now.
    pub now: &'a Snapshot,
    /// Whether somebody has said that much may go.
    pub allow_shrink: bool,
}

/// What is to be said about taking over `wanted`; an error among it refuses the whole.
pub fn reload_findings(source: &Arc<str>, running: Running<'_>, wanted: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    exposed(source, running.started, wanted, &mut findings);
    if !running.allow_shrink {
        shrunk(source, running.now, wanted, &mut findings);
        if may_anybody_call(running.now) && !may_anybody_call(wanted) {
            let message = "nobody could call any more: no application has a token and a view";
            findings.push(
                Finding::error(codes::LOCK_OUT, source, message)
                    .remedy("give an application a token and a view, or run `meshgate reload --allow-shrink`"),
            );
        }
    }
    let waiting = waits_for_restart(running.started, wanted);
    for (title, field) in waiting {
        let title = title.trim_end_matches('/').to_owned();
        let mut finding = Finding::warning(
            codes::RESTART,
            source,
            format!("`{}` was changed and takes effect at the next start only", field.path),
        )
        .remedy("the rest applies now; restart the gateway for this");
        finding.document = Some(title);
        finding.path = format!("spec.{}", field.path);
        findings.push(finding);
    }
    findings
}

/// The rules for views without tokens or limits look at the listeners of the file; this process may have others.
fn exposed(source: &Arc<str>, started: &Snapshot, wanted: &Snapshot, findings: &mut Vec<Finding>) {
    let Some(listener) = started.gateway.listeners.iter().find(|l| !l.is_loopback()) else {
        return;
    };
    for view in wanted.views.iter().filter(|v| v.anonymous || v.limits_lifted) {
        let field = if view.anonymous { "anonymous" } else { "liftLimits" };
        let message = format!(
            "`{field}` is for loopback, and this process still listens on {} until it is restarted",
            listener.address
        );
        let mut finding = Finding::error(codes::EXPOSED, source, message)
            .remedy(format!("restart the gateway, or leave `{field}` out"));
        finding.document = Some(format!("View/{}", view.name));
        finding.path = format!("spec.{field}");
        findings.push(finding);
    }
}

fn shrunk(source: &Arc<str>, now: &Snapshot, wanted: &Snapshot, findings: &mut Vec<Finding>) {
    for shrink in shrinks(now, wanted) {
        let mut names: Vec<&str> = shrink.removed.iter().take(NAMED_MAX).map(|name| &**name).collect();
        if shrink.removed.len() > NAMED_MAX {
            names.push("…");
        }
        let message = format!(
            "{} of {} {} would go: {}",
            shrink.removed.len(),
            shrink.before,
            shrink.what,
            names.join(", ")
        );
        findings.push(
            Finding::error(codes::SHRINK, source, message)
                .remedy("if that is meant, run `meshgate reload --allow-shrink`; otherwise repair the file"),
        );
    }
}

/// Whether there is somebody who could prove who they are, or need not, and a view that they may use.
fn may_anybody_call(snapshot: &Snapshot) -> bool {
    let open = snapshot.views.iter().any(|view| view.anonymous);
    open || snapshot.applications.iter().enumerate().any(|(index, application)| {
        let sourced = application.tokens.iter().any(|t| !matches!(t, TokenSource::Sha256(_)));
        let proves = sourced || snapshot.tokens.values().any(|owner| *owner == index);
        proves
            && snapshot
                .views
                .iter()
                .any(|view| snapshot.may_use(&application.name, view))
    })
}
