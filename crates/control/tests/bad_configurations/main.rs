//! Bad configurations, pushed: the control plane refuses each with its place and remedy and keeps what it has; and should one
//! reach a proxy all the same, the proxy refuses it whole, says which resource it was, and keeps what it holds.
//!
//! There are no regular expressions and no references that could run in a circle in these documents; a view that names
//! itself names a server that is not there.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod documents;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use documents::{Bad, all, good};
use meshgate_control::registry::{Outcome, Registry, Terms};
use meshgate_control::store::MemoryStore;
use meshgate_model::{Config, Role, Severity, SpiffeId, parse};
use meshgate_sync::client::{Heard, Own};
use meshgate_sync::message::{Reason, Refusal};
use meshgate_sync::proto::{FromControl, FromProxy};
use meshgate_sync::resource::{Body, Object, Tokens, TrustBundle};
use meshgate_sync::server::{Audience, Change, Next, SessionId};
use meshgate_sync::snapshot::Trust;
use meshgate_sync::{Client, Key, Resource, Server, Snapshot};

const GATEWAY: &str = "spiffe://corp.example/gateway/main";

async fn registry() -> Registry {
    let clock: meshgate_control::store::Clock =
        Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let registry = Registry::open(Arc::new(MemoryStore::default()), clock).await.unwrap();
    let mut documents = Config::default();
    for (_, _, json) in good() {
        documents = documents.and(parse("good.json", &json).unwrap());
    }
    let applied = registry.apply(documents, &Terms::default(), None).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Applied, "{:?}", applied.findings);
    registry
}

/// What the control plane says against one.
async fn wrong_at_apply(registry: &Registry, bad: &Bad) -> Result<(), String> {
    let findings = match parse("bad.json", &bad.json) {
        Err(findings) => findings,
        Ok(documents) => {
            let applied = registry
                .apply(documents, &Terms::default(), None)
                .await
                .map_err(|e| e.to_string())?;
            if applied.outcome != Outcome::Refused {
                return Err(format!("{:?}: {:?}", applied.outcome, applied.findings));
            }
            applied.findings
        }
    };
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    let Some(finding) = errors.iter().find(|finding| finding.code == bad.code) else {
        return Err(format!("no {} in {errors:?}", bad.code));
    };
    // What is larger than a file may be is not looked into; where the form is wrong, the message says which is right.
    let placed = finding.span.is_some() || (bad.code == "MG0007" && bad.json.len() > 1 << 20);
    let helped = finding.remedy.len() > 5 || matches!(bad.code, "MG0001" | "MG0002" | "MG0007");
    match (placed, helped) {
        (false, _) => Err(format!("it does not say where: {finding:?}")),
        (_, false) => Err(format!("it does not say what to do: {finding:?}")),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn d46_every_bad_configuration_is_refused_with_its_place_and_remedy_and_changes_nothing() {
    let registry = registry().await;
    let before = registry.current();
    let bad = all();
    assert!(bad.len() >= 60, "{} of them", bad.len());
    let mut wrong = Vec::new();
    for bad in &bad {
        if let Err(why) = wrong_at_apply(&registry, bad).await {
            wrong.push(format!("{} {}: {}: {why}", bad.kind, bad.name, bad.what));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are not refused as they should be:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(Arc::ptr_eq(&before, &registry.current()), "the configuration has moved");
}

#[tokio::test]
async fn d46_what_would_lock_everybody_out_is_refused() {
    let registry = registry().await;
    let before = registry.current();
    let all: Vec<_> = good()
        .into_iter()
        .map(|(kind, name, _)| (kind.to_owned(), name.to_owned()))
        .collect();
    let gone = registry.delete(&all, &Terms::default(), None).await.unwrap();
    assert_eq!(gone.outcome, Outcome::Refused, "{:?}", gone.findings);
    let blank = Terms {
        replace: true,
        ..Terms::default()
    };
    let replaced = registry.apply(Config::default(), &blank, None).await.unwrap();
    assert_eq!(replaced.outcome, Outcome::Refused, "{:?}", replaced.findings);
    assert!(Arc::ptr_eq(&before, &registry.current()));
}

/// A gateway that holds the good configuration, over a stream whose other end does not check what it sends.
struct Gateway {
    server: Server,
    client: Client,
    session: SessionId,
    revision: u64,
    now: Duration,
}

fn resource(body: Body) -> Option<(Arc<Resource>, Audience)> {
    Some((Arc::new(Resource::new(body).ok()?), Audience::Everyone))
}

fn object(kind: &str, name: &str, json: &str) -> Option<(Arc<Resource>, Audience)> {
    resource(Body::Object(Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        json: json.to_owned(),
    }))
}

/// As a proxy turns what it was sent into what it serves.
fn compile(snapshot: &Snapshot) -> Result<(), Refusal> {
    let objects = snapshot.bodies().filter_map(|body| match body {
        Body::Object(object) => Some(object.json.as_bytes()),
        _ => None,
    });
    let role = Role::Gateway {
        name: "main".into(),
        started: Arc::new(BTreeMap::new()),
    };
    let compiled = Config::of_objects(objects).and_then(|config| config.compile_as(&role));
    compiled.map(|_| ()).map_err(|findings| {
        let first = findings
            .iter()
            .find(|finding| finding.severity == Severity::Error)
            .unwrap();
        Refusal {
            resource: first
                .document
                .as_deref()
                .map(|name| Key::new(meshgate_sync::Kind::Object, name)),
            ..Refusal::of(Reason::Compile, &first.to_string())
        }
    })
}

impl Gateway {
    fn new() -> Self {
        let identity: SpiffeId = GATEWAY.parse().unwrap();
        let own = Own {
            instance: NonZeroU64::MIN,
            address: None,
            program: "test".to_owned(),
        };
        let trust = Trust {
            identity: identity.clone(),
            floor: 1,
            keys: vec![[1; 32]],
            // Signatures are not what this is about.
            verify: |_, _, _| true,
        };
        let bundle = TrustBundle {
            trust_domain: identity.trust_domain().clone(),
            roots: vec![vec![1]],
            snapshot_keys: vec![[1; 32]],
        };
        let mut put = vec![resource(Body::TrustBundle(bundle)).unwrap()];
        put.extend(
            good()
                .iter()
                .map(|(kind, name, json)| object(kind, name, json).unwrap()),
        );
        let tokens = Tokens {
            application: "assistant".to_owned(),
            json: "[]".to_owned(),
        };
        put.extend(resource(Body::Tokens(tokens)));
        let mut server = Server::new(1);
        let now = Duration::from_secs(1);
        server.replace(now, 1, put);
        server.tick(now * 2);
        let mut client = Client::new(own, trust, None);
        client.due(now * 2);
        let session = server.open(now * 2, &identity, &client.opened(now * 2)).unwrap().id;
        let mut gateway = Self {
            server,
            client,
            session,
            revision: 1,
            now: now * 2,
        };
        assert_eq!(gateway.exchange(), [Ok(())], "what is good is taken");
        gateway
    }

    fn push(&mut self, put: Vec<(Arc<Resource>, Audience)>) -> Vec<Result<(), Refusal>> {
        self.revision += 1;
        let change = Change {
            revision: self.revision,
            put,
            gone: Vec::new(),
        };
        self.server.change(self.now, change);
        self.now += Duration::from_secs(1);
        self.server.tick(self.now);
        self.exchange()
    }

    /// Carries messages until nobody has anything to say: what became of each change.
    fn exchange(&mut self) -> Vec<Result<(), Refusal>> {
        let mut ended = Vec::new();
        while let Next::Send(messages) = self.server.next(self.now, self.session, &|_| [0; 64]) {
            for message in messages {
                if let Some(answer) = self.hear(message, &mut ended) {
                    self.server.received(self.now, self.session, &answer).unwrap();
                }
            }
        }
        ended
    }

    fn hear(&mut self, message: FromControl, ended: &mut Vec<Result<(), Refusal>>) -> Option<FromProxy> {
        match self.client.received(self.now, message, 0) {
            Heard::Nothing | Heard::Renew(_) => None,
            Heard::Send(answer) => Some(answer),
            Heard::Cut(fault) => panic!("{fault}"),
            Heard::Offer(offer) => {
                let result = compile(&offer.snapshot);
                ended.push(result.clone());
                self.client.settled(self.now, &offer, result)
            }
        }
    }
}

#[test]
fn d46_a_bad_configuration_that_reaches_a_proxy_is_refused_whole_and_named() {
    let mut gateway = Gateway::new();
    let (mut unsendable, mut refused, mut wrong) = (0, 0, Vec::new());
    // A proxy is told of the views that are its own only, so an application may name others there.
    let tolerated = |bad: &Bad| bad.kind == "Application" && bad.code == "MG0208";
    for bad in all().into_iter().filter(|bad| !tolerated(bad)) {
        let before = Arc::clone(gateway.client.held().unwrap());
        let Some(put) = object(bad.kind, bad.name, &bad.json) else {
            // It cannot even be sent: it is no document in JSON, or of another name.
            unsendable += 1;
            continue;
        };
        let ended = gateway.push(vec![put]);
        let named = format!("{}/{}", bad.kind, bad.name);
        match ended.as_slice() {
            // Its words are those of its own reader, which has no positions; what counts is that it refuses, and which.
            [Err(why)] => {
                let status = gateway.server.status(gateway.session).unwrap();
                let told = status.refused.expect("the control plane knows");
                assert_eq!(told.refusal.reason, Reason::Compile);
                if why.resource.as_ref().is_none_or(|key| *key.name != *named)
                    && bad.code != "MG0302"
                    && bad.code != "MG0402"
                {
                    wrong.push(format!("{named}: {}: named {:?}", bad.what, why.resource));
                }
                refused += 1;
            }
            other => wrong.push(format!("{named}: {}: {other:?}", bad.what)),
        }
        if !Arc::ptr_eq(&before, gateway.client.held().unwrap()) {
            wrong.push(format!("{named}: {}: something was taken", bad.what));
        }
        // What was good is good again.
        let good = good()
            .into_iter()
            .find(|(kind, name, _)| *kind == bad.kind && *name == bad.name)
            .unwrap();
        gateway.push(vec![object(good.0, good.1, &good.2).unwrap()]);
        assert!(gateway.server.status(gateway.session).unwrap().current, "{}", bad.what);
    }
    assert!(
        wrong.is_empty(),
        "{} are not refused as they should be:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        refused >= 50 && unsendable >= 10,
        "{refused} refused, {unsendable} cannot be sent"
    );
}
