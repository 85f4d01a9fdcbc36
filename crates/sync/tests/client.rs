//! The proxy's end: whole changes or none, and streams that are opened again.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod scene;

use std::sync::Arc;
use std::time::Duration;

use meshgate_sync::client::{Due, Fault, Heard};
use meshgate_sync::message::{Reason, Report, State};
use meshgate_sync::proto::{self, from_control, from_proxy};
use meshgate_sync::{Client, Key, Kind, Snapshot, limits};
use scene::{
    SIDECAR, Signer, at, bad, change, first, holding, manifest, ms, object, offered, own, part, s, trust, versions,
};

fn reason(nack: &proto::Nack) -> Reason {
    Reason::try_from(nack.reason).unwrap()
}

/// A client that holds `first` and an open stream.
fn ready(signer: &Signer) -> Client {
    holding(SIDECAR, at(1, 10), &first(signer), signer)
}

fn hello(message: proto::FromProxy) -> proto::Hello {
    match message.message {
        Some(from_proxy::Message::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_is_held_once_it_is_in_force_and_not_before() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let mut next = first(&signer);
    next[2] = object("Server", "documents", 2);
    let sent = change(
        2,
        false,
        &next[2..3],
        &[],
        &manifest(SIDECAR, at(1, 11), &next, &signer),
    );
    let offer = offered(&mut client, sent).unwrap();
    assert_eq!(offer.changed, [next[2].key().clone()]);
    assert_eq!(client.held().unwrap().position(), at(1, 10), "offered is not held");
    let answer = client.settled(ms(2), &offer, Ok(())).unwrap();
    assert_eq!(answer.message, Some(from_proxy::Message::Ack(proto::Ack { nonce: 2 })));
    assert_eq!(client.held().unwrap().position(), at(1, 11));
    assert_eq!(client.held().unwrap().resources(), &scene::by_key(&next));
}

#[test]
fn a_change_that_is_refused_by_its_meaning_leaves_what_was_there_and_says_which_resource() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let before = versions(client.held());
    let mut next = first(&signer);
    next.push(object("View", "all", 1));
    let sent = change(2, false, &next[5..], &[], &manifest(SIDECAR, at(1, 11), &next, &signer));
    let offer = offered(&mut client, sent).unwrap();
    let mut why = bad("the view names a server that does not exist");
    why.resource = Some(Key::new(Kind::Object, "View/all"));
    let nack = scene::nack(&client.settled(ms(2), &offer, Err(why)).unwrap());
    assert_eq!((nack.nonce, reason(&nack)), (2, Reason::Compile));
    assert_eq!(nack.resource.unwrap().name, "View/all");
    assert_eq!(versions(client.held()), before);
    // The stream goes on.
    let again = change(
        3,
        false,
        &[],
        &[],
        &manifest(SIDECAR, at(1, 12), &first(&signer), &signer),
    );
    assert!(offered(&mut client, again).unwrap().changed.is_empty());
}

#[test]
fn parts_make_one_change_and_nothing_is_offered_before_the_last() {
    let signer = Signer::new(1);
    let mut client = Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None);
    client.due(ms(0));
    client.opened(ms(0));
    let all = first(&signer);
    for one in &all {
        let begun = part(proto::Part {
            nonce: 1,
            whole: true,
            put: vec![one.bytes().clone()],
            ..proto::Part::default()
        });
        assert!(matches!(client.received(ms(1), begun, 0), Heard::Nothing));
        assert!(client.held().is_none());
    }
    let last = change(1, true, &[], &[], &manifest(SIDECAR, at(1, 10), &all, &signer));
    let offer = offered(&mut client, last).unwrap();
    assert_eq!(offer.snapshot.resources().len(), all.len());
}

#[test]
fn a_control_plane_that_does_not_keep_to_the_contract_loses_the_stream() {
    let signer = Signer::new(1);
    let sound = |nonce, whole| {
        part(proto::Part {
            nonce,
            whole,
            ..proto::Part::default()
        })
    };
    let cut = |client: &mut Client, message| match client.received(ms(1), message, 0) {
        Heard::Cut(fault) => assert_eq!(fault, Fault::Contract),
        other => panic!("{other:?}"),
    };
    // A number that is not the next.
    for nonce in [0, 1, 3, u64::MAX] {
        cut(&mut ready(&signer), sound(nonce, false));
    }
    // Another change while one is arriving; one that changes its mind.
    let mut client = ready(&signer);
    client.received(ms(1), sound(2, false), 0);
    cut(&mut client, sound(3, false));
    let mut client = ready(&signer);
    client.received(ms(1), sound(2, false), 0);
    cut(&mut client, sound(2, true));
    // Another change while one is being compiled.
    let mut client = ready(&signer);
    let sent = change(
        2,
        false,
        &[],
        &[],
        &manifest(SIDECAR, at(1, 11), &first(&signer), &signer),
    );
    offered(&mut client, sent).unwrap();
    cut(&mut client, sound(3, false));
    // Endless parts.
    let mut client = ready(&signer);
    for _ in 0..limits::PARTS_MAX {
        assert!(matches!(client.received(ms(1), sound(2, false), 0), Heard::Nothing));
    }
    cut(&mut client, sound(2, false));
    // Anything before there is a stream.
    cut(
        &mut Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None),
        sound(1, false),
    );
}

#[test]
fn what_a_later_version_says_beside_changes_is_passed_over() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let empty = proto::FromControl { message: None };
    assert!(matches!(client.received(ms(1), empty, 0), Heard::Nothing));
}

#[test]
fn what_is_kept_comes_back_and_what_was_changed_on_disk_does_not() {
    let signer = Signer::new(1);
    let client = ready(&signer);
    let held = client.held().unwrap();
    let saved = held.save();
    let trust_of = |identity| trust(identity, 1, &[&signer]);
    let back = Snapshot::restore(saved.clone(), &trust_of(SIDECAR)).unwrap();
    assert_eq!(back, **held);
    let again = Client::new(own(2), trust_of(SIDECAR), Some(Arc::new(back)));
    assert_eq!(versions(again.held()), versions(client.held()));
    for at in 0..saved.len() {
        let mut changed = saved.clone();
        changed[at] ^= 0x01;
        let back = Snapshot::restore(changed, &trust_of(SIDECAR));
        assert!(back.is_err(), "byte {at}");
        assert!(
            Snapshot::restore(saved[..at].to_vec(), &trust_of(SIDECAR)).is_err(),
            "cut at {at}"
        );
    }
    let other = Snapshot::restore(saved, &trust_of("spiffe://corp.example/server/projects/v1"));
    assert_eq!(other.unwrap_err().reason, Reason::Identity);
}

#[test]
fn a_client_says_what_it_holds_when_it_comes_back() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    client.lost(s(1), 0);
    assert_eq!(client.due(s(1)), Due::Connect);
    let hello = hello(client.opened(s(1)));
    assert_eq!(
        (hello.instance, hello.epoch, hello.revision, hello.contract),
        (1, 1, 10, 1)
    );
    let mut names: Vec<_> = hello
        .known
        .iter()
        .map(|known| known.name.clone().unwrap().name)
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["Mesh/corp", "Server/documents", "corp.example", "documents", "mesh"]
    );
    let fresh = Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None).opened(s(1));
    assert!(self::hello(fresh).known.is_empty());
}

#[test]
fn losing_the_stream_takes_nothing_away_also_in_the_middle_of_a_change() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let before = versions(client.held());
    let half = part(proto::Part {
        nonce: 2,
        whole: true,
        put: vec![object("View", "all", 1).bytes().clone()],
        ..proto::Part::default()
    });
    client.received(ms(1), half, 0);
    client.lost(ms(2), 7);
    assert_eq!(versions(client.held()), before);
    // A change that was offered before is held once it is in force, though nobody can be told.
    let mut client = ready(&signer);
    let sent = change(
        2,
        false,
        &[],
        &[],
        &manifest(SIDECAR, at(1, 11), &first(&signer), &signer),
    );
    let offer = offered(&mut client, sent).unwrap();
    client.lost(ms(2), 7);
    assert_eq!(client.settled(ms(3), &offer, Ok(())), None);
    assert_eq!(client.held().unwrap().position(), at(1, 11));
}

#[test]
fn an_answer_goes_to_the_stream_that_asked_and_to_no_other() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let sent = change(
        2,
        false,
        &[],
        &[],
        &manifest(SIDECAR, at(1, 11), &first(&signer), &signer),
    );
    let offer = offered(&mut client, sent).unwrap();
    client.lost(ms(2), 0);
    client.due(ms(2));
    client.opened(ms(2));
    assert_eq!(client.settled(ms(3), &offer, Err(bad("too late"))), None);
    assert_eq!(client.held().unwrap().position(), at(1, 10));
    assert!(matches!(client.due(ms(3)), Due::Wait(_)));
    // What came into force meanwhile is not what the new stream began with: it begins again.
    assert_eq!(client.settled(ms(4), &offer, Ok(())), None);
    assert_eq!(client.held().unwrap().position(), at(1, 11));
    assert_eq!(client.due(ms(4)), Due::Cut(Fault::Outdated));
}

/// How long a client waits after its stream was lost at `now`.
fn wait(client: &mut Client, now: Duration, random: u64) -> Duration {
    client.lost(now, random);
    match client.due(now) {
        Due::Wait(until) => until - now,
        Due::Connect => Duration::ZERO,
        other => panic!("{other:?}"),
    }
}

#[test]
fn waits_double_up_to_a_ceiling_and_are_drawn_from_between_nothing_and_it() {
    let signer = Signer::new(1);
    let mut client = Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None);
    let mut now = ms(0);
    for ceiling in [1, 2, 4, 8, 16, 30, 30, 30] {
        assert_eq!(client.due(now), Due::Connect);
        let longest = u64::try_from(s(ceiling).as_micros()).unwrap();
        let mut other = client_like(&signer, ceiling);
        assert!(wait(&mut other, now, longest + 1) <= s(ceiling));
        assert_eq!(wait(&mut client, now, longest), s(ceiling));
        now += s(ceiling);
    }
    // Nothing at all is a wait, too.
    client.due(now);
    assert_eq!(wait(&mut client, now, 0), ms(0));
}

/// A client whose next wait has this ceiling.
fn client_like(signer: &Signer, ceiling: u64) -> Client {
    let mut client = Client::new(own(1), trust(SIDECAR, 1, &[signer]), None);
    let mut reached = 1;
    while reached < ceiling {
        client.due(ms(0));
        client.lost(ms(0), 0);
        reached *= 2;
    }
    client.due(ms(0));
    client
}

#[test]
fn a_stream_that_lived_begins_the_waits_anew_and_one_that_did_not_does_not() {
    let signer = Signer::new(1);
    let mut client = client_like(&signer, 8);
    client.opened(s(1));
    assert_eq!(wait(&mut client, s(1) + limits::STEADY - ms(1), 8_000_000), s(8));
    client.due(s(100));
    client.opened(s(100));
    assert_eq!(wait(&mut client, s(100) + limits::STEADY, 1_000_000), s(1));
}

#[test]
fn a_client_comes_again_when_it_was_told_to_and_a_little_later() {
    let signer = Signer::new(1);
    let later = |after_ms| proto::FromControl {
        message: Some(from_control::Message::Later(proto::Later { after_ms })),
    };
    for (random, expected) in [(0, ms(4_000)), (1_000_000, ms(5_000)), (500_000, ms(4_500))] {
        let mut client = ready(&signer);
        assert!(matches!(
            client.received(s(1), later(4_000), random),
            Heard::Cut(Fault::Later)
        ));
        // That the stream is gone afterwards changes nothing.
        client.lost(s(1), 77);
        assert_eq!(client.due(s(1)), Due::Wait(s(1) + expected));
    }
    let mut client = ready(&signer);
    client.received(s(1), later(u32::MAX), 0);
    assert_eq!(
        client.due(s(1)),
        Due::Wait(s(1) + limits::LATER_MAX),
        "nobody is sent away for good"
    );
}

#[test]
fn a_client_that_is_told_to_renew_chooses_its_moment() {
    let signer = Signer::new(1);
    let renew = |within_ms| proto::FromControl {
        message: Some(from_control::Message::Renew(proto::Renew { within_ms })),
    };
    let most = u32::try_from(limits::RENEW_MAX.as_millis()).unwrap();
    for (within_ms, random, expected) in [
        (0, 77, ms(0)),
        (1_000, 999_999, Duration::from_micros(999_999)),
        (most - 1, u64::from(most - 1) * 1000, ms(u64::from(most - 1))),
        (most, u64::from(most) * 1000, limits::RENEW_MAX),
        (most + 1, u64::from(most) * 1000, limits::RENEW_MAX),
    ] {
        let mut client = ready(&signer);
        match client.received(s(1), renew(within_ms), random) {
            Heard::Renew(after) => assert_eq!(after, expected, "{within_ms}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_silent_stream_is_dropped_and_a_beat_keeps_it() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    client.report(limits::SILENCE, &Report::default());
    assert!(!matches!(client.due(limits::SILENCE - ms(1)), Due::Cut(_)));
    let beat = proto::FromControl {
        message: Some(from_control::Message::Beat(proto::Beat { epoch: 1, revision: 44 })),
    };
    client.received(limits::SILENCE - ms(1), beat, 0);
    assert_eq!(client.seen(), Some(at(1, 44)));
    let until = limits::SILENCE - ms(1) + limits::SILENCE;
    client.report(until - ms(2), &Report::default());
    assert_eq!(client.due(until - ms(1)), Due::Wait(until));
    assert_eq!(client.due(until), Due::Cut(Fault::Silent));
}

#[test]
fn a_stream_that_does_not_open_is_given_up() {
    let signer = Signer::new(1);
    let mut client = Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None);
    assert_eq!(client.due(s(1)), Due::Connect);
    assert_eq!(
        client.due(s(1) + limits::OPENING - ms(1)),
        Due::Wait(s(1) + limits::OPENING)
    );
    assert_eq!(client.due(s(1) + limits::OPENING), Due::Cut(Fault::Opening));
}

#[test]
fn a_report_is_due_after_ten_seconds_without_a_word() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    client.received(s(9), proto::FromControl { message: None }, 0);
    assert_eq!(client.due(limits::BEAT - ms(1)), Due::Wait(limits::BEAT));
    assert_eq!(client.due(limits::BEAT), Due::Report);
    let report = Report {
        state: State::Up,
        tools: 3,
        ..Report::default()
    };
    let sent = client.report(limits::BEAT, &report);
    let Some(from_proxy::Message::Report(sent)) = sent.message else {
        panic!()
    };
    assert_eq!((sent.tools, sent.state), (3, i32::from(State::Up)));
    assert!(matches!(client.due(limits::BEAT + ms(1)), Due::Wait(_)));
}
