//! What a child may write instead of messages, and what a process may do instead of ending.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use libtest_mimic::Trial;
use meshgate_proxy::refusal::{Executed, Reason, Refusal};
use meshgate_proxy::upstream::stdio::StdioLink;
use serde_json::{Value, json};

use super::{lives, soon, spawn, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a121_a_line_of_2_gb_without_an_end_holds_no_more_than_the_limit", a121),
        trial(
            "a122_noise_of_every_kind_is_counted_and_too_much_of_it_ends_the_child",
            a122_noise,
        ),
        trial(
            "a122_line_ends_and_separators_inside_a_message_do_not_cut_it",
            a122_line_ends,
        ),
        trial("a123_a_flood_of_standard_error_does_not_hold_up_a_call", a123),
        trial(
            "a124_half_a_line_and_silence_fails_nobody_else_and_is_given_up_by_its_caller",
            a124,
        ),
        trial("a125_a_child_that_closed_its_output_and_lives_on_is_ended", a125),
        trial("a126_ids_sprayed_without_end_reach_nobody", a126_spray),
        trial("a126_of_two_answers_the_first_counts", a126_twice),
        trial("a126_an_error_beside_a_result_is_one_answer_and_an_error", a126_both),
        trial("f05_a_killed_child_fails_its_calls_at_once", f05_killed),
    ]
}

fn request(id: u64, method: &str) -> Bytes {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"n": id}})
        .to_string()
        .into()
}

async fn first(link: &std::sync::Arc<StdioLink>, id: u64, method: &str) -> Result<Value, Refusal> {
    let mut messages = link.open(id, request(id, method)).await?;
    let message = tokio::time::timeout(Duration::from_secs(60), messages.next())
        .await
        .unwrap()
        .unwrap()?;
    Ok(serde_json::from_slice(&message).unwrap())
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn a121() {
    let before = resident_kib();
    let link = spawn(&["huge", "2000000000"]).await;
    // The line is dropped as it comes, and what follows it is read.
    assert_eq!(first(&link, 1, "tools/call").await.unwrap()["id"], 1);
    assert_eq!(link.strays().noise.load(Ordering::Relaxed), 1);
    let grown = resident_kib().saturating_sub(before);
    assert!(
        grown < 24 << 10,
        "held {grown} KiB of a 2 GB line at most at once; the limit is 8 MiB"
    );
}

async fn a122_noise() {
    let link = spawn(&["bad", "garbles"]).await;
    assert!(first(&link, 1, "tools/list").await.is_ok());
    let refusal = first(&link, 2, "tools/call").await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    assert_eq!(
        link.strays().noise.load(Ordering::Relaxed),
        3,
        "as many strikes as there may be"
    );
    assert!(link.is_closed());
}

async fn a122_line_ends() {
    // A message may end in CRLF, and U+2028 and U+0085 inside a text end nothing.
    let link = spawn(&["line-ends"]).await;
    let answer = first(&link, 1, "tools/call").await.unwrap();
    assert_eq!(answer["result"]["text"], "a\u{2028}b\u{2029}c\u{85}d");
    assert_eq!(link.strays().noise.load(Ordering::Relaxed), 0);
}

async fn a123() {
    let link = spawn(&["bad", "shouts"]).await;
    let answer = first(&link, 1, "tools/call").await.unwrap();
    assert_eq!(answer["result"]["said"], "after a flood");
    assert!(link.stderr_tail().len() <= 20);
}

async fn a124() {
    let link = spawn(&["bad", "stops-halfway"]).await;
    let mut messages = link.open(1, request(1, "tools/call")).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(300), messages.next()).await;
    assert!(silent.is_err(), "half a line was taken for a message");
    drop(messages);
    // What comes next is glued to the half line: one line of noise, and the one after it is whole again.
    assert!(
        tokio::time::timeout(Duration::from_millis(300), first(&link, 2, "tools/list"))
            .await
            .is_err()
    );
    assert!(first(&link, 3, "tools/list").await.is_ok());
    assert_eq!(link.strays().noise.load(Ordering::Relaxed), 1);
}

async fn a125() {
    let link = spawn(&["bad", "falls-silent"]).await;
    let pid = link.pid().unwrap();
    let refusal = first(&link, 1, "tools/call").await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    drop(link);
    soon("the child's end", || !lives(pid)).await;
}

async fn a126_spray() {
    let link = spawn(&["bad", "sprays"]).await;
    // Our ids count up from anywhere; these are beyond what is sprayed, as ids of another hop would be.
    let mut waiting = link.open(1_000_000, request(1_000_000, "tools/call")).await.unwrap();
    soon("the spray", || link.strays().unasked.load(Ordering::Relaxed) == 100_000).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting.next())
            .await
            .is_err()
    );
    assert!(first(&link, 1_000_001, "tools/list").await.is_ok());
}

async fn a126_twice() {
    let link = spawn(&["bad", "answers-twice"]).await;
    let answer = first(&link, 5, "tools/call").await.unwrap();
    assert_eq!(answer["result"]["said"], "first");
    // The twin in quotes, the second answer, and the error after both.
    soon("the others", || link.strays().unasked.load(Ordering::Relaxed) == 3).await;
    assert_eq!((link.strays().noise.load(Ordering::Relaxed), link.in_flight()), (0, 0));
}

async fn a126_both() {
    // One message is one answer, whatever else is in it; a failure is not turned into a success.
    let link = spawn(&["bad", "answers-both"]).await;
    let answer = first(&link, 5, "tools/call").await.unwrap();
    assert_eq!(answer["error"]["code"], 1);
    soon("the other", || link.strays().unasked.load(Ordering::Relaxed) == 1).await;
}

async fn f05_killed() {
    let link = spawn(&["bad", "is-killed"]).await;
    let mut waiting = link.open(1, request(1, "never")).await.unwrap();
    let began = Instant::now();
    let refusal = first(&link, 2, "tools/call").await.unwrap_err();
    let other = waiting.next().await.unwrap().unwrap_err();
    // By construction 20 ms after its end is seen; the rest of this bound is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(15));
    for refusal in [refusal, other] {
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerBroken, Executed::Unknown)
        );
        assert!(refusal.message.contains("signal 9"), "{refusal}");
    }
}
