//! Shared keys survive a restart, are sealed, and change in steps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::store::MemoryStore;

async fn open(store: &Arc<dyn Store>, secret: u8) -> Result<Keys, KeysError> {
    Keys::open(store.clone(), Arc::new(Seal::of(&[secret; 32]).unwrap())).await
}

#[tokio::test]
async fn keys_are_the_same_after_a_restart_and_open_with_their_secret_only() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let keys = open(&store, 1).await.unwrap();
    let again = open(&store, 1).await.unwrap();
    assert_eq!(keys.snapshot_keys(), again.snapshot_keys());
    assert_eq!(*keys.ring(), *again.ring());
    assert!(matches!(open(&store, 2).await, Err(KeysError::Seal(_))));
    let record = store.get(KEY).await.unwrap().unwrap();
    let text = String::from_utf8(record.value.to_vec()).unwrap();
    let secret = keys.ring().lines().nth(1).unwrap().to_owned();
    assert!(!text.contains(&secret));
}

#[tokio::test]
async fn a_snapshot_key_is_known_before_it_signs_and_after() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let keys = open(&store, 1).await.unwrap();
    let first = keys.snapshot_keys();
    keys.prepare_signer().await.unwrap();
    let both = keys.snapshot_keys();
    keys.prepare_signer().await.unwrap();
    assert_eq!(keys.snapshot_keys(), both, "one at a time");
    assert_eq!((both.len(), both[0]), (2, first[0]));
    keys.promote_signer().await.unwrap();
    assert_eq!(keys.signer().unwrap().public().as_bytes(), &both[1]);
    assert_eq!(keys.snapshot_keys().len(), 2);
    keys.retire_signer().await.unwrap();
    assert_eq!(keys.snapshot_keys(), [both[1]]);
    assert_eq!(open(&store, 1).await.unwrap().snapshot_keys(), [both[1]]);
}

#[tokio::test]
async fn an_epoch_is_later_than_any_that_was_seen() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let keys = open(&store, 1).await.unwrap();
    assert_eq!(keys.epoch(), 1);
    assert_eq!(keys.advance_epoch(0).await.unwrap(), 2);
    assert_eq!(keys.advance_epoch(9).await.unwrap(), 10);
    assert_eq!(open(&store, 1).await.unwrap().epoch(), 10);
}
