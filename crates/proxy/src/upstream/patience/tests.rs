#![allow(clippy::unwrap_used, clippy::panic)]

use futures_util::stream;
use meshgate_model::Concurrency;

use super::*;
use crate::upstream::limits::PROGRESS_BURST;
use crate::upstream::probe::discover_request;
use crate::upstream::turns::Turns;

const DEADLINES: Deadlines = Deadlines {
    silence: Duration::from_secs(60),
    hard: Duration::from_secs(600),
};

fn patience() -> Patience {
    Patience::new(&discover_request(Duration::from_secs(3600)), DEADLINES)
}

fn turn() -> Turn {
    Turns::new(Concurrency::default())
        .take(&discover_request(Duration::from_secs(1)))
        .unwrap()
}

fn progress(n: u32) -> Received {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{n}}}}}"#
    );
    Received::Notice(text.into())
}

fn response() -> Received {
    Received::Response(Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#))
}

async fn all(reply: Result<Reply, Refusal>) -> Vec<Result<Bytes, Refusal>> {
    match reply.unwrap() {
        Reply::One(_) => panic!("one message"),
        Reply::Stream(messages) => messages.collect().await,
    }
}

#[tokio::test(start_paused = true)]
async fn f06_silence_ends_a_call_at_its_deadline() {
    let began = Instant::now();
    let refusal = reply(stream::pending(), patience(), turn()).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    assert_eq!(began.elapsed(), DEADLINES.silence);
}

#[tokio::test(start_paused = true)]
async fn f06_progress_moves_the_idle_deadline_and_never_the_hard_one() {
    let began = Instant::now();
    let ticking = stream::unfold(0, |n| async move {
        tokio::time::sleep(Duration::from_secs(50)).await;
        Some((Ok(progress(n)), n + 1))
    });
    let messages = all(reply(Box::pin(ticking), patience(), turn()).await).await;
    assert_eq!(messages.last().unwrap().as_ref().unwrap_err().reason, Reason::Deadline);
    assert_eq!(
        (messages.len(), began.elapsed()),
        (13, DEADLINES.hard),
        "a step each 50 s, and the end"
    );
}

#[tokio::test(start_paused = true)]
async fn a158_a_flood_of_progress_is_paced_and_its_last_step_comes_before_the_response() {
    let flood = (0..100_000).map(|n| Ok(progress(n))).chain([Ok(response())]);
    let messages = all(reply(stream::iter(flood), patience(), turn()).await).await;
    let burst = usize::try_from(PROGRESS_BURST).unwrap();
    assert_eq!(messages.len(), burst + 2);
    let text = |at: usize| String::from_utf8_lossy(messages.get(at).unwrap().as_ref().unwrap()).into_owned();
    assert!(text(burst - 1).contains("\"progress\":19}"));
    assert!(text(burst).contains("\"progress\":99999}"), "{}", text(burst));
    assert!(text(burst + 1).contains("result"));
}

#[tokio::test(start_paused = true)]
async fn the_last_step_of_a_flood_does_not_wait_for_the_response() {
    let flood = stream::iter((0..50).map(|n| Ok(progress(n)))).chain(stream::pending());
    let began = Instant::now();
    let Reply::Stream(messages) = reply(Box::pin(flood), patience(), turn()).await.unwrap() else {
        panic!("one message")
    };
    let messages: Vec<_> = messages
        .take(usize::try_from(PROGRESS_BURST).unwrap() + 1)
        .collect()
        .await;
    let last = messages.last().unwrap().as_ref().unwrap();
    assert!(
        last.ends_with(b"\"progress\":49}}"),
        "{}",
        String::from_utf8_lossy(last)
    );
    assert_eq!(began.elapsed().as_millis(), 100, "one step of the pace");
}
