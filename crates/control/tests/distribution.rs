//! What proxies are told: their own scope, nothing of others, and what others say changes nothing about them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{Held, Mesh, Stream, body, bundle_of, gateway, server};
use meshgate_sync::Body;
use meshgate_sync::proto::{self, from_proxy};
use serde_json::{Value, json};

fn names(stream: &Stream) -> Vec<String> {
    stream.held().into_keys().collect()
}

fn endpoints(held: &Held, group: &str) -> Option<(bool, Vec<String>)> {
    match body(held, &format!("endpoints {group}"))? {
        Body::Endpoints(endpoints) => {
            let one = |one: &meshgate_sync::resource::Endpoint| format!("{}@{}", one.identity.part(), one.address);
            Some((endpoints.settled, endpoints.endpoints.iter().map(one).collect()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a142_a_proxy_is_told_of_its_own_scope_only() {
    let mesh = Mesh::start().await;
    let mut sidecar = mesh.member(server("documents", "v1")).await.stream(1).await.unwrap();
    assert!(sidecar.until(|held| !held.is_empty()).await);
    assert_eq!(
        names(&sidecar),
        [
            "admission documents",
            "denied mesh",
            "object Application/assistant",
            "object Mesh/corp",
            "object Server/documents",
            "object View/papers",
            "trust bundle corp.mesh",
        ]
    );
    let mut edge = mesh.member(gateway("default")).await.stream(2).await.unwrap();
    assert!(edge.until(|held| !held.is_empty()).await);
    assert_eq!(
        names(&edge),
        [
            "denied mesh",
            "endpoints gateway/default",
            "endpoints server/documents",
            "endpoints server/projects",
            "key ring gateways",
            "object Application/assistant",
            "object Application/planner",
            "object Gateway/default",
            "object Mesh/corp",
            "object Server/documents",
            "object Server/projects",
            "object View/papers",
            "object View/plans",
            "tokens assistant",
            "tokens planner",
            "trust bundle corp.mesh",
        ]
    );
    for stream in [&sidecar, &edge] {
        let all: String = stream
            .held()
            .values()
            .map(|one| String::from_utf8_lossy(one.bytes()))
            .collect();
        assert!(
            !all.contains("/secret"),
            "how the sidecar reaches its server is its own matter"
        );
    }
    let own: String = sidecar
        .held()
        .values()
        .map(|one| String::from_utf8_lossy(one.bytes()))
        .collect();
    assert!(
        !own.contains("sha256") && !own.contains("planner") && !own.contains("projects"),
        "{own}"
    );
    match body(&sidecar.held(), "admission documents") {
        Some(Body::Admission(admission)) => {
            assert_eq!(admission.gateways.len(), 1);
            assert_eq!(admission.gateways[0].as_str(), "spiffe://corp.mesh/gateway/default");
        }
        _ => panic!("no admission"),
    }
}

#[tokio::test]
async fn a142_without_a_certificate_of_a_proxy_there_is_no_configuration() {
    let mesh = Mesh::start().await;
    let token = mesh.token(gateway("default")).await;
    let root = mesh.running.plane().certificates().roots[0].pem.clone();
    let root =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(root.as_bytes());
    let channel = common::channel_of_stranger(mesh.sync(), &token, &root.unwrap()).await;
    let refused = Stream::open(channel, 1, "127.0.0.1:1").await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let other = Mesh::start().await;
    let stranger = other.member(gateway("default")).await;
    let elsewhere = common::Member {
        address: mesh.sync(),
        ..stranger
    };
    assert!(elsewhere.stream(1).await.is_err(), "a certificate of another mesh");
}

#[tokio::test]
async fn a142_what_a_proxy_says_is_about_itself_whatever_instance_it_claims() {
    let mesh = Mesh::start().await;
    let edge = mesh.member(gateway("default")).await;
    let documents = mesh.member(server("documents", "v1")).await;
    let projects = mesh.member(server("projects", "v2")).await;
    let mut watching = edge.stream(1).await.unwrap();
    let honest = documents.stream_at(7, "127.0.0.1:1111").await.unwrap();
    honest.up().await;
    let here = |held: &Held| endpoints(held, "server/documents").is_some_and(|(_, all)| all.len() == 1);
    assert!(watching.until(here).await);
    // The same instance, another identity: it says that it is down, and leaves.
    let liar = projects.stream_at(7, "127.0.0.1:1111").await.unwrap();
    liar.up().await;
    let shown = |held: &Held| endpoints(held, "server/projects").is_some_and(|(_, all)| all.len() == 1);
    assert!(watching.until(shown).await);
    liar.say(from_proxy::Message::Report(proto::Report {
        state: proto::State::Away.into(),
        draining: true,
        ..proto::Report::default()
    }))
    .await;
    let hidden = |held: &Held| endpoints(held, "server/projects").is_some_and(|(_, all)| all.is_empty());
    assert!(watching.until(hidden).await);
    drop(liar);
    let (_, all) = endpoints(&watching.held(), "server/documents").unwrap();
    assert_eq!(all, ["/server/documents/v1@127.0.0.1:1111"]);
    let status = mesh.running.plane().status();
    let one = status
        .proxies
        .iter()
        .find(|one| one.proxy.identity.contains("documents"))
        .unwrap();
    assert_eq!((one.connected, one.state.as_deref(), one.tools), (true, Some("up"), 3));
}

#[tokio::test]
async fn a142_a_flood_of_streams_is_told_to_wait_and_keeps_nobody_out() {
    let mesh = Mesh::start().await;
    let flooding = mesh.member(server("projects", "v2")).await;
    let other = mesh.member(server("documents", "v1")).await;
    let channel = flooding.channel().await.unwrap();
    let mut flood = tokio::task::JoinSet::new();
    for n in 1..=200 {
        let channel = channel.clone();
        flood.spawn(async move {
            let mut stream = Stream::open(channel, n, "127.0.0.1:1").await.unwrap();
            stream.first().await.later
        });
    }
    let later = flood.join_all().await.into_iter().filter(|later| *later).count();
    // A hundred at once and fifty a second are taken, and this takes a second or two.
    assert!(later > 0, "200 streams at once were all taken");
    let mut stream = other.stream(1).await.unwrap();
    assert!(stream.until(|held| !held.is_empty()).await);
    assert!(!stream.first().await.later);
}

#[tokio::test]
async fn a_change_reaches_those_it_is_for_and_apply_waits_for_them() {
    let mesh = Mesh::start().await;
    let mut sidecar = mesh.member(server("documents", "v1")).await.stream(1).await.unwrap();
    assert!(sidecar.until(|held| !held.is_empty()).await);
    let text = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: documents}\nspec: {sidecar: {}, deadline: 7s}\n";
    let apply = json!({"sources": [{"name": "/x.yaml", "text": text}], "waitSeconds": 20});
    let (answer, ()) = tokio::join!(mesh.operator("POST", "/v1/apply", &apply), async {
        let changed = |held: &Held| match body(held, "object Server/documents") {
            Some(Body::Object(object)) => object.json.contains("\"7s\""),
            _ => false,
        };
        assert!(sidecar.until(changed).await);
    });
    let answer = answer.json();
    assert_eq!(answer["outcome"], "applied");
    assert_eq!(
        answer["progress"],
        json!({"taken": 1, "refused": [], "waiting": []}),
        "{answer}"
    );
    let status = mesh.operator("GET", "/v1/status", &Value::Null).await.json();
    assert_eq!(status["revision"], 2);
    assert_eq!(
        (&status["proxies"][0]["revision"], &status["proxies"][0]["current"]),
        (&json!(2), &json!(true))
    );
}

/// A gateway, and a sidecar that was named to it; then both have lost their streams.
async fn named_and_lost(mesh: &Mesh) -> (common::Member, common::Member) {
    let edge = mesh.member(gateway("default")).await;
    let documents = mesh.member(server("documents", "v1")).await;
    let sidecar = documents.stream(7).await.unwrap();
    sidecar.up().await;
    let mut watching = edge.stream(1).await.unwrap();
    let named =
        |held: &Held| endpoints(held, "server/documents").is_some_and(|(settled, all)| settled && all.len() == 1);
    assert!(watching.until(named).await);
    drop((sidecar, watching));
    (edge, documents)
}

#[tokio::test]
async fn a_restarted_control_plane_takes_nobody_away_before_they_had_time_to_come_back() {
    let mesh = Mesh::start().await;
    let (edge, documents) = named_and_lost(&mesh).await;
    let mesh = mesh.restart().await;
    let edge = common::Member {
        address: mesh.sync(),
        ..edge
    };
    let mut watching = edge.stream(1).await.unwrap();
    assert!(watching.until(|held| !held.is_empty()).await);
    let named = endpoints(&watching.held(), "server/documents");
    assert!(
        named.as_ref().is_some_and(|(settled, all)| !settled && all.len() == 1),
        "for a gateway that starts now, and has nothing on disk: {named:?}"
    );
    // As a kill leaves it that comes before the notes are written.
    let mesh = mesh
        .restart_after(|state| std::fs::remove_file(state.join("sidecars")).unwrap())
        .await;
    let edge = common::Member {
        address: mesh.sync(),
        ..edge
    };
    let mut watching = edge.stream(1).await.unwrap();
    assert!(watching.until(|held| !held.is_empty()).await);
    assert_eq!(
        endpoints(&watching.held(), "server/documents"),
        Some((false, vec![])),
        "nobody is there, and that is not settled"
    );
    let documents = common::Member {
        address: mesh.sync(),
        ..documents
    };
    let sidecar = documents.stream(7).await.unwrap();
    sidecar.up().await;
    let back =
        |held: &Held| endpoints(held, "server/documents").is_some_and(|(settled, all)| !settled && all.len() == 1);
    assert!(watching.until(back).await, "it is back, and others may be on their way");
    let status = mesh.operator("GET", "/v1/status", &Value::Null).await.json();
    assert_eq!(status["settled"], false);
}

#[tokio::test]
async fn a_sidecar_that_loses_its_stream_is_named_on_to_gateways_that_come_after() {
    let mesh = Mesh::start().await;
    let (edge, _documents) = named_and_lost(&mesh).await;
    let gone = |status: &Value| {
        status["proxies"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["connected"] == false)
    };
    while !gone(&mesh.operator("GET", "/v1/status", &Value::Null).await.json()) {
        tokio::task::yield_now().await;
    }
    let mut later = edge.stream(2).await.unwrap();
    assert!(later.until(|held| !held.is_empty()).await);
    assert!(
        endpoints(&later.held(), "server/documents").is_some_and(|(_, all)| all.len() == 1),
        "whether it can be called is found out by who calls it"
    );
}

#[tokio::test]
async fn a143_a_root_changes_by_itself_while_streams_live_and_the_old_one_is_refused_after() {
    let mesh = Mesh::start().await;
    let sidecar = mesh.member(server("documents", "v1")).await;
    let mut stream = sidecar.stream(1).await.unwrap();
    assert!(stream.until(|held| !held.is_empty()).await);
    let begun = mesh
        .operator("POST", "/v1/certificates/rotate-root", &Value::Null)
        .await;
    assert_eq!(begun.status, 202);
    assert_eq!(
        mesh.operator("POST", "/v1/certificates/rotate-root", &Value::Null)
            .await
            .status,
        409
    );
    let roots = |held: &Held| bundle_of(held).map_or(0, |bundle| bundle.roots().len());
    assert!(stream.until(|held| roots(held) == 2).await);
    sidecar
        .identity
        .replace_bundle(bundle_of(&stream.held()).unwrap())
        .unwrap();
    let phase = |expected: &'static str| {
        let mesh = &mesh;
        async move {
            for _ in 0..200 {
                let now = mesh.operator("GET", "/v1/certificates", &Value::Null).await.json();
                if now["rotation"]["phase"] == expected || (expected == "none" && now["rotation"].is_null()) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("the change of roots does not come to `{expected}`")
        }
    };
    let signing = phase("signing").await;
    assert_eq!(
        signing["rotation"]["waitsFor"],
        "1 certificates under the old root that may be in use"
    );
    stream.renewals(1).await;
    // Its stream lives, its certificate is under the old root, and the control plane's as well: the next one is not.
    let renewed = sidecar.renew().await.unwrap();
    let done = phase("none").await;
    assert_eq!(done["roots"].as_array().unwrap().len(), 1);
    assert!(
        stream.until(|held| roots(held) == 1).await,
        "the stream outlives all of it"
    );
    renewed
        .identity
        .replace_bundle(bundle_of(&stream.held()).unwrap())
        .unwrap();
    let mut again = renewed.stream(2).await.unwrap();
    assert!(again.until(|held| !held.is_empty()).await);
    assert!(sidecar.stream(3).await.is_err(), "a leaf under the old root is refused");
    assert!(sidecar.renew().await.is_err());
    let verified = mesh.operator("GET", "/v1/issuances/verify", &Value::Null).await.json();
    assert_eq!(verified["sound"], true);
    mesh.member(gateway("default")).await;
}

#[tokio::test]
async fn a_ring_changes_in_two_steps_once_every_gateway_has_it() {
    let mesh = Mesh::start().await;
    let mut edge = mesh.member(gateway("default")).await.stream(1).await.unwrap();
    let ring = |held: &Held| match body(held, "key ring gateways") {
        Some(Body::KeyRing(ring)) => ring.text.clone(),
        _ => String::new(),
    };
    assert!(edge.until(|held| !ring(held).is_empty()).await);
    let first = ring(&edge.held());
    let mut rings = vec![first.clone()];
    assert_eq!(
        mesh.operator("POST", "/v1/key-ring/rotate", &Value::Null).await.status,
        202
    );
    assert_eq!(
        mesh.operator("POST", "/v1/key-ring/rotate", &Value::Null).await.status,
        409
    );
    while rings.len() < 3 {
        let last = rings.last().unwrap().clone();
        assert!(edge.until(|held| ring(held) != last).await);
        rings.push(ring(&edge.held()));
    }
    let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (first, prepared, last) = (lines(&rings[0]), lines(&rings[1]), lines(&rings[2]));
    assert_eq!(
        (prepared.len(), &prepared[0]),
        (2, &first[0]),
        "known, and not used yet"
    );
    assert_eq!(
        last,
        [prepared[1].clone(), prepared[0].clone()],
        "used, and the old one still opens"
    );
}

#[tokio::test]
async fn new_certificates_for_everybody_are_asked_for_at_once() {
    let mesh = Mesh::start().await;
    let sidecar = mesh.member(server("documents", "v1")).await;
    let mut stream = sidecar.stream(1).await.unwrap();
    assert!(stream.until(|held| !held.is_empty()).await);
    let before = mesh.operator("GET", "/v1/certificates", &Value::Null).await.json();
    let after = mesh
        .operator("POST", "/v1/certificates/rotate", &Value::Null)
        .await
        .json();
    assert_ne!(before["ownSerial"], after["ownSerial"]);
    assert_eq!(before["roots"], after["roots"]);
    stream.renewals(1).await;
    let renewed = sidecar.renew().await.unwrap();
    let (old, new) = (sidecar.identity.current(), renewed.identity.current());
    assert_ne!(old.chain()[1], new.chain()[1], "another intermediate");
    assert!(renewed.stream(2).await.is_ok());
}
