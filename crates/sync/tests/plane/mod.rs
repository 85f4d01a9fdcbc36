//! A server with a mesh to distribute, and proxies that speak to it by hand.
#![allow(dead_code, reason = "each test file uses another part")]

use std::sync::Arc;
use std::time::Duration;

use meshgate_sync::message::Reason;
use meshgate_sync::proto::{self, from_control, from_proxy};
use meshgate_sync::server::{Audience, Change, Next, SessionId};
use meshgate_sync::{Resource, Server};

use crate::scene::{
    GATEWAY, Signer, admission, bundle, denied, endpoints, gateway_member, id, members, ms, object, ring,
    server_member, tokens,
};

pub(crate) const OTHER_SIDECAR: &str = "spiffe://corp.example/server/projects/v1";

pub(crate) type Put = (Arc<Resource>, Audience);

/// A mesh of two servers, one gateway that shows the first.
pub(crate) fn mesh(signer: &Signer) -> Vec<Put> {
    let documents = || members(&[server_member("documents"), gateway_member("main")]);
    vec![
        (bundle(&[signer]), Audience::Everyone),
        (object("Mesh", "corp", 1), Audience::Everyone),
        (denied(&[]), Audience::Everyone),
        (ring("ring"), Audience::Gateways),
        (object("Gateway", "main", 1), members(&[gateway_member("main")])),
        (object("Server", "documents", 1), documents()),
        (object("View", "all", 1), documents()),
        (object("Application", "assistant", 1), documents()),
        (tokens("assistant"), Audience::Gateways),
        (endpoints("documents", &[1]), members(&[gateway_member("main")])),
        (
            admission("documents", &[GATEWAY]),
            members(&[server_member("documents")]),
        ),
        (object("Server", "projects", 1), members(&[server_member("projects")])),
    ]
}

pub(crate) fn change(revision: u64, put: Vec<Put>) -> Change {
    Change {
        revision,
        put,
        gone: Vec::new(),
    }
}

/// A server whose mesh is known to all.
pub(crate) fn settled(signer: &Signer) -> Server {
    let mut server = Server::new(1);
    server.change(ms(0), change(10, mesh(signer)));
    server.tick(ms(50));
    server
}

pub(crate) fn hello(instance: u64) -> proto::FromProxy {
    message(from_proxy::Message::Hello(proto::Hello {
        instance,
        program: "0.1.0".into(),
        contract: 1,
        ..proto::Hello::default()
    }))
}

pub(crate) fn message(message: from_proxy::Message) -> proto::FromProxy {
    proto::FromProxy { message: Some(message) }
}

pub(crate) fn ack(nonce: u64) -> proto::FromProxy {
    message(from_proxy::Message::Ack(proto::Ack { nonce }))
}

pub(crate) fn nack(nonce: u64, reason: Reason) -> proto::FromProxy {
    message(from_proxy::Message::Nack(proto::Nack {
        nonce,
        reason: reason.into(),
        message: "the view names\u{1b}[31m nobody".into(),
        resource: Some(proto::ResourceName {
            kind: 1,
            name: "View/all".into(),
        }),
    }))
}

pub(crate) fn open(server: &mut Server, now: Duration, identity: &str, instance: u64) -> SessionId {
    server.open(now, &id(identity), &hello(instance)).unwrap().id
}

pub(crate) fn next(server: &mut Server, now: Duration, id: SessionId) -> Next {
    let signer = Signer::new(1);
    server.next(now, id, &|message| signer.sign(message))
}

/// The parts that are sent now.
pub(crate) fn sent(server: &mut Server, now: Duration, id: SessionId) -> Vec<proto::Part> {
    match next(server, now, id) {
        Next::Send(messages) => messages
            .into_iter()
            .map(|message| match message.message {
                Some(from_control::Message::Part(part)) => part,
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn names(parts: &[proto::Part]) -> Vec<String> {
    let put = parts.iter().flat_map(|part| &part.put);
    put.map(|bytes| Resource::read(bytes.clone()).unwrap().key().to_string())
        .collect()
}

pub(crate) fn quiet(server: &mut Server, now: Duration, id: SessionId) -> bool {
    matches!(next(server, now, id), Next::Wait(_))
}

/// A stream that has taken what there is, and how many changes that took.
pub(crate) fn taken(server: &mut Server, now: Duration, identity: &str, instance: u64) -> SessionId {
    let id = open(server, now, identity, instance);
    let nonce = sent(server, now, id)[0].nonce;
    server.received(now, id, &ack(nonce)).unwrap();
    assert!(quiet(server, now, id));
    id
}
