//! What every store promises, shown of each; and what the file promises beyond that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::*;
use crate::limits::{HISTORY_CHANGES_MAX, KEY_BYTES_MAX, RECORDS_MAX};
use crate::seal::Seal;

fn seal() -> Arc<Seal> {
    Arc::new(Seal::of(&[7; 32]).unwrap())
}

fn open(path: &Path) -> FileStore {
    FileStore::open(path, seal()).unwrap()
}

fn put(key: &str, value: &str) -> Write {
    Write::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

/// Runs with a store in memory, then with one in a file.
async fn with_each<F: Future<Output = ()>>(show: impl Fn(Arc<dyn Store>) -> F) {
    show(Arc::new(MemoryStore::default())).await;
    let directory = tempfile::tempdir().unwrap();
    show(Arc::new(open(&directory.path().join("store")))).await;
}

async fn values(store: &dyn Store, prefix: &str) -> Vec<(String, String)> {
    let listing = store.list(prefix).await.unwrap();
    let text = |record: &Record| {
        (
            record.key.to_string(),
            String::from_utf8(record.value.to_vec()).unwrap(),
        )
    };
    listing.records.iter().map(text).collect()
}

#[tokio::test]
async fn a_commit_happens_whole_or_not_at_all() {
    with_each(|store| async move {
        let first = store
            .commit(Commit::new([], [put("a", "1"), put("b", "1")]))
            .await
            .unwrap();
        let stale = Commit::new([Compare::At("a".into(), first + 7)], [put("a", "2"), put("c", "2")]);
        assert!(matches!(store.commit(stale).await, Err(StoreError::Conflict { .. })));
        let taken = Commit::new([Compare::Absent("b".into())], [put("a", "2")]);
        assert!(matches!(store.commit(taken).await, Err(StoreError::Conflict { .. })));
        assert_eq!(
            values(&*store, "").await,
            [("a".into(), "1".into()), ("b".into(), "1".into())]
        );
        let good = Commit::new(
            [Compare::At("a".into(), first)],
            [put("a", "2"), Write::Delete("b".into())],
        );
        assert_eq!(store.commit(good).await.unwrap(), first + 1);
        assert_eq!(values(&*store, "").await, [("a".into(), "2".into())]);
        let record = store.get("a").await.unwrap().unwrap();
        assert_eq!((record.created, record.revision), (first, first + 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_who_compare_the_same_exactly_one_is_written() {
    with_each(|store| async move {
        store.commit(Commit::new([], [put("n", "0")])).await.unwrap();
        let lost = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (store, lost) = (store.clone(), lost.clone());
            tasks.spawn(async move {
                let mut done = 0;
                while done < 25 {
                    let record = store.get("n").await.unwrap().unwrap();
                    let n: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                    let next = Commit::new(
                        [Compare::At("n".into(), record.revision)],
                        [put("n", &(n + 1).to_string())],
                    );
                    match store.commit(next).await {
                        Ok(_) => done += 1,
                        Err(StoreError::Conflict { .. }) => {
                            lost.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        // Every increment was seen by the next one: none was lost, however often somebody had to try again.
        assert_eq!(values(&*store, "n").await, [("n".into(), "200".into())]);
        assert_eq!(store.list("").await.unwrap().revision, 201);
    })
    .await;
}

#[tokio::test]
async fn an_earlier_revision_is_listed_as_it_was_until_it_is_too_long_ago() {
    with_each(|store| async move {
        for n in 1..=5 {
            let gone = if n == 4 {
                Write::Delete("x/1".into())
            } else {
                put("x/1", &n.to_string())
            };
            store
                .commit(Commit::new([], [gone, put(&format!("x/k{n}"), "v"), put("y", "v")]))
                .await
                .unwrap();
        }
        let at = |revision| {
            let store = store.clone();
            async move { store.list_at("x/", revision).await.map(|listing| listing.records.len()) }
        };
        for (revision, count) in [(0, 0), (1, 2), (3, 4), (4, 4), (5, 6)] {
            assert_eq!(at(revision).await.unwrap(), count, "{revision}");
        }
        let third = store.list_at("x/1", 3).await.unwrap();
        assert_eq!(third.records[0].value.as_ref(), b"3");
        assert!(matches!(at(6).await, Err(StoreError::Compacted { .. })));
    })
    .await;
}

#[tokio::test]
async fn who_watches_sees_every_change_once_or_is_told_to_list_again() {
    let store = MemoryStore::default();
    store
        .commit(Commit::new([], [put("a/1", "0"), put("b/1", "0")]))
        .await
        .unwrap();
    let mut watch = store.watch("a/", 0);
    let mut late = store.watch("a/", 1);
    for n in 1..=3 {
        store
            .commit(Commit::new([], [put("b/1", "1"), put("a/1", &n.to_string())]))
            .await
            .unwrap();
    }
    let seen = watch.next().await.unwrap().unwrap();
    let revisions: Vec<Revision> = seen.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [1, 2, 3, 4]);
    store.commit(Commit::new([], [put("b/2", "1")])).await.unwrap();
    store
        .commit(Commit::new([], [Write::Delete("a/1".into())]))
        .await
        .unwrap();
    let seen = watch.next().await.unwrap().unwrap();
    assert_eq!((seen.len(), seen[0].revision, seen[0].record.is_none()), (1, 6, true));
    for n in 0..=HISTORY_CHANGES_MAX {
        store.commit(Commit::new([], [put("c", &n.to_string())])).await.unwrap();
    }
    assert!(matches!(late.next().await, Some(Err(StoreError::Compacted { .. }))));
    assert!(late.next().await.is_none());
}

#[tokio::test]
async fn a_limit_holds_at_its_edge() {
    let store = MemoryStore::default();
    let key = |len: usize| put(&"k".repeat(len), "v");
    store
        .commit(Commit::new([], [key(KEY_BYTES_MAX - 1), key(KEY_BYTES_MAX)]))
        .await
        .unwrap();
    let over = store.commit(Commit::new([], [key(KEY_BYTES_MAX + 1)])).await;
    assert!(matches!(over, Err(StoreError::Limit { .. })));
    let mut count = 2;
    while count < RECORDS_MAX {
        let more = (RECORDS_MAX - count).min(20_000);
        let writes: Vec<Write> = (0..more).map(|n| put(&format!("{}", count + n), "v")).collect();
        store.commit(Commit::new([], writes)).await.unwrap();
        count += more;
    }
    let over = store.commit(Commit::new([], [put("one more", "v")])).await;
    assert!(matches!(over, Err(StoreError::Limit { .. })));
    store.commit(Commit::new([], [put("2", "another")])).await.unwrap();
}

#[tokio::test]
async fn the_log_keeps_its_order_and_its_numbers() {
    with_each(|store| async move {
        for n in 0..10_u8 {
            store
                .commit(Commit::new([], [Write::Append(Bytes::copy_from_slice(&[n]))]))
                .await
                .unwrap();
        }
        store.commit(Commit::new([], [Write::Trim(4)])).await.unwrap();
        let page = store.log(0, 3).await.unwrap();
        assert_eq!((page.first, page.next), (4, 10));
        let entries: Vec<(u64, u8)> = page.entries.iter().map(|(at, entry)| (*at, entry[0])).collect();
        assert_eq!(entries, [(4, 4), (5, 5), (6, 6)]);
        assert_eq!(store.log(9, 100).await.unwrap().entries.len(), 1);
        assert!(store.log(10, 100).await.unwrap().entries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a144_a_leader_that_wakes_up_after_another_took_over_writes_nothing() {
    with_each(|store| async move {
        let at = |seconds: u64| from_unix_ms(1_000_000 + seconds * 1000);
        let life = Duration::from_secs(30);
        let old = Fenced::take(store.clone(), "control", "old", life, at(0))
            .await
            .unwrap();
        old.commit(Commit::new([], [put("x", "old")])).await.unwrap();
        let early = Fenced::take(store.clone(), "control", "new", life, at(29))
            .await
            .err()
            .unwrap();
        assert!(matches!(early, StoreError::Held { left_seconds: 1, .. }), "{early}");
        // The old one is stopped for a minute here; the new one takes over.
        let new = Fenced::take(store.clone(), "control", "new", life, at(60))
            .await
            .unwrap();
        new.commit(Commit::new([], [put("x", "new")])).await.unwrap();
        let refused = old.commit(Commit::new([], [put("x", "old again")])).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Fenced { holder, .. } if holder == "new"),
            "{refused}"
        );
        assert_eq!(values(&*store, "x").await, [("x".into(), "new".into())]);
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/store");
    let store = open(&path);
    store
        .commit(Commit::new([], [put("a", "1"), Write::Append("entry".into())]))
        .await
        .unwrap();
    let second = FileStore::open(&path, seal()).err().unwrap();
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    drop(store);
    let store = open(&path);
    assert_eq!(values(&store, "").await, [("a".into(), "1".into())]);
    assert_eq!(store.list("").await.unwrap().revision, 1);
    assert_eq!(store.log(0, 9).await.unwrap().entries, [(0, Bytes::from("entry"))]);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(store);
    let another = FileStore::open(&path, Arc::new(Seal::of(&[8; 32]).unwrap()))
        .err()
        .unwrap();
    assert!(matches!(another, StoreError::Damaged { .. }), "{another}");
}

#[tokio::test]
async fn a144_a_record_that_was_edited_by_hand_is_refused_and_named() {
    const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
    type Edit = fn(&mut redb::Table<'_, &str, &[u8]>);
    let edits: [(&str, Edit); 4] = [
        ("`b` was changed", |table| {
            let mut value = table.get("b").unwrap().unwrap().value().to_vec();
            *value.last_mut().unwrap() ^= 1;
            table.insert("b", value.as_slice()).unwrap();
        }),
        ("`c` was changed", |table| {
            let value = table.get("b").unwrap().unwrap().value().to_vec();
            table.insert("c", value.as_slice()).unwrap();
        }),
        ("missing, or were put back", |table| {
            table.remove("b").unwrap();
        }),
        // A record as it was before, with the code that it had then: put back below.
        ("missing, or were put back", |_| {}),
    ];
    for (at, (expected, edit)) in edits.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let store = open(&path);
        store
            .commit(Commit::new([], [put("a", "1"), put("b", "first")]))
            .await
            .unwrap();
        drop(store);
        let before = raw(&path, "b");
        let store = open(&path);
        store.commit(Commit::new([], [put("b", "second")])).await.unwrap();
        drop(store);
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(RECORDS).unwrap();
            if at == 3 {
                table.insert("b", before.as_slice()).unwrap();
            } else {
                edit(&mut table);
            }
        }
        transaction.commit().unwrap();
        drop(database);
        let refused = FileStore::open(&path, seal()).err().unwrap().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

fn raw(path: &Path, key: &str) -> Vec<u8> {
    const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
    let database = Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(RECORDS).unwrap();
    table.get(key).unwrap().unwrap().value().to_vec()
}

#[tokio::test]
async fn a_flipped_bit_is_found_or_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    let writes: Vec<Write> = (0..40).map(|n| put(&format!("key/{n}"), &"value ".repeat(n))).collect();
    store.commit(Commit::new([], writes)).await.unwrap();
    let before = values(&store, "").await;
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut found = 0;
    // Sixty places over the whole file, the same ones in every run.
    for n in 0..60 {
        let mut bytes = whole.clone();
        let at = whole.len() * n / 60 + n * 7;
        let at = at.min(whole.len() - 1);
        bytes[at] ^= 1 << (n % 8);
        let flipped = directory.path().join("flipped");
        std::fs::write(&flipped, &bytes).unwrap();
        match FileStore::open(&flipped, seal()) {
            Err(StoreError::Damaged { .. }) => found += 1,
            Err(StoreError::Failed { .. }) => found += 1,
            Err(other) => panic!("{other}"),
            Ok(store) => assert_eq!(values(&store, "").await, before, "at {at}"),
        }
    }
    assert!(found > 0, "no flip hit what is used");
    // And one that surely does: a byte of a value.
    let needle = "value ".repeat(39);
    let at = whole
        .windows(needle.len())
        .position(|window| window == needle.as_bytes())
        .unwrap();
    let mut bytes = whole;
    bytes[at + 3] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let refused = FileStore::open(&path, seal()).err().unwrap();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

const CHILD: &str = "MESHGATE_STORE_CHILD";

/// Not a test by itself: what the next one runs in a process of its own, and kills. It tells each revision that it was
/// promised.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = open(Path::new(&path));
    let from = store.list("").await.unwrap().revision;
    for n in from.. {
        let key = format!("n/{:03}", n % 500);
        let writes = [
            put(&key, &format!("{n}")),
            put("last", &format!("{n}")),
            Write::Append(format!("{n}").into()),
        ];
        let revision = store.commit(Commit::new([], writes)).await.unwrap();
        println!("committed {revision} {n}");
    }
}

#[test]
fn a_writer_that_is_killed_at_any_moment_keeps_all_that_it_promised() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut promised_before = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "store::tests::child_that_writes_until_it_is_killed",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut promised = (promised_before, None);
        let mut lines = lines.map_while(Result::ok);
        // After another number of commits each time, in the middle of whatever it does then.
        for line in lines.by_ref() {
            promised = told(&line).unwrap_or(promised);
            if promised.1.is_some() && promised.0 >= promised_before + 3 + round * 5 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it told before it died and we had not read yet counts as well.
        for line in lines {
            promised = told(&line).unwrap_or(promised);
        }
        let (revision, last) = (promised.0, promised.1.unwrap());
        let store = open(&path);
        let (listing, page) =
            runtime.block_on(async { (store.list("").await.unwrap(), store.log(0, usize::MAX).await.unwrap()) });
        assert!(listing.revision >= revision, "{} < {revision}", listing.revision);
        let kept = listing.records.iter().find(|record| &*record.key == "last").unwrap();
        let kept: u64 = std::str::from_utf8(&kept.value).unwrap().parse().unwrap();
        assert!(kept >= last, "{kept} < {last}");
        assert_eq!(page.next, listing.revision, "each commit appended once");
        assert_eq!(page.entries.len() as u64, page.next);
        promised_before = listing.revision;
    }
}

fn told(line: &str) -> Option<(Revision, Option<u64>)> {
    let (_, rest) = line.split_once("committed ")?;
    let (revision, n) = rest.split_once(' ')?;
    Some((revision.parse().ok()?, Some(n.trim().parse().ok()?)))
}
