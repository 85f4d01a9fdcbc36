//! The control plane's end: who gets what, when, how often, and what it remembers of the answers.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod plane;
mod scene;

use meshgate_sync::client::Fault;
use meshgate_sync::message::Reason;
use meshgate_sync::proto::{self, from_control, from_proxy};
use meshgate_sync::server::{Audience, Next, Said, Unopened};
use meshgate_sync::{Key, Kind, Server, limits};
use plane::{OTHER_SIDECAR, ack, change, hello, mesh, message, nack, names, next, open, quiet, sent, settled, taken};
use scene::{
    GATEWAY, SIDECAR, Signer, at, denied, endpoints, gateway_member, id, members, ms, object, ring, s, server_member,
};

#[test]
fn a142_an_identity_gets_what_is_for_it_and_nothing_else() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let sidecar = open(&mut server, ms(60), SIDECAR, 1);
    assert_eq!(
        names(&sent(&mut server, ms(60), sidecar)),
        [
            "object Application/assistant",
            "object Mesh/corp",
            "object Server/documents",
            "object View/all",
            "admission documents",
            "trust bundle corp.example",
            "denied mesh",
        ]
    );
    let other = open(&mut server, ms(60), OTHER_SIDECAR, 1);
    assert_eq!(
        names(&sent(&mut server, ms(60), other)),
        [
            "object Mesh/corp",
            "object Server/projects",
            "trust bundle corp.example",
            "denied mesh"
        ]
    );
    let gateway = open(&mut server, ms(60), GATEWAY, 1);
    let of_gateway = names(&sent(&mut server, ms(60), gateway));
    for name in [
        "tokens assistant",
        "key ring gateways",
        "object Gateway/main",
        "endpoints server/documents",
    ] {
        assert!(of_gateway.contains(&name.to_owned()), "{name}");
    }
    assert!(!of_gateway.contains(&"object Server/projects".to_owned()));
    let edge = open(&mut server, ms(60), "spiffe://corp.example/gateway/edge", 1);
    let of_edge = names(&sent(&mut server, ms(60), edge));
    assert!(of_edge.contains(&"key ring gateways".to_owned()) && !of_edge.contains(&"object View/all".to_owned()));
    for nobody in ["spiffe://corp.example/control", "spiffe://corp.example/operator/alma"] {
        let refused = server.open(ms(60), &id(nobody), &hello(1));
        assert_eq!(refused, Err(Unopened::Identity), "{nobody}");
    }
}

#[test]
fn one_encoding_serves_all_streams() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let streams: Vec<_> = (1..=3)
        .map(|instance| open(&mut server, ms(60), SIDECAR, instance))
        .collect();
    let sent: Vec<_> = streams.iter().map(|id| sent(&mut server, ms(60), *id)).collect();
    for other in &sent[1..] {
        for (one, other) in sent[0][0].put.iter().zip(&other[0].put) {
            assert_eq!(one.as_ptr(), other.as_ptr(), "encoded twice");
        }
    }
}

#[test]
fn a_change_is_what_differs_from_what_the_proxy_holds() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    let mut next = change(
        11,
        vec![(object("Server", "documents", 2), members(&[server_member("documents")]))],
    );
    next.gone.push(Key::new(Kind::Object, "View/all"));
    server.change(s(1), next);
    assert_eq!(server.tick(s(1) + ms(50)), [id]);
    let parts = sent(&mut server, s(1) + ms(50), id);
    assert_eq!(names(&parts), ["object Server/documents"]);
    assert_eq!(parts[0].gone.len(), 1);
    assert_eq!((parts[0].nonce, parts[0].whole), (2, false));
}

#[test]
fn who_comes_back_with_what_it_should_hold_is_sent_nothing() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let client = {
        let own: Vec<_> = mesh(&signer)
            .into_iter()
            .filter(|(_, audience)| match audience {
                Audience::Everyone => true,
                Audience::Gateways => false,
                Audience::Members(members) => members.contains(&server_member("documents")),
            })
            .map(|(resource, _)| resource)
            .collect();
        scene::holding(SIDECAR, at(1, 10), &own, &signer)
    };
    let first = |client: &mut meshgate_sync::Client| {
        client.lost(ms(0), 0);
        client.due(s(60));
        client.opened(s(60))
    };
    let mut client = client;
    let came = server.open(ms(60), &id(SIDECAR), &first(&mut client)).unwrap().id;
    assert!(quiet(&mut server, ms(60), came));
    assert!(server.status(came).unwrap().current);
    assert_eq!(server.progress(10).taken, 1);
    // In another epoch it needs a manifest, and no resource.
    let mut later = Server::new(2);
    later.change(ms(0), change(3, mesh(&signer)));
    later.tick(ms(50));
    let came = later.open(ms(60), &id(SIDECAR), &first(&mut client)).unwrap().id;
    let parts = sent(&mut later, ms(60), came);
    assert!(parts[0].put.is_empty() && parts[0].gone.is_empty() && parts[0].manifest.is_some());
}

#[test]
fn what_a_proxy_holds_and_nobody_knows_is_taken_away_or_everything_is_sent() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let with = |kind, digest: usize| {
        message(from_proxy::Message::Hello(proto::Hello {
            instance: 9,
            contract: 1,
            epoch: 1,
            revision: 1,
            known: vec![proto::Known {
                name: Some(proto::ResourceName {
                    kind,
                    name: "View/old".into(),
                }),
                digest: vec![1; digest].into(),
            }],
            ..proto::Hello::default()
        }))
    };
    let known = server.open(ms(60), &id(SIDECAR), &with(1, 32)).unwrap().id;
    let parts = sent(&mut server, ms(60), known);
    assert_eq!((parts[0].whole, parts[0].gone[0].name.as_str()), (false, "View/old"));
    for (kind, digest) in [(99, 32), (1, 31)] {
        let unknown = server.open(ms(60), &id(SIDECAR), &with(kind, digest)).unwrap().id;
        assert!(sent(&mut server, ms(60), unknown)[0].whole);
    }
}

#[test]
fn never_two_changes_are_on_their_way_and_what_came_meanwhile_is_one() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = open(&mut server, ms(60), SIDECAR, 1);
    sent(&mut server, ms(60), id);
    for revision in 11..20 {
        let version = u32::try_from(revision).unwrap();
        server.change(
            ms(100),
            change(revision, vec![(object("Mesh", "corp", version), Audience::Everyone)]),
        );
        server.tick(s(1));
        assert!(quiet(&mut server, s(1), id), "a second change was sent");
    }
    server.received(s(1), id, &ack(1)).unwrap();
    let parts = sent(&mut server, s(1), id);
    assert_eq!(
        (names(&parts), parts[0].nonce),
        (vec!["object Mesh/corp".to_owned()], 2)
    );
    server.received(s(1), id, &ack(2)).unwrap();
    assert!(quiet(&mut server, s(1), id));
    assert_eq!(server.status(id).unwrap().position, at(1, 19));
}

#[test]
fn a_change_waits_until_it_is_quiet_and_no_longer_than_half_a_second() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    let put = |version| vec![(object("Mesh", "corp", version), Audience::Everyone)];
    assert_eq!(server.due(), None);
    server.change(s(1), change(11, put(2)));
    assert_eq!(server.due(), Some(s(1) + limits::QUIET));
    assert!(server.tick(s(1) + limits::QUIET - ms(1)).is_empty());
    assert_eq!(server.tick(s(1) + limits::QUIET), [id]);
    // Changes that go on and on.
    let mut now = s(2);
    for version in 3..100 {
        server.change(now, change(u64::from(version) + 10, put(version)));
        let due = server.due().unwrap();
        assert!(due <= s(2) + limits::QUIET_MAX);
        if due == s(2) + limits::QUIET_MAX {
            break;
        }
        now += ms(20);
    }
    assert!(server.tick(s(2) + limits::QUIET_MAX - ms(1)).is_empty());
    assert_eq!(server.tick(s(2) + limits::QUIET_MAX), [id]);
}

#[test]
fn a_denial_and_endpoints_do_not_wait_and_cannot_be_used_to_hurry_everything() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let gateway = taken(&mut server, ms(60), GATEWAY, 1);
    server.change(s(1), change(10, vec![(denied(&[1]), Audience::Everyone)]));
    assert_eq!(server.due(), Some(s(1)));
    assert_eq!(server.tick(s(1)), [gateway]);
    // Endpoints that flap: each waits for the gap.
    let of = |instance| vec![(endpoints("documents", &[instance]), members(&[gateway_member("main")]))];
    server.change(s(1) + ms(1), change(10, of(2)));
    assert_eq!(server.due(), Some(s(1) + limits::URGENT_GAP));
    assert!(server.tick(s(1) + limits::URGENT_GAP - ms(1)).is_empty());
    assert_eq!(server.tick(s(1) + limits::URGENT_GAP), [gateway]);
    // What waits goes along.
    server.change(s(2), change(11, vec![(object("Mesh", "corp", 2), Audience::Everyone)]));
    server.change(s(2), change(11, of(3)));
    assert_eq!(server.tick(s(2)), [gateway]);
    assert_eq!(
        names(&sent(&mut server, s(2), gateway)),
        ["object Mesh/corp", "endpoints server/documents", "denied mesh"]
    );
}

#[test]
fn endpoints_and_denials_that_are_told_again_as_they_were_hurry_nothing() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let gateway = taken(&mut server, ms(60), GATEWAY, 1);
    // As a control plane does after each change of a document: it names all there is.
    let mut all = mesh(&signer);
    for (resource, _) in &mut all {
        if resource.key().kind == Kind::Object && &*resource.key().name == "Mesh/corp" {
            *resource = object("Mesh", "corp", 2);
        }
    }
    server.replace(s(1), 11, all);
    assert_eq!(server.due(), Some(s(1) + limits::QUIET));
    assert_eq!(server.tick(s(1) + limits::QUIET), [gateway]);
}

#[test]
fn only_those_whose_set_has_changed_are_woken() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let documents = taken(&mut server, ms(60), SIDECAR, 1);
    let projects = taken(&mut server, ms(60), OTHER_SIDECAR, 1);
    let gateway = taken(&mut server, ms(60), GATEWAY, 1);
    let mut wake = |now, put| {
        server.change(now, change(20, vec![put]));
        server.tick(now + limits::QUIET_MAX)
    };
    assert_eq!(
        wake(
            s(1),
            (object("Server", "projects", 2), members(&[server_member("projects")]))
        ),
        [projects]
    );
    assert_eq!(wake(s(2), (ring("another"), Audience::Gateways)), [gateway]);
    assert_eq!(
        wake(s(3), (object("Mesh", "corp", 2), Audience::Everyone)),
        [documents, projects, gateway]
    );
    // What is the same as before is no change.
    assert_eq!(wake(s(4), (object("Mesh", "corp", 2), Audience::Everyone)), []);
    // Another audience is one, for those who lose it as well.
    assert_eq!(
        wake(
            s(5),
            (object("Server", "projects", 2), members(&[server_member("documents")]))
        ),
        [documents, projects]
    );
    assert_eq!(wake(s(6), (object("Server", "projects", 2), members(&[]))), [documents]);
}

#[test]
fn what_was_refused_is_remembered_and_not_sent_again_until_it_changes() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    let view = |version| vec![(object("View", "all", version), members(&[server_member("documents")]))];
    server.change(s(1), change(11, view(2)));
    server.tick(s(2));
    sent(&mut server, s(2), id);
    let said = server.received(s(2), id, &nack(2, Reason::Compile)).unwrap();
    let Said::Refused(refused) = said else { panic!() };
    assert_eq!((refused.position, refused.refusal.reason), (at(1, 11), Reason::Compile));
    assert_eq!(
        refused.refusal.to_string(),
        "object View/all: the view names [31m nobody"
    );
    assert!(quiet(&mut server, s(2), id), "the same is sent again");
    let status = server.status(id).unwrap();
    assert!(!status.current && status.refused == Some(refused));
    assert_eq!(status.position, at(1, 10), "the last good one");
    let progress = server.progress(11);
    assert_eq!(
        (progress.taken, progress.refused.len(), progress.waiting.len()),
        (0, 1, 0)
    );
    // A minute later it is tried once more, and then a minute later again.
    let report = || message(from_proxy::Message::Report(proto::Report::default()));
    for minute in 1..=2 {
        let now = s(2) + limits::REFUSED_AGAIN * minute;
        server.received(now - ms(1), id, &report()).unwrap();
        assert!(!matches!(next(&mut server, now - ms(1), id), Next::Send(messages) if is_change(&messages)));
        assert_eq!(names(&sent(&mut server, now, id)), ["object View/all"]);
        server
            .received(now, id, &nack(2 + u64::from(minute), Reason::Compile))
            .unwrap();
    }
    // Mended.
    let now = s(2) + limits::REFUSED_AGAIN * 2;
    server.change(now, change(12, view(3)));
    server.tick(now + s(1));
    assert_eq!(names(&sent(&mut server, now + s(1), id)), ["object View/all"]);
    server.received(now + s(1), id, &ack(5)).unwrap();
    assert!(quiet(&mut server, now + s(1), id));
    assert!(server.status(id).unwrap().current);
    assert_eq!(server.progress(12).taken, 1);
}

#[test]
fn what_was_refused_and_is_taken_back_is_refused_no_more() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    let view = |version| {
        let both = members(&[server_member("documents"), gateway_member("main")]);
        vec![(object("View", "all", version), both)]
    };
    server.change(s(1), change(11, view(2)));
    server.tick(s(2));
    sent(&mut server, s(2), id);
    server.received(s(2), id, &nack(2, Reason::Compile)).unwrap();
    assert!(quiet(&mut server, s(2), id));
    server.change(s(3), change(12, view(1)));
    server.tick(s(4));
    assert!(quiet(&mut server, s(4), id), "it holds that");
    assert!(server.status(id).unwrap().current);
    assert_eq!(server.progress(12).taken, 1);
}

fn is_change(messages: &[proto::FromControl]) -> bool {
    messages
        .iter()
        .any(|one| matches!(one.message, Some(from_control::Message::Part(_))))
}

#[test]
fn a_denial_reaches_a_proxy_that_has_refused_the_configuration_beside_it() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    server.change(
        s(1),
        change(
            11,
            vec![(object("View", "all", 2), members(&[server_member("documents")]))],
        ),
    );
    server.tick(s(2));
    sent(&mut server, s(2), id);
    server.received(s(2), id, &nack(2, Reason::Compile)).unwrap();
    assert!(quiet(&mut server, s(2), id));
    server.change(s(3), change(12, vec![(denied(&[66]), Audience::Everyone)]));
    assert_eq!(server.tick(s(3)), [id]);
    let parts = sent(&mut server, s(3), id);
    assert_eq!(names(&parts), ["denied mesh"]);
    // What is signed is the configuration that it holds, at the revision of that.
    let manifest = meshgate_sync::Manifest::read(parts[0].manifest.as_ref().unwrap()).unwrap();
    assert_eq!(manifest.position(), at(1, 10));
    server.received(s(3), id, &ack(3)).unwrap();
    assert!(quiet(&mut server, s(3), id));
    let status = server.status(id).unwrap();
    assert!(!status.current && status.refused.is_some(), "the view is still refused");
    // And should it be refused, too, it is not sent for ever.
    server.change(s(4), change(13, vec![(denied(&[66, 67]), Audience::Everyone)]));
    server.tick(s(4));
    sent(&mut server, s(4), id);
    server.received(s(4), id, &nack(4, Reason::Keep)).unwrap();
    assert!(quiet(&mut server, s(4), id));
}

#[test]
fn a_proxy_that_holds_something_else_must_say_anew_what_it_holds() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, ms(60), SIDECAR, 1);
    server.change(s(1), change(11, vec![(object("Mesh", "corp", 2), Audience::Everyone)]));
    server.tick(s(2));
    assert!(!sent(&mut server, s(2), id)[0].whole);
    assert_eq!(server.received(s(2), id, &nack(2, Reason::Set)), Err(Fault::Outdated));
    server.close(id);
    // One that was sent everything and does not agree either is not flooded.
    let id = open(&mut server, s(3), SIDECAR, 1);
    let parts = sent(&mut server, s(3), id);
    assert!(parts[0].whole);
    assert_eq!(names(&parts).len(), 7);
    server.received(s(3), id, &nack(1, Reason::Set)).unwrap();
    assert!(quiet(&mut server, s(3), id));
}
