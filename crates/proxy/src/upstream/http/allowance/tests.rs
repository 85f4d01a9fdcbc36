#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::future::poll_fn;

use super::*;

const OWN: u32 = CALL_EVENTS_BURST;
const ALL: u32 = SERVER_EVENTS_BURST;

fn call(server: &Arc<Allowance>) -> Pace {
    Pace::new(Some(server))
}

fn apart(server: &Arc<Allowance>) -> Pace {
    let mut pace = call(server);
    pace.apart();
    pace
}

/// How many events may be handed on at this moment, of `count` that have come.
async fn at_once(pace: &mut Pace, count: u32) -> u32 {
    let mut taken = 0;
    while taken < count && poll_fn(|cx| Poll::Ready(pace.poll_take(cx).is_ready())).await {
        taken += 1;
    }
    if taken == count {
        pace.caught_up();
    }
    taken
}

/// How many events each of these brings in this time when all bring as many as they may.
async fn flood(paces: &mut [Pace], time: Duration) -> Vec<u32> {
    let until = Instant::now() + time;
    let mut taken = vec![0; paces.len()];
    while Instant::now() < until {
        for (pace, taken) in paces.iter_mut().zip(&mut taken) {
            *taken += at_once(pace, u32::MAX).await;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    taken
}

/// Nothing is left for any other call of this server.
async fn used_up(server: &Arc<Allowance>) -> Vec<Pace> {
    let mut others = vec![call(server), call(server)];
    let mut taken = 0;
    for other in &mut others {
        taken += at_once(other, u32::MAX).await;
    }
    assert_eq!(taken, ALL + 2 * OWN);
    others
}

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_server_bring_its_allowance_together_and_not_one_event_more() {
    let server = Arc::default();
    let mut calls: Vec<_> = (0..4).map(|_| call(&server)).collect();
    for pace in &mut calls {
        assert_eq!(at_once(pace, OWN).await, OWN, "its own");
    }
    let [first, second, third, _] = calls.as_mut_slice() else {
        unreachable!()
    };
    let runs = ALL / 2 / RUN * RUN;
    assert_eq!(at_once(first, runs).await, runs);
    assert_eq!(
        at_once(second, ALL - runs - 1).await,
        ALL - runs - 1,
        "one below the limit"
    );
    assert_eq!(at_once(second, 1).await, 1, "the limit");
    assert_eq!(at_once(second, 1).await, 0, "one above");
    assert_eq!((at_once(third, 1).await, at_once(first, 1).await), (0, 0));
    let mut elsewhere = call(&Arc::default());
    assert_eq!(at_once(&mut elsewhere, 1000).await, 1000, "another server");
}

#[tokio::test(start_paused = true)]
async fn one_call_alone_brings_no_more_than_a_stream_may() {
    let mut pace = call(&Arc::default());
    assert_eq!(at_once(&mut pace, EVENTS_BURST - 1).await, EVENTS_BURST - 1);
    assert_eq!(at_once(&mut pace, 1).await, 1, "the limit");
    assert_eq!(at_once(&mut pace, 1).await, 0, "one above");
    let more = flood(std::slice::from_mut(&mut pace), Duration::from_secs(10)).await;
    assert!(
        (EVENTS_PER_SECOND * 9..=EVENTS_PER_SECOND * 10).contains(&more[0]),
        "{more:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_a_calls_own_comes_whatever_the_others_bring() {
    let server = Arc::default();
    let _others = used_up(&server).await;
    let mut pace = call(&server);
    assert_eq!(at_once(&mut pace, OWN - 1).await, OWN - 1, "one below the limit");
    assert_eq!(at_once(&mut pace, 1).await, 1, "the limit");
    assert_eq!(at_once(&mut pace, 1).await, 0, "one above");
    // A call that was silent for long has no more than that at once, and the run that it waited for.
    tokio::time::advance(Duration::from_secs(3600)).await;
    let _others = used_up(&server).await;
    assert_eq!(at_once(&mut pace, u32::MAX).await, OWN + RUN);
}

/// 255 calls flood, as many as a server is given at once but one.
#[tokio::test(start_paused = true)]
async fn a_call_that_says_how_far_it_is_never_waits_for_the_floods_of_others() {
    let server = Arc::default();
    let mut floods: Vec<_> = (0..255).map(|_| call(&server)).collect();
    flood(&mut floods, Duration::from_secs(2)).await;
    let mut pace = call(&server);
    let mut longest = Duration::ZERO;
    assert_eq!(at_once(&mut pace, OWN).await, OWN);
    for _ in 0..20 {
        let asked = Instant::now();
        while at_once(&mut pace, 1).await == 0 {
            flood(&mut floods, Duration::from_millis(1)).await;
        }
        longest = longest.max(asked.elapsed());
    }
    let step = Duration::from_secs(1) / CALL_EVENTS_PER_SECOND;
    assert!(longest <= step + Duration::from_millis(1), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn floods_share_the_allowance_equally_and_who_brings_less_than_a_share_gets_it_all() {
    let server = Arc::default();
    let mut floods = used_up(&server).await;
    floods.push(call(&server));
    // Its own burst is over, too.
    assert_eq!(at_once(floods.last_mut().unwrap(), u32::MAX).await, OWN);
    let mut modest = call(&server);
    assert_eq!(at_once(&mut modest, u32::MAX).await, OWN);
    let mut all = [0; 3];
    let mut brought = 0;
    for come in 1..=1000 {
        // 100 events a second: less than a fourth of the allowance.
        brought += at_once(&mut modest, come - brought).await;
        let taken = flood(&mut floods, Duration::from_millis(10)).await;
        all.iter_mut().zip(taken).for_each(|(all, taken)| *all += taken);
    }
    // It waits for its run as long as one run of everybody takes, and no longer.
    assert!((980..=1000).contains(&brought), "{brought}");
    let share = (SERVER_EVENTS_PER_SECOND * 10 - (brought - CALL_EVENTS_PER_SECOND * 10)) / 3;
    for taken in all {
        let shared = taken - CALL_EVENTS_PER_SECOND * 10;
        // One round of the four more or less.
        assert!(shared.abs_diff(share) <= 4 * RUN, "{all:?}, {share} each");
    }
}

/// How often a call is woken to bring all that it may in this time, and how much that is. A task of its own, so that it is
/// woken by nobody else.
async fn woken(mut pace: Pace, time: Duration) -> (Pace, u32, u32) {
    let (mut wakes, mut taken) = (0, 0);
    let brings = async {
        loop {
            let take = |cx: &mut Context<'_>| {
                let polled = pace.poll_take(cx);
                wakes += u32::from(polled.is_pending());
                polled
            };
            poll_fn(take).await;
            taken += 1;
        }
    };
    let forever: Result<(), _> = tokio::time::timeout(time, brings).await;
    assert!(forever.is_err());
    (pace, wakes, taken)
}

#[tokio::test(start_paused = true)]
async fn calls_that_flood_are_woken_for_runs_and_not_for_each_event() {
    const SECONDS: u32 = 20;
    let server = Arc::default();
    let _others = used_up(&server).await;
    let time = Duration::from_secs(SECONDS.into());
    let floods: tokio::task::JoinSet<_> = (0..30).map(|_| woken(call(&server), time)).collect();
    let mut floods = floods.join_all().await;
    let (wakes, taken) = floods
        .iter()
        .fold((0, 0), |sum, (_, wakes, taken)| (sum.0 + wakes, sum.1 + taken));
    let (runs, own) = (
        SERVER_EVENTS_PER_SECOND * SECONDS / RUN,
        CALL_EVENTS_PER_SECOND * SECONDS,
    );
    // For each run once, each second once, and twice to find out that it floods.
    assert!(wakes <= runs + 30 * (SECONDS + 2), "{wakes} times");
    let most = runs * RUN + 30 * (OWN + own);
    assert!((most * 9 / 10..=most).contains(&taken), "{taken} of {most}");
    // One that has been read to the end is no flood any more: its own event comes as soon as it is earned.
    let (pace, ..) = &mut floods[0];
    while at_once(pace, 1).await == 0 {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    pace.caught_up();
    let asked = Instant::now();
    poll_fn(|cx| pace.poll_take(cx)).await;
    let step = Duration::from_secs(1) / CALL_EVENTS_PER_SECOND;
    assert!(
        asked.elapsed() <= step + Duration::from_millis(1),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_end_early_use_up_no_more_than_they_have_brought() {
    let server = Arc::default();
    for _ in 0..100 {
        let mut pace = call(&server);
        assert_eq!(at_once(&mut pace, OWN + 1).await, OWN + 1);
    }
    let mut pace = call(&server);
    let left = at_once(&mut pace, u32::MAX).await - OWN;
    assert_eq!(left, (ALL - 100) / RUN * RUN, "whole runs");
    drop(pace);

    // Those that leave while they wait leave their place: whoever comes next waits no longer for it.
    let mut waits = call(&server);
    assert_eq!(at_once(&mut waits, u32::MAX).await, OWN);
    let due = server.due.load(Ordering::Relaxed);
    for _ in 0..1000 {
        let mut pace = call(&server);
        assert_eq!(at_once(&mut pace, u32::MAX).await, OWN);
    }
    assert_eq!(server.due.load(Ordering::Relaxed), due);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_come_at_a_pace_of_their_own() {
    let server = Arc::default();
    let mut before = apart(&server);
    let _others = used_up(&server).await;
    for pace in [&mut before, &mut apart(&server), &mut Pace::new(None)] {
        assert_eq!(
            at_once(pace, EVENTS_BURST - 1).await,
            EVENTS_BURST - 1,
            "one below the limit"
        );
        assert_eq!(at_once(pace, 1).await, 1, "the limit");
        assert_eq!(at_once(pace, 1).await, 0, "one above");
    }
}
