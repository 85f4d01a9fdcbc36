//! What a control plane has told, turned into what the parts of a proxy take.
//!
//! All of it is worked out before any of it is used: either everything the manifest lists makes sense together for this
//! part, or it is refused with the name of the resource that does not, and what was served before is served on.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshgate_identity::denied::Subject;
use meshgate_identity::manifest::SnapshotPublicKey;
use meshgate_identity::svid::serial_text;
use meshgate_identity::{Denied, KeyRing, TrustBundle};
use meshgate_model::{Config, Finding, Role, Severity, Snapshot, SpiffeId};
use meshgate_sync::resource::{self, Body, Key, Kind};
use rustls::pki_types::CertificateDer;

use super::directory::Directory;
use super::tokens::{self, TokenError};
use crate::hop::Endpoint;

#[cfg(test)]
mod tests;

/// What is told of the endpoints of a group: its name, whether nobody is missing, and who there is.
pub(crate) type Group = (String, bool, Vec<Endpoint>);

/// All that a part is told, ready to be taken over.
pub(crate) struct Told {
    /// The configuration; `None` where it is the one that is served already.
    pub(crate) snapshot: Option<Snapshot>,
    /// What an operator should know about it.
    pub(crate) warnings: Vec<Finding>,
    /// Where the others are.
    pub(crate) endpoints: Vec<Group>,
    /// Which gateways may call, where this is a sidecar.
    pub(crate) admitted: Vec<SpiffeId>,
    /// Whom to trust.
    pub(crate) bundle: Option<TrustBundle>,
    /// What gateways seal with.
    pub(crate) ring: Option<KeyRing>,
    /// Who is cut off.
    pub(crate) denied: Denied,
}

/// Why it is refused, and which resource is to blame where it is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(crate) key: Option<Key>,
    pub(crate) message: String,
}

impl Refused {
    fn of(key: &Key, message: impl Into<String>) -> Self {
        Self {
            key: Some(key.clone()),
            message: message.into(),
        }
    }
}

/// Works out what the resources mean for a part in its role; without a role, leaves the configuration out. `directory` is
/// where its local token is, for a gateway.
pub(super) fn told(
    resources: &BTreeMap<Key, Arc<resource::Resource>>,
    role: Option<&Role>,
    revision: u64,
    directory: &Directory,
) -> Result<Told, Refused> {
    let mut told = Told {
        snapshot: None,
        warnings: Vec::new(),
        endpoints: Vec::new(),
        admitted: Vec::new(),
        bundle: None,
        ring: None,
        denied: Denied::default(),
    };
    if let Some(role) = role {
        let (mut snapshot, warnings) = compiled(resources, role)?;
        snapshot.revision = revision;
        if matches!(role, Role::Gateway { .. }) {
            tokens::register(&mut snapshot, directory).map_err(|error| token_refused(&error))?;
        }
        (told.snapshot, told.warnings) = (Some(snapshot), warnings);
    }
    for (key, resource) in resources {
        match resource.body() {
            Body::Object(_) | Body::Tokens(_) => {}
            Body::Endpoints(group) => told.endpoints.push(endpoints(group)),
            Body::Admission(admission) => told.admitted.extend(admission.gateways.iter().cloned()),
            Body::TrustBundle(said) => told.bundle = Some(bundle(said).map_err(|why| Refused::of(key, why))?),
            Body::KeyRing(ring) => {
                let ring = KeyRing::from_text(&ring.text);
                told.ring = Some(ring.ok_or_else(|| Refused::of(key, "it is not a key ring"))?);
            }
            Body::Denied(said) => told.denied = denied(said).map_err(|why| Refused::of(key, why))?,
        }
    }
    Ok(told)
}

fn compiled(
    resources: &BTreeMap<Key, Arc<resource::Resource>>,
    role: &Role,
) -> Result<(Snapshot, Vec<Finding>), Refused> {
    let bodies = || resources.values().map(|resource| resource.body());
    let objects = bodies().filter_map(|body| match body {
        Body::Object(object) => Some(object.json.as_bytes()),
        _ => None,
    });
    let mut config = Config::of_objects(objects).map_err(|found| finding_refused(&found))?;
    for body in bodies() {
        if let Body::Tokens(tokens) = body {
            config = config
                .with_tokens(&tokens.application, tokens.json.as_bytes())
                .map_err(|found| finding_refused(&found))?;
        }
    }
    config.compile_as(role).map_err(|found| finding_refused(&found))
}

/// The first error, in the words of the finding, with the document it is in.
fn finding_refused(found: &[Finding]) -> Refused {
    let errors = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let first = found
        .iter()
        .find(|finding| finding.severity == Severity::Error)
        .or(found.first());
    let Some(first) = first else {
        return Refused {
            key: None,
            message: "it is refused without a finding".to_owned(),
        };
    };
    let more = if errors > 1 {
        format!(" (and {} more)", errors - 1)
    } else {
        String::new()
    };
    Refused {
        key: first.document.as_deref().map(|name| Key::new(Kind::Object, name)),
        message: format!("{first}{more}"),
    }
}

fn token_refused(error: &TokenError) -> Refused {
    let application = match error {
        TokenError::Unusable { application, .. } | TokenError::Shared(application) => Some(application),
        TokenError::Local(_) => None,
    };
    Refused {
        key: application.map(|name| Key::new(Kind::Tokens, name)),
        message: error.to_string(),
    }
}

fn endpoints(group: &resource::Endpoints) -> Group {
    let endpoints = group.endpoints.iter().map(|endpoint| Endpoint {
        instance: endpoint.instance.get(),
        version: endpoint.version.clone().unwrap_or_default(),
        address: endpoint.address.to_string().into(),
        spiffe_id: endpoint.identity.clone(),
    });
    (group.group.to_string(), group.settled, endpoints.collect())
}

/// A bundle as it travels, as the verifiers take it.
pub(super) fn bundle(said: &resource::TrustBundle) -> Result<TrustBundle, String> {
    let roots = said.roots.iter().map(|der| CertificateDer::from(der.clone()));
    let keys: Result<Vec<_>, _> = said
        .snapshot_keys
        .iter()
        .map(|key| SnapshotPublicKey::from_bytes(key))
        .collect();
    let keys = keys.map_err(|error| error.to_string())?;
    TrustBundle::new(said.trust_domain.clone(), roots.collect(), keys).map_err(|error| error.to_string())
}

fn denied(said: &resource::Denied) -> Result<Denied, String> {
    let entries = said.denials.iter().map(|denial| {
        let subject = match &denial.whom {
            resource::Whom::Identity(id) => Subject::Id(id.clone()),
            resource::Whom::Serial(serial) => Subject::Serial(serial_text(serial).into()),
        };
        (subject, denial.reason.as_str().into())
    });
    Denied::new(entries).map_err(|error| error.to_string())
}
