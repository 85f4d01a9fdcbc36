//! A log that was rewritten does not hold together, and says where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::store::MemoryStore;

fn issuance(n: u64, by: Proof) -> Issuance {
    Issuance {
        at_ms: 1_000 + n,
        identity: "spiffe://corp.mesh/server/documents/v1".to_owned(),
        serial: format!("{:032x}", u128::from(n) | (1 << 126)),
        key: "00".repeat(32),
        not_after_ms: 1_000_000 + n,
        root: "ab".repeat(32),
        by,
        from: "127.0.0.1:1".to_owned(),
    }
}

fn token(n: u64) -> Proof {
    Proof::JoinToken {
        token: format!("{n:016x}"),
    }
}

async fn filled(store: &Arc<dyn Store>, count: u64) -> Ledger {
    let ledger = Ledger::open(store.clone()).await.unwrap();
    for n in 0..count {
        ledger.record(issuance(n, token(n)), Commit::default()).await.unwrap();
    }
    ledger
}

/// A store as somebody with a hand in it could leave it: entries written anew by the rules of the store.
async fn rewritten(entries: &[Entry], head: &store::Record) -> Ledger {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut writes: Vec<Write> = entries
        .iter()
        .map(|entry| Write::Append(encoded(entry).unwrap()))
        .collect();
    writes.push(Write::Put(HEAD.to_owned(), head.value.clone()));
    store.commit(Commit::new([], writes)).await.unwrap();
    Ledger::open(store).await.unwrap()
}

#[tokio::test]
async fn a143_a_log_that_was_changed_anywhere_is_not_sound() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let ledger = filled(&store, 5).await;
    let sound = ledger.verify().await.unwrap();
    assert!(sound.sound && sound.entries == 5, "{sound:?}");
    let entries = ledger.page(0, 10).await.unwrap();
    assert_eq!(entries[4].hash, sound.hash);
    let head = store.get(HEAD).await.unwrap().unwrap();
    assert!(rewritten(&entries, &head).await.verify().await.unwrap().sound);

    let mut changed = entries.clone();
    changed[2].issuance.identity = "spiffe://corp.mesh/gateway/main".to_owned();
    let wrong = rewritten(&changed, &head).await.verify().await.unwrap();
    assert_eq!(wrong.wrong.as_deref(), Some("entry 2 does not follow the one before"));

    // Made to fit again by the rules, from there to the end: then it ends elsewhere.
    let mut previous = changed[1].hash.clone();
    for entry in &mut changed[2..] {
        *entry = linked(entry.number, entry.issuance.clone(), previous);
        previous = entry.hash.clone();
    }
    let wrong = rewritten(&changed, &head).await.verify().await.unwrap();
    assert_eq!(wrong.wrong.as_deref(), Some("the chain does not end where it was left"));

    let mut shorter = entries.clone();
    shorter.pop();
    let wrong = rewritten(&shorter, &head).await.verify().await.unwrap();
    assert_eq!(wrong.wrong.as_deref(), Some("entry 4 is missing"));
    let mut swapped = entries;
    swapped.swap(1, 2);
    assert!(!rewritten(&swapped, &head).await.verify().await.unwrap().sound);
}

#[tokio::test]
async fn what_was_signed_is_known_after_a_restart_and_what_was_not_is_not() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    filled(&store, 3).await;
    let ledger = Ledger::open(store).await.unwrap();
    let serial = |n| Serial::parse(&issuance(n, token(n)).serial).unwrap();
    assert!(ledger.seen(&serial(2)));
    assert!(!ledger.seen(&serial(3)));
    assert_eq!(
        ledger.find(&serial(1)).await.unwrap().unwrap().issuance,
        issuance(1, token(1))
    );
    assert!(ledger.find(&serial(9)).await.unwrap().is_none());
    assert!(ledger.has_members());
    assert!(ledger.verify().await.unwrap().sound);
}

#[tokio::test]
async fn nothing_is_written_when_what_belongs_to_it_does_not_hold() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let ledger = filled(&store, 1).await;
    let also = Commit::new([Compare::At("a token".into(), 77)], []);
    assert!(ledger.record(issuance(1, token(1)), also).await.is_err());
    assert_eq!(ledger.page(0, 10).await.unwrap().len(), 1);
    ledger.record(issuance(2, token(2)), Commit::default()).await.unwrap();
    assert!(ledger.verify().await.unwrap().sound);
}

#[tokio::test]
async fn a_root_is_in_use_as_long_as_a_certificate_may_be() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let ledger = filled(&store, 2).await;
    let (old, new) = ([0xab; 32], [0xcd; 32]);
    assert_eq!(ledger.in_use_elsewhere(&new, 5_000), 2);
    assert_eq!(ledger.in_use_elsewhere(&old, 5_000), 0);
    let renewed = Issuance {
        root: hex(&new),
        ..issuance(
            7,
            Proof::Held {
                serial: issuance(0, token(0)).serial,
            },
        )
    };
    ledger.record(renewed, Commit::default()).await.unwrap();
    assert_eq!(
        ledger.in_use_elsewhere(&new, 5_000),
        1,
        "who has a new one does not need the old"
    );
    // The answer never arrived: the old one is shown again.
    assert!(ledger.seen(&Serial::parse(&issuance(0, token(0)).serial).unwrap()));
    assert_eq!(ledger.in_use_elsewhere(&new, 5_000), 2);
    assert_eq!(ledger.in_use_elsewhere(&new, 2_000_000), 0, "all have ended");
    ledger
        .record(
            Issuance {
                serial: issuance(9, Proof::Own).serial,
                ..issuance(9, Proof::Own)
            },
            Commit::default(),
        )
        .await
        .unwrap();
    assert_eq!(
        ledger.in_use_elsewhere(&new, 5_000),
        2,
        "our own is the last to change and waits for nobody"
    );
}
