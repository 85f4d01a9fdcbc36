//! A small mesh to distribute to, and both ends with a wire between them that a test can cut.
#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use bytes::Bytes;
use meshgate_model::SpiffeId;
use meshgate_sync::client::{Heard, Offer, Own};
use meshgate_sync::manifest::{Manifest, Position, SetDigest, SnapshotKey};
use meshgate_sync::message::Refusal;
use meshgate_sync::proto::{self, from_control};
use meshgate_sync::resource::{
    Admission, Body, Denial, Denied, Endpoint, Endpoints, Group, KeyRing, Object, Tokens, TrustBundle, Whom,
};
use meshgate_sync::server::{Audience, Member};
use meshgate_sync::snapshot::Trust;
use meshgate_sync::{Client, Key, Resource, Snapshot};

pub(crate) const DOMAIN: &str = "corp.example";
pub(crate) const SIDECAR: &str = "spiffe://corp.example/server/documents/v1";
pub(crate) const GATEWAY: &str = "spiffe://corp.example/gateway/main";

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

/// A key that signs manifests; the number says which.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn public(&self) -> SnapshotKey {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

pub(crate) fn verify(key: &SnapshotKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

pub(crate) fn trust(identity: &str, floor: u64, signers: &[&Signer]) -> Trust {
    Trust {
        identity: id(identity),
        floor,
        keys: signers.iter().map(|signer| signer.public()).collect(),
        verify,
    }
}

pub(crate) fn own(instance: u64) -> Own {
    Own {
        instance: NonZeroU64::new(instance).unwrap(),
        address: Some("127.0.0.1:7320".parse().unwrap()),
        program: "0.1.0".to_owned(),
    }
}

pub(crate) fn resource(body: Body) -> Arc<Resource> {
    Arc::new(Resource::new(body).unwrap())
}

/// A document; `version` makes it another one of the same name.
pub(crate) fn object(kind: &str, name: &str, version: u32) -> Arc<Resource> {
    resource(Body::Object(Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        json: format!(r#"{{"kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{{"version":{version}}}}}"#),
    }))
}

pub(crate) fn bundle(signers: &[&Signer]) -> Arc<Resource> {
    resource(Body::TrustBundle(TrustBundle {
        trust_domain: DOMAIN.parse().unwrap(),
        roots: vec![b"a root certificate".to_vec()],
        snapshot_keys: signers.iter().map(|signer| signer.public()).collect(),
    }))
}

pub(crate) fn denied(serials: &[u8]) -> Arc<Resource> {
    let denial = |serial: &u8| Denial {
        whom: Whom::Serial(vec![*serial]),
        reason: "stolen".to_owned(),
    };
    resource(Body::Denied(Denied {
        denials: serials.iter().map(denial).collect(),
    }))
}

pub(crate) fn endpoints(server: &str, instances: &[u64]) -> Arc<Resource> {
    let endpoint = |instance: &u64| Endpoint {
        instance: NonZeroU64::new(*instance).unwrap(),
        version: Some("v1".into()),
        address: "10.0.0.1:7320".parse().unwrap(),
        identity: id(&format!("spiffe://{DOMAIN}/server/{server}/v1")),
    };
    resource(Body::Endpoints(Endpoints {
        group: Group::Server(server.into()),
        settled: true,
        endpoints: instances.iter().map(endpoint).collect(),
    }))
}

pub(crate) fn admission(server: &str, gateways: &[&str]) -> Arc<Resource> {
    resource(Body::Admission(Admission {
        server: server.to_owned(),
        gateways: gateways.iter().map(|gateway| id(gateway)).collect(),
    }))
}

pub(crate) fn tokens(application: &str) -> Arc<Resource> {
    resource(Body::Tokens(Tokens {
        application: application.to_owned(),
        json: r#"[{"sha256":"00"}]"#.to_owned(),
    }))
}

pub(crate) fn ring(text: &str) -> Arc<Resource> {
    resource(Body::KeyRing(KeyRing { text: text.to_owned() }))
}

pub(crate) fn members(of: &[Member]) -> Audience {
    Audience::Members(of.iter().cloned().collect::<BTreeSet<_>>())
}

pub(crate) fn server_member(name: &str) -> Member {
    Member::Server(name.into())
}

pub(crate) fn gateway_member(name: &str) -> Member {
    Member::Gateway(name.into())
}

/// What a sidecar of `documents` holds at first.
pub(crate) fn first(signer: &Signer) -> Vec<Arc<Resource>> {
    vec![
        bundle(&[signer]),
        object("Mesh", "corp", 1),
        object("Server", "documents", 1),
        admission("documents", &[GATEWAY]),
        denied(&[]),
    ]
}

pub(crate) fn by_key(resources: &[Arc<Resource>]) -> BTreeMap<Key, Arc<Resource>> {
    resources
        .iter()
        .map(|one| (one.key().clone(), Arc::clone(one)))
        .collect()
}

pub(crate) fn at(epoch: u64, revision: u64) -> Position {
    Position { epoch, revision }
}

pub(crate) fn manifest(identity: &str, position: Position, resources: &[Arc<Resource>], signer: &Signer) -> Manifest {
    let sorted = by_key(resources);
    let set = SetDigest::of(sorted.iter().map(|(key, one)| (key, one.digest())));
    Manifest::new(&id(identity), position, &set, &|message| signer.sign(message))
}

/// A change in one part.
pub(crate) fn change(
    nonce: u64,
    whole: bool,
    put: &[Arc<Resource>],
    gone: &[Key],
    manifest: &Manifest,
) -> proto::FromControl {
    let name = |key: &Key| proto::ResourceName {
        kind: match key.kind {
            meshgate_sync::Kind::Object => 1,
            meshgate_sync::Kind::Tokens => 2,
            meshgate_sync::Kind::Endpoints => 3,
            meshgate_sync::Kind::Admission => 4,
            meshgate_sync::Kind::TrustBundle => 5,
            meshgate_sync::Kind::KeyRing => 6,
            meshgate_sync::Kind::Denied => 7,
        },
        name: key.name.to_string(),
    };
    part(proto::Part {
        nonce,
        whole,
        put: put.iter().map(|one| one.bytes().clone()).collect(),
        gone: gone.iter().map(name).collect(),
        manifest: Some(manifest.write()),
    })
}

pub(crate) fn part(part: proto::Part) -> proto::FromControl {
    proto::FromControl {
        message: Some(from_control::Message::Part(part)),
    }
}

/// A client that has taken `resources` over a stream that is open.
pub(crate) fn holding(identity: &str, position: Position, resources: &[Arc<Resource>], signer: &Signer) -> Client {
    let mut client = Client::new(own(1), trust(identity, position.epoch, &[signer]), None);
    client.due(ms(0));
    client.opened(ms(0));
    let manifest = manifest(identity, position, resources, signer);
    let offer = offered(&mut client, change(1, true, resources, &[], &manifest)).unwrap();
    client.settled(ms(0), &offer, Ok(())).unwrap();
    client
}

/// What a message is answered with: an offer, or a refusal.
pub(crate) fn offered(client: &mut Client, message: proto::FromControl) -> Result<Offer, proto::Nack> {
    match client.received(ms(1), message, 0) {
        Heard::Offer(offer) => Ok(offer),
        Heard::Send(answer) => Err(nack(&answer)),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn nack(message: &proto::FromProxy) -> proto::Nack {
    match &message.message {
        Some(proto::from_proxy::Message::Nack(nack)) => nack.clone(),
        other => panic!("{other:?}"),
    }
}

/// The names and versions that a snapshot has.
pub(crate) fn versions(snapshot: Option<&Arc<Snapshot>>) -> Vec<(Key, Bytes)> {
    let resources = snapshot
        .map(|snapshot| snapshot.resources().clone())
        .unwrap_or_default();
    resources
        .into_iter()
        .map(|(key, one)| (key, one.bytes().clone()))
        .collect()
}

pub(crate) fn bad(message: &str) -> Refusal {
    Refusal::of(meshgate_sync::message::Reason::Compile, message)
}
