//! From what is kept and what is true now to what travels: pure, whole resources, each with those it is for.
//!
//! A proxy is told what its identity needs and nothing else, and that is decided by choosing among resources, never by
//! writing one differently for somebody: so a resource is encoded once however many proxies get it, and two proxies can
//! never hold different words under one name. Which gateway shows which server is asked of the same compiler that the
//! gateway itself runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshgate_model::{Part, Snapshot, TrustDomain};
use meshgate_sync::resource::{
    Admission, Body, Denial, Denied, Endpoint, Endpoints, Group, KeyRing, Object, ResourceError, Tokens, TrustBundle,
};
use meshgate_sync::server::{Audience, Member};
use meshgate_sync::{Key, Resource};
use serde_json::Value as Json;

use crate::registry::Configuration;

#[cfg(test)]
mod tests;

/// A resource and those it is for.
pub type Addressed = (Arc<Resource>, Audience);

/// Why something cannot travel.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be distributed: {cause}")]
pub struct CompileError {
    /// What.
    pub what: String,
    /// Why.
    #[source]
    pub cause: ResourceError,
}

/// What is not in the documents.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The mesh.
    pub trust_domain: TrustDomain,
    /// Roots in DER.
    pub roots: Vec<Vec<u8>>,
    /// Public keys of snapshots.
    pub snapshot_keys: Vec<[u8; 32]>,
    /// The gateways' ring.
    pub ring: String,
    /// Who is cut off.
    pub denied: Vec<Denial>,
}

/// Where the proxies are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Whether everybody had the time to come back since the control plane started.
    pub settled: bool,
    /// By group.
    pub endpoints: BTreeMap<Group, Vec<Endpoint>>,
}

/// Everything that travels.
///
/// # Errors
/// When something is larger than proxies take.
pub fn everything(
    configuration: &Configuration,
    shared: &Shared,
    places: &Places,
) -> Result<Vec<Addressed>, CompileError> {
    let mut all = documents(configuration)?;
    all.extend(self::shared(shared)?);
    all.extend(admissions(configuration, &shared.trust_domain)?);
    all.extend(self::places(configuration, places)?);
    Ok(all)
}

/// The resources whose names these are not: what was there before and is no longer.
pub fn missing(before: &BTreeSet<Key>, now: &[Addressed]) -> Vec<Key> {
    let kept: BTreeSet<&Key> = now.iter().map(|(resource, _)| resource.key()).collect();
    before.iter().filter(|key| !kept.contains(key)).cloned().collect()
}

/// Trust, keys and denials.
fn shared(shared: &Shared) -> Result<Vec<Addressed>, CompileError> {
    Ok(vec![
        resource(
            Body::TrustBundle(TrustBundle {
                trust_domain: shared.trust_domain.clone(),
                roots: shared.roots.clone(),
                snapshot_keys: shared.snapshot_keys.clone(),
            }),
            Audience::Everyone,
        )?,
        resource(
            Body::KeyRing(KeyRing {
                text: shared.ring.clone(),
            }),
            Audience::Gateways,
        )?,
        resource(
            Body::Denied(Denied {
                denials: shared.denied.clone(),
            }),
            Audience::Everyone,
        )?,
    ])
}

/// Documents, and the tokens of applications.
fn documents(configuration: &Configuration) -> Result<Vec<Addressed>, CompileError> {
    let shown = Shown::of(configuration);
    let mut all = Vec::new();
    for object in configuration.config.objects() {
        let name: Arc<str> = object.name.clone();
        let (audience, json) = match object.kind {
            "Mesh" => (Audience::Everyone, object.json),
            "Gateway" => (members([Member::Gateway(name.clone())]), object.json),
            "Server" => {
                let own = Member::Server(name.clone());
                let gateways = shown.gateways_of_server(&name);
                (members(gateways.chain([own])), told_of_server(&object.json))
            }
            "View" => (members(shown.members_of_view(&name)), object.json),
            _ => {
                let (json, tokens) = told_of_application(&object.json);
                let tokens = Tokens {
                    application: name.to_string(),
                    json: tokens,
                };
                all.push(resource(Body::Tokens(tokens), Audience::Gateways)?);
                (members(shown.members_of_application(&name)), json)
            }
        };
        let object = Object {
            kind: object.kind.to_owned(),
            name: name.to_string(),
            json,
        };
        all.push(resource(Body::Object(object), audience)?);
    }
    Ok(all)
}

/// Which gateways may call each server at its sidecars.
fn admissions(configuration: &Configuration, domain: &TrustDomain) -> Result<Vec<Addressed>, CompileError> {
    let shown = Shown::of(configuration);
    let mut all = Vec::new();
    for name in servers(configuration) {
        let gateways = shown.gateways_of_server(&name).filter_map(|member| match member {
            Member::Gateway(gateway) => domain.id(Part::Gateway(gateway)).ok(),
            Member::Server(_) => None,
        });
        let admission = Admission {
            server: name.to_string(),
            gateways: gateways.collect(),
        };
        all.push(resource(Body::Admission(admission), members([Member::Server(name)]))?);
    }
    Ok(all)
}

/// Where the proxies are, also for groups of which nobody is there: that is something to know.
///
/// # Errors
/// When there are more of one group than proxies take.
pub fn places(configuration: &Configuration, places: &Places) -> Result<Vec<Addressed>, CompileError> {
    let shown = Shown::of(configuration);
    let mut all = Vec::new();
    let mut push = |group: Group, audience| {
        let endpoints = Endpoints {
            endpoints: places.endpoints.get(&group).cloned().unwrap_or_default(),
            group,
            settled: places.settled,
        };
        resource(Body::Endpoints(endpoints), audience).map(|one| all.push(one))
    };
    for name in servers(configuration) {
        let gateways = shown.gateways_of_server(&name);
        push(Group::Server(name.clone()), members(gateways))?;
    }
    for name in configuration.gateways.keys() {
        push(Group::Gateway(name.clone()), members([Member::Gateway(name.clone())]))?;
    }
    Ok(all)
}

fn servers(configuration: &Configuration) -> Vec<Arc<str>> {
    let kept = configuration.documents.keys();
    kept.filter(|(kind, _)| kind == "Server")
        .map(|(_, name)| name.as_str().into())
        .collect()
}

fn resource(body: Body, audience: Audience) -> Result<Addressed, CompileError> {
    let what = body.key().to_string();
    let resource = Resource::new(body).map_err(|cause| CompileError { what, cause })?;
    Ok((Arc::new(resource), audience))
}

fn members(members: impl IntoIterator<Item = Member>) -> Audience {
    Audience::Members(members.into_iter().collect())
}

/// Who shows what.
struct Shown<'a> {
    gateways: &'a BTreeMap<Arc<str>, Arc<Snapshot>>,
}

impl<'a> Shown<'a> {
    fn of(configuration: &'a Configuration) -> Self {
        Self {
            gateways: &configuration.gateways,
        }
    }

    /// The gateways that serve a view of this server.
    fn gateways_of_server(&self, server: &str) -> impl Iterator<Item = Member> {
        let serves = move |snapshot: &Snapshot| {
            let views = &snapshot.views;
            views
                .iter()
                .any(|view| view.servers.iter().any(|entry| &*entry.server.name == server))
        };
        let gateways = self.gateways.iter().filter(move |(_, snapshot)| serves(snapshot));
        gateways.map(|(name, _)| Member::Gateway(name.clone()))
    }

    /// The gateways that serve a view, and the servers that it shows there.
    fn members_of_view(&self, view: &str) -> BTreeSet<Member> {
        let mut all = BTreeSet::new();
        for (name, snapshot) in self.gateways {
            if let Some(view) = snapshot.view(view) {
                all.insert(Member::Gateway(name.clone()));
                all.extend(
                    view.servers
                        .iter()
                        .map(|entry| Member::Server(entry.server.name.clone())),
                );
            }
        }
        all
    }

    /// Every gateway, because "who are you" is answered before "what may you use"; and the servers that it may use.
    fn members_of_application(&self, application: &str) -> BTreeSet<Member> {
        let mut all: BTreeSet<Member> = self.gateways.keys().cloned().map(Member::Gateway).collect();
        for snapshot in self.gateways.values() {
            let may_use = snapshot.views.iter().filter(|view| snapshot.may_use(application, view));
            let servers = may_use.flat_map(|view| view.servers.iter());
            all.extend(servers.map(|entry| Member::Server(entry.server.name.clone())));
        }
        all
    }
}

/// How a server with a sidecar is reached beside it is that sidecar's own matter, and may hold its secrets.
fn told_of_server(json: &str) -> String {
    edited(json, |spec| {
        if spec.contains_key("sidecar") {
            spec.remove("stdio");
            spec.remove("http");
        }
    })
}

/// An application without its tokens, and its tokens.
fn told_of_application(json: &str) -> (String, String) {
    let mut tokens = Json::Array(Vec::new());
    let json = edited(json, |spec| {
        if let Some(own) = spec.get_mut("tokens") {
            tokens = std::mem::replace(own, Json::Array(Vec::new()));
        }
    });
    (json, tokens.to_string())
}

/// A canonical document whose `spec` was changed: still canonical, because members stay in the order of their names.
fn edited(json: &str, edit: impl FnOnce(&mut BTreeMap<String, Json>)) -> String {
    // INVARIANT: what `Config::objects` writes is an object with a `spec` that is one.
    let Ok(mut document) = serde_json::from_str::<BTreeMap<String, Json>>(json) else {
        return json.to_owned();
    };
    if let Some(Json::Object(spec)) = document.get_mut("spec") {
        let mut fields: BTreeMap<String, Json> = std::mem::take(spec).into_iter().collect();
        edit(&mut fields);
        spec.extend(fields);
    }
    serde_json::to_string(&document).unwrap_or_else(|_| json.to_owned())
}
