use std::time::Duration;

use super::super::SessionLimits;
use super::{CALL, Client, Inside, LOG, caller, data, event, events_of, face, settle};
use crate::refusal::Reason;

#[tokio::test]
async fn a083_a_second_get_stream_is_a_conflict_until_the_first_is_closed() {
    let client = Client::newest(&face(SessionLimits::default()), &Inside::new().dispatch).await;
    let first = client.get().await.unwrap();
    assert_eq!(client.get().await.unwrap_err().reason, Reason::Conflict);
    drop(first);
    assert!(client.get().await.is_ok());
}

#[tokio::test]
async fn a_get_that_accepts_no_stream_is_refused() {
    let client = Client::newest(&face(SessionLimits::default()), &Inside::new().dispatch).await;
    assert_eq!(
        client
            .with("accept", "application/json")
            .get()
            .await
            .unwrap_err()
            .reason,
        Reason::NotAcceptable
    );
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_behind_the_last_event() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    arrived.says(&LOG.replace(":1}", ":2}"));
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let (id, _) = event(&mut events).await.unwrap();
    drop(events);
    arrived.answers(r#"{"content":[]}"#);
    settle().await;
    let mut again = events_of(client.with("last-event-id", &id).get().await);
    assert!(data(&mut again).await.contains(r#""data":2"#));
    assert!(data(&mut again).await.contains(r#""id":1"#));
    assert_eq!(event(&mut again).await, None);
    let mut once_more = events_of(client.with("last-event-id", &id).get().await);
    assert!(data(&mut once_more).await.contains(r#""data":2"#));
}

#[tokio::test]
async fn taking_a_stream_up_ends_the_connection_that_was_thought_broken() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut broken = events_of(call.await.unwrap());
    let (id, _) = event(&mut broken).await.unwrap();
    let mut again = events_of(client.with("last-event-id", &id).get().await);
    assert_eq!(event(&mut broken).await, None);
    assert_eq!(data(&mut again).await, LOG);
}

#[tokio::test]
async fn a086_events_of_another_session_are_not_replayed() {
    let mut inside = Inside::new();
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    let (id, _) = event(&mut events).await.unwrap();
    drop(events);
    let mut thief = Client::new(&lower, "other", &inside.dispatch.clone());
    thief.initialize("2025-11-25", "{}").await;
    assert_eq!(
        thief.with("last-event-id", &id).get().await.unwrap_err().reason,
        Reason::InvalidRequest
    );
    let mut stolen = client.with("last-event-id", &id);
    stolen.caller = caller("other");
    assert_eq!(stolen.get().await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn an_event_id_that_is_none_is_refused() {
    let client = Client::newest(&face(SessionLimits::default()), &Inside::new().dispatch).await;
    for id in ["", "7", "x-y", "1-1", "99999999999999999999-1", "1-1-1"] {
        assert_eq!(
            client.with("last-event-id", id).get().await.unwrap_err().reason,
            Reason::InvalidRequest,
            "{id}"
        );
    }
}

#[tokio::test]
async fn replay_is_bounded_and_keeps_the_newest() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        replay_events_max: 8,
        ..SessionLimits::default()
    };
    let lower = face(limits);
    let client = Client::newest(&lower, &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    let (id, _) = event(&mut events).await.unwrap();
    drop(events);
    for n in 0..1_000 {
        arrived.says(&LOG.replace(":1}", &format!(":{n}}}")));
    }
    arrived.answers(r#"{"content":[]}"#);
    settle().await;
    let mut again = events_of(client.with("last-event-id", &id).get().await);
    assert!(data(&mut again).await.contains(r#""data":993"#));
    for _ in 0..6 {
        event(&mut again).await;
    }
    assert!(data(&mut again).await.contains(r#""id":1"#));
    client.delete().await.unwrap();
    drop(again);
    settle().await;
    assert_eq!(lower.replay_bytes(), 0);
}

/// What a client reads that left after the first event, when this many more were said.
async fn replayed(limits: SessionLimits, said: usize) -> Vec<String> {
    let mut inside = Inside::new();
    let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    let (id, _) = event(&mut events).await.unwrap();
    event(&mut events).await;
    drop(events);
    for n in 10..10 + said {
        arrived.says(&LOG.replace(":1}", &format!(":{n}}}")));
    }
    settle().await;
    client
        .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await
        .unwrap();
    settle().await;
    let mut again = events_of(client.with("last-event-id", &id).get().await);
    let mut read = Vec::new();
    while let Some((_, data)) = event(&mut again).await {
        read.push(data);
    }
    read
}

#[tokio::test]
async fn replay_keeps_its_number_of_events_and_its_bytes_to_the_last() {
    // The first event and the answer are kept, too.
    for said in [5, 6, 7] {
        let by_number = SessionLimits {
            replay_events_max: 8,
            ..SessionLimits::default()
        };
        let read = replayed(by_number, said).await;
        assert_eq!(read.len(), (said + 2).min(8), "{read:?}");
        assert_eq!(read[0].contains(r#""data":1}"#), said <= 6, "{said}: {read:?}");
    }
    // The bytes of an event are its message and at most 48 around it.
    let all: usize = replayed(SessionLimits::default(), 6)
        .await
        .iter()
        .map(String::len)
        .sum();
    let by_bytes = |replay_bytes_max| SessionLimits {
        replay_bytes_max,
        ..SessionLimits::default()
    };
    assert_eq!(replayed(by_bytes(all + 8 * 48), 6).await.len(), 8);
    let less = replayed(by_bytes(all), 6).await;
    assert!(less.len() < 8 && less.last().unwrap().contains(r#""id":1"#), "{less:?}");
}

#[tokio::test]
async fn a_session_keeps_its_newest_finished_streams() {
    for (finished, first_is_kept) in [(1, true), (2, true), (3, false)] {
        let mut inside = Inside::new();
        let limits = SessionLimits {
            finished_streams_max: 2,
            ..SessionLimits::default()
        };
        let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
        let mut ids = Vec::new();
        for id in 0..finished {
            let call = client.send(&CALL.replace(r#""id":1"#, &format!(r#""id":{id}"#)));
            let arrived = inside.next().await;
            arrived.says(LOG);
            let mut events = events_of(call.await.unwrap());
            ids.push(event(&mut events).await.unwrap().0);
            arrived.answers(r#"{"content":[]}"#);
            while event(&mut events).await.is_some() {}
            settle().await;
        }
        let kept = client.with("last-event-id", &ids[0]).get().await.is_ok();
        assert_eq!(kept, first_is_kept, "{finished}");
        assert!(client.with("last-event-id", ids.last().unwrap()).get().await.is_ok());
    }
}

#[tokio::test]
async fn clients_that_never_come_back_fill_a_bounded_memory() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        replay_bytes_total_max: 64 * 1024,
        ..SessionLimits::default()
    };
    let lower = face(limits);
    let big = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{}"}}}}"#,
        "x".repeat(16 * 1024)
    );
    for _ in 0..40 {
        let client = Client::newest(&lower, &inside.dispatch.clone()).await;
        let call = client.send(CALL);
        let arrived = inside.next().await;
        arrived.says(&big);
        drop(events_of(call.await.unwrap()));
        for _ in 0..10 {
            arrived.says(&big);
        }
        settle().await;
    }
    // One event may stay on each stream; everything beyond the budget has made room.
    assert!(
        lower.replay_bytes() <= 64 * 1024 + 41 * 17 * 1024,
        "{}",
        lower.replay_bytes()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_writer_up_and_loses_nothing() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        replay_events_max: 4,
        ..SessionLimits::default()
    };
    let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    for n in 0..100 {
        arrived.says(&LOG.replace(":1}", &format!(":{n}}}")));
    }
    let mut events = events_of(call.await.unwrap());
    settle().await;
    arrived.answers(r#"{"content":[]}"#);
    let mut seen = 0;
    event(&mut events).await;
    while let Some((_, data)) = event(&mut events).await {
        if data.contains("notifications/message") {
            assert!(data.contains(&format!(r#""data":{seen}}}"#)), "{data}");
            seen += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(seen, 100);
}

#[tokio::test]
async fn draining_lets_go_of_get_streams_and_closing_of_everything() {
    let mut inside = Inside::new();
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &inside.dispatch.clone()).await;
    let mut standalone = events_of(client.get().await);
    event(&mut standalone).await;
    let _call = client.send(CALL);
    lower.drain();
    assert_eq!(event(&mut standalone).await, None);
    assert_eq!(lower.sessions(), 1);
    let arrived = loop {
        let arrived = inside.next().await;
        if arrived.request.contains("tools/call") {
            break arrived;
        }
    };
    lower.close().await;
    arrived.is_dropped().await;
    assert_eq!(lower.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_let_go_and_may_come_back() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        replay_events_max: 4,
        ..SessionLimits::default()
    };
    let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut stalled = events_of(call.await.unwrap());
    let (id, _) = event(&mut stalled).await.unwrap();
    for _ in 0..10 {
        arrived.says(LOG);
    }
    arrived.answers(r#"{"content":[]}"#);
    tokio::time::sleep(Duration::from_secs(30 * 61)).await;
    assert_eq!(event(&mut stalled).await, None);
    let mut again = events_of(client.with("last-event-id", &id).get().await);
    for _ in 0..3 {
        assert_eq!(data(&mut again).await, LOG);
    }
    assert!(data(&mut again).await.contains(r#""id":1"#));
}
