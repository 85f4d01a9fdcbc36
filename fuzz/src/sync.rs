//! What the control plane and proxies send each other. The first byte of an input says what the rest is taken for: a
//! resource (`r`), a message to a proxy (`c`), one from a proxy (`p`), a snapshot on disk (`s`).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use meshgate_sync::client::{Heard, Own};
use meshgate_sync::manifest::{Manifest, Position, SetDigest};
use meshgate_sync::proto::{FromControl, FromProxy, from_control};
use meshgate_sync::resource::{Body, Denied, TrustBundle};
use meshgate_sync::server::Audience;
use meshgate_sync::snapshot::Trust;
use meshgate_sync::{Client, Resource, Server, Snapshot};
use prost::Message as _;

const PROXY: &str = "spiffe://corp.example/server/documents/v1";

/// For any bytes: what is read is written again as it was; a proxy holds what it held until a change is in force; and
/// neither end falls over.
pub fn sync(input: &[u8]) {
    let Some((what, rest)) = input.split_first() else { return };
    match what {
        b'r' => resource(rest),
        b'c' => to_proxy(rest),
        b'p' => from_proxy(rest),
        _ => saved(rest),
    }
}

fn resource(bytes: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let Ok(read) = Resource::read(bytes.clone()) else { return };
    assert_eq!(read.bytes(), &bytes);
    assert_eq!(Resource::name(&bytes).as_ref(), Some(read.key()), "two names");
    let again = Resource::new(read.body().clone()).expect("what was read can be written");
    assert_eq!(again, read, "one content, two texts");
}

fn trust() -> Trust {
    Trust {
        identity: PROXY.parse().expect("an id"),
        floor: 1,
        keys: vec![[1; 32]],
        // Every signature is good, so that what comes after it is reached.
        verify: |_, _, _| true,
    }
}

/// What the proxy holds.
static HELD: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let bundle = Body::TrustBundle(TrustBundle {
        trust_domain: "corp.example".parse().expect("a trust domain"),
        roots: vec![vec![1]],
        snapshot_keys: vec![[1; 32]],
    });
    let resources = [bundle, Body::Denied(Denied::default())].map(|body| Arc::new(Resource::new(body).expect("sound")));
    let resources: std::collections::BTreeMap<_, _> =
        resources.into_iter().map(|one| (one.key().clone(), one)).collect();
    let set = SetDigest::of(resources.iter().map(|(key, one)| (key, one.digest())));
    let position = Position { epoch: 1, revision: 1 };
    let manifest = Manifest::new(&trust().identity, position, &set, &|_| [0; 64]);
    Arc::new(Snapshot::new(manifest, resources, &trust()).expect("a sound snapshot"))
});

fn own() -> Own {
    Own {
        instance: std::num::NonZeroU64::MIN,
        address: None,
        program: "fuzz".into(),
    }
}

fn to_proxy(bytes: &[u8]) {
    let Ok(mut message) = FromControl::decode(bytes) else { return };
    let mut client = Client::new(own(), trust(), Some(Arc::clone(&HELD)));
    client.due(Duration::ZERO);
    client.opened(Duration::ZERO);
    if let Some(from_control::Message::Part(part)) = &mut message.message {
        part.nonce = 1;
    }
    let heard = client.received(Duration::from_millis(1), message, 7);
    assert_eq!(client.held(), Some(&*HELD), "nothing is held before it is in force");
    if let Heard::Offer(offer) = heard {
        assert!(offer.snapshot.position() >= HELD.position());
        saved_again(&offer.snapshot);
        client.settled(Duration::from_millis(2), &offer, Ok(()));
        assert_eq!(client.held(), Some(&offer.snapshot));
    }
    client.due(Duration::from_secs(3));
}

fn from_proxy(bytes: &[u8]) {
    let Ok(message) = FromProxy::decode(bytes) else { return };
    let peer = PROXY.parse().expect("an id");
    let mut server = Server::new(1);
    let all = HELD.resources().values().map(|one| (Arc::clone(one), Audience::Everyone)).collect();
    server.replace(Duration::ZERO, 1, all);
    let now = Duration::from_secs(1);
    server.tick(now);
    if let Ok(opened) = server.open(now, &peer, &message) {
        server.next(now, opened.id, &|_| [0; 64]);
        let _ = server.received(now, opened.id, &message);
        server.next(now, opened.id, &|_| [0; 64]);
        assert!(server.close(opened.id).is_some());
    }
    let mut client = Client::new(own(), trust(), None);
    client.due(now);
    let opened = server.open(now, &peer, &client.opened(now)).expect("a sound stream");
    server.next(now, opened.id, &|_| [0; 64]);
    let _ = server.received(now, opened.id, &message);
    server.next(now, opened.id, &|_| [0; 64]);
    assert_eq!(server.statuses().count(), 1);
}

fn saved(bytes: &[u8]) {
    if let Ok(snapshot) = Snapshot::restore(bytes.to_vec(), &trust()) {
        saved_again(&snapshot);
    }
}

fn saved_again(snapshot: &Snapshot) {
    let again = Snapshot::restore(snapshot.save(), &trust());
    assert_eq!(again.as_ref(), Ok(snapshot), "what was saved comes back");
}
