//! One proxy: the real client, and a driver that takes its time.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use meshgate_model::SpiffeId;
use meshgate_sync::client::{Offer, Own};
use meshgate_sync::manifest::SnapshotKey;
use meshgate_sync::message::{Reason, Refusal};
use meshgate_sync::resource::Digest;
use meshgate_sync::server::{Member, SessionId};
use meshgate_sync::snapshot::Trust;
use meshgate_sync::{Client, Key};

use crate::plane;

pub(crate) struct Proxy {
    pub(crate) identity: SpiffeId,
    pub(crate) member: Member,
    /// The server that it stands beside; a gateway has none.
    pub(crate) server: Option<usize>,
    pub(crate) instance: u64,
    pub(crate) client: Client,
    pub(crate) latency: Duration,
    pub(crate) slow: bool,
    /// Refuses what is spoilt.
    pub(crate) strict: bool,
    /// The stream it has, counted; messages of an older one are lost.
    pub(crate) stream: u64,
    pub(crate) session: Option<SessionId>,
    /// What it has been offered and has not compiled.
    pub(crate) offer: Option<Offer>,
    /// What its driver has put in force.
    pub(crate) in_force: BTreeMap<Key, Digest>,
    /// Changes on the wire that are not answered.
    pub(crate) unanswered: u32,
}

impl Proxy {
    pub(crate) fn new(number: usize, server: Option<usize>, latency: Duration, key: SnapshotKey) -> Option<Self> {
        let identity = match server {
            Some(server) => plane::sidecar(server)?,
            None => plane::gateway()?,
        };
        let instance = u64::try_from(number).ok()? + 1;
        let own = Own {
            instance: NonZeroU64::new(instance)?,
            address: Some(([10, 0, 0, 1], 7320).into()),
            program: "simulated".to_owned(),
        };
        let trust = Trust {
            identity: identity.clone(),
            floor: 1,
            keys: vec![key],
            verify: |key, message, signature| UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
        };
        Some(Self {
            member: Member::of(&identity)?,
            identity,
            server,
            instance,
            client: Client::new(own, trust, None),
            latency,
            slow: false,
            strict: server.is_some() && number.is_multiple_of(4),
            stream: 0,
            session: None,
            offer: None,
            in_force: BTreeMap::new(),
            unanswered: 0,
        })
    }

    /// What compiling says.
    pub(crate) fn compile(&self, offer: &Offer) -> Result<(), Refusal> {
        let spoilt = offer
            .snapshot
            .resources()
            .values()
            .find(|resource| plane::is_spoilt(resource));
        match spoilt.filter(|_| self.strict) {
            Some(resource) => Err(Refusal {
                resource: Some(resource.key().clone()),
                ..Refusal::of(Reason::Compile, "the view names a tool twice")
            }),
            None => Ok(()),
        }
    }

    /// Swaps.
    pub(crate) fn put_in_force(&mut self, offer: &Offer, half: bool) {
        let resources = offer.snapshot.resources();
        let left_out = if half { offer.changed.len().div_ceil(2) } else { 0 };
        for key in offer.changed.iter().skip(left_out) {
            match resources.get(key) {
                Some(one) => self.in_force.insert(key.clone(), one.digest()),
                None => self.in_force.remove(key),
            };
        }
    }

    /// What it holds, for the judgement.
    pub(crate) fn holds(&self, key: &Key) -> Option<Digest> {
        self.in_force.get(key).copied()
    }

    /// The snapshot that the client holds is the one in force.
    pub(crate) fn agrees(&self) -> bool {
        let held = self.client.held().map(Arc::as_ref);
        held.is_none_or(|held| {
            held.resources().len() == self.in_force.len()
                && held
                    .resources()
                    .iter()
                    .all(|(key, one)| self.holds(key) == Some(one.digest()))
        })
    }
}
