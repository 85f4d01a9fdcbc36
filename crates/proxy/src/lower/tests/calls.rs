use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::super::{Answer, SessionLimits};
use super::{CALL, Client, Inside, LOG, body_of, data, event, events_of, face, settle};
use crate::refusal::{Executed, Reason, Refusal};

#[tokio::test]
async fn a_request_goes_inside_stamped_and_its_answer_comes_back_as_json() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    assert_eq!(
        arrived.request,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"sampling":{},"roots":{}},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}}}}"#
    );
    arrived.answers(r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#);
    assert_eq!(
        body_of(call.await.unwrap()),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hi"}]}}"#
    );
}

#[tokio::test]
async fn a_call_with_notifications_becomes_a_stream_that_is_primed() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    assert_eq!(event(&mut events).await, Some(("1-0".into(), String::new())));
    assert_eq!(event(&mut events).await, Some(("1-1".into(), LOG.into())));
    arrived.answers(r#"{"content":[]}"#);
    assert_eq!(
        data(&mut events).await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
    assert_eq!(event(&mut events).await, None);
}

#[tokio::test]
async fn revisions_before_2025_11_25_are_not_primed() {
    let mut inside = Inside::new();
    let client = Client::open(
        &face(SessionLimits::default()),
        &inside.dispatch.clone(),
        "2025-06-18",
        "{}",
    )
    .await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    assert_eq!(event(&mut events).await, Some(("1-1".into(), LOG.into())));
}

#[tokio::test]
async fn the_level_that_was_set_goes_with_the_next_request() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let level = r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#;
    body_of(client.post(level).await);
    let _call = client.send(CALL);
    assert!(
        inside
            .next()
            .await
            .request
            .contains(r#""io.modelcontextprotocol/logLevel":"debug""#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_call_becomes_a_stream_with_keep_alives() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    let mut events = events_of(call.await.unwrap());
    assert_eq!(event(&mut events).await.unwrap().0, "1-0");
    let comment = futures_util::StreamExt::next(&mut events).await.unwrap();
    assert!(comment.starts_with(b":"));
    arrived.answers(r#"{"content":[]}"#);
    assert!(data(&mut events).await.contains(r#""id":1"#));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_streams_gets_the_answer_alone_and_is_never_asked() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.with("accept", "application/json").send(CALL);
    let arrived = inside.next().await;
    assert!(
        arrived
            .request
            .contains(r#""io.modelcontextprotocol/clientCapabilities":{}"#),
        "{}",
        arrived.request
    );
    arrived.says(LOG);
    tokio::time::sleep(Duration::from_secs(60)).await;
    arrived.answers(r#"{"content":[]}"#);
    assert_eq!(
        body_of(call.await.unwrap()),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
}

#[tokio::test]
async fn cancelled_ends_the_call_inside() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    let other = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}"#;
    client.post(other).await.unwrap();
    settle().await;
    assert!(!arrived.messages.is_closed());
    client
        .post(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await
        .unwrap();
    arrived.is_dropped().await;
    assert!(body_of(call.await.unwrap()).contains("cancelled"));
}

#[tokio::test]
async fn a_client_that_disconnects_has_not_cancelled() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    call.abort();
    settle().await;
    assert!(!arrived.messages.is_closed());
    arrived.says(LOG);
    arrived.answers(r#"{"content":[]}"#);
    settle().await;
    let again = client.send(CALL);
    inside.next().await.answers(r#"{"content":[]}"#);
    body_of(again.await.unwrap());
}

#[tokio::test]
async fn an_id_that_is_still_in_use_is_refused() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let first = client.send(CALL);
    let arrived = inside.next().await;
    assert_eq!(client.post(CALL).await.unwrap_err().reason, Reason::InvalidRequest);
    arrived.answers(r#"{"content":[]}"#);
    body_of(first.await.unwrap());
    let _again = client.send(CALL);
    inside.next().await;
}

#[tokio::test]
async fn a_session_runs_a_bounded_number_of_calls() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        calls_per_session_max: 2,
        ..SessionLimits::default()
    };
    let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
    let running = [client.send(CALL), client.send(&CALL.replace(r#""id":1"#, r#""id":2"#))];
    let _arrived = [inside.next().await, inside.next().await];
    let refusal = client.post(&CALL.replace(r#""id":1"#, r#""id":3"#)).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::RateLimited);
    drop(running);
}

#[tokio::test]
async fn refusals_of_the_call_are_json_and_refusals_of_the_transport_are_a_status() {
    let lower = face(SessionLimits::default());
    let refuse = |reason| Inside::always(move |_| Err(Refusal::new(reason, "no").rule("r")));
    let client = Client::newest(&lower, &refuse(Reason::InvalidParams)).await;
    let body = body_of(client.post(CALL).await);
    assert!(
        body.contains(r#""code":-32602"#) && body.contains(r#""id":1"#) && body.contains("dev.meshgate/refusal"),
        "{body}"
    );
    // Wrong parameters of a read are a missing resource where the refusal names it.
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    assert!(body_of(client.post(read).await).contains(r#""code":-32602"#));
    let named = Inside::always(|_| Err(Refusal::new(Reason::InvalidParams, "no").data(br#"{"uri":"a:b"}"#.to_vec())));
    let client = Client::newest(&lower, &named).await;
    assert!(body_of(client.post(read).await).contains(r#""code":-32002"#));
    let client = Client::newest(&lower, &refuse(Reason::Unauthenticated)).await;
    assert_eq!(client.post(CALL).await.unwrap_err().reason, Reason::Unauthenticated);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_that_says_so() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    arrived.says(LOG);
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    event(&mut events).await;
    let broken = Refusal::server(Reason::ServerBroken, Executed::Unknown, "the server went away");
    arrived.messages.send(Err(broken)).unwrap();
    let last = data(&mut events).await;
    assert!(
        last.contains(r#""id":1"#) && last.contains("the server went away"),
        "{last}"
    );
    assert_eq!(event(&mut events).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_ends() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    let mut events = events_of(call.await.unwrap());
    event(&mut events).await;
    let last = data(&mut events).await;
    assert!(last.contains("deadline"), "{last}");
    arrived.is_dropped().await;
}

#[tokio::test]
async fn ending_the_session_ends_its_calls() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(CALL);
    let arrived = inside.next().await;
    client.delete().await.unwrap();
    arrived.is_dropped().await;
    assert!(call.await.unwrap().is_ok());
}

fn messages(messages: &[&str]) -> Vec<(Bytes, meshgate_mcp::Message)> {
    let read = |m: &&str| {
        let body = Bytes::copy_from_slice(m.as_bytes());
        let msg = meshgate_mcp::scan(&body, &meshgate_mcp::Rules::CLIENT).unwrap();
        (body, *msg)
    };
    messages.iter().map(read).collect()
}

/// Posts a batch as the gateway does.
async fn post_batch(client: &super::Client, batch: &[&str]) -> Result<Answer, crate::refusal::Refusal> {
    let messages = messages(batch);
    let taken = client.lower.takes_batch(&client.edge(), &messages)?;
    let parts = messages.iter().map(|(body, message)| crate::lower::Part {
        edge: client.edge(),
        body,
        message,
    });
    Ok(client.lower.post_batch(taken, parts.collect()).await)
}

fn echoing() -> super::Dispatch {
    Inside::always(|request| {
        let msg = meshgate_mcp::scan(&request, &meshgate_mcp::Rules::SERVER).unwrap();
        let id = msg.id.unwrap().raw(&request).to_vec();
        Ok(meshgate_mcp::message::result(&id, br#"{"resultType":"complete"}"#).into())
    })
}

#[tokio::test]
async fn a_batch_is_joined_calls() {
    let echo = echoing();
    let lower = face(SessionLimits::default());
    let client = Client::open(&lower, &echo, "2025-03-26", "{}").await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let other = CALL.replace(r#""id":1"#, r#""id":"b""#);
    let joined = post_batch(&client, &[CALL, note, &other]).await;
    assert_eq!(
        body_of(joined),
        r#"[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":"b","result":{}}]"#
    );
    let only_notes = post_batch(&client, &[note]).await.unwrap();
    assert!(matches!(
        only_notes,
        Answer::Empty {
            status: StatusCode::ACCEPTED,
            ..
        }
    ));
    let newest = Client::newest(&lower, &echo).await;
    let refused = post_batch(&newest, &[CALL]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidRequest);
}

#[tokio::test]
async fn one_refused_message_of_a_batch_is_answered_for_itself() {
    let limits = SessionLimits {
        calls_per_session_max: 1,
        ..SessionLimits::default()
    };
    let mut inside = Inside::new();
    let client = Client::open(&face(limits), &inside.dispatch.clone(), "2025-03-26", "{}").await;
    let other = CALL.replace(r#""id":1"#, r#""id":2"#);
    let batch = tokio::spawn(async move { post_batch(&client, &[CALL, &other]).await });
    inside.next().await.answers(r#"{"resultType":"complete"}"#);
    let text = body_of(batch.await.unwrap());
    assert!(
        text.starts_with(r#"[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"error":{"#),
        "{text}"
    );
    assert!(text.contains("limit/session-calls"), "{text}");
}

#[tokio::test]
async fn the_first_of_a_batch_that_speaks_makes_it_one_stream_that_can_be_taken_up_again() {
    let mut inside = Inside::new();
    let client = Client::open(
        &face(SessionLimits::default()),
        &inside.dispatch.clone(),
        "2025-03-26",
        r#"{"roots":{}}"#,
    )
    .await;
    let calls = [1, 2, 3].map(|id| CALL.replace(r#""id":1"#, &format!(r#""id":{id}"#)));
    let asking = client.clone();
    let batch = tokio::spawn(async move {
        let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
        post_batch(&asking, &[&calls[0], &calls[1], &calls[2], ping]).await
    });
    let mut arrived = [inside.next().await, inside.next().await, inside.next().await];
    arrived.sort_by_key(super::Arrived::id);
    let [first, second, third] = arrived;
    first.answers(r#"{"n":1}"#);
    settle().await;
    // The third call has nothing to say yet, and the question does not wait for it.
    second.answers(r#"{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}"#);
    let mut events = events_of(batch.await.unwrap());
    let mut seen: Vec<(String, String)> = Vec::new();
    for _ in 0..3 {
        seen.push(event(&mut events).await.unwrap());
    }
    let question = seen
        .iter()
        .find(|(_, data)| data.contains("roots/list"))
        .unwrap()
        .1
        .clone();
    for part in [r#""id":1,"result":{"n":1}"#, r#""id":9,"result":{}"#] {
        assert!(seen.iter().any(|(_, data)| data.contains(part)), "{part}: {seen:?}");
    }
    drop(events);
    client.replies(&question, r#""result":{"roots":[]}"#).await;
    inside.next().await.answers(r#"{"n":2}"#);
    third.answers(r#"{"n":3}"#);
    settle().await;
    let last_id = &seen.last().unwrap().0;
    let mut again = events_of(client.with("last-event-id", last_id).get().await);
    let mut rest = Vec::new();
    while let Some((_, data)) = event(&mut again).await {
        rest.push(data);
    }
    rest.sort();
    assert_eq!(
        rest,
        [
            r#"{"jsonrpc":"2.0","id":2,"result":{"n":2}}"#,
            r#"{"jsonrpc":"2.0","id":3,"result":{"n":3}}"#
        ]
    );
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_its_id_is_free_again() {
    let panicking: super::Dispatch = std::sync::Arc::new(|_| {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("a fault of ours")
        })
    });
    let client = Client::newest(&face(SessionLimits::default()), &panicking).await;
    for _ in 0..3 {
        let answer = body_of(client.post(CALL).await);
        assert!(answer.contains(r#""executed":"unknown""#), "{answer}");
        assert!(!answer.contains("still running"), "{answer}");
    }
}
