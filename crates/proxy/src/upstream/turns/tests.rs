#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use futures_util::FutureExt as _;

use super::*;
use crate::upstream::probe::discover_request;

fn turns(max: usize, queue: usize) -> Turns {
    Turns::new(Concurrency {
        max,
        queue,
        queue_time: Duration::from_secs(5),
    })
}

/// A call of that application.
fn of(application: &str) -> Outbound {
    Outbound {
        caller: Some(Arc::new(Caller::new(Some(application.into()), None))),
        ..discover_request(Duration::from_secs(60))
    }
}

/// A call that waits; polled once, so that it stands in the queue.
fn queue<'a>(
    turns: &'a Turns,
    out: &'a Outbound,
) -> std::pin::Pin<Box<dyn Future<Output = Result<Turn, Refusal>> + 'a>> {
    let mut waiting = Box::pin(turns.wait(out));
    assert!(waiting.as_mut().now_or_never().is_none(), "it need not wait");
    waiting
}

#[tokio::test(start_paused = true)]
async fn d08_a_server_gets_as_many_calls_as_it_may_and_not_one_more() {
    let (turns, call) = (turns(3, 2), of("a"));
    let held: Vec<_> = (0..2).map(|_| turns.take(&call).unwrap()).collect();
    assert_eq!(turns.in_flight(), 2, "one below the limit");
    let last = turns.take(&call).unwrap();
    assert!(turns.take(&call).is_none(), "one above");
    drop(last);
    assert!(turns.take(&call).is_some());
    drop(held);
    assert_eq!((turns.in_flight(), turns.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn d08_the_queue_holds_its_limit_and_turns_the_next_one_away_unsent() {
    let (turns, call) = (turns(1, 2), of("a"));
    let _busy = turns.take(&call).unwrap();
    let first = queue(&turns, &call);
    assert_eq!(turns.waiting(), 1, "one below the limit");
    let second = queue(&turns, &call);
    let refusal = turns.wait(&call).await.err().unwrap();
    assert_eq!((refusal.reason, turns.waiting()), (Reason::Overloaded, 2));
    assert_eq!(refusal.executed, crate::refusal::Executed::No);
    assert!(refusal.retry.is_some());
    drop((first, second));
    assert_eq!(turns.waiting(), 0, "who leaves frees its place");
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_waits() {
    let (turns, call) = (turns(1, 0), of("a"));
    let busy = turns.take(&call).unwrap();
    assert_eq!(turns.wait(&call).await.err().unwrap().reason, Reason::Overloaded);
    drop(busy);
    assert!(turns.wait(&call).await.is_ok(), "somebody had just left");
}

#[tokio::test(start_paused = true)]
async fn f19_callers_take_turns_whatever_the_others_have_waiting() {
    let turns = turns(1, 100);
    let (noisy, quiet) = (of("noisy"), of("quiet"));
    let mut turn = turns.take(&noisy).unwrap();
    let mut waiting: Vec<_> = (0..50).map(|_| ("noisy", queue(&turns, &noisy))).collect();
    waiting.extend((0..2).map(|_| ("quiet", queue(&turns, &quiet))));
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(turn);
        let ready = waiting.iter_mut().enumerate().find_map(|(index, (_, call))| {
            let turn = call.as_mut().now_or_never()?;
            Some((index, turn.unwrap()))
        });
        let (index, next) = ready.unwrap();
        turn = next;
        order.push(waiting.remove(index).0);
        assert_eq!(turns.in_flight(), 1);
    }
    assert_eq!(order[..5], ["noisy", "quiet", "noisy", "quiet", "noisy"]);
    assert_eq!(order.len(), 52);
}

#[tokio::test(start_paused = true)]
async fn f19_in_a_full_queue_the_caller_with_the_most_calls_makes_room() {
    let turns = turns(1, 3);
    let (noisy, quiet) = (of("noisy"), of("quiet"));
    let _busy = turns.take(&noisy).unwrap();
    let mut flood: Vec<_> = (0..3).map(|_| queue(&turns, &noisy)).collect();
    let mut polite = queue(&turns, &quiet);
    let turned_away = flood.pop().unwrap().now_or_never().unwrap();
    assert_eq!(turned_away.err().unwrap().reason, Reason::Overloaded);
    assert!(flood.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    // Two against one: another one of the quiet caller's would only turn things round.
    assert!(turns.wait(&quiet).await.is_err());
    assert!(polite.as_mut().now_or_never().is_none());
    assert_eq!(turns.waiting(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_too_long_is_turned_away_and_leaves_nothing_behind() {
    let (turns, call) = (turns(1, 8), of("a"));
    let busy = turns.take(&call).unwrap();
    let began = Instant::now();
    let refusal = turns.wait(&call).await.err().unwrap();
    assert_eq!(
        (refusal.reason, began.elapsed()),
        (Reason::Overloaded, Duration::from_secs(5))
    );
    assert_eq!(turns.waiting(), 0);
    drop(busy);
    assert_eq!(turns.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_given_to_a_call_that_has_just_left_goes_to_the_next() {
    let (turns, call) = (turns(1, 8), of("a"));
    let busy = turns.take(&call).unwrap();
    let leaving = queue(&turns, &call);
    let mut next = queue(&turns, &call);
    drop(busy);
    // The turn was handed over and never looked at.
    drop(leaving);
    let turn = next.as_mut().now_or_never().unwrap().unwrap();
    assert_eq!(turns.in_flight(), 1);
    drop(turn);
    drop(next);
    assert_eq!((turns.in_flight(), turns.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn subscriptions_and_the_gateways_own_calls_never_wait() {
    let (turns, call) = (turns(1, 1), of("a"));
    let busy = turns.take(&call).unwrap();
    let mut listen = of("a");
    listen.method = Method::Listen;
    let listening: Vec<_> = (0..5).map(|_| turns.take(&listen).unwrap()).collect();
    let own = turns.take(&discover_request(Duration::from_secs(1))).unwrap();
    let mut waiting = queue(&turns, &call);
    drop(own);
    assert!(
        waiting.as_mut().now_or_never().is_none(),
        "the place beyond the limit is not given on"
    );
    drop(busy);
    assert!(waiting.as_mut().now_or_never().is_some_and(|turn| turn.is_ok()));
    drop(listening);
    assert_eq!(turns.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rush_of_calls_never_exceeds_the_limit_and_loses_no_turn() {
    let turns = turns(3, 1_000);
    let most = Arc::new(AtomicUsize::new(0));
    let mut calls = tokio::task::JoinSet::new();
    for index in 0..400 {
        let (shared, most) = (turns.clone(), Arc::clone(&most));
        calls.spawn(async move {
            let call = of(&format!("caller-{}", index % 7));
            let turn = match shared.take(&call) {
                Some(turn) => turn,
                None => shared.wait(&call).await.unwrap_or_else(|refusal| panic!("{refusal}")),
            };
            most.fetch_max(shared.in_flight(), Ordering::Relaxed);
            tokio::task::yield_now().await;
            drop(turn);
        });
        // Some go away while they wait, or with their turn in hand.
        if index % 5 == 0 {
            let (turns, call) = (turns.clone(), of("leaving"));
            calls.spawn(async move { drop(timeout_at(Instant::now(), turns.wait(&call)).await) });
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    assert!(most.load(Ordering::Relaxed) <= 3);
    assert_eq!((turns.in_flight(), turns.waiting()), (0, 0));
}
