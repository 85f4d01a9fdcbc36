//! A set of documents is kept whole, or not at all; what is kept reads back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::SystemTime;

use super::*;
use crate::store::MemoryStore;

fn server(name: &str) -> Config {
    let text = format!(
        "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: {name}}}\nspec: {{sidecar: {{}}}}\n"
    );
    meshgate_model::parse("/mesh.yaml", &text).unwrap()
}

async fn open(store: &Arc<dyn Store>) -> Registry {
    Registry::open(store.clone(), Arc::new(SystemTime::now)).await.unwrap()
}

#[tokio::test]
async fn two_registries_on_one_store_never_write_over_each_other() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (one, other) = (open(&store).await, open(&store).await);
    one.apply(server("a"), &Terms::default(), None).await.unwrap();
    let refused = other.apply(server("b"), &Terms::default(), None).await.err().unwrap();
    assert!(
        matches!(refused, ApplyError::Store(StoreError::Conflict { .. })),
        "{refused}"
    );
    other.refresh().await.unwrap();
    let applied = other.apply(server("b"), &Terms::default(), None).await.unwrap();
    assert_eq!((applied.outcome, applied.number), (Outcome::Applied, 2));
    one.refresh().await.unwrap();
    assert_eq!(
        one.current().documents.keys().cloned().collect::<Vec<_>>(),
        other.current().documents.keys().cloned().collect::<Vec<_>>()
    );
    assert_eq!(one.current().documents.len(), 2);
}

#[tokio::test]
async fn only_what_changes_gets_a_new_number() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let registry = open(&store).await;
    registry
        .apply(server("a").and(server("b")), &Terms::default(), None)
        .await
        .unwrap();
    registry
        .apply(server("b").and(server("c")), &Terms::default(), None)
        .await
        .unwrap();
    let numbers: Vec<u64> = registry.current().documents.values().map(|kept| kept.number).collect();
    assert_eq!(numbers, [1, 1, 2]);
    assert_eq!(open(&store).await.current().number, 2);
    let gone = [("Server".to_owned(), "c".to_owned())];
    let applied = registry.delete(&gone, &Terms::default(), None).await.unwrap();
    assert_eq!((applied.number, registry.current().documents.len()), (3, 2));
    assert_eq!(
        applied.changes.iter().filter(|change| change.kind == "Server").count(),
        1
    );
}

#[tokio::test]
async fn a_change_made_for_another_number_is_not_made() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let registry = open(&store).await;
    for (number, good) in [(1, false), (0, true), (0, false), (1, true)] {
        let terms = Terms {
            if_number: Some(number),
            ..Terms::default()
        };
        let name = format!("n{number}{good}");
        let applied = registry.apply(server(&name), &terms, None).await;
        assert_eq!(applied.is_ok(), good, "{number}");
    }
}

#[tokio::test]
async fn another_trust_domain_is_one_finding_where_parts_have_certificates_and_none_where_nobody_has() {
    let mesh = |domain: &str| {
        let text = format!(
            "apiVersion: meshgate.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: corp}}\nspec: {{trustDomain: {domain}}}\n"
        );
        meshgate_model::parse("/mesh.yaml", &text).unwrap().and(server("a"))
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let registry = open(&store).await;
    registry.apply(mesh("one.mesh"), &Terms::default(), None).await.unwrap();
    let fixed = "one.mesh".parse().unwrap();
    let refused = registry
        .apply(mesh("two.mesh"), &Terms::default(), Some(&fixed))
        .await
        .unwrap();
    assert_eq!(refused.outcome, Outcome::Refused);
    let [finding] = &refused.findings[..] else {
        panic!("{:?}", refused.findings)
    };
    assert_eq!(finding.code, meshgate_model::finding::codes::TRUST_DOMAIN);
    assert!(finding.remedy.contains("trustDomain: one.mesh"), "{}", finding.remedy);
    let applied = registry.apply(mesh("two.mesh"), &Terms::default(), None).await.unwrap();
    assert_eq!((applied.outcome, applied.findings), (Outcome::Applied, Vec::new()));
}
