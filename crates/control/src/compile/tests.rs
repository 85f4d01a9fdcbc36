//! Whole resources, chosen by identity: nothing is written for somebody in particular.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::SystemTime;

use meshgate_sync::Digest;

use super::*;
use crate::registry::{Outcome, Registry, Terms};
use crate::store::MemoryStore;

const HEAD: &str = "apiVersion: meshgate.dev/v1alpha1\nkind:";

async fn configuration(documents: &[&str]) -> Arc<Configuration> {
    let text: String = documents
        .iter()
        .map(|document| format!("{HEAD} {document}\n---\n"))
        .collect();
    let registry = Registry::open(Arc::new(MemoryStore::default()), Arc::new(SystemTime::now))
        .await
        .unwrap();
    let config = meshgate_model::parse("/mesh.yaml", &text).unwrap();
    let applied = registry.apply(config, &Terms::default(), None).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Applied, "{:?}", applied.findings);
    registry.current()
}

fn given() -> Shared {
    Shared {
        trust_domain: "corp.mesh".parse().unwrap(),
        roots: vec![vec![1]],
        snapshot_keys: vec![[1; 32]],
        ring: "ring".to_owned(),
        denied: Vec::new(),
    }
}

async fn compiled(documents: &[&str]) -> BTreeMap<String, (Digest, Audience)> {
    let configuration = configuration(documents).await;
    let all = everything(&configuration, &given(), &Places::default()).unwrap();
    let count = all.len();
    let all: BTreeMap<_, _> = all
        .into_iter()
        .map(|(one, audience)| (one.key().to_string(), (one.digest(), audience)))
        .collect();
    assert_eq!(all.len(), count, "one resource for each name");
    all
}

fn to(members: &[&str]) -> Audience {
    let member = |text: &&str| match text.split_once('/').unwrap() {
        ("gateway", name) => Member::Gateway(name.into()),
        (_, name) => Member::Server(name.into()),
    };
    Audience::Members(members.iter().map(member).collect())
}

const TWO_GATEWAYS: [&str; 8] = [
    "Gateway\nmetadata: {name: inner}\nspec: {views: [a]}",
    "Gateway\nmetadata: {name: outer}\nspec: {views: [b], listeners: [{address: '127.0.0.1:7301'}]}",
    "Server\nmetadata: {name: a}\nspec: {sidecar: {}}",
    "Server\nmetadata: {name: b}\nspec: {sidecar: {}}",
    "View\nmetadata: {name: a}\nspec: {servers: [{name: a}]}",
    "View\nmetadata: {name: b}\nspec: {servers: [{name: b}]}",
    "Application\nmetadata: {name: all}\nspec: {tokens: [{sha256: '0000000000000000000000000000000000000000000000000000000000000001'}], views: ['*']}",
    "Application\nmetadata: {name: one}\nspec: {tokens: [{sha256: '0000000000000000000000000000000000000000000000000000000000000002'}], views: [a]}",
];

#[tokio::test]
async fn each_gateway_gets_what_it_serves_and_each_sidecar_who_may_come() {
    let all = compiled(&TWO_GATEWAYS).await;
    for (name, members) in [
        ("object Gateway/inner", &["gateway/inner"][..]),
        ("object Server/a", &["gateway/inner", "server/a"]),
        ("object View/b", &["gateway/outer", "server/b"]),
        (
            "object Application/all",
            &["gateway/inner", "gateway/outer", "server/a", "server/b"],
        ),
        (
            "object Application/one",
            &["gateway/inner", "gateway/outer", "server/a"],
        ),
        ("endpoints server/a", &["gateway/inner"]),
        ("endpoints gateway/outer", &["gateway/outer"]),
        ("admission a", &["server/a"]),
    ] {
        assert_eq!(all[name].1, to(members), "{name}");
    }
    assert_eq!(all["tokens one"].1, Audience::Gateways);
    assert_eq!(all["key ring gateways"].1, Audience::Gateways);
    assert_eq!(all["denied mesh"].1, Audience::Everyone);
}

#[tokio::test]
async fn defaults_that_open_something_are_written_out() {
    let all = compiled(&["Server\nmetadata: {name: a}\nspec: {sidecar: {}}"]).await;
    for name in [
        "object Mesh/default",
        "object Gateway/default",
        "object View/default",
        "object Application/local",
    ] {
        assert!(all.contains_key(name), "{name}: {:?}", all.keys());
    }
    assert_eq!(all["object View/default"].1, to(&["gateway/default", "server/a"]));
}

#[tokio::test]
async fn a_change_of_one_document_is_a_change_of_one_resource() {
    let before = compiled(&TWO_GATEWAYS).await;
    let mut documents = TWO_GATEWAYS;
    documents[3] = "Server\nmetadata: {name: b}\nspec: {sidecar: {}, deadline: 9s}";
    let after = compiled(&documents).await;
    let changed: Vec<&String> = after
        .iter()
        .filter(|(name, one)| before[*name] != **one)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, ["object Server/b"]);
}

#[tokio::test]
async fn a_server_whose_view_nobody_serves_is_admitted_to_by_nobody() {
    let mut documents = TWO_GATEWAYS.to_vec();
    documents[1] = "Gateway\nmetadata: {name: outer}\nspec: {views: [], listeners: [{address: '127.0.0.1:7301'}]}";
    let configuration = configuration(&documents).await;
    let all = everything(&configuration, &given(), &Places::default()).unwrap();
    let admitted = all.iter().find_map(|(one, _)| match one.body() {
        Body::Admission(admission) if admission.server == "b" => Some(admission.gateways.clone()),
        _ => None,
    });
    assert_eq!(admitted, Some(Vec::new()));
}

#[test]
fn a_document_is_told_without_what_its_reader_must_not_see() {
    let json = "{\"apiVersion\":\"x\",\"kind\":\"Server\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"alias\":\"b\",\"http\":{\"url\":\"u\"},\"sidecar\":{},\"stdio\":{}}}";
    assert_eq!(
        told_of_server(json),
        "{\"apiVersion\":\"x\",\"kind\":\"Server\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"alias\":\"b\",\"sidecar\":{}}}"
    );
    let direct = json.replace(",\"sidecar\":{}", "");
    assert_eq!(
        told_of_server(&direct),
        direct,
        "a gateway that reaches it itself must know how"
    );
    let (json, tokens) = told_of_application("{\"spec\":{\"tokens\":[{\"sha256\":\"00\"}],\"views\":[\"a\"]}}");
    assert_eq!(json, "{\"spec\":{\"tokens\":[],\"views\":[\"a\"]}}");
    assert_eq!(tokens, "[{\"sha256\":\"00\"}]");
}
