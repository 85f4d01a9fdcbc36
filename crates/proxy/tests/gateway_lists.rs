//! What a view shows changes, and who listens to it hears of it: once, in their own words, and only of what they see.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Events, Post, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, Script, ScriptedServer, Step, raw};
use parking_lot::Mutex;
use serde_json::{Value, json};

const TWO: &str = "kind: View\nmetadata: {name: both}\nspec: {path: /mcp, servers: [{name: alpha, tools: {hide: [secret]}}, {name: beta}]}";
const ACK: &str = "notifications/subscriptions/acknowledged";
const CHANGED: &str = "notifications/tools/list_changed";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";

/// The tools that a server shows now, by name and description.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<(String, String)>>>);

impl Shown {
    fn of(tools: &[(&str, &str)]) -> Self {
        let shown = Self::default();
        shown.set(tools);
        shown
    }

    fn set(&self, tools: &[(&str, &str)]) {
        *self.0.lock() = tools.iter().map(|(n, d)| ((*n).to_owned(), (*d).to_owned())).collect();
    }

    fn list(&self) -> Answer {
        let tools: Vec<Value> = self.0.lock().iter().map(|(name, description)| json!({"name": name, "description": description, "inputSchema": {"type": "object"}})).collect();
        let tools = serde_json::to_string(&tools).unwrap();
        Answer::result(&format!(
            r#"{{"resultType":"complete","tools":{tools},"ttlMs":0,"cacheScope":"public"}}"#
        ))
    }
}

fn tagged(method: &str, members: &str) -> Step {
    let comma = if members.is_empty() { "" } else { "," };
    Step::message(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{TAG}":$ID}}{comma}{members}}}}}"#
    ))
}

/// A server that shows these tools, and announces a change each time it is told `announce-1`, `announce-2`, ….
fn announcing(shown: &Shown) -> Script {
    let shown = shown.clone();
    ScriptedServer::modern()
        .on("tools/list", move |_| shown.list())
        .when(|request| {
            let wanted = request.json()["params"]["notifications"].clone();
            (request.method() == "subscriptions/listen" && wanted["toolsListChanged"] == true).then(|| {
                let ack = tagged(ACK, r#""notifications":{"toolsListChanged":true}"#);
                let changes = (1..4).flat_map(|n| [Step::Until(format!("announce-{n}")), tagged(CHANGED, "")]);
                Answer::stream([ack].into_iter().chain(changes).chain([Step::Hold]))
            })
        })
}

async fn announce(server: &ScriptedServer, n: u32) {
    raw::post(server.address(), "/mcp", &[], format!("announce-{n}").as_bytes()).await;
}

async fn listen(gateway: &RunningGateway, id: &str, wanted: &str) -> Events {
    let post = Post::modern(id, "subscriptions/listen", &format!(r#""notifications":{{{wanted}}}"#));
    post.stream(gateway).await
}

fn expect(message: &Value, method: &str, id: &Value) {
    assert_eq!(message["method"], method, "{message}");
    assert_eq!(&message["params"]["_meta"][TAG], id, "{message}");
}

/// The end of a subscription in order: its result, then nothing.
async fn ends(mut events: Events, id: &Value) {
    let last = events.next().await;
    assert_eq!(&last["id"], id, "{last}");
    assert_eq!(
        last["result"],
        json!({"resultType": "complete", "_meta": {TAG: id}}),
        "{last}"
    );
    assert_eq!(events.maybe_next().await, None);
}

async fn names(gateway: &RunningGateway) -> Vec<String> {
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    let tools = list["result"]["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_merged_view_tells_of_a_change_only_when_what_it_shows_has_changed() {
    let shown = Shown::of(&[("echo", "one"), ("secret", "one")]);
    let alpha = announcing(&shown).start().await;
    let beta = ScriptedServer::modern().tool("echo", "{}").start().await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], TWO)).await;
    let id = json!("mine");
    let mut events = listen(&gateway, "\"mine\"", r#""toolsListChanged":true"#).await;
    expect(&events.next().await, ACK, &id);
    alpha.wait_for("subscriptions/listen", 1).await;

    // Announced, and nothing is different.
    announce(&alpha, 1).await;
    alpha.wait_for("tools/list", 2).await;
    // Announced, and only a hidden tool is different: its existence stays hidden.
    shown.set(&[("echo", "one"), ("secret", "two")]);
    announce(&alpha, 2).await;
    alpha.wait_for("tools/list", 3).await;
    // Announced, and something that is shown is different.
    shown.set(&[("echo", "two"), ("more", "new"), ("secret", "two")]);
    announce(&alpha, 3).await;
    expect(&events.next().await, CHANGED, &id);
    assert_eq!(names(&gateway).await, ["alpha__echo", "alpha__more", "beta__echo"]);
    gateway.stop().await;
    ends(events, &id).await;
}

#[tokio::test]
async fn a_view_of_one_server_passes_on_what_the_server_announces() {
    let shown = Shown::of(&[("echo", "one")]);
    let server = announcing(&shown).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let id = json!(7);
    let mut events = listen(&gateway, "7", r#""toolsListChanged":true"#).await;
    expect(&events.next().await, ACK, &id);
    server.wait_for("subscriptions/listen", 1).await;
    announce(&server, 1).await;
    expect(&events.next().await, CHANGED, &id);
    gateway.stop().await;
    ends(events, &id).await;
}

#[tokio::test]
async fn the_first_message_says_what_was_granted_under_the_clients_own_id() {
    let shown = Shown::of(&[("echo", "one")]);
    let server = announcing(&shown).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let everything = r#""toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["file:///a"],"later":{"x":1}"#;
    let (mut number, mut text) = (
        listen(&gateway, "1", everything).await,
        listen(&gateway, "\"1\"", everything).await,
    );
    for (events, id) in [(&mut number, json!(1)), (&mut text, json!("1"))] {
        let ack = events.next().await;
        expect(&ack, ACK, &id);
        let granted = &ack["params"]["notifications"];
        assert_eq!(granted["toolsListChanged"], true, "{ack}");
        for absent in ["promptsListChanged", "resourcesListChanged", "later"] {
            assert!(granted.get(absent).is_none(), "{ack}");
        }
        assert!(
            granted
                .get("resourceSubscriptions")
                .is_none_or(|uris| *uris == json!([])),
            "{ack}"
        );
    }
    let mut nothing = listen(&gateway, "2", r#""toolsListChanged":false"#).await;
    assert_eq!(nothing.next().await["params"]["notifications"], json!({}));
    for wrong in ["", r#""notifications":true"#, r#""notifications":["tools"]"#] {
        let answer = gateway.modern("/mcp", "3", "subscriptions/listen", wrong).await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{wrong}: {}", answer.text());
    }
    gateway.stop().await;
    ends(number, &json!(1)).await;
    ends(text, &json!("1")).await;
    ends(nothing, &json!(2)).await;
}

#[tokio::test]
async fn updates_of_a_resource_come_wrapped_in_a_merged_view_and_plain_in_a_view_of_one() {
    let subscribing = || {
        let list =
            r#"{"resultType":"complete","resources":[{"uri":"file:///a","name":"a"}],"ttlMs":0,"cacheScope":"public"}"#;
        ScriptedServer::modern()
            .capabilities(r#"{"resources":{"subscribe":true}}"#)
            .on("resources/list", move |_| Answer::result(list))
            .on("subscriptions/listen", |request| {
                let asked = request.json()["params"]["notifications"]["resourceSubscriptions"].clone();
                // A resource below the one that was asked for belongs to it as well.
                let granted = if asked.to_string().contains("file:///a") {
                    r#"["file:///a"]"#
                } else {
                    "[]"
                };
                Answer::stream([
                    tagged(
                        ACK,
                        &format!(r#""notifications":{{"resourceSubscriptions":{granted}}}"#),
                    ),
                    Step::Until("announce-1".to_owned()),
                    tagged(
                        "notifications/resources/updated",
                        r#""uri":"file:///a/below","later":1"#,
                    ),
                    Step::Hold,
                ])
            })
    };
    let (alpha, beta) = (
        subscribing().start().await,
        ScriptedServer::modern().tool("echo", "{}").start().await,
    );
    let merged = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], TWO)).await;
    let single = RunningGateway::start(&mesh(&[("only", &alpha.url())], UNHURRIED)).await;
    let wrap = |uri: &str| meshgate_model::naming::wrap_uri("alpha", uri);
    for (gateway, uri, below) in [
        (&merged, wrap("file:///a"), wrap("file:///a/below")),
        (&single, "file:///a".to_owned(), "file:///a/below".to_owned()),
    ] {
        let foreign = meshgate_model::naming::wrap_uri("nobody", "file:///a");
        let wanted = format!(r#""resourceSubscriptions":["{uri}","file:///unknown","{foreign}"]"#);
        let mut events = listen(gateway, "\"s\"", &wanted).await;
        let ack = events.next().await;
        expect(&ack, ACK, &json!("s"));
        assert_eq!(
            ack["params"]["notifications"]["resourceSubscriptions"],
            json!([uri]),
            "{ack}"
        );
        announce(&alpha, 1).await;
        let update = events.next().await;
        expect(&update, "notifications/resources/updated", &json!("s"));
        assert_eq!(
            (&update["params"]["uri"], &update["params"]["later"]),
            (&json!(below), &json!(1))
        );
    }
    merged.stop().await;
    single.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_listening_is_forgotten_at_the_server() {
    let server = ScriptedServer::modern()
        .capabilities(r#"{"resources":{"subscribe":true}}"#)
        .on("resources/list", |_| {
            Answer::result(r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .on("subscriptions/listen", |_| {
            Answer::stream([
                tagged(ACK, r#""notifications":{"resourceSubscriptions":["file:///a"]}"#),
                Step::Hold,
            ])
        })
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let mut events = listen(&gateway, "1", r#""resourceSubscriptions":["file:///a"]"#).await;
    events.next().await;
    assert!(server.holds(1).await);
    drop(events);
    assert!(server.holds(0).await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_is_told_both_times_and_harms_nobody() {
    let gone = Arc::new(AtomicBool::new(false));
    let away = gone.clone();
    let shown = Shown::of(&[("echo", "one")]);
    let alpha = announcing(&shown)
        .on("subscriptions/listen", |_| {
            let ack = tagged(ACK, r#""notifications":{"toolsListChanged":true}"#);
            Answer::stream([ack, Step::Until("announce-away".to_owned()), Step::Break])
        })
        .when(move |_| away.load(Ordering::SeqCst).then(|| Answer::status(503)))
        .start()
        .await;
    let beta = ScriptedServer::modern()
        .tool("echo", r#"{"resultType":"complete","content":[]}"#)
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], TWO)).await;
    let mut events = listen(&gateway, "1", r#""toolsListChanged":true"#).await;
    expect(&events.next().await, ACK, &json!(1));
    alpha.wait_for("subscriptions/listen", 1).await;

    gone.store(true, Ordering::SeqCst);
    raw::post(alpha.address(), "/mcp", &[], b"announce-away").await;
    expect(&events.next().await, CHANGED, &json!(1));
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(
        list["result"]["_meta"]["dev.meshgate/serversAway"],
        json!(["alpha"]),
        "{list}"
    );
    let call = gateway
        .modern("/mcp", "1", "tools/call", r#""name":"beta__echo""#)
        .await;
    assert_eq!(call.json()["result"]["resultType"], "complete", "{}", call.text());

    gone.store(false, Ordering::SeqCst);
    expect(&events.next().await, CHANGED, &json!(1));
    assert_eq!(names(&gateway).await, ["alpha__echo", "beta__echo"]);
    gateway.stop().await;
}
