//! Both ends with a wire between them that is cut, slow and forgetful: whatever happens, a proxy holds one of the sets that
//! there really were, and in the end the newest.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod scene;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshgate_sync::client::{Due, Heard, Offer};
use meshgate_sync::message::{Reason, Refusal, Report};
use meshgate_sync::proto::{self, from_control};
use meshgate_sync::server::{Admission, Audience, Change, Next, SessionId};
use meshgate_sync::{Client, Key, Kind, Resource, Server, Snapshot};
use proptest::prelude::*;
use scene::{SIDECAR, Signer, id, members, ms, own, server_member, trust, versions};

/// What happens next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Happening {
    /// A document changes, or comes, or is spoilt so that no proxy takes it.
    Document { name: u8, version: u32, spoilt: bool },
    /// A document goes.
    Gone(u8),
    /// Somebody is cut off.
    Deny(u8),
    /// Time goes by, in milliseconds.
    Time(u32),
    /// The wire carries so many messages of the control plane.
    Down(u8),
    /// The wire carries so many messages of the proxy.
    Up(u8),
    /// The stream breaks, with whatever is on it.
    Cut(u64),
    /// The proxy has compiled what it was offered.
    Compiled,
    /// The proxy is started again, with what is on its disk.
    Restart,
    /// The control plane is started again, with the same store.
    ControlRestart,
    /// The store is set back: another epoch, and revisions begin anew.
    SetBack,
    /// A bit of the next message is flipped.
    Flip(u16),
    /// The next message comes twice.
    Twice,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..6_u8, any::<u32>(), prop::bool::weighted(0.15))
            .prop_map(|(name, version, spoilt)| Happening::Document { name, version, spoilt }),
        1 => (0..6_u8).prop_map(Happening::Gone),
        1 => (1..9_u8).prop_map(Happening::Deny),
        4 => (1..700_u32).prop_map(Happening::Time),
        1 => (1_000..60_000_u32).prop_map(Happening::Time),
        6 => (1..4_u8).prop_map(Happening::Down),
        6 => (1..4_u8).prop_map(Happening::Up),
        2 => any::<u64>().prop_map(Happening::Cut),
        4 => Just(Happening::Compiled),
        1 => Just(Happening::Restart),
        1 => Just(Happening::ControlRestart),
        1 => Just(Happening::SetBack),
        1 => any::<u16>().prop_map(Happening::Flip),
        1 => Just(Happening::Twice),
    ]
}

struct World {
    signer: Signer,
    now: Duration,
    epoch: u64,
    revision: u64,
    /// What the store has.
    store: Vec<Arc<Resource>>,
    server: Server,
    session: Option<SessionId>,
    client: Client,
    offer: Option<Offer>,
    disk: Option<Vec<u8>>,
    down: VecDeque<proto::FromControl>,
    up: VecDeque<proto::FromProxy>,
    /// Every set that there really was, as what is compiled and what stands alone.
    config_sets: BTreeSet<Vec<(Key, Bytes)>>,
    alone_sets: BTreeSet<Vec<(Key, Bytes)>>,
    /// Changes that are on their way, as the wire saw them.
    unanswered: u32,
}

fn names_of(resources: impl Iterator<Item = (Key, Bytes)>, alone: bool) -> Vec<(Key, Bytes)> {
    resources.filter(|(key, _)| key.kind.stands_alone() == alone).collect()
}

impl World {
    fn new() -> Self {
        let signer = Signer::new(1);
        let mut world = Self {
            now: ms(0),
            epoch: 1,
            revision: 1,
            store: scene::first(&signer),
            server: Server::new(0),
            session: None,
            client: Client::new(own(1), trust(SIDECAR, 1, &[&signer]), None),
            offer: None,
            disk: None,
            down: VecDeque::new(),
            up: VecDeque::new(),
            config_sets: BTreeSet::from([Vec::new()]),
            alone_sets: BTreeSet::from([Vec::new()]),
            unanswered: 0,
            signer,
        };
        world.control();
        world
    }

    /// A control plane that has just started, with what the store has.
    fn control(&mut self) {
        self.server = Server::admitting(self.epoch, Admission::new(1_000, 1_000));
        let all = self
            .store
            .iter()
            .map(|one| (Arc::clone(one), Audience::Everyone))
            .collect();
        self.server.replace(self.now, self.revision, all);
        self.note();
        self.broken();
    }

    fn note(&mut self) {
        let all = || {
            scene::by_key(&self.store)
                .into_iter()
                .map(|(key, one)| (key, one.bytes().clone()))
        };
        self.config_sets.insert(names_of(all(), false));
        self.alone_sets.insert(names_of(all(), true));
    }

    fn broken(&mut self) {
        if let Some(session) = self.session.take() {
            self.server.close(session);
        }
        self.down.clear();
        self.up.clear();
        self.unanswered = 0;
    }

    fn put(&mut self, resource: Arc<Resource>) {
        self.store.retain(|one| one.key() != resource.key());
        self.store.push(Arc::clone(&resource));
        self.revision += 1;
        let change = Change {
            revision: self.revision,
            put: vec![(resource, members(&[server_member("documents")]))],
            gone: Vec::new(),
        };
        self.server.change(self.now, change);
        self.note();
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Document { name, version, spoilt } => {
                // What `compile` below refuses.
                let name = format!("{}{name}", if *spoilt { "spoilt" } else { "view" });
                self.put(scene::object("View", &name, *version));
            }
            Happening::Gone(name) => {
                for kind in ["view", "spoilt"] {
                    let key = Key::new(Kind::Object, &format!("View/{kind}{name}"));
                    self.store.retain(|one| *one.key() != key);
                    self.revision += 1;
                    let gone = vec![key];
                    self.server.change(
                        self.now,
                        Change {
                            revision: self.revision,
                            put: Vec::new(),
                            gone,
                        },
                    );
                    self.note();
                }
            }
            Happening::Deny(serial) => self.put(scene::denied(&[*serial])),
            Happening::Time(millis) => self.now += ms(u64::from(*millis)),
            Happening::Down(count) => (0..*count).for_each(|_| self.carry_down()),
            Happening::Up(count) => (0..*count).for_each(|_| self.carry_up()),
            Happening::Cut(random) => {
                self.broken();
                self.client.lost(self.now, *random);
            }
            Happening::Compiled => self.compiled(),
            Happening::Restart => {
                self.broken();
                self.offer = None;
                let held = self.disk.clone().map(|disk| {
                    let trust = trust(SIDECAR, self.client.floor(), &[&self.signer]);
                    Arc::new(Snapshot::restore(disk, &trust).expect("what was kept can be read"))
                });
                self.client = Client::new(own(1), trust(SIDECAR, self.client.floor(), &[&self.signer]), held);
            }
            Happening::ControlRestart => {
                self.control();
                self.client.lost(self.now, 5);
            }
            Happening::SetBack => {
                self.epoch += 1;
                self.revision = 1;
                self.control();
                self.client.lost(self.now, 5);
            }
            Happening::Flip(bit) => self.flip(*bit),
            Happening::Twice => {
                if let Some(first) = self.down.front().cloned() {
                    self.down.push_front(first);
                }
            }
        }
        self.drive();
        self.judge();
    }

    fn flip(&mut self, bit: u16) {
        let Some(first) = self.down.front_mut() else { return };
        let Some(from_control::Message::Part(part)) = &mut first.message else {
            return;
        };
        let Some(put) = part.put.first_mut() else { return };
        let mut bytes = put.to_vec();
        let at = usize::from(bit) % (bytes.len() * 8);
        bytes[at / 8] ^= 1 << (at % 8);
        *put = bytes.into();
    }

    /// What both drivers do on their own.
    fn drive(&mut self) {
        self.server.tick(self.now);
        match self.client.due(self.now) {
            Due::Connect => {
                self.broken();
                let hello = self.client.opened(self.now);
                match self.server.open(self.now, &id(SIDECAR), &hello) {
                    Ok(opened) => self.session = Some(opened.id),
                    Err(_) => self.client.lost(self.now, 3),
                }
            }
            Due::Report => {
                let report = self.client.report(self.now, &Report::default());
                self.up.push_back(report);
            }
            Due::Cut(_) => {
                self.broken();
                self.client.lost(self.now, 9);
            }
            Due::Wait(_) => {}
        }
        let Some(session) = self.session else { return };
        match self
            .server
            .next(self.now, session, &|message| self.signer.sign(message))
        {
            Next::Send(messages) => {
                let push = messages
                    .iter()
                    .any(|one| matches!(one.message, Some(from_control::Message::Part(_))));
                self.unanswered += u32::from(push);
                self.down.extend(messages);
            }
            Next::Close(_) => {
                self.broken();
                self.client.lost(self.now, 11);
            }
            Next::Wait(_) => {}
        }
    }

    fn carry_down(&mut self) {
        let Some(message) = self.down.pop_front() else { return };
        match self.client.received(self.now, message, 13) {
            Heard::Nothing | Heard::Renew(_) => {}
            Heard::Offer(offer) => self.offer = Some(offer),
            Heard::Send(answer) => self.up.push_back(answer),
            Heard::Cut(_) => {
                self.broken();
                self.client.lost(self.now, 17);
            }
        }
    }

    fn carry_up(&mut self) {
        let (Some(session), Some(message)) = (self.session, self.up.pop_front()) else {
            return;
        };
        if !matches!(message.message, Some(proto::from_proxy::Message::Report(_))) {
            self.unanswered -= 1;
        }
        if self.server.received(self.now, session, &message).is_err() {
            self.broken();
            self.client.lost(self.now, 19);
        }
    }

    fn compiled(&mut self) {
        let Some(offer) = self.offer.take() else { return };
        let spoilt = offer
            .snapshot
            .resources()
            .keys()
            .find(|key| key.name.contains("spoilt"))
            .cloned();
        let result = match spoilt {
            Some(key) => Err(Refusal {
                resource: Some(key),
                ..Refusal::of(Reason::Compile, "spoilt")
            }),
            None => {
                self.disk = Some(offer.snapshot.save());
                Ok(())
            }
        };
        if let Some(answer) = self.client.settled(self.now, &offer, result) {
            self.up.push_back(answer);
        }
    }

    /// What holds at every moment.
    fn judge(&self) {
        assert!(self.unanswered <= 1, "two changes are on their way");
        let held = versions(self.client.held());
        let config = names_of(held.clone().into_iter(), false);
        assert!(self.config_sets.contains(&config), "half a change is held: {config:?}");
        let alone = names_of(held.into_iter(), true);
        assert!(self.alone_sets.contains(&alone), "half a change is held: {alone:?}");
    }

    /// Nothing happens any more but what must.
    fn settle(&mut self) {
        for round in 0..420 {
            // The last rounds take no time, so that nothing new begins in them.
            self.now += ms(if round < 400 { 400 } else { 0 });
            self.drive();
            self.carry_down();
            self.carry_down();
            self.compiled();
            self.carry_up();
            self.carry_up();
            self.judge();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_proxy_ends_with_the_newest_set_or_says_why_not(
        happenings in prop::collection::vec(happening(), 1..120)
    ) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
        }
        world.settle();
        let spoilt = world.store.iter().any(|one| one.key().name.contains("spoilt"));
        let held = versions(world.client.held());
        let wanted: Vec<_> = scene::by_key(&world.store).into_iter().map(|(key, one)| (key, one.bytes().clone())).collect();
        let status = world.server.status(world.session.expect("a stream")).expect("its status");
        let progress = world.server.progress(world.revision);
        if spoilt {
            prop_assert!(status.refused.is_some() && progress.refused.len() == 1, "{status:?}");
            if !held.is_empty() {
                prop_assert_eq!(names_of(held.into_iter(), true), names_of(wanted.into_iter(), true));
            }
        } else {
            prop_assert_eq!(held, wanted);
            prop_assert!(status.current && progress.taken == 1, "{status:?} {progress:?}");
        }
        // And then it is quiet: beats and reports, and no change.
        prop_assert_eq!(world.unanswered, 0);
        prop_assert!(world.server.due().is_none());
    }
}
