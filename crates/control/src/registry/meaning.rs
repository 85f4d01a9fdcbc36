//! What documents mean together, and what stands against a change of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshgate_model::diff::{self, Change, Running, reload_findings};
use meshgate_model::finding::codes;
use meshgate_model::{Config, Finding, Role, Snapshot, TrustDomain};

use super::Configuration;

/// What a finding about the set as a whole names as its source.
const SOURCE: &str = "applied";

pub(super) type Meaning = (BTreeMap<Arc<str>, Arc<Snapshot>>, Vec<Finding>);

/// What each gateway makes of the documents, and warnings; or everything that is wrong with them.
pub(super) fn meaning(config: &Config) -> Result<Meaning, Vec<Finding>> {
    let names = config.gateways();
    let mut gateways = BTreeMap::new();
    let mut warnings: Vec<Finding> = Vec::new();
    let mut errors: Vec<Finding> = Vec::new();
    for name in &names {
        let role = if names.len() == 1 {
            Role::Alone
        } else {
            Role::Gateway {
                name: name.clone(),
                started: Arc::default(),
            }
        };
        let (found, snapshot) = match config.clone().compile_as(&role) {
            Ok((snapshot, found)) => (found, Some(snapshot)),
            Err(found) => (found, None),
        };
        let list = if snapshot.is_some() { &mut warnings } else { &mut errors };
        for finding in found {
            if !list.contains(&finding) {
                list.push(finding);
            }
        }
        gateways.extend(snapshot.map(|snapshot| (name.clone(), Arc::new(snapshot))));
    }
    if errors.is_empty() {
        Ok((gateways, warnings))
    } else {
        Err(errors)
    }
}

/// What stands against a change in a mesh that runs.
pub(super) fn against(
    current: &Configuration,
    wanted: &BTreeMap<Arc<str>, Arc<Snapshot>>,
    allow_shrink: bool,
) -> Vec<Finding> {
    if current.number == 0 {
        return Vec::new();
    }
    let source: Arc<str> = SOURCE.into();
    let mut findings: Vec<Finding> = Vec::new();
    for (name, now) in &current.gateways {
        // A gateway whose document goes is held against those that stay.
        let Some(after) = wanted.get(name).or_else(|| wanted.values().next()) else {
            continue;
        };
        let (now, after) = (with_local_token(now), with_local_token(after));
        let running = Running {
            started: &now,
            now: &now,
            allow_shrink,
        };
        for mut finding in reload_findings(&source, running, &after) {
            // Another trust domain is taken at once or not at all; no start has to do with it.
            if finding.code == codes::RESTART && finding.path == "spec.trustDomain" {
                continue;
            }
            if [codes::SHRINK, codes::LOCK_OUT].contains(&finding.code) {
                "if that is meant, apply it with `--allow-shrink`; otherwise repair the documents"
                    .clone_into(&mut finding.remedy);
            }
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

/// Certificates name the trust domain, so it cannot be another one while somebody has a certificate.
pub(super) fn moved_domain(fixed: &TrustDomain, wanted: &BTreeMap<Arc<str>, Arc<Snapshot>>) -> Option<Finding> {
    let mesh = &wanted.values().next()?.mesh;
    let said = &mesh.trust_domain;
    let message = format!("the trust domain would be `{said}`, and parts of the mesh have certificates of `{fixed}`");
    let remedy = format!("write `trustDomain: {fixed}` in the document of kind `Mesh`; another domain is another mesh");
    (said != fixed).then(|| Finding {
        document: Some(format!("Mesh/{}", mesh.name)),
        path: "spec.trustDomain".to_owned(),
        ..Finding::of_assembly(codes::TRUST_DOMAIN, SOURCE, message, remedy)
    })
}

/// The application `local` can always prove itself: each gateway makes a token for it, which is known only there.
fn with_local_token(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    // A digest that no token has; what counts is that there is one.
    let _ = snapshot.add_token(meshgate_model::LOCAL_APPLICATION, [0; 32]);
    snapshot
}

/// What changes, as a person would say it, each object once.
pub(super) fn changes(
    before: &BTreeMap<Arc<str>, Arc<Snapshot>>,
    after: &BTreeMap<Arc<str>, Arc<Snapshot>>,
) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    let names: BTreeSet<&Arc<str>> = before.keys().chain(after.keys()).collect();
    for name in names {
        let old = before.get(name).or_else(|| before.values().next());
        let new = after.get(name).or_else(|| after.values().next());
        let (Some(old), Some(new)) = (old, new) else { continue };
        for change in diff::diff(old, new) {
            if !all
                .iter()
                .any(|known| known.kind == change.kind && known.name == change.name)
            {
                all.push(change);
            }
        }
    }
    all
}
