//! Enrolment by the clock: what no real connection can be made to wait for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicU64, Ordering};

use meshgate_identity::Svid;
use meshgate_identity::SvidKey;
use meshgate_identity::enrolment::prove_held;
use meshgate_model::Part;

use super::*;
use crate::ca::BuiltIn;
use crate::own::Sources;
use crate::registry::Terms;
use crate::seal::Seal;
use crate::store::{MemoryStore, Store, from_unix_ms};

const LIFE: Duration = Duration::from_secs(36 * 3600);

struct World {
    enrolment: Enrolment,
    now_ms: Arc<AtomicU64>,
    tokens: Arc<Tokens>,
    denials: Arc<Denials>,
    root: Vec<u8>,
    alarms: Alarms,
}

impl World {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let now_ms = Arc::new(AtomicU64::new(1_900_000_000_000));
        let ticks = now_ms.clone();
        let clock: Clock = Arc::new(move || from_unix_ms(ticks.load(Ordering::SeqCst)));
        let seal = Arc::new(Seal::of(&[5; 32]).unwrap());
        let registry = Arc::new(Registry::open(store.clone(), clock.clone()).await.unwrap());
        let text =
            "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: documents}\nspec: {sidecar: {}}\n";
        let documents = meshgate_model::parse("/x", text).unwrap();
        registry.apply(documents, &Terms::default(), None).await.unwrap();
        let domain = "default.mesh".parse().unwrap();
        let authority = BuiltIn::open(store.clone(), seal.clone(), &domain, LIFE, clock())
            .await
            .unwrap();
        let authority = Arc::new(authority);
        let ledger = Arc::new(Ledger::open(store.clone()).await.unwrap());
        let keys = Arc::new(Keys::open(store.clone(), seal).await.unwrap());
        let sources = Sources {
            authority: authority.clone(),
            ledger: ledger.clone(),
            keys: keys.clone(),
            registry: registry.clone(),
            clock: clock.clone(),
        };
        let own = Arc::new(Own::open(sources).await.unwrap());
        let tokens = Arc::new(Tokens::new(store.clone(), clock.clone()));
        let denials = Arc::new(Denials::new(store, clock.clone()));
        let alarms = Alarms::new(clock.clone());
        Self {
            root: authority.own_root(),
            enrolment: Enrolment::new(Parts {
                authority,
                ledger,
                tokens: tokens.clone(),
                denials: denials.clone(),
                registry,
                keys,
                own,
                alarms: alarms.clone(),
                metrics: Arc::default(),
                founding: Arc::default(),
                clock,
            }),
            now_ms,
            tokens,
            denials,
            alarms,
        }
    }

    fn pass(&self, time: Duration) {
        self.now_ms
            .fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    async fn enrol(&self, proof: enrol_request::Proof, key: SvidKey) -> Result<Svid, EnrolError> {
        let id = self.domain().id(Part::Gateway("any".into())).unwrap();
        let csr = key.csr(&id).unwrap();
        let request = proto::EnrolRequest {
            csr: csr.into(),
            program: String::new(),
            proof: Some(proof),
        };
        let reply = self.enrolment.enrol(request, "192.0.2.1:9".parse().unwrap()).await?;
        let chain = reply.chain.iter().map(|one| one.to_vec().into()).collect();
        Ok(Svid::new(key, chain).unwrap())
    }

    fn domain(&self) -> meshgate_model::TrustDomain {
        "default.mesh".parse().unwrap()
    }

    async fn joined(&self) -> Svid {
        let part = Part::Server {
            server: "documents".into(),
            version: "v1".into(),
        };
        let identity = self.domain().id(part).unwrap();
        let (token, ..) = self
            .tokens
            .make(&identity, Duration::from_secs(600), &self.root)
            .await
            .unwrap();
        let proof = enrol_request::Proof::JoinToken(token.expose().to_string());
        self.enrol(proof, SvidKey::generate().unwrap()).await.unwrap()
    }

    async fn renewed(&self, old: &Svid) -> Result<Svid, EnrolError> {
        let key = SvidKey::generate().unwrap();
        let csr = key
            .csr(&self.domain().id(Part::Gateway("any".into())).unwrap())
            .unwrap();
        let held = proto::HeldIdentity {
            chain: old.chain().iter().map(|one| Bytes::copy_from_slice(one)).collect(),
            signature: prove_held(old, &csr).unwrap().into(),
        };
        let request = proto::EnrolRequest {
            csr: csr.into(),
            program: String::new(),
            proof: Some(enrol_request::Proof::Held(held)),
        };
        let reply = self.enrolment.enrol(request, "192.0.2.1:9".parse().unwrap()).await?;
        let chain = reply.chain.iter().map(|one| one.to_vec().into()).collect();
        Ok(Svid::new(key, chain).unwrap())
    }
}

#[tokio::test]
async fn a_host_that_slept_comes_back_by_itself_for_thirty_days() {
    let world = World::new().await;
    let svid = world.joined().await;
    world.pass(LIFE + Duration::from_secs(48 * 3600));
    assert!(svid.not_after() < (world.enrolment.parts.clock)());
    let back = world.renewed(&svid).await.unwrap();
    assert_eq!(back.id(), svid.id());
    world.pass(LIFE + Duration::from_secs(30 * 24 * 3600));
    let last = world.renewed(&back).await.unwrap();
    world.pass(LIFE + Duration::from_secs(30 * 24 * 3600 + 1));
    let late = world.renewed(&last).await.err().unwrap();
    assert!(matches!(late, EnrolError::Held(HeldError::Time)), "{late}");
    assert!(late.to_string().contains("join token"));
}

#[tokio::test]
async fn who_is_denied_does_not_come_back_by_any_proof() {
    let world = World::new().await;
    let svid = world.joined().await;
    world.denials.deny(svid.serial(), "stolen").await.unwrap();
    let refused = world.renewed(&svid).await.err().unwrap();
    assert!(
        matches!(&refused, EnrolError::Denied { reason, .. } if reason == "stolen"),
        "{refused}"
    );
    let other = world.joined().await;
    world.denials.deny(svid.id().as_str(), "all of it").await.unwrap();
    assert!(matches!(world.renewed(&other).await, Err(EnrolError::Denied { .. })));
    let part = svid.id().clone();
    let (token, ..) = world
        .tokens
        .make(&part, Duration::from_secs(600), &world.root)
        .await
        .unwrap();
    let proof = enrol_request::Proof::JoinToken(token.expose().to_string());
    let refused = world.enrol(proof, SvidKey::generate().unwrap()).await;
    assert!(matches!(refused, Err(EnrolError::Denied { .. })));
    assert!(world.denials.allow(part.as_str()).await.unwrap());
    world.renewed(&other).await.unwrap();
}

#[tokio::test]
async fn a143_a_certificate_that_nobody_wrote_down_raises_an_alarm() {
    let world = World::new().await;
    // Signed with the authority's own keys, past the log: what a thief of them would do.
    let id = world.domain().id(Part::Gateway("default".into())).unwrap();
    let key = SvidKey::generate().unwrap();
    let signed = world
        .enrolment
        .parts
        .authority
        .sign(&Order {
            id: &id,
            public_key: &public_key_of(&key.csr(&id).unwrap()).unwrap(),
            life: LIFE,
            now: (world.enrolment.parts.clock)(),
            own: false,
        })
        .unwrap();
    let thief = Svid::new(key, signed.chain.into_iter().map(Into::into).collect()).unwrap();
    world.renewed(&thief).await.unwrap();
    let alarms = world.alarms.list();
    assert_eq!(alarms.len(), 1);
    assert_eq!(alarms[0].kind, AlarmKind::UnknownIssuance);
    assert!(alarms[0].message.contains(thief.serial()) && alarms[0].message.contains("rotate the root"));
    let honest = world.joined().await;
    world.renewed(&honest).await.unwrap();
    assert_eq!(world.alarms.list().len(), 1);
}

#[tokio::test]
async fn a_signature_of_another_key_or_for_another_request_proves_nothing() {
    let world = World::new().await;
    let svid = world.joined().await;
    let other = world.joined().await;
    let key = SvidKey::generate().unwrap();
    let csr = key.csr(svid.id()).unwrap();
    let chain: Vec<Bytes> = svid.chain().iter().map(|one| Bytes::copy_from_slice(one)).collect();
    for signature in [
        prove_held(&other, &csr).unwrap(),
        prove_held(&svid, b"another request").unwrap(),
        Vec::new(),
    ] {
        let request = proto::EnrolRequest {
            csr: csr.clone().into(),
            program: String::new(),
            proof: Some(enrol_request::Proof::Held(proto::HeldIdentity {
                chain: chain.clone(),
                signature: signature.into(),
            })),
        };
        let refused = world
            .enrolment
            .enrol(request, "192.0.2.1:9".parse().unwrap())
            .await
            .err()
            .unwrap();
        assert!(matches!(refused, EnrolError::Held(HeldError::Signature)), "{refused}");
    }
    let none = proto::EnrolRequest {
        csr: csr.into(),
        ..proto::EnrolRequest::default()
    };
    let refused = world
        .enrolment
        .enrol(none, "192.0.2.1:9".parse().unwrap())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused, EnrolError::Message(_)), "{refused}");
}
