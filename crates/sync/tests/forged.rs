//! What a proxy must not take, whoever sends it: forged, old, cut, too large, for another, or half.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod scene;

use std::sync::Arc;

use meshgate_sync::client::Heard;
use meshgate_sync::message::Reason;
use meshgate_sync::proto::{self, from_control};
use meshgate_sync::{Client, Key, Kind, Snapshot, limits};
use scene::{
    SIDECAR, Signer, at, bundle, change, denied, first, holding, manifest, ms, object, offered, own, part, trust,
    versions,
};

fn reason(nack: &proto::Nack) -> Reason {
    Reason::try_from(nack.reason).unwrap()
}

/// A client that holds `first` and an open stream.
fn ready(signer: &Signer) -> Client {
    holding(SIDECAR, at(1, 10), &first(signer), signer)
}

/// What refuses a change to `resources` that is signed and sent as given, and shows that nothing moved.
fn refuses(client: &mut Client, message: proto::FromControl) -> proto::Nack {
    let before = versions(client.held());
    let refusal = offered(client, message).expect_err("a change that must not be taken");
    assert_eq!(versions(client.held()), before, "half a change is held");
    refusal
}

#[test]
fn a140_every_flipped_bit_of_a_change_is_refused() {
    let signer = Signer::new(1);
    let mut next = first(&signer);
    next.push(object("View", "all", 1));
    let sound = manifest(SIDECAR, at(1, 11), &next, &signer);
    let sent = change(2, false, &next[5..], &[], &sound);
    let Some(from_control::Message::Part(sound)) = sent.message else {
        panic!()
    };
    let manifest = sound.manifest.clone().unwrap();
    let of = |manifest: proto::Manifest, put: bytes::Bytes| {
        part(proto::Part {
            manifest: Some(manifest),
            put: vec![put],
            ..sound.clone()
        })
    };
    let flipped = |bytes: &bytes::Bytes, bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes::Bytes::from(bytes)
    };
    let mut messages = Vec::new();
    for bit in 0..manifest.content.len() * 8 {
        let content = flipped(&manifest.content, bit);
        messages.push(of(
            proto::Manifest {
                content,
                ..manifest.clone()
            },
            sound.put[0].clone(),
        ));
    }
    for bit in 0..manifest.signature.len() * 8 {
        let signature = flipped(&manifest.signature, bit);
        messages.push(of(
            proto::Manifest {
                signature,
                ..manifest.clone()
            },
            sound.put[0].clone(),
        ));
    }
    for bit in 0..sound.put[0].len() * 8 {
        messages.push(of(manifest.clone(), flipped(&sound.put[0], bit)));
    }
    let client = ready(&signer);
    let saved = Arc::clone(client.held().unwrap());
    for message in messages {
        let mut client = Client::new(own(1), trust(SIDECAR, 1, &[&signer]), Some(Arc::clone(&saved)));
        client.due(ms(0));
        client.opened(ms(0));
        let message = renumbered(message, 1);
        refuses(&mut client, message);
    }
}

fn renumbered(message: proto::FromControl, nonce: u64) -> proto::FromControl {
    match message.message {
        Some(from_control::Message::Part(one)) => part(proto::Part { nonce, ..one }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn d31_an_older_epoch_is_refused_also_when_it_is_signed() {
    let signer = Signer::new(1);
    let mut client = holding(SIDECAR, at(5, 10), &first(&signer), &signer);
    for (nonce, old) in [(2, at(4, 999)), (3, at(0, 11)), (4, at(4, 10))] {
        let sent = change(
            nonce,
            true,
            &first(&signer),
            &[],
            &manifest(SIDECAR, old, &first(&signer), &signer),
        );
        assert_eq!(reason(&refuses(&mut client, sent)), Reason::Rollback);
    }
}

#[test]
fn d31_an_older_revision_of_the_same_epoch_is_refused_and_the_same_revision_is_not() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let sent = change(
        2,
        true,
        &first(&signer),
        &[],
        &manifest(SIDECAR, at(1, 9), &first(&signer), &signer),
    );
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Rollback);
    // Endpoints and denials change without a new revision.
    let mut next = first(&signer);
    next[4] = denied(&[1]);
    let sent = change(3, false, &next[4..], &[], &manifest(SIDECAR, at(1, 10), &next, &signer));
    assert!(offered(&mut client, sent).is_ok());
}

#[test]
fn d31_the_floor_outlives_the_snapshot() {
    let signer = Signer::new(1);
    let client = holding(SIDECAR, at(7, 1), &first(&signer), &signer);
    assert_eq!(client.floor(), 7);
    let old = holding(SIDECAR, at(6, 99), &first(&signer), &signer);
    let saved = old.held().unwrap().save();
    let refusal = Snapshot::restore(saved.clone(), &trust(SIDECAR, client.floor(), &[&signer])).unwrap_err();
    assert_eq!(refusal.reason, Reason::Rollback);
    assert!(Snapshot::restore(saved, &trust(SIDECAR, 6, &[&signer])).is_ok());
}

#[test]
fn a140_a_new_epoch_may_begin_at_any_revision_and_a_gap_is_taken_but_not_a_leap() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let to = |nonce, position| {
        change(
            nonce,
            false,
            &[],
            &[],
            &manifest(SIDECAR, position, &first(&signer), &signer),
        )
    };
    let offer = offered(&mut client, to(2, at(4, 1))).unwrap();
    client.settled(ms(1), &offer, Ok(())).unwrap();
    assert_eq!(client.floor(), 4);
    let most = 4 + limits::EPOCH_STEP_MAX;
    for (nonce, leap) in [(3, u64::MAX), (4, most + 1)] {
        assert_eq!(reason(&refuses(&mut client, to(nonce, at(leap, 1)))), Reason::Rollback);
    }
    for (nonce, epoch) in [(5, most - 1), (6, most)] {
        assert!(offered(&mut client, to(nonce, at(epoch, 1))).is_ok());
        let offer = holding(SIDECAR, at(1, 1), &first(&signer), &signer);
        drop(offer);
        client = ready_at(&signer, 4, nonce);
    }
}

/// A client at an epoch whose stream has had so many changes.
fn ready_at(signer: &Signer, epoch: u64, changes: u64) -> Client {
    let mut client = holding(SIDECAR, at(epoch, 1), &first(signer), signer);
    for nonce in 2..=changes {
        let sent = change(
            nonce,
            false,
            &[],
            &[],
            &manifest(SIDECAR, at(epoch, 1), &first(signer), signer),
        );
        let offer = offered(&mut client, sent).unwrap();
        client.settled(ms(1), &offer, Ok(())).unwrap();
    }
    client
}

#[test]
fn a140_a_manifest_of_another_identity_is_refused_whatever_its_signature() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let others = [
        "spiffe://corp.example/server/projects/v1",
        "spiffe://corp.example/server/documents/v2",
        "spiffe://corp.example/gateway/main",
        "spiffe://other.example/server/documents/v1",
        "spiffe://corp.example/control",
    ];
    for (nonce, other) in (2..).zip(others) {
        let sent = change(
            nonce,
            true,
            &first(&signer),
            &[],
            &manifest(other, at(1, 11), &first(&signer), &signer),
        );
        assert_eq!(reason(&refuses(&mut client, sent)), Reason::Identity, "{other}");
    }
}

#[test]
fn a140_a_signature_by_a_stranger_or_by_nobody_is_refused() {
    let (signer, stranger) = (Signer::new(1), Signer::new(2));
    let mut client = ready(&signer);
    let mut theirs = first(&signer);
    theirs[0] = bundle(&[&stranger]);
    let sent = change(2, true, &theirs, &[], &manifest(SIDECAR, at(1, 11), &theirs, &stranger));
    assert_eq!(
        reason(&refuses(&mut client, sent)),
        Reason::Signature,
        "its own bundle does not vouch for it"
    );
    let unsigned = proto::Manifest {
        signature: bytes::Bytes::new(),
        ..manifest(SIDECAR, at(1, 11), &first(&signer), &signer).write()
    };
    let sent = part(proto::Part {
        nonce: 3,
        manifest: Some(unsigned),
        ..proto::Part::default()
    });
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Signature);
}

#[test]
fn a140_a_signature_by_the_old_key_is_refused_once_the_rotation_is_over() {
    let (old, new) = (Signer::new(1), Signer::new(2));
    let mut client = ready(&old);
    let mut both = first(&old);
    both[0] = bundle(&[&old, &new]);
    let sent = change(2, false, &both[..1], &[], &manifest(SIDECAR, at(1, 11), &both, &old));
    let offer = offered(&mut client, sent).unwrap();
    client.settled(ms(1), &offer, Ok(())).unwrap();
    // The old key cannot sign the change that takes it away: the proxy could not start again from it.
    let mut only_new = first(&old);
    only_new[0] = bundle(&[&new]);
    let sent = change(
        3,
        false,
        &only_new[..1],
        &[],
        &manifest(SIDECAR, at(1, 12), &only_new, &old),
    );
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Trust);
    let sent = change(
        4,
        false,
        &only_new[..1],
        &[],
        &manifest(SIDECAR, at(1, 12), &only_new, &new),
    );
    let offer = offered(&mut client, sent).unwrap();
    client.settled(ms(1), &offer, Ok(())).unwrap();
    let sent = change(5, false, &[], &[], &manifest(SIDECAR, at(1, 13), &only_new, &old));
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Signature);
    // And what it holds can be read back with the keys it has now.
    let saved = client.held().unwrap().save();
    assert!(Snapshot::restore(saved, &trust(SIDECAR, 1, &[&new])).is_ok());
}

#[test]
fn a140_a_set_without_a_trust_bundle_or_with_another_meshs_is_refused() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let without = first(&signer)[1..].to_vec();
    let gone = [first(&signer)[0].key().clone()];
    let sent = change(2, false, &[], &gone, &manifest(SIDECAR, at(1, 11), &without, &signer));
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Trust);
    let other = scene::resource(meshgate_sync::Body::TrustBundle(meshgate_sync::resource::TrustBundle {
        trust_domain: "other.example".parse().unwrap(),
        roots: vec![vec![1]],
        snapshot_keys: vec![signer.public()],
    }));
    let mut theirs = without.clone();
    theirs.push(Arc::clone(&other));
    let sent = change(
        3,
        false,
        &[Arc::clone(&other)],
        &gone,
        &manifest(SIDECAR, at(1, 11), &theirs, &signer),
    );
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Trust);
    let mut both = first(&signer);
    both.push(Arc::clone(&other));
    let sent = change(4, false, &[other], &[], &manifest(SIDECAR, at(1, 11), &both, &signer));
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::Trust);
}

#[test]
fn a140_what_the_manifest_does_not_list_exactly_is_refused() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let mut more = first(&signer);
    more.push(object("View", "all", 1));
    let of_more = manifest(SIDECAR, at(1, 11), &more, &signer);
    let of_first = manifest(SIDECAR, at(1, 11), &first(&signer), &signer);
    let view = Key::new(Kind::Object, "View/all");
    let cases = [
        ("listed and not sent", change(2, false, &[], &[], &of_more)),
        ("sent and not listed", change(3, false, &more[5..], &[], &of_first)),
        (
            "another version than listed",
            change(4, false, &[object("View", "all", 2)], &[], &of_more),
        ),
        ("gone and never there", change(5, false, &[], &[view], &of_first)),
        (
            "gone and listed",
            change(6, false, &[], &[first(&signer)[1].key().clone()], &of_first),
        ),
    ];
    for (name, sent) in cases {
        assert_eq!(reason(&refuses(&mut client, sent)), Reason::Set, "{name}");
    }
}

#[test]
fn a140_a_manifest_that_is_missing_cut_or_longer_is_refused_or_waited_for() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let sound = manifest(SIDECAR, at(1, 11), &first(&signer), &signer).write();
    let mut nonce = 1;
    let mut of = |content: bytes::Bytes| {
        nonce += 1;
        part(proto::Part {
            nonce,
            manifest: Some(proto::Manifest {
                content,
                ..sound.clone()
            }),
            ..proto::Part::default()
        })
    };
    for end in 0..sound.content.len() {
        let refusal = refuses(&mut client, of(sound.content.slice(..end)));
        assert!(
            matches!(reason(&refusal), Reason::Manifest | Reason::Signature),
            "{end}"
        );
    }
    let longer = [sound.content.as_ref(), &[0x78, 1]].concat();
    assert_eq!(reason(&refuses(&mut client, of(longer.into()))), Reason::Manifest);
    let without = part(proto::Part {
        nonce: nonce + 1,
        ..proto::Part::default()
    });
    assert!(
        matches!(client.received(ms(1), without, 0), Heard::Nothing),
        "its last part is to come"
    );
}

#[test]
fn a140_a_million_resources_are_refused_without_being_kept() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let many: Vec<bytes::Bytes> = (0..=limits::RESOURCES_MAX)
        .map(|number| object("View", &format!("v{number}"), 1).bytes().clone())
        .collect();
    // Fifty times more than fit, in parts; what is over is not looked at.
    for _ in 0..50 {
        let more = part(proto::Part {
            nonce: 2,
            put: many.clone(),
            ..proto::Part::default()
        });
        assert!(matches!(client.received(ms(1), more, 0), Heard::Nothing));
    }
    let sent = change(
        2,
        false,
        &[],
        &[],
        &manifest(SIDECAR, at(1, 11), &first(&signer), &signer),
    );
    assert_eq!(reason(&refuses(&mut client, sent)), Reason::TooLarge);
}

#[test]
fn a140_more_bytes_than_a_proxy_takes_are_refused_at_the_limit() {
    let signer = Signer::new(1);
    let of = |name: usize, bytes: usize| {
        let json = |padding: usize| {
            format!(
                r#"{{"kind":"View","metadata":{{"name":"v{name:04}"}},"x":"{}"}}"#,
                "x".repeat(padding)
            )
        };
        let make = |padding| {
            scene::resource(meshgate_sync::Body::Object(meshgate_sync::resource::Object {
                kind: "View".into(),
                name: format!("v{name:04}"),
                json: json(padding),
            }))
        };
        let around = make(bytes / 2).bytes().len() - bytes / 2;
        make(bytes - around)
    };
    let base: usize = first(&signer).iter().map(|one| one.bytes().len()).sum();
    let full = limits::SNAPSHOT_BYTES_MAX / limits::RESOURCE_BYTES_MAX - 1;
    let filling: Vec<_> = (0..full).map(|name| of(name, limits::RESOURCE_BYTES_MAX)).collect();
    let rest = limits::SNAPSHOT_BYTES_MAX - base - full * limits::RESOURCE_BYTES_MAX;
    for (bytes, sound) in [(rest - 1, true), (rest, true), (rest + 1, false)] {
        // Two, because what is left may be larger than one resource.
        let mut all = first(&signer);
        all.extend(filling.iter().cloned());
        all.push(of(9000, bytes / 2));
        all.push(of(9001, bytes - bytes / 2));
        let mut client = ready(&signer);
        let sent = change(2, true, &all, &[], &manifest(SIDECAR, at(1, 11), &all, &signer));
        let refusal = offered(&mut client, sent).err();
        assert_eq!(refusal.is_none(), sound, "{bytes}: {refusal:?}");
        assert!(refusal.is_none_or(|refusal| reason(&refusal) == Reason::TooLarge));
    }
}

#[test]
fn a140_a_resource_that_is_none_is_refused_by_name_and_nothing_of_the_change_is_taken() {
    let signer = Signer::new(1);
    let mut client = ready(&signer);
    let view = object("View", "all", 1);
    let unknown = bytes::Bytes::from([view.bytes(), &[0x78, 0x01][..]].concat());
    let mut next = first(&signer);
    next.push(object("View", "other", 1));
    let sent = part(proto::Part {
        nonce: 2,
        put: vec![next[5].bytes().clone(), unknown],
        manifest: Some(manifest(SIDECAR, at(1, 11), &next, &signer).write()),
        ..proto::Part::default()
    });
    let refusal = refuses(&mut client, sent);
    assert_eq!(reason(&refusal), Reason::Resource);
    assert_eq!(refusal.resource.unwrap().name, "View/all");
    assert!(refusal.message.contains("unknown field"));
}
