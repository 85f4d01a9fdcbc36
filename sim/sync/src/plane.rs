//! The control plane: its store, which outlives it, and the real server over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use meshgate_model::SpiffeId;
use meshgate_sync::manifest::SnapshotKey;
use meshgate_sync::resource::{
    Admission, Body, Denial, Denied, Digest, Endpoint, Endpoints, Group, KeyRing, Object, Tokens, TrustBundle, Whom,
};
use meshgate_sync::server::{Audience, Change, Member, Next, SessionId};
use meshgate_sync::{Key, Resource, Server};

pub(crate) const DOMAIN: &str = "corp.example";
const SERVERS_OF_VIEW: usize = 10;

/// One version of a resource, and since which revision it is the one.
type Version = (u64, Option<Digest>);

pub(crate) struct Plane {
    signer: Ed25519KeyPair,
    servers: usize,
    pub(crate) revision: u64,
    store: BTreeMap<Key, (Arc<Resource>, Audience)>,
    history: HashMap<Key, Vec<Version>>,
    serials: u32,
    edits: u64,
    /// The instances of each server that have ever joined and not left for good.
    instances: BTreeMap<usize, BTreeSet<u64>>,
    /// The running process; `None` while it is dead.
    pub(crate) server: Option<Server>,
    /// What the server really took of this machine's time, and for how many changes.
    pub(crate) spent: Duration,
    pub(crate) pushes: u64,
}

impl Plane {
    pub(crate) fn new(servers: usize) -> Option<Self> {
        let mut plane = Self {
            signer: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).ok()?,
            servers,
            revision: 1,
            store: BTreeMap::new(),
            history: HashMap::new(),
            serials: 0,
            edits: 0,
            instances: BTreeMap::new(),
            server: None,
            spent: Duration::ZERO,
            pushes: 0,
        };
        plane.fill();
        Some(plane)
    }

    pub(crate) fn key(&self) -> SnapshotKey {
        self.signer.public_key().as_ref().try_into().unwrap_or_default()
    }

    fn fill(&mut self) {
        let gateway = || Member::Gateway("main".into());
        let mut all = vec![
            (bundle(self.key()), Audience::Everyone),
            (object("Mesh", "corp", 0), Audience::Everyone),
            (Body::Denied(Denied::default()), Audience::Everyone),
            (
                Body::KeyRing(KeyRing {
                    text: "a ring".to_owned(),
                }),
                Audience::Gateways,
            ),
            (object("Gateway", "main", 0), members([gateway()])),
        ];
        for server in 0..self.servers {
            let name = server_name(server);
            all.push((object("Server", &name, 0), members([gateway(), member(server)])));
            all.push((admission(&name), members([member(server)])));
        }
        for view in 0..self.servers.div_ceil(SERVERS_OF_VIEW) {
            let name = format!("view-{view}");
            let application = format!("application-{view}");
            all.push((object("View", &name, 0), self.of_view(view)));
            all.push((object("Application", &application, 0), self.of_view(view)));
            let tokens = Tokens {
                application,
                json: r#"[{"sha256":"2f0c9a"}]"#.to_owned(),
            };
            all.push((Body::Tokens(tokens), Audience::Gateways));
        }
        for (body, audience) in all {
            self.store_one(body, audience);
        }
    }

    fn of_view(&self, view: usize) -> Audience {
        let servers = (view * SERVERS_OF_VIEW..(view + 1) * SERVERS_OF_VIEW).filter(|server| *server < self.servers);
        members(servers.map(member).chain([Member::Gateway("main".into())]))
    }

    fn store_one(&mut self, body: Body, audience: Audience) -> Option<(Arc<Resource>, Audience)> {
        let resource = Arc::new(Resource::new(body).ok()?);
        let key = resource.key().clone();
        self.history
            .entry(key.clone())
            .or_default()
            .push((self.revision, Some(resource.digest())));
        let entry = (resource, audience);
        self.store.insert(key, entry.clone());
        Some(entry)
    }

    /// Starts the process, with what the store has.
    pub(crate) fn start(&mut self, now: Duration) {
        let mut server = Server::new(1);
        server.replace(now, self.revision, self.store.values().cloned().collect());
        self.server = Some(server);
    }

    fn change(&mut self, now: Duration, body: Body, audience: Audience) {
        let Some(put) = self.store_one(body, audience) else {
            return;
        };
        let change = Change {
            revision: self.revision,
            put: vec![put],
            gone: Vec::new(),
        };
        let began = Instant::now();
        if let Some(server) = &mut self.server {
            server.change(now, change);
        }
        self.spent += began.elapsed();
    }

    pub(crate) fn edit_server(&mut self, now: Duration, server: usize) -> Key {
        self.revision += 1;
        self.edits += 1;
        let body = object("Server", &server_name(server), self.edits);
        let key = body.key();
        self.change(now, body, members([Member::Gateway("main".into()), member(server)]));
        key
    }

    pub(crate) fn edit_mesh(&mut self, now: Duration) -> Key {
        self.revision += 1;
        self.edits += 1;
        let body = object("Mesh", "corp", self.edits);
        let key = body.key();
        self.change(now, body, Audience::Everyone);
        key
    }

    /// A view that some sidecars refuse, or the same in a form that all take.
    pub(crate) fn edit_view(&mut self, now: Duration, view: usize, spoilt: bool) -> Key {
        self.revision += 1;
        self.edits += 1;
        let edit = if spoilt { SPOILT } else { self.edits };
        let body = object("View", &format!("view-{view}"), edit);
        let key = body.key();
        self.change(now, body, self.of_view(view));
        key
    }

    pub(crate) fn deny(&mut self, now: Duration) -> Key {
        self.revision += 1;
        self.serials += 1;
        let denial = |serial: u32| Denial {
            whom: Whom::Serial((serial | 1 << 31).to_be_bytes().to_vec()),
            reason: "its key was stolen".to_owned(),
        };
        let body = Body::Denied(Denied {
            denials: (1..=self.serials).map(denial).collect(),
        });
        let key = body.key();
        self.change(now, body, Audience::Everyone);
        key
    }

    /// An instance has joined or left; without a new revision, because nobody has written that.
    pub(crate) fn place(&mut self, now: Duration, server: usize, instance: u64, there: bool) -> Key {
        let instances = self.instances.entry(server).or_default();
        let changed = if there {
            instances.insert(instance)
        } else {
            instances.remove(&instance)
        };
        let name = server_name(server);
        let endpoint = |instance: &u64| {
            Some(Endpoint {
                instance: NonZeroU64::new(*instance)?,
                version: Some("v1".into()),
                address: ([10, 0, 0, 1], 7320).into(),
                identity: sidecar(server)?,
            })
        };
        let body = Body::Endpoints(Endpoints {
            endpoints: instances.iter().filter_map(endpoint).collect(),
            group: Group::Server(name.as_str().into()),
            settled: true,
        });
        let key = body.key();
        if changed {
            self.change(now, body, members([Member::Gateway("main".into())]));
        }
        key
    }

    /// An instance of a server, to be taken away.
    pub(crate) fn an_instance(&self, server: usize) -> Option<u64> {
        self.instances.get(&server)?.first().copied()
    }

    /// What a proxy should hold now, without asking the server.
    pub(crate) fn wanted(&self, member: &Member) -> BTreeMap<&Key, Digest> {
        let mine = |audience: &Audience| match audience {
            Audience::Everyone => true,
            Audience::Gateways => matches!(member, Member::Gateway(_)),
            Audience::Members(members) => members.contains(member),
        };
        let all = self.store.iter().filter(|(_, (_, audience))| mine(audience));
        all.map(|(key, (resource, _))| (key, resource.digest())).collect()
    }

    /// Whether a resource was the one of its name at a revision; what stands alone, at any.
    pub(crate) fn was(&self, key: &Key, digest: Digest, revision: u64) -> bool {
        let Some(versions) = self.history.get(key) else {
            return false;
        };
        if key.kind.stands_alone() {
            return versions.iter().any(|(_, version)| *version == Some(digest));
        }
        let then = versions.iter().rev().find(|(since, _)| *since <= revision);
        then.is_some_and(|(_, version)| *version == Some(digest))
    }

    /// The next step of a stream.
    pub(crate) fn next(&mut self, now: Duration, session: SessionId) -> Option<Next> {
        let began = Instant::now();
        let signer = &self.signer;
        let sign = |message: &[u8]| {
            let mut own = [0; 64];
            own.copy_from_slice(signer.sign(message).as_ref());
            own
        };
        let next = self.server.as_mut()?.next(now, session, &sign);
        self.spent += began.elapsed();
        Some(next)
    }
}

/// The edit that some sidecars refuse.
const SPOILT: u64 = u64::MAX;

/// Whether a document is one that some sidecars refuse.
pub(crate) fn is_spoilt(resource: &Resource) -> bool {
    matches!(resource.body(), Body::Object(object) if object.json.contains(&SPOILT.to_string()))
}

pub(crate) fn server_name(server: usize) -> String {
    format!("server-{server}")
}

pub(crate) fn sidecar(server: usize) -> Option<SpiffeId> {
    format!("spiffe://{DOMAIN}/server/{}/v1", server_name(server))
        .parse()
        .ok()
}

pub(crate) fn gateway() -> Option<SpiffeId> {
    format!("spiffe://{DOMAIN}/gateway/main").parse().ok()
}

pub(crate) fn member(server: usize) -> Member {
    Member::Server(server_name(server).into())
}

fn members(all: impl IntoIterator<Item = Member>) -> Audience {
    Audience::Members(all.into_iter().collect())
}

fn bundle(key: SnapshotKey) -> Body {
    let domain = DOMAIN
        .parse()
        .unwrap_or_else(|_| meshgate_model::TrustDomain::of_mesh("corp"));
    Body::TrustBundle(TrustBundle {
        trust_domain: domain,
        roots: vec![vec![1; 600]],
        snapshot_keys: vec![key],
    })
}

fn admission(server: &str) -> Body {
    Body::Admission(Admission {
        server: server.to_owned(),
        gateways: gateway().into_iter().collect(),
    })
}

/// A document of about a kilobyte.
fn object(kind: &str, name: &str, edit: u64) -> Body {
    let text = "an MCP server of a company, with what an operator says about it. ".repeat(13);
    Body::Object(Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        json: format!(r#"{{"kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{{"edit":{edit},"text":"{text}"}}}}"#),
    })
}
