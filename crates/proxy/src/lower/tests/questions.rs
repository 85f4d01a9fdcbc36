use std::time::Duration;

use super::super::SessionLimits;
use super::{CALL, Client, Inside, body_of, data, event, events_of, face, json_member, settle};
use crate::refusal::{Executed, Reason, Refusal};

const ASKS: &str = r#"{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"sealed"}"#;

#[tokio::test]
async fn a_question_inside_becomes_a_question_on_the_stream_and_the_client_sees_one_call() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let question = data(&mut events).await;
    assert_eq!(json_member(&question, "method"), r#""elicitation/create""#);
    client
        .replies(&question, r#""result":{"action":"accept","content":{"x":1.0}}"#)
        .await;
    let retry = inside.next().await;
    assert!(
        retry
            .request
            .contains(r#""inputResponses":{"k":{"action":"accept","content":{"x":1.0}}},"requestState":"sealed""#)
            && retry.request.contains(r#""name":"t""#),
        "{}",
        retry.request
    );
    retry.answers(r#"{"resultType":"complete","content":[]}"#);
    assert_eq!(
        data(&mut events).await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
    assert_eq!(event(&mut events).await, None);
}

#[tokio::test]
async fn ids_of_questions_name_the_home_and_are_never_repeated() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let mut seen = Vec::new();
    for id in 1..=3 {
        let call = client.send(&CALL.replace(r#""id":1"#, &format!(r#""id":{id}"#)));
        inside.next().await.answers(ASKS);
        let mut events = events_of(call.await.unwrap());
        event(&mut events).await;
        seen.push(json_member(&data(&mut events).await, "id"));
    }
    let home = seen[0].rsplit_once('-').unwrap().0.to_owned();
    assert!(
        home.len() >= 16 && seen.iter().all(|id| id.starts_with(&home)),
        "{seen:?}"
    );
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn an_answer_from_another_session_reaches_nobody() {
    let mut inside = Inside::new();
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &inside.dispatch.clone()).await;
    let stranger = Client::newest(&lower, &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let question = data(&mut events).await;
    stranger.replies(&question, r#""result":{"action":"accept"}"#).await;
    settle().await;
    assert!(inside.arrived.try_recv().is_err());
    client.replies(&question, r#""result":{"action":"decline"}"#).await;
    assert!(inside.next().await.request.contains("decline"));
}

#[tokio::test]
async fn a_second_answer_to_one_question_is_ignored() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let question = data(&mut events).await;
    client.replies(&question, r#""result":{"action":"decline"}"#).await;
    client.replies(&question, r#""result":{"action":"accept"}"#).await;
    assert!(inside.next().await.request.contains("decline"));
    settle().await;
    assert!(inside.arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_question_to_a_client_that_cannot_answer_it_is_an_error_on_plain_json() {
    let mut inside = Inside::new();
    let client = Client::open(
        &face(SessionLimits::default()),
        &inside.dispatch.clone(),
        "2025-11-25",
        "{}",
    )
    .await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let body = body_of(call.await.unwrap());
    assert!(
        body.contains("elicitation.form") && body.contains(r#""id":1"#),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_a_client_that_comes_back() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    let (id, _) = event(&mut events).await.unwrap();
    drop(events);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let mut events = events_of(client.with("last-event-id", &id).get().await);
    let question = data(&mut events).await;
    client.replies(&question, r#""result":{"action":"decline"}"#).await;
    inside.next().await.answers(r#"{"content":[]}"#);
    assert!(data(&mut events).await.contains(r#""id":1"#));
}

#[tokio::test(start_paused = true)]
async fn a_question_does_not_wait_for_a_client_that_stays_away() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    let (id, _) = event(&mut events).await.unwrap();
    data(&mut events).await;
    drop(events);
    tokio::time::sleep(Duration::from_secs(31)).await;
    let mut events = events_of(client.with("last-event-id", &id).get().await);
    data(&mut events).await;
    assert!(data(&mut events).await.contains("notifications/cancelled"));
    assert!(data(&mut events).await.contains("went away"));
    assert!(inside.arrived.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_is_taken_back_before_its_state_is_worth_nothing() {
    for (waited_s, is_over) in [(9 * 60 - 1, false), (9 * 60 + 1, true)] {
        let mut inside = Inside::new();
        let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
        let call = client.send(CALL);
        inside.next().await.answers(ASKS);
        let mut events = events_of(call.await.unwrap());
        event(&mut events).await;
        let question = data(&mut events).await;
        tokio::time::sleep(Duration::from_secs(waited_s)).await;
        client.replies(&question, r#""result":{"action":"decline"}"#).await;
        settle().await;
        if is_over {
            assert!(data(&mut events).await.contains("notifications/cancelled"));
            assert!(data(&mut events).await.contains("did not answer"));
            assert_eq!(event(&mut events).await, None);
            assert!(inside.arrived.try_recv().is_err());
        } else {
            inside.next().await.answers(r#"{"content":[]}"#);
            assert!(data(&mut events).await.contains(r#""id":1,"result""#));
        }
    }
}

#[tokio::test]
async fn a_later_round_that_is_refused_may_have_run() {
    let rounds = std::sync::atomic::AtomicUsize::new(0);
    let dispatch = Inside::always(move |request| {
        if rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            return Err(Refusal::new(Reason::Overloaded, "no place"));
        }
        let msg = meshgate_mcp::scan(&request, &meshgate_mcp::Rules::SERVER).unwrap();
        let id = msg.id.unwrap().raw(&request).to_vec();
        let asks = br#"{"resultType":"input_required","requestState":"s"}"#;
        Ok(meshgate_mcp::message::result(&id, asks).into())
    });
    let client = Client::newest(&face(SessionLimits::default()), &dispatch).await;
    let refusal = client.post(CALL).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Overloaded, Executed::Unknown)
    );
}

#[tokio::test]
async fn a_session_that_ends_takes_its_questions_with_it() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let question = data(&mut events).await;
    client.delete().await.unwrap();
    assert_eq!(event(&mut events).await, None);
    let id = json_member(&question, "id");
    let late = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept"}}}}"#);
    assert_eq!(client.post(&late).await.unwrap_err().reason, Reason::NotFound);
    settle().await;
    assert!(inside.arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_cancelled_call_asks_nothing_more() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    inside.next().await.answers(ASKS);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let question = data(&mut events).await;
    client
        .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await
        .unwrap();
    assert!(data(&mut events).await.contains("notifications/cancelled"));
    assert!(data(&mut events).await.contains("cancelled by the client"));
    client.replies(&question, r#""result":{"action":"accept"}"#).await;
    settle().await;
    assert!(inside.arrived.try_recv().is_err());
}
