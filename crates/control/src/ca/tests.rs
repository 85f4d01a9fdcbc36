//! What the authority signs, looked at by our own verifier and by OpenSSL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate_identity::manifest::SnapshotKey;
use meshgate_identity::{Peer, SvidKey, TrustBundle};
use meshgate_model::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::*;
use crate::limits::{BACKDATED, CSR_BYTES_MAX, INTERMEDIATE_LIFE};
use crate::seal::Seal;
use crate::store::{MemoryStore, Store};

const LIFE: Duration = Duration::from_secs(36 * 3600);

fn domain() -> TrustDomain {
    "corp.mesh".parse().unwrap()
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

fn now() -> SystemTime {
    crate::store::from_unix_ms(1_900_000_000_000)
}

async fn built_in(store: Arc<dyn Store>) -> BuiltIn {
    let seal = Arc::new(Seal::of(&[3; 32]).unwrap());
    BuiltIn::open(store, seal, &domain(), LIFE, now()).await.unwrap()
}

fn signed(authority: &BuiltIn, at: SystemTime, life: Duration) -> (Signed, SvidKey) {
    let id = id("spiffe://corp.mesh/server/documents/v1");
    let key = SvidKey::generate().unwrap();
    let public_key = public_key_of(&key.csr(&id).unwrap()).unwrap();
    let order = Order {
        id: &id,
        public_key: &public_key,
        life,
        now: at,
        own: false,
    };
    (authority.sign(&order).unwrap(), key)
}

fn bundle(roots: Vec<Vec<u8>>) -> TrustBundle {
    let keys = vec![SnapshotKey::generate().unwrap().public()];
    TrustBundle::new(domain(), roots.into_iter().map(Into::into).collect(), keys).unwrap()
}

fn vouched(authority: &BuiltIn, signed: &Signed, at: SystemTime) -> bool {
    let chain: Vec<_> = signed.chain.iter().map(|one| one.as_slice().into()).collect();
    bundle(authority.roots()).vouches_for(&chain, at).is_ok()
}

#[tokio::test]
async fn a_leaf_names_one_part_and_may_do_nothing_else() {
    let authority = built_in(Arc::new(MemoryStore::default())).await;
    let (signed, _) = signed(&authority, now(), LIFE);
    let (_, leaf) = X509Certificate::from_der(&signed.chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(
        names.critical,
        "without a subject the name is critical (RFC 5280, 4.1.2.6)"
    );
    let uri = GeneralName::URI("spiffe://corp.mesh/server/documents/v1");
    assert_eq!(names.value.general_names, [uri]);
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    let seen = Peer::of(Some(&[CertificateDer::from(&*signed.chain[0])])).unwrap();
    assert_eq!(seen.serial(), signed.serial.to_string());
    assert_eq!(Serial::parse(&signed.serial.to_string()), Some(signed.serial));
    let seconds = |time: SystemTime| i64::try_from(crate::store::unix_ms(time) / 1000).unwrap();
    assert_eq!(leaf.validity().not_before.timestamp(), seconds(now() - BACKDATED));
    assert_eq!(leaf.validity().not_after.timestamp(), seconds(now() + LIFE));
    assert_eq!(signed.not_after, now() + LIFE);
    assert!(vouched(&authority, &signed, now()));
    assert!(!vouched(&authority, &signed, now() + LIFE + Duration::from_secs(1)));
    let other = built_in(Arc::new(MemoryStore::default())).await;
    assert!(!vouched(&other, &signed, now()));
}

#[tokio::test]
async fn the_intermediate_signs_leaves_only_and_no_name_of_the_web() {
    let authority = built_in(Arc::new(MemoryStore::default())).await;
    let (signed, _) = signed(&authority, now(), LIFE);
    let (_, intermediate) = X509Certificate::from_der(&signed.chain[1]).unwrap();
    let constraints = intermediate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let names = intermediate.name_constraints().unwrap().unwrap();
    assert!(names.critical);
    let excluded = names.value.excluded_subtrees.as_ref().unwrap();
    assert!(excluded.iter().any(|tree| tree.base == GeneralName::DNSName("")));
    assert_eq!(
        excluded
            .iter()
            .filter(|tree| matches!(tree.base, GeneralName::IPAddress(_)))
            .count(),
        2
    );
    let left = intermediate.validity().not_after.timestamp() - intermediate.validity().not_before.timestamp();
    assert_eq!(left, i64::try_from((INTERMEDIATE_LIFE + BACKDATED).as_secs()).unwrap());
    let roots = authority.roots();
    let (_, root) = X509Certificate::from_der(&roots[0]).unwrap();
    assert_eq!(
        root.basic_constraints().unwrap().unwrap().value.path_len_constraint,
        Some(1)
    );
}

#[tokio::test]
async fn an_identity_of_another_mesh_is_not_signed() {
    let authority = built_in(Arc::new(MemoryStore::default())).await;
    let key = SvidKey::generate().unwrap();
    let id = id("spiffe://corp.mesh.example/gateway/main");
    let order = Order {
        id: &id,
        public_key: &public_key_of(&key.csr(&id).unwrap()).unwrap(),
        life: LIFE,
        now: now(),
        own: false,
    };
    assert!(matches!(authority.sign(&order), Err(AuthorityError::Domain { .. })));
}

#[test]
fn a142_of_a_request_only_the_public_key_is_read() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::default();
    greedy.distinguished_name.push(DnType::CommonName, "control");
    greedy.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    greedy.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    greedy.subject_alt_names = vec![
        SanType::URI("spiffe://corp.mesh/control".try_into().unwrap()),
        SanType::URI("spiffe://corp.mesh/gateway/main".try_into().unwrap()),
        SanType::DnsName("*.corp.example".try_into().unwrap()),
    ];
    let plain = CertificateParams::default().serialize_request(&key).unwrap();
    let greedy = greedy.serialize_request(&key).unwrap();
    let wanted = public_key_of(plain.der()).unwrap();
    assert_eq!(public_key_of(greedy.der()).unwrap(), wanted);
    assert_eq!(wanted, rcgen::PublicKeyData::subject_public_key_info(&key));
}

#[test]
fn a_request_that_its_key_has_not_signed_is_refused() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let good = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .der()
        .to_vec();
    let wanted = public_key_of(&good).unwrap();
    let mut refused = 0;
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        // What is around the signature says nothing; whatever else is changed is refused, and never gives another key.
        match public_key_of(&changed) {
            Err(_) => refused += 1,
            Ok(key) => assert_eq!(key, wanted, "byte {at}"),
        }
    }
    assert!(refused > good.len() - 8, "{refused} of {}", good.len());
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(public_key_of(other.der()).is_err(), "another curve");
    let mut longer = good.clone();
    longer.push(0);
    assert!(public_key_of(&longer).is_err(), "something after it");
    for len in [CSR_BYTES_MAX - 1, CSR_BYTES_MAX, CSR_BYTES_MAX + 1] {
        let refused = public_key_of(&vec![0x30; len]).unwrap_err().to_string();
        assert_eq!(refused.contains("longer than"), len > CSR_BYTES_MAX, "{refused}");
    }
}

#[tokio::test]
async fn the_authority_of_a_store_is_the_same_after_a_restart() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = built_in(store.clone()).await;
    let (signed, _) = signed(&first, now(), LIFE);
    let again = built_in(store.clone()).await;
    assert_eq!(first.roots(), again.roots());
    assert!(vouched(&again, &signed, now()));
    let wrong_key = Arc::new(Seal::of(&[4; 32]).unwrap());
    assert!(BuiltIn::open(store, wrong_key, &domain(), LIFE, now()).await.is_err());
}

#[tokio::test]
async fn the_store_holds_no_key_that_could_be_used() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let authority = built_in(store.clone()).await;
    let record = store.get("ca/state").await.unwrap().unwrap();
    let text = String::from_utf8(record.value.to_vec()).unwrap();
    // What PKCS#8 of a P-256 key begins with, wherever base64 may have cut it.
    let prefix = [0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13];
    for shift in 0..3 {
        let padded = [vec![0; shift], prefix.to_vec()].concat();
        let encoded = STANDARD.encode(padded);
        assert!(!text.contains(&encoded[4..encoded.len() - 4]));
    }
    assert_eq!(authority.roots().len(), 1);
}

#[tokio::test]
async fn an_intermediate_is_renewed_while_it_still_covers_a_leaf_twice() {
    let authority = built_in(Arc::new(MemoryStore::default())).await;
    let half = now() + INTERMEDIATE_LIFE / 2;
    assert!(!authority.renew(LIFE, half - Duration::from_secs(2)).await.unwrap());
    let (before, _) = signed(&authority, half, LIFE);
    assert_eq!(before.not_after, half + LIFE);
    assert!(authority.renew(LIFE, half).await.unwrap());
    assert!(!authority.renew(LIFE, half).await.unwrap());
    let (after, _) = signed(&authority, half, LIFE);
    assert_ne!(before.chain[1], after.chain[1]);
    assert!(vouched(&authority, &before, half) && vouched(&authority, &after, half));
    // A leaf that lives longer than a week has an intermediate that lives longer still.
    let long = Duration::from_secs(90 * 24 * 3600);
    assert!(authority.renew(long, half).await.unwrap());
    let (leaf, _) = signed(&authority, half, long);
    assert_eq!(leaf.not_after, half + long);
}

#[tokio::test]
async fn a143_roots_change_in_three_steps_and_no_sound_chain_is_refused_between() {
    let authority = built_in(Arc::new(MemoryStore::default())).await;
    let old_root = authority.roots()[0].clone();
    let (before, _) = signed(&authority, now(), LIFE);
    assert!(authority.promote(LIFE, now()).await.is_err());
    assert!(authority.retire().await.is_err());

    let rotation = authority.begin_rotation(now()).await.unwrap();
    assert!(authority.begin_rotation(now()).await.is_err());
    assert_eq!(authority.roots().len(), 2);
    let (during, _) = signed(&authority, now(), LIFE);
    assert_eq!(
        during.root, before.root,
        "the new root signs nothing before all have it"
    );
    assert_eq!(authority.own_root(), old_root);

    authority.promote(LIFE, now()).await.unwrap();
    let (after, _) = signed(&authority, now(), LIFE);
    assert_eq!(after.root, rotation.to);
    assert_eq!(
        authority.own_root(),
        old_root,
        "who missed the news still believes the control plane"
    );
    for chain in [&before, &during, &after] {
        assert!(vouched(&authority, chain, now()));
    }

    authority.retire().await.unwrap();
    assert!(authority.rotation().is_none());
    assert_ne!(authority.own_root(), old_root);
    assert!(vouched(&authority, &after, now()));
    assert!(
        !vouched(&authority, &before, now()),
        "a leaf under the old root is refused"
    );
}

#[tokio::test]
async fn openssl_takes_the_chain_and_sees_the_same_names() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let seal = Arc::new(Seal::of(&[3; 32]).unwrap());
    let at = SystemTime::now();
    let authority = BuiltIn::open(store, seal, &domain(), LIFE, at).await.unwrap();
    let (signed, _) = signed(&authority, at, LIFE);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, der: &[u8]| {
        let path = directory.path().join(name);
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(der)
        );
        std::fs::write(&path, pem).unwrap();
        path
    };
    let (root, intermediate, leaf) = (
        file("root.pem", &authority.roots()[0]),
        file("intermediate.pem", &signed.chain[1]),
        file("leaf.pem", &signed.chain[0]),
    );
    for purpose in ["sslserver", "sslclient"] {
        let args = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile"];
        let mut verify = Command::new("openssl");
        verify
            .args(args)
            .arg(&root)
            .arg("-untrusted")
            .arg(&intermediate)
            .arg(&leaf);
        let done = verify.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
    }
    let text = shown(&leaf);
    assert!(text.contains("URI:spiffe://corp.mesh/server/documents/v1"), "{text}");
    assert!(text.contains("CA:FALSE"), "{text}");
    let text = shown(&intermediate);
    assert!(
        text.contains("pathlen:0") && text.contains("Name Constraints: critical"),
        "{text}"
    );
}

fn shown(certificate: &Path) -> String {
    let mut show = Command::new("openssl");
    let done = show
        .args(["x509", "-noout", "-text", "-in"])
        .arg(certificate)
        .output()
        .unwrap();
    String::from_utf8(done.stdout).unwrap()
}
