//! Streams of the control plane: how they begin, live and end, and how many there may be.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod plane;
mod scene;

use std::num::NonZeroU64;
use std::time::Duration;

use meshgate_model::SpiffeId;
use meshgate_sync::client::Fault;
use meshgate_sync::message::Reason;
use meshgate_sync::proto::{self, from_control, from_proxy};
use meshgate_sync::server::{Admission, Audience, Next, Opened, Said, Unopened};
use meshgate_sync::{Server, limits};
use plane::{OTHER_SIDECAR, ack, change, hello, mesh, message, nack, next, open, sent, settled, taken};
use scene::{SIDECAR, Signer, at, id, ms, object, s};

#[test]
fn a142_an_answer_to_nothing_that_was_asked_ends_the_stream() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = open(&mut server, ms(60), SIDECAR, 1);
    assert_eq!(
        server.received(ms(60), id, &ack(1)),
        Err(Fault::Contract),
        "before anything was sent"
    );
    sent(&mut server, ms(60), id);
    for stray in [0, 2, u64::MAX] {
        assert_eq!(server.received(ms(60), id, &ack(stray)), Err(Fault::Contract));
        assert_eq!(
            server.received(ms(60), id, &nack(stray, Reason::Compile)),
            Err(Fault::Contract)
        );
    }
    assert_eq!(server.received(ms(60), id, &hello(1)), Err(Fault::Contract), "twice");
    assert!(!server.status(id).unwrap().current);
    server.received(ms(60), id, &ack(1)).unwrap();
    assert_eq!(server.received(ms(60), id, &ack(1)), Err(Fault::Contract), "twice");
}

#[test]
fn what_opens_a_stream_is_a_hello_that_can_be_understood() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let mut refused = |first: proto::FromProxy| server.open(ms(60), &id(SIDECAR), &first);
    assert_eq!(refused(ack(1)), Err(Unopened::Contract));
    assert_eq!(refused(proto::FromProxy { message: None }), Err(Unopened::Contract));
    let with = |change: fn(&mut proto::Hello)| {
        let mut hello = proto::Hello {
            instance: 1,
            contract: 1,
            ..proto::Hello::default()
        };
        change(&mut hello);
        message(from_proxy::Message::Hello(hello))
    };
    assert_eq!(refused(with(|hello| hello.instance = 0)), Err(Unopened::Contract));
    assert_eq!(refused(with(|hello| hello.contract = 0)), Err(Unopened::Contract));
    assert_eq!(
        refused(with(|hello| hello.address = "nowhere".into())),
        Err(Unopened::Contract)
    );
    assert!(
        refused(with(|hello| hello.contract = 2)).is_ok(),
        "a later version speaks this one, too"
    );
    let known = |count: usize| {
        let one = |number| proto::Known {
            name: Some(proto::ResourceName {
                kind: 1,
                name: format!("View/v{number}"),
            }),
            digest: vec![0; 32].into(),
        };
        message(from_proxy::Message::Hello(proto::Hello {
            instance: 1,
            contract: 1,
            known: (0..count).map(one).collect(),
            ..proto::Hello::default()
        }))
    };
    assert!(refused(known(limits::RESOURCES_MAX - 1)).is_ok());
    assert!(refused(known(limits::RESOURCES_MAX)).is_ok());
    assert_eq!(refused(known(limits::RESOURCES_MAX + 1)), Err(Unopened::Contract));
}

#[test]
fn a_proxy_that_comes_again_takes_the_place_of_its_older_stream_and_of_no_others() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let first = taken(&mut server, ms(60), SIDECAR, 1);
    let replica = taken(&mut server, ms(60), SIDECAR, 2);
    let stranger = taken(&mut server, ms(60), OTHER_SIDECAR, 1);
    let Opened { id: again, replaced } = server.open(ms(70), &id(SIDECAR), &hello(1)).unwrap();
    assert_eq!(replaced, Some(first));
    assert_eq!(next(&mut server, ms(70), first), Next::Close(Fault::Replaced));
    assert_eq!(server.received(ms(70), first, &ack(1)), Err(Fault::Replaced));
    assert!(server.close(first).is_none(), "the proxy is not gone");
    for id in [again, replica, stranger] {
        assert!(server.status(id).is_some());
    }
    let gone = server.close(replica).unwrap();
    assert_eq!(
        (gone.identity, gone.instance),
        (id(SIDECAR), NonZeroU64::new(2).unwrap())
    );
}

#[test]
fn streams_are_beaten_kept_and_given_up_by_the_clock() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let id = taken(&mut server, s(0) + ms(60), SIDECAR, 1);
    let from = ms(60);
    assert_eq!(next(&mut server, from, id), Next::Wait(from + limits::BEAT));
    let Next::Send(beat) = next(&mut server, from + limits::BEAT, id) else {
        panic!()
    };
    assert_eq!(
        beat[0].message,
        Some(from_control::Message::Beat(proto::Beat { epoch: 1, revision: 10 }))
    );
    assert!(matches!(
        next(&mut server, from + limits::SILENCE - ms(1), id),
        Next::Send(_)
    ));
    assert_eq!(
        next(&mut server, from + limits::SILENCE, id),
        Next::Close(Fault::Silent)
    );
    let report = message(from_proxy::Message::Report(proto::Report::default()));
    assert!(matches!(
        server.received(from + limits::SILENCE, id, &report),
        Ok(Said::Reported(_))
    ));
    assert!(matches!(next(&mut server, from + limits::SILENCE, id), Next::Wait(_)));
    // One that takes a change and never answers, however much it reports.
    server.change(s(60), change(11, vec![(object("Mesh", "corp", 2), Audience::Everyone)]));
    server.tick(s(61));
    server.received(s(61), id, &report).unwrap();
    sent(&mut server, s(61), id);
    server.received(s(80), id, &report).unwrap();
    assert!(!matches!(
        next(&mut server, s(61) + limits::ANSWER - ms(1), id),
        Next::Close(_)
    ));
    assert_eq!(
        next(&mut server, s(61) + limits::ANSWER, id),
        Next::Close(Fault::Answer)
    );
}

#[test]
fn large_sets_are_sent_in_parts_that_fit_a_message() {
    let signer = Signer::new(1);
    let mut server = Server::new(1);
    let large = |name: usize| {
        let json = format!(
            r#"{{"kind":"View","metadata":{{"name":"v{name}"}},"x":"{}"}}"#,
            "x".repeat(limits::RESOURCE_BYTES_MAX - 100)
        );
        let body = meshgate_sync::Body::Object(meshgate_sync::resource::Object {
            kind: "View".into(),
            name: format!("v{name}"),
            json,
        });
        (scene::resource(body), Audience::Everyone)
    };
    let small = |name: usize| (object("View", &format!("s{name}"), 1), Audience::Everyone);
    let mut all = mesh(&signer);
    all.extend((0..3).map(large));
    all.extend((0..20_000 - 10).map(small).take(limits::RESOURCES_MAX - 10));
    server.change(ms(0), change(1, all));
    server.tick(s(1));
    let known = (0..limits::RESOURCES_MAX).map(|number| proto::Known {
        name: Some(proto::ResourceName {
            kind: 1,
            name: format!("Application/{number:063}"),
        }),
        digest: vec![0; 32].into(),
    });
    let hello = message(from_proxy::Message::Hello(proto::Hello {
        instance: 1,
        contract: 1,
        known: known.collect(),
        ..proto::Hello::default()
    }));
    assert!(prost::Message::encoded_len(&hello) <= limits::MESSAGE_BYTES_MAX);
    let came = server.open(s(1), &id(OTHER_SIDECAR), &hello).unwrap().id;
    let Next::Send(messages) = next(&mut server, s(1), came) else {
        panic!()
    };
    assert!(messages.len() > 3);
    for message in &messages {
        let bytes = prost::Message::encoded_len(message);
        assert!(bytes <= limits::MESSAGE_BYTES_MAX, "{bytes}");
    }
    let Some(from_control::Message::Part(last)) = &messages.last().unwrap().message else {
        panic!()
    };
    assert!(last.manifest.is_some());
}

#[test]
fn more_than_a_proxy_takes_is_not_sent_but_said() {
    let signer = Signer::new(1);
    for (over, sound) in [(0, true), (1, false)] {
        let mut server = Server::new(1);
        let mut all = mesh(&signer);
        let own = 4;
        all.extend(
            (0..limits::RESOURCES_MAX - own + over)
                .map(|name| (object("View", &format!("s{name}"), 1), Audience::Everyone)),
        );
        server.change(ms(0), change(1, all));
        server.tick(s(1));
        let came = open(&mut server, s(1), OTHER_SIDECAR, 1);
        assert_eq!(matches!(next(&mut server, s(1), came), Next::Send(_)), sound);
        let refused = server.status(came).unwrap().refused;
        assert_eq!(refused.is_none(), sound);
        assert!(refused.is_none_or(|refused| refused.refusal.reason == Reason::TooLarge));
    }
}

#[test]
fn a142_a_flood_of_streams_is_held_to_its_rate_and_told_when_to_come() {
    let mut admission = Admission::new(500, 500);
    let admitted = (0..10_000).filter(|_| admission.admit(s(1)).is_ok()).count();
    assert_eq!(admitted, 500, "the burst");
    // Told one after another; all of them within half a minute.
    let mut admission = Admission::new(500, 500);
    let mut waits: Vec<Duration> = (0..10_000).filter_map(|_| admission.admit(s(1)).err()).collect();
    assert!(waits.is_sorted() && *waits.last().unwrap() <= limits::LATER_MAX);
    waits.dedup();
    assert!(waits.len() > 9_000, "many were told the same moment");
    // Who comes when it was told finds room.
    let mut open = 0;
    for wait in waits.iter().take(9_000) {
        open += usize::from(admission.admit(s(1) + *wait).is_ok());
    }
    assert!(open > 8_900, "{open} of 9,000 found room");
}

#[test]
fn a142_one_identity_that_opens_streams_in_a_loop_keeps_nobody_else_out() {
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let burst = limits::ADMITTED_OF_IDENTITY_BURST as usize;
    let flood = (0..10_000)
        .filter(|_| server.open(s(1), &id(SIDECAR), &hello(7)).is_ok())
        .count();
    assert_eq!(flood, burst);
    assert!(server.open(s(1), &id(OTHER_SIDECAR), &hello(1)).is_ok());
    assert_eq!(server.statuses().count(), 2, "each took the place of the one before");
}

#[test]
fn an_identity_has_so_many_streams_and_no_more() {
    let signer = Signer::new(1);
    let mut server = Server::admitting(1, Admission::new(1_000_000, 1_000_000));
    server.change(ms(0), change(1, mesh(&signer)));
    let each = Duration::from_secs(1) / limits::ADMITTED_OF_IDENTITY_PER_SECOND;
    let most = u64::try_from(limits::SESSIONS_OF_IDENTITY_MAX).unwrap();
    let mut now = s(1);
    for instance in 1..=most + 1 {
        now += each;
        let opened = server.open(now, &id(SIDECAR), &hello(instance));
        assert_eq!(opened.is_ok(), instance <= most, "{instance}");
    }
}

#[test]
fn a_hello_is_read_as_it_was_written() {
    let mut client = scene::holding(SIDECAR, at(1, 1), &scene::first(&Signer::new(1)), &Signer::new(1));
    client.lost(ms(0), 0);
    client.due(s(9));
    let signer = Signer::new(1);
    let mut server = settled(&signer);
    let came = server.open(ms(60), &id(SIDECAR), &client.opened(s(9))).unwrap().id;
    let status = server.status(came).unwrap();
    assert_eq!((status.instance.get(), status.position), (1, at(1, 1)));
    assert_eq!(status.address, Some("127.0.0.1:7320".parse().unwrap()));
    assert_eq!(status.identity, SIDECAR.parse::<SpiffeId>().unwrap());
}
