//! Many clients that watch resources are few subscriptions at the servers, and none of them notices the others.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Events, Post, RunningGateway, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_model::naming::wrap_uri;
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step, raw};
use serde_json::{Value, json};

const ACK: &str = "notifications/subscriptions/acknowledged";
const UPDATED: &str = "notifications/resources/updated";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

fn tagged(method: &str, members: &str) -> Step {
    Step::message(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{TAG}":$ID}},{members}}}}}"#
    ))
}

/// The resources that a listen asks for; none for a listen of another kind.
fn asked(request: &Recorded) -> Option<Vec<String>> {
    if request.method() != "subscriptions/listen" {
        return None;
    }
    let uris = request.json()["params"]["notifications"]["resourceSubscriptions"].clone();
    serde_json::from_value(uris).ok()
}

fn ack(uris: &[String]) -> Step {
    let uris = serde_json::to_string(uris).unwrap();
    tagged(ACK, &format!(r#""notifications":{{"resourceSubscriptions":{uris}}}"#))
}

fn update(uri: &str) -> Step {
    tagged(UPDATED, &format!(r#""uri":"{uri}""#))
}

/// A server with subscriptions that does this on each: it is given the number of the subscription and what it asks for.
fn watching(steps: impl Fn(usize, Vec<String>) -> Answer + Send + Sync + 'static) -> Script {
    let count = AtomicUsize::new(0);
    ScriptedServer::modern()
        .capabilities(r#"{"resources":{"subscribe":true}}"#)
        .on("resources/list", |_| {
            Answer::result(r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .when(move |request| {
            let uris = asked(request)?;
            Some(steps(count.fetch_add(1, Ordering::SeqCst) + 1, uris))
        })
}

async fn go(server: &ScriptedServer, word: &str) {
    raw::post(server.address(), "/mcp", &[], word.as_bytes()).await;
}

fn post(id: &str, uris: &[&str]) -> Post {
    let uris = serde_json::to_string(uris).unwrap();
    let wanted = format!(r#""notifications":{{"resourceSubscriptions":{uris}}}"#);
    Post::modern(id, "subscriptions/listen", &wanted)
}

/// Opens a stream; it, and what was granted.
async fn listen(gateway: &RunningGateway, id: &str, uris: &[&str]) -> (Events, Value) {
    acknowledged(post(id, uris).stream(gateway).await).await
}

async fn acknowledged(mut events: Events) -> (Events, Value) {
    let ack = events.next().await;
    assert_eq!(ack["method"], ACK, "{ack}");
    (events, ack["params"]["notifications"]["resourceSubscriptions"].clone())
}

async fn told(events: &mut Events, id: Value, uri: &str) {
    let update = events.next().await;
    assert_eq!(update["method"], UPDATED, "{update}");
    assert_eq!(update["params"], json!({"_meta": {TAG: id}, "uri": uri}), "{update}");
}

/// What the server was asked for, subscription by subscription.
fn wishes(server: &ScriptedServer) -> Vec<Vec<String>> {
    server.recorded().iter().filter_map(asked).collect()
}

async fn wishes_of(server: &ScriptedServer, count: usize) -> Vec<Vec<String>> {
    for _ in 0..500 {
        if wishes(server).len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wishes(server)
}

/// Acknowledges everything and says `x` changed when it hears of it.
fn granting(uris: &[String], words: &[(&str, &str)]) -> Answer {
    let said = words
        .iter()
        .flat_map(|(word, uri)| [Step::Until((*word).to_owned()), update(uri)]);
    Answer::stream([ack(uris)].into_iter().chain(said).chain([Step::Hold]))
}

#[tokio::test]
async fn clients_that_watch_one_resource_are_one_subscription_at_its_server() {
    let server = watching(|_, uris| granting(&uris, &[("word-1", "file:///a")]))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut first, granted) = listen(&gateway, "1", &["file:///a"]).await;
    assert_eq!(granted, json!(["file:///a"]));
    // A-078: two clients with one id, and one with the same spelled as text.
    let (mut twin, _) = listen(&gateway, "1", &["file:///a", "file:///a"]).await;
    let (mut text, _) = listen(&gateway, "\"1\"", &["file:///a"]).await;
    assert_eq!(wishes(&server), [["file:///a"]]);
    go(&server, "word-1").await;
    told(&mut first, json!(1), "file:///a").await;
    told(&mut twin, json!(1), "file:///a").await;
    told(&mut text, json!("1"), "file:///a").await;
    // The last one that leaves ends it, and not at once.
    drop((first, twin));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.holds(1).await);
    drop(text);
    assert!(server.holds(0).await);
    assert_eq!(wishes(&server).len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_larger_wish_is_open_before_the_smaller_one_is_let_go_and_nothing_is_told_twice() {
    // Both subscriptions say everything; the first one also what happened before the second one was there.
    let server = watching(|n, uris| match n {
        1 => granting(
            &uris,
            &[
                ("word-1", "file:///a"),
                ("word-1", "file:///a"),
                ("word-2", "file:///a"),
            ],
        ),
        _ => granting(&uris, &[("word-1", "file:///a"), ("word-2", "file:///b")]),
    })
    .start()
    .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut first, _) = listen(&gateway, "1", &["file:///a"]).await;
    let (mut second, granted) = listen(&gateway, "2", &["file:///b"]).await;
    assert_eq!(granted, json!(["file:///b"]));
    assert_eq!(wishes(&server)[1], ["file:///a", "file:///b"]);
    go(&server, "word-1").await;
    told(&mut first, json!(1), "file:///a").await;
    // By now the smaller one is let go: what only it would say is not heard any more.
    tokio::time::sleep(Duration::from_millis(150)).await;
    go(&server, "word-2").await;
    told(&mut second, json!(2), "file:///b").await;
    assert!(server.holds(1).await);
    // Nobody is told of what it did not ask for, and nothing twice: the next thing that each hears is its end.
    gateway.stop().await;
    for events in [&mut first, &mut second] {
        assert_eq!(events.next().await["result"]["resultType"], "complete");
    }
}

#[tokio::test]
async fn what_only_the_old_subscription_said_is_told_all_the_same() {
    let server = watching(|n, uris| match n {
        1 => granting(&uris, &[("\"file:///b\"", "file:///a")]),
        _ => granting(&uris, &[]),
    })
    .start()
    .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut first, _) = listen(&gateway, "1", &["file:///a"]).await;
    let (_second, _) = listen(&gateway, "2", &["file:///b"]).await;
    told(&mut first, json!(1), "file:///a").await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_server_does_not_grant_is_missing_and_harms_no_other_client() {
    // A server that knows no halves: one resource it does not like, and it refuses the whole.
    let server = watching(|_, uris| {
        if uris.iter().any(|uri| uri.contains("bad")) {
            Answer::error(-32602, "no such resource")
        } else {
            let granted: Vec<String> = uris.into_iter().filter(|uri| !uri.contains("unknown")).collect();
            granting(&granted, &[("word-1", "file:///a")])
        }
    })
    .start()
    .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut kept, granted) = listen(&gateway, "1", &["file:///a", "file:///unknown"]).await;
    assert_eq!(granted, json!(["file:///a"]));
    let ids = ["2", "3", "4", "5"];
    let streams = [["file:///b"], ["file:///bad"], ["file:///c"], ["file:///bad"]];
    let opened = ids.iter().zip(&streams).map(|(id, uris)| listen(&gateway, id, uris));
    let opened = futures_util::future::join_all(opened).await;
    let granted: Vec<&Value> = opened.iter().map(|(_, granted)| granted).collect();
    assert_eq!(
        granted,
        [&json!(["file:///b"]), &json!([]), &json!(["file:///c"]), &json!([])]
    );
    go(&server, "word-1").await;
    told(&mut kept, json!(1), "file:///a").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_lost_subscription_is_opened_again_and_everything_counts_as_updated() {
    let broken = Arc::new(AtomicBool::new(false));
    let away = broken.clone();
    let server = watching(move |n, uris| match n {
        1 => Answer::stream([ack(&uris), Step::Until("word-1".to_owned()), Step::Break]),
        _ if away.load(Ordering::SeqCst) => Answer::status(503),
        _ => granting(&uris, &[("word-2", "file:///b")]),
    })
    .start()
    .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut first, _) = listen(&gateway, "1", &["file:///a", "file:///b"]).await;
    let (mut second, _) = listen(&gateway, "\"two\"", &["file:///b"]).await;
    broken.store(true, Ordering::SeqCst);
    go(&server, "word-1").await;
    wishes_of(&server, 3).await;
    broken.store(false, Ordering::SeqCst);
    let mut told_first = [first.next().await, first.next().await];
    told_first.sort_by_key(|message| message["params"]["uri"].to_string());
    let uris: Vec<&Value> = told_first.iter().map(|message| &message["params"]["uri"]).collect();
    assert_eq!(uris, ["file:///a", "file:///b"]);
    told(&mut second, json!("two"), "file:///b").await;
    go(&server, "word-2").await;
    told(&mut second, json!("two"), "file:///b").await;
    told(&mut first, json!(1), "file:///b").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_part_of_a_resource_and_what_nothing_explains_come_by_the_subscription() {
    let words = [
        ("word-1", "file:///d/part"),
        ("word-2", "row:7"),
        ("word-3", "file:///e"),
    ];
    let server = watching(move |_, uris| granting(&uris, &words)).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut events, _) = listen(&gateway, "1", &["file:///d", "file:///e"]).await;
    for (word, uri) in words {
        go(&server, word).await;
        told(&mut events, json!(1), uri).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn d20_a_client_hears_of_what_it_asked_for_and_of_nothing_else() {
    let words = [("word-1", "file:///a"), ("word-2", "file:///b")];
    let server = watching(move |_, uris| granting(&uris, &words)).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let both = ["file:///a", "file:///b"];
    let (mut all, _) = listen(&gateway, "1", &both).await;
    let (mut first, _) = listen(&gateway, "2", &both[..1]).await;
    let (mut second, _) = listen(&gateway, "3", &both[1..]).await;
    let nothing = r#""notifications":{"resourcesListChanged":false}"#;
    let mut nothing = Post::modern("4", "subscriptions/listen", nothing)
        .stream(&gateway)
        .await;
    assert_eq!(nothing.next().await["params"]["notifications"], json!({}));
    for (word, uri) in words {
        go(&server, word).await;
        told(&mut all, json!(1), uri).await;
    }
    told(&mut first, json!(2), "file:///a").await;
    told(&mut second, json!(3), "file:///b").await;
    gateway.stop().await;
    for mut events in [all, first, second, nothing] {
        assert_eq!(events.next().await["result"]["resultType"], "complete");
        assert_eq!(events.maybe_next().await, None);
    }
}

const VIEWS: &str = "kind: View\nmetadata: {name: merged}\nspec: {path: /mcp, servers: [{name: alpha}, {name: beta}], liftLimits: true}";
const OTHER: &str =
    "kind: View\nmetadata: {name: other}\nspec: {path: /other, servers: [{name: beta}], liftLimits: true}";

#[tokio::test]
async fn a077_what_a_view_does_not_show_is_missing_from_the_acknowledgement_and_never_asked_for() {
    let alpha = watching(|_, uris| granting(&uris, &[])).start().await;
    let beta = watching(|_, uris| granting(&uris, &[])).start().await;
    let servers = mesh(
        &[("alpha", &alpha.url()), ("beta", &beta.url())],
        &documents(&[VIEWS, OTHER]),
    );
    let gateway = RunningGateway::start(&servers).await;
    let (secret, gamma) = (wrap_uri("alpha", "file:///secret"), wrap_uri("gamma", "file:///secret"));
    // The other view has no server alpha; in a view of one server nothing is wrapped.
    let other = acknowledged(post("1", &[&secret, "file:///b"]).at("/other").stream(&gateway).await).await;
    assert_eq!(
        other.1,
        json!([secret, "file:///b"]),
        "a server's own word for its own resource"
    );
    assert!(wishes(&alpha).is_empty());
    let merged = listen(&gateway, "1", &["file:///secret", &gamma, "mesh+:x", "ui://x"]).await;
    assert_eq!(merged.1, json!([]));
    assert_eq!((wishes(&alpha).len(), wishes(&beta).len()), (0, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn one_server_that_is_slow_to_grant_costs_its_own_resources_and_nothing_more() {
    let alpha = watching(|_, _| Answer::stream([Step::Hold])).start().await;
    let beta = watching(|_, uris| granting(&uris, &[("word-1", "file:///b")]))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], VIEWS)).await;
    let (a, b) = (wrap_uri("alpha", "file:///a"), wrap_uri("beta", "file:///b"));
    let (mut events, granted) = listen(&gateway, "1", &[&a, &b]).await;
    assert_eq!(granted, json!([b]));
    go(&beta, "word-1").await;
    told(&mut events, json!(1), &b).await;
    gateway.stop().await;
}

fn with_applications(yaml: &str, names: &[&str]) -> meshgate_model::Snapshot {
    let mut snapshot = compiled(yaml);
    for name in names {
        assert!(snapshot.add_token(name, token_digest(name)));
    }
    snapshot
}

#[tokio::test]
async fn a_caller_has_its_share_of_a_servers_subscriptions_and_another_has_its_own() {
    let server = watching(|_, uris| granting(&uris, &[])).start().await;
    let application = |name: &str| {
        format!(
            "kind: Application\nmetadata: {{name: {name}}}\nspec: {{views: [default], tokens: [{{environment: UNUSED_{name}}}]}}"
        )
    };
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}]}";
    let more = documents(&[view, &application("a"), &application("b")]);
    let snapshot = with_applications(&mesh(&[("only", &server.url())], &more), &["a", "b"]);
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let uris: Vec<String> = (0..1001).map(|n| format!("file:///{n}")).collect();
    let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
    let as_caller = |name: &'static str, id: &'static str, uris: &[&str]| post(id, uris).token(name);
    let over = as_caller("a", "1", &uris).to(&gateway).await;
    assert_eq!(over.json()["error"]["code"], -32602, "{}", over.text());
    let (_held, granted) = acknowledged(as_caller("a", "1", &uris[..999]).stream(&gateway).await).await;
    assert_eq!(granted.as_array().unwrap().len(), 999);
    let (_last, granted) = acknowledged(as_caller("a", "2", &uris[998..1000]).stream(&gateway).await).await;
    assert_eq!(granted, json!([uris[998]]), "the share is used up");
    let (_none, granted) = acknowledged(as_caller("a", "3", &uris[..1]).stream(&gateway).await).await;
    assert_eq!(granted, json!([]));
    let (_other, granted) = acknowledged(as_caller("b", "1", &uris[..1000]).stream(&gateway).await).await;
    assert_eq!(granted.as_array().unwrap().len(), 1000);
    gateway.stop().await;
}
