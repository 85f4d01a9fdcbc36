use std::time::Duration;

use super::super::SessionLimits;
use super::{Arrived, Client, Inside, body_of, data, event, events_of, face, settle};

fn subscribe(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{{"uri":"{uri}"}}}}"#)
}

fn acknowledges(listen: &Arrived, notifications: &str) {
    listen.says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{notifications},"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}}}"#,
        listen.id()
    ));
}

fn changed(listen: &Arrived, list: &str) {
    listen.says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}}}"#,
        listen.id()
    ));
}

#[tokio::test]
async fn changed_lists_arrive_on_the_get_stream() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let mut events = events_of(client.get().await);
    let listen = inside.next().await;
    assert!(listen.request.contains("subscriptions/listen") && listen.request.contains(r#""toolsListChanged":true"#));
    acknowledges(&listen, r#"{"toolsListChanged":true}"#);
    changed(&listen, "tools");
    event(&mut events).await;
    assert_eq!(
        data(&mut events).await,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#
    );
}

#[tokio::test]
async fn a_subscription_is_answered_when_the_server_took_it_on() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(&subscribe("a:b"));
    let listen = inside.next().await;
    assert!(
        listen.request.contains(r#"{"resourceSubscriptions":["a:b"]}"#),
        "{}",
        listen.request
    );
    settle().await;
    assert!(!call.is_finished());
    acknowledges(&listen, r#"{"resourceSubscriptions":["a:b"]}"#);
    assert_eq!(body_of(call.await.unwrap()), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(
        body_of(client.post(&subscribe("a:b")).await),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
}

#[tokio::test]
async fn a_resource_the_server_left_out_is_refused_and_not_asked_for_again() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(&subscribe("a:b"));
    acknowledges(&inside.next().await, "{}");
    let body = body_of(call.await.unwrap());
    assert!(body.contains("-32602") && body.contains(r#""uri":"a:b""#), "{body}");
    settle().await;
    assert!(inside.arrived.try_recv().is_err());
}

#[tokio::test]
async fn a_larger_wish_is_opened_before_the_old_one_is_closed() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let first = client.send(&subscribe("a:1"));
    let old = inside.next().await;
    acknowledges(&old, r#"{"resourceSubscriptions":["a:1"]}"#);
    body_of(first.await.unwrap());
    let second = client.send(&subscribe("a:2"));
    let new = inside.next().await;
    assert!(new.request.contains(r#"["a:1","a:2"]"#) && !old.messages.is_closed());
    acknowledges(&new, r#"{"resourceSubscriptions":["a:1","a:2"]}"#);
    body_of(second.await.unwrap());
    old.is_dropped().await;
    assert!(!new.messages.is_closed());
}

#[tokio::test]
async fn updates_wait_for_the_get_stream_and_stop_with_unsubscribe() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let call = client.send(&subscribe("a:b"));
    let listen = inside.next().await;
    acknowledges(&listen, r#"{"resourceSubscriptions":["a:b"]}"#);
    body_of(call.await.unwrap());
    listen.says(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#);
    settle().await;
    let mut events = events_of(client.get().await);
    event(&mut events).await;
    assert!(data(&mut events).await.contains("resources/updated"));
    let with_lists = inside.next().await;
    acknowledges(
        &with_lists,
        r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#,
    );
    let unsubscribe = subscribe("a:b").replace("/subscribe", "/unsubscribe");
    assert_eq!(
        body_of(client.post(&unsubscribe).await),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
    assert!(!inside.next().await.request.contains("a:b"));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_broke_off_is_opened_again_and_all_of_it_may_have_changed() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let mut events = events_of(client.get().await);
    event(&mut events).await;
    let listen = inside.next().await;
    acknowledges(&listen, r#"{"promptsListChanged":true}"#);
    let call = client.send(&subscribe("a:b"));
    let listen = inside.next().await;
    acknowledges(
        &listen,
        r#"{"promptsListChanged":true,"resourceSubscriptions":["a:b"]}"#,
    );
    body_of(call.await.unwrap());
    drop(listen);
    let again = inside.next().await;
    acknowledges(&again, r#"{"promptsListChanged":true,"resourceSubscriptions":["a:b"]}"#);
    assert_eq!(
        data(&mut events).await,
        r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#
    );
    assert_eq!(
        data(&mut events).await,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_never_acknowledged_is_refused() {
    let inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch).await;
    let body = body_of(client.post(&subscribe("a:b")).await);
    assert!(body.contains("not acknowledged in time"), "{body}");
}

#[tokio::test]
async fn a_view_without_subscriptions_does_not_have_the_method() {
    let mut client = Client::newest(&face(SessionLimits::default()), &Inside::new().dispatch).await;
    client.offered.capabilities = br#"{"resources":{"subscribe":false}}"#.as_slice().into();
    assert!(body_of(client.post(&subscribe("a:b")).await).contains("-32601"));
}

#[tokio::test]
async fn the_subscriptions_of_a_session_are_bounded() {
    let mut inside = Inside::new();
    let limits = SessionLimits {
        subscriptions_per_session_max: 2,
        subscription_bytes_max: 3,
        ..SessionLimits::default()
    };
    let client = Client::newest(&face(limits), &inside.dispatch.clone()).await;
    let mut open = Vec::new();
    for uri in ["a:1", "a:2"] {
        let call = client.send(&subscribe(uri));
        let listen = inside.next().await;
        acknowledges(&listen, r#"{"resourceSubscriptions":["a:1","a:2"]}"#);
        open.push(listen);
        assert!(body_of(call.await.unwrap()).contains(r#""result":{}"#));
    }
    let full = body_of(client.post(&subscribe("a:3")).await);
    assert!(full.contains("unsubscribe from one first"), "{full}");
    let again = body_of(client.post(&subscribe("a:1")).await);
    assert!(
        again.contains(r#""result":{}"#),
        "one that it has costs nothing: {again}"
    );
    assert!(body_of(client.post(&subscribe("a:33")).await).contains("too long"));
    client
        .post(&subscribe("a:1").replace("/subscribe", "/unsubscribe"))
        .await
        .unwrap();
    inside.next().await.answers("{}");
    let call = client.send(&subscribe("a:3"));
    let listen = loop {
        let listen = inside.next().await;
        if listen.request.contains("a:3") {
            break listen;
        }
    };
    acknowledges(&listen, r#"{"resourceSubscriptions":["a:2","a:3"]}"#);
    assert!(body_of(call.await.unwrap()).contains(r#""result":{}"#));
}

fn updated(listen: &Arrived, uri: &str) {
    listen.says(&format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}","_meta":{{"io.modelcontextprotocol/subscriptionId":{}}}}}}}"#,
        listen.id()
    ));
}

#[tokio::test]
async fn nothing_is_lost_or_told_twice_while_a_larger_wish_takes_over() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let first = client.send(&subscribe("a:1"));
    let old = inside.next().await;
    acknowledges(&old, r#"{"resourceSubscriptions":["a:1"]}"#);
    body_of(first.await.unwrap());
    let second = client.send(&subscribe("a:2"));
    let new = inside.next().await;
    // Before the new one listens; then on both; then on the new one alone.
    updated(&old, "a:1?before");
    acknowledges(&new, r#"{"resourceSubscriptions":["a:1","a:2"]}"#);
    for listen in [&old, &new] {
        updated(listen, "a:1?both");
        updated(listen, "a:1?both");
    }
    updated(&new, "a:2?behind");
    body_of(second.await.unwrap());
    updated(&new, "a:1?both");
    settle().await;
    let mut events = events_of(client.get().await);
    event(&mut events).await;
    for uri in ["a:1?before", "a:1?both", "a:1?both", "a:2?behind", "a:1?both"] {
        let told = data(&mut events).await;
        assert!(told.contains(&format!(r#"{{"uri":"{uri}"}}"#)), "{uri}: {told}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_subscription_is_heard_while_the_new_one_is_not_there() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let first = client.send(&subscribe("a:1"));
    let old = inside.next().await;
    acknowledges(&old, r#"{"resourceSubscriptions":["a:1"]}"#);
    body_of(first.await.unwrap());
    let mut events = events_of(client.get().await);
    event(&mut events).await;
    let _never_acknowledged = inside.next().await;
    updated(&old, "a:1");
    assert!(data(&mut events).await.contains(r#""uri":"a:1""#));
    tokio::time::sleep(Duration::from_secs(11)).await;
    updated(&old, "a:1?later");
    assert!(data(&mut events).await.contains(r#""uri":"a:1?later""#));
}

#[tokio::test]
async fn ending_the_session_ends_its_subscription() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    let _events = events_of(client.get().await);
    let listen = inside.next().await;
    acknowledges(&listen, "{}");
    client.delete().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), listen.is_dropped())
        .await
        .unwrap();
}
