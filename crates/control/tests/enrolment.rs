//! Joining, over real connections: a token is good once, for one part, for a while, and loud about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::{Member, Mesh, by_token, gateway, server, stranger};
use meshgate_control::alarms::AlarmKind;
use meshgate_identity::{JoinToken, SvidKey};
use tonic::{Code, Status};

fn has(mesh: &Mesh, kind: AlarmKind) -> bool {
    mesh.running
        .plane()
        .status()
        .alarms
        .iter()
        .any(|alarm| alarm.kind == kind)
}

async fn member_issuances(mesh: &Mesh) -> Vec<serde_json::Value> {
    let log = mesh
        .operator("GET", "/v1/issuances", &serde_json::Value::Null)
        .await
        .json();
    let entries = log.as_array().unwrap().clone();
    entries
        .into_iter()
        .filter(|entry| entry["by"]["proof"] != "own")
        .collect()
}

#[tokio::test]
async fn d30_a_join_token_is_good_once_and_its_second_use_is_told_and_alarmed() {
    let mesh = Mesh::start().await;
    let token = mesh.token(server("documents", "v1")).await;
    let member = Member::join(mesh.sync(), &token).await.unwrap();
    assert_eq!(member.identity.id().as_str(), "spiffe://corp.mesh/server/documents/v1");
    assert!(!has(&mesh, AlarmKind::TokenReused));
    let refused = Member::join(mesh.sync(), &token).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let serial = member.identity.current().serial().to_owned();
    for said in [
        "was used",
        &serial,
        "meshgate deny",
        "spiffe://corp.mesh/server/documents/v1",
    ] {
        assert!(refused.message().contains(said), "{}", refused.message());
    }
    assert!(has(&mesh, AlarmKind::TokenReused));
    let mesh = mesh.restart().await;
    let refused = Member::join(mesh.sync(), &token).await.err().unwrap();
    assert!(
        refused.message().contains("was used"),
        "also after a restart: {}",
        refused.message()
    );
}

/// Whether the other end never looked at the request.
fn refused_unread(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a141_of_a_thousand_uses_at_once_exactly_one_wins() {
    let mesh = Mesh::start().await;
    let token = mesh.token(gateway("default")).await;
    let root = mesh.running.plane().certificates().roots[0].pem.clone();
    let root =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(root.as_bytes());
    let desk = stranger(mesh.sync(), &token, &root.unwrap()).await;
    let id = "spiffe://corp.mesh/gateway/default".parse().unwrap();
    let csr = SvidKey::generate().unwrap().csr(&id).unwrap();
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (mut desk, request) = (desk.clone(), by_token(&token.expose(), csr.clone()));
        uses.spawn(async move {
            loop {
                match desk.enrol(request.clone()).await {
                    // A connection that has not heard yet how many streams it may have opens too many; those are refused
                    // unread (RFC 9113, section 8.7).
                    Err(status) if refused_unread(&status) => {}
                    done => return done,
                }
            }
        });
    }
    let (mut won, mut lost) = (0, 0);
    while let Some(done) = uses.join_next().await {
        match done.unwrap() {
            Ok(_) => won += 1,
            Err(status) => {
                assert!(
                    matches!(status.code(), Code::Unauthenticated | Code::ResourceExhausted),
                    "{status}"
                );
                lost += 1;
            }
        }
    }
    assert_eq!((won, lost), (1, 999));
    assert_eq!(member_issuances(&mesh).await.len(), 1);
    let verified = mesh
        .operator("GET", "/v1/issuances/verify", &serde_json::Value::Null)
        .await
        .json();
    assert_eq!(verified["sound"], true);
}

#[tokio::test]
async fn a141_a_token_that_ended_or_was_taken_back_is_refused() {
    let mesh = Mesh::start().await;
    let part = || server("documents", "v1");
    let early = mesh.token(part()).await;
    mesh.pass(Duration::from_secs(599));
    Member::join(mesh.sync(), &early).await.unwrap();
    let late = mesh.token(part()).await;
    mesh.pass(Duration::from_secs(600));
    let refused = Member::join(mesh.sync(), &late).await.err().unwrap();
    assert!(refused.message().contains("ended 0 s ago"), "{}", refused.message());
    let made = mesh
        .running
        .plane()
        .join_token(part(), Duration::from_secs(600))
        .await
        .unwrap();
    let path = format!("/v1/join-tokens/{}", made.name);
    assert_eq!(
        mesh.operator("DELETE", &path, &serde_json::Value::Null).await.status,
        204
    );
    assert_eq!(
        mesh.operator("DELETE", &path, &serde_json::Value::Null).await.status,
        404
    );
    let refused = Member::join(mesh.sync(), &made.token).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for (life, good) in [
        (9, false),
        (10, true),
        (11, true),
        (86_399, true),
        (86_400, true),
        (86_401, false),
    ] {
        let made = mesh.running.plane().join_token(part(), Duration::from_secs(life)).await;
        assert_eq!(made.is_ok(), good, "{life}");
    }
}

#[tokio::test]
async fn a141_a_token_gives_its_own_identity_whatever_is_asked_for() {
    let mesh = Mesh::start().await;
    for wanted in ["gateway/default", "server/projects/v2", "control", "operator/root"] {
        let token = mesh.token(server("documents", "v1")).await;
        let key = SvidKey::generate().unwrap();
        let csr = key
            .csr(&format!("spiffe://corp.mesh/{wanted}").parse().unwrap())
            .unwrap();
        let member = Member::join_with(mesh.sync(), &token, key, csr).await.unwrap();
        assert_eq!(member.identity.id().as_str(), "spiffe://corp.mesh/server/documents/v1");
    }
}

#[tokio::test]
async fn a142_a_greedy_request_gets_what_a_modest_one_gets() {
    let mesh = Mesh::start().await;
    let token = mesh.token(server("documents", "v1")).await;
    let key = SvidKey::generate().unwrap();
    let signer = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key.pkcs8().into(), &rcgen::PKCS_ECDSA_P256_SHA256);
    let mut greedy = rcgen::CertificateParams::default();
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.subject_alt_names = vec![
        rcgen::SanType::URI("spiffe://corp.mesh/control".try_into().unwrap()),
        rcgen::SanType::URI("spiffe://*/server/documents/v1".try_into().unwrap()),
        rcgen::SanType::DnsName("*.mesh".try_into().unwrap()),
    ];
    let csr = greedy.serialize_request(&signer.unwrap()).unwrap().der().to_vec();
    // That it is a SVID at all says: exactly one URI, no authority, the right key.
    let member = Member::join_with(mesh.sync(), &token, key, csr).await.unwrap();
    assert_eq!(member.identity.id().as_str(), "spiffe://corp.mesh/server/documents/v1");
}

#[tokio::test]
async fn a141_an_honest_join_after_an_attackers_fails_loudly_and_the_attacker_can_be_cut() {
    let mesh = Mesh::start().await;
    let token = mesh.token(server("documents", "v1")).await;
    let attacker = Member::join(mesh.sync(), &token).await.unwrap();
    let mut stolen = attacker.stream(1).await.unwrap();
    assert!(stolen.until(|held| !held.is_empty()).await);
    let refused = Member::join(mesh.sync(), &token).await.err().unwrap();
    let serial = attacker.identity.current().serial().to_owned();
    assert!(refused.message().contains(&serial), "{}", refused.message());

    let deny = serde_json::json!({"subject": serial, "reason": "joined with a stolen token"});
    assert_eq!(mesh.operator("POST", "/v1/denials", &deny).await.status, 200);
    let cut = tokio::time::timeout(Duration::from_secs(5), stolen.ended()).await;
    assert!(cut.is_ok(), "a denied stream lives on for more than five seconds");
    let again = attacker.renew().await.err().unwrap();
    assert!(again.message().contains("denied"), "{}", again.message());
    assert!(attacker.stream(2).await.is_err());
    // The part itself is not denied: it joins with another token.
    mesh.member(server("documents", "v1")).await;
}

#[tokio::test]
async fn a141_guessing_is_slowed_down_and_alarmed() {
    let mesh = Mesh::start().await;
    let good = mesh.token(gateway("default")).await;
    let root = mesh.running.plane().certificates().roots[0].pem.clone();
    let root =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(root.as_bytes());
    let root = root.unwrap();
    let mut desk = stranger(mesh.sync(), &good, &root).await;
    let csr = SvidKey::generate()
        .unwrap()
        .csr(&"spiffe://corp.mesh/gateway/default".parse().unwrap())
        .unwrap();
    for n in 1..=30_u8 {
        let guess = JoinToken::generate(&root, &mut |out| out.fill(n));
        let refused = desk.enrol(by_token(&guess.expose(), csr.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{n}");
        assert_eq!(has(&mesh, AlarmKind::Guessing), n == 30, "{n}");
    }
    let refused = desk.enrol(by_token(&good.expose(), csr)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("wait"), "{refused}");
    assert!(member_issuances(&mesh).await.is_empty());
}

#[tokio::test]
async fn a141_what_is_kept_is_no_usable_token() {
    let mesh = Mesh::start().await;
    let token = mesh.token(gateway("default")).await;
    let text = token.expose().to_string();
    let list = mesh.operator("GET", "/v1/join-tokens", &serde_json::Value::Null).await;
    assert_eq!(list.json()[0]["identity"], "spiffe://corp.mesh/gateway/default");
    let secret = &text[4..47];
    assert!(!list.text.contains(secret));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (digest, root) = (token.digest(), text[48..].to_owned());
    let mesh = {
        let mesh = mesh.restart().await;
        for entry in std::fs::read_dir(mesh.directory.path().join("control")).unwrap() {
            let dump = std::fs::read(entry.unwrap().path()).unwrap();
            let holds = |needle: &[u8]| dump.windows(needle.len()).any(|window| window == needle);
            assert!(!holds(token.secret()) && !holds(secret.as_bytes()) && !holds(hex(token.secret()).as_bytes()));
        }
        mesh
    };
    // Who has read the digest shows it as if it were the secret.
    use base64::Engine as _;
    let shown = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let forged = JoinToken::parse(&format!("mgj_{shown}_{root}")).unwrap();
    let refused = Member::join(mesh.sync(), &forged).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    Member::join(mesh.sync(), &token).await.unwrap();
}

#[tokio::test]
async fn a_token_is_made_only_for_a_part_that_there_is() {
    let mesh = Mesh::start().await;
    let make = |part: &str| {
        let order = serde_json::json!({"part": part});
        let mesh = &mesh;
        async move { mesh.operator("POST", "/v1/join-tokens", &order).await.status }
    };
    assert_eq!(make("server/documents/v1").await, 201);
    assert_eq!(make("spiffe://corp.mesh/gateway/default").await, 201);
    assert_eq!(make("server/dokuments/v1").await, 404);
    assert_eq!(make("gateway/other").await, 404);
    for none in [
        "control",
        "operator/me",
        "server/documents",
        "",
        "gateway/../control",
        "server/documents/v1/x",
    ] {
        assert_eq!(make(none).await, 422, "{none}");
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_by_the_one_before() {
    let mesh = Mesh::start().await;
    let member = mesh.member(server("documents", "v1")).await;
    let renewed = member.renew().await.unwrap();
    assert_ne!(renewed.identity.current().serial(), member.identity.current().serial());
    let entries = member_issuances(&mesh).await;
    assert_eq!(entries[1]["by"]["proof"], "held");
    assert_eq!(entries[1]["by"]["serial"], entries[0]["serial"]);
    // A part whose document is gone gets no more certificates.
    mesh.apply(
        "apiVersion: meshgate.dev/v1alpha1\nkind: View\nmetadata: {name: papers}\nspec: {servers: [{name: projects}]}",
    )
    .await;
    let gone = mesh
        .operator("DELETE", "/v1/documents/Server/documents", &serde_json::Value::Null)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let refused = renewed.renew().await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}
