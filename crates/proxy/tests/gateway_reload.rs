//! A configuration is taken over while calls run: what stays is not touched, what goes is let finish, and whoever may no
//! longer be here is gone at once.
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

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, compiled, documents, mesh, refused};
use meshgate_testkit::{Answer, ScriptedServer, Step, raw};

const TOOL: &str = r#"{"name":"t","inputSchema":{"type":"object"}}"#;
const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
const ACK: &str = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID},"notifications":{"resourceSubscriptions":["a:/b"]}}}"#;
const UPDATED: &str = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:/b","_meta":{"io.modelcontextprotocol/subscriptionId":$ID}}}"#;
/// As soon as a stream is no longer allowed; the bound of the check.
const AT_ONCE: Duration = Duration::from_secs(1);

fn call() -> Post {
    Post::modern("1", "tools/call", r#""name":"t""#)
}

fn listen(wanted: &str) -> Post {
    Post::modern("7", "subscriptions/listen", &format!(r#""notifications":{{{wanted}}}"#))
}

/// A tool that answers when the server is sent `now answer`.
async fn held() -> ScriptedServer {
    let held =
        |_: &meshgate_testkit::Recorded| Answer::stream([Step::Until("now answer".to_owned()), Step::message(DONE)]);
    ScriptedServer::modern().tool_as("t", TOOL, held).start().await
}

async fn answering() -> ScriptedServer {
    ScriptedServer::modern().tool("t", OK).start().await
}

/// A view of these servers for one application of this token.
fn guarded(view: &str, application: &str, token: &str) -> String {
    let digest: String = meshgate_identity::token_digest(token)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    documents(&[
        &format!("kind: View\nmetadata: {{name: {view}}}\nspec: {{path: /mcp, servers: [{{name: only}}]}}"),
        &format!(
            "kind: Application\nmetadata: {{name: {application}}}\nspec: {{tokens: [{{sha256: {digest}}}], views: [{view}]}}"
        ),
    ])
}

/// A server and a view that come and go.
const EXTRA: &str = "---\napiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: more}\nspec: {http: {url: 'http://127.0.0.1:9/mcp'}}\n";

const FIRST: &str = "first-token-of-the-application";
const SECOND: &str = "second-token-of-the-application";

#[tokio::test]
async fn a_server_that_stays_as_it_was_keeps_its_connection_and_its_call() {
    let server = held().await;
    let file = mesh(&[("only", &server.url())], UNHURRIED);
    let gateway = RunningGateway::start(&file).await;
    let asked = (
        server.received("server/discover").len(),
        server.received("tools/list").len(),
    );
    let mut running = call().open(&gateway).await;
    server.wait_for("tools/call", 1).await;
    let renamed = file.replace("metadata: {name: only}", "metadata: {name: only, team: blue}");
    for text in [
        renamed.replace("liftLimits: true", "liftLimits: true, instructions: 'read me'"),
        file.clone(),
    ] {
        let applied = gateway.reload(&text);
        assert!(
            applied.added.is_empty() && applied.removed.is_empty() && applied.renewed.is_empty(),
            "{applied:?}"
        );
    }
    raw::post(server.address(), "/mcp", &[], b"now answer").await;
    let answer = running.answer().await.unwrap();
    assert!(
        answer.messages().last().unwrap().contains("complete"),
        "{}",
        answer.text()
    );
    assert_eq!(server.received("server/discover").len(), asked.0, "no new connection");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_reached_elsewhere_takes_over_when_it_has_answered_and_the_old_call_ends_in_peace() {
    let (old, new) = (held().await, answering().await);
    let gateway = RunningGateway::start(&mesh(&[("only", &old.url())], UNHURRIED)).await;
    let mut running = call().open(&gateway).await;
    old.wait_for("tools/call", 1).await;
    let applied = gateway.reload(&mesh(&[("only", &new.url())], UNHURRIED));
    assert_eq!(applied.renewed, vec![Arc::from("only")]);
    new.wait_for("tools/list", 1).await;
    // The way is swapped a moment after the list was answered.
    until("the new server takes over", || {
        gateway.catalogues.upstreams()[0].1.server().reach != reach(&old)
    })
    .await;
    assert_eq!(call().to(&gateway).await.json()["result"]["resultType"], "complete");
    assert_eq!(
        (old.received("tools/call").len(), new.received("tools/call").len()),
        (1, 1)
    );
    raw::post(old.address(), "/mcp", &[], b"now answer").await;
    let answer = running.answer().await.unwrap();
    assert!(
        answer.messages().last().unwrap().contains("complete"),
        "{}",
        answer.text()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_removed_is_gone_for_the_next_call_and_finishes_the_last() {
    let (first, other) = (held().await, answering().await);
    let both = mesh(&[("only", &first.url()), ("other", &other.url())], "");
    let gateway = RunningGateway::start(&both).await;
    let named = || Post::modern("1", "tools/call", r#""name":"only__t""#);
    let mut running = named().open(&gateway).await;
    first.wait_for("tools/call", 1).await;
    let applied = gateway.reload(&mesh(&[("other", &other.url())], ""));
    assert_eq!(applied.removed, vec![Arc::from("only")]);
    refused("the tool is unknown", &named().to(&gateway).await, 200, -32602);
    raw::post(first.address(), "/mcp", &[], b"now answer").await;
    let answer = running.answer().await.unwrap();
    assert!(
        answer.messages().last().unwrap().contains("complete"),
        "{}",
        answer.text()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_answer_leaves_the_old_server_in_place_and_a_change_taken_back_ends_it() {
    let server = answering().await;
    let file = mesh(&[("only", &server.url())], UNHURRIED);
    let gateway = RunningGateway::start(&file).await;
    let connections = server.received("server/discover").len();
    gateway.reload(&mesh(&[("only", "http://127.0.0.1:9/mcp")], UNHURRIED));
    for _ in 0..5 {
        assert_eq!(call().to(&gateway).await.json()["result"]["resultType"], "complete");
    }
    gateway.reload(&file);
    assert_eq!(call().to(&gateway).await.json()["result"]["resultType"], "complete");
    assert_eq!(
        server.received("server/discover").len(),
        connections,
        "it was never left"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_connection_has_shown_counts_for_nothing_under_new_rules_or_for_others() {
    let server = answering().await;
    let with = |token| mesh(&[("only", &server.url())], &guarded("main", "app", token));
    let gateway = RunningGateway::start(&with(FIRST)).await;
    let mut connection = raw::RawConnection::open(gateway.address).await;
    let mut status = async |post: Post| {
        let bytes = String::from_utf8(post.bytes(gateway.address, false)).unwrap();
        connection
            .send(bytes.replacen("connection: close\r\n", "", 1).as_bytes())
            .await;
        connection.answer().await.unwrap().status
    };
    for _ in 0..3 {
        assert_eq!(status(call().token(FIRST)).await, 200);
    }
    let longer = format!("{FIRST}x");
    for wrong in [SECOND, &FIRST[1..], &longer] {
        assert_eq!(status(call().token(wrong)).await, 401, "{wrong}");
    }
    assert_eq!(status(call().token(FIRST).at("/elsewhere")).await, 404);
    assert_eq!(status(call().token(FIRST)).await, 200);
    gateway.reload(&with(SECOND));
    assert_eq!(status(call().token(FIRST)).await, 401, "revoked on an open connection");
    assert_eq!(status(call().token(SECOND)).await, 200);
    assert_eq!(status(call().token(SECOND)).await, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn an_old_token_is_refused_by_the_very_next_request() {
    let server = answering().await;
    let with = |token| mesh(&[("only", &server.url())], &guarded("main", "app", token));
    let gateway = RunningGateway::start(&with(FIRST)).await;
    assert_eq!(call().token(FIRST).to(&gateway).await.status, 200);
    gateway.reload(&with(SECOND));
    refused("old token", &call().token(FIRST).to(&gateway).await, 401, -33001);
    assert_eq!(call().token(SECOND).to(&gateway).await.status, 200);
    gateway.reload(&with(FIRST).replace("views: [main]", "views: []"));
    refused("no view any more", &call().token(FIRST).to(&gateway).await, 404, -33005);
    gateway.stop().await;
}

#[tokio::test]
async fn a079_a_listen_ends_with_its_last_word_when_its_caller_may_no_longer_have_it() {
    let server = answering().await;
    let url = server.url();
    let file = mesh(&[("only", &url)], &guarded("main", "app", FIRST));
    let elsewhere = file.replace("path: /mcp", "path: /other");
    let other_app = mesh(&[("only", &url)], &guarded("main", "another", SECOND));
    let other_token = mesh(&[("only", &url)], &guarded("main", "app", SECOND));
    let no_view = file.replace("views: [main]", "views: []");
    for (why, without) in [
        ("the view is gone", elsewhere),
        ("the application is gone", other_app),
        ("its token is another", other_token),
        ("it may not use the view", no_view),
    ] {
        let gateway = RunningGateway::start(&file).await;
        let mut stream = listen(r#""toolsListChanged":true"#).token(FIRST).stream(&gateway).await;
        assert_eq!(
            stream.next().await["method"],
            "notifications/subscriptions/acknowledged"
        );
        gateway.reload(&file);
        gateway.reload(&without);
        let last = tokio::time::timeout(AT_ONCE, stream.next()).await.expect(why);
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&7.into(), &"complete".into()),
            "{why}: {last}"
        );
        assert_eq!(stream.maybe_next().await, None, "{why}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a079_no_update_of_a_resource_comes_after_its_server_has_left_the_view() {
    let steps = vec![
        Step::message(ACK),
        Step::message(UPDATED),
        Step::Until("now update".to_owned()),
        Step::message(UPDATED),
        Step::Hold,
    ];
    let server = ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"resources":{"subscribe":true}}"#)
        .tool("t", OK)
        .on("subscriptions/listen", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let other = answering().await;
    let servers = [("only", server.url()), ("other", other.url())];
    let servers: Vec<(&str, &str)> = servers.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let view = |of: &str| {
        mesh(
            &servers,
            &format!("kind: View\nmetadata: {{name: main}}\nspec: {{path: /mcp, servers: [{of}]}}"),
        )
    };
    let gateway = RunningGateway::start(&view("{name: only}")).await;
    let mut stream = listen(r#""resourceSubscriptions":["a:/b"]"#).stream(&gateway).await;
    assert_eq!(
        stream.next().await["method"],
        "notifications/subscriptions/acknowledged"
    );
    assert_eq!(stream.next().await["params"]["uri"], "a:/b");
    gateway.reload(&view("{name: other}"));
    raw::post(server.address(), "/mcp", &[], b"now update").await;
    let last = tokio::time::timeout(AT_ONCE, stream.next()).await.unwrap();
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    assert_eq!(stream.maybe_next().await, None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_of_a_caller_that_may_no_longer_be_here_is_gone_and_its_call_ends_in_peace() {
    let server = held().await;
    let file = mesh(&[("only", &server.url())], &guarded("main", "local", common::TOKEN));
    let gateway = RunningGateway::start(&file).await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let mut attached = client.attach().stream(&gateway).await;
    let mut running = client.request("2", "tools/call", r#""name":"t""#).open(&gateway).await;
    server.wait_for("tools/call", 1).await;
    gateway.reload(&file.replace("views: [main]", "views: []"));
    let ended = tokio::time::timeout(AT_ONCE, attached.maybe_next()).await;
    assert_eq!(ended.expect("the stream ends at once"), None);
    raw::post(server.address(), "/mcp", &[], b"now answer").await;
    let answer = running.answer().await.unwrap();
    assert!(answer.text().contains("\"content\""), "{}", answer.text());
    // Given back, the right does not bring the session back.
    gateway.reload(&file);
    let again = client.request("3", "tools/list", "").to(&gateway).await;
    assert_eq!(again.status, 404, "{}", again.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_comparison_says_who_would_gain_and_lose_which_tools_and_changes_nothing() {
    let server = answering().await;
    let file = mesh(&[("only", &server.url())], &guarded("main", "app", FIRST));
    let gateway = RunningGateway::start(&file).await;
    let told = |text: &str| {
        let compared = gateway.control.compare(&compiled(text), &Default::default());
        let line = |t: &meshgate_proxy::admin::shape::ToolChange| {
            let who = t.application.as_deref().unwrap_or("anybody");
            format!("{who} in {}: +{:?} -{:?}", t.view, t.gained, t.lost)
        };
        let unknown = compared.unknown.iter().map(ToString::to_string).collect::<Vec<_>>();
        (compared.tools.iter().map(line).collect::<Vec<_>>(), unknown)
    };
    let nobody: Vec<String> = Vec::new();
    assert_eq!(told(&file), (nobody.clone(), nobody.clone()));
    let other = file.replace("metadata: {name: app}", "metadata: {name: another}");
    let swapped = ["another in main: +[\"t\"] -[]", "app in main: +[] -[\"t\"]"].map(str::to_owned);
    assert_eq!(told(&other), (swapped.to_vec(), nobody.clone()));
    let hidden = file.replace("{name: only}]}", "{name: only, tools: {hide: [t]}}]}");
    assert_eq!(told(&hidden).0, ["app in main: +[] -[\"t\"]"]);
    let renamed = file.replace("{name: only}]}", "{name: only, tools: {rename: {t: u}}}]}");
    assert_eq!(told(&renamed).0, ["app in main: +[\"u\"] -[\"t\"]"]);
    assert_eq!(told(&format!("{file}{EXTRA}")).1, ["more"]);
    assert_eq!(call().token(FIRST).to(&gateway).await.status, 200);
    assert_eq!(server.received("server/discover").len(), 1, "nobody was asked for it");
    gateway.stop().await;
}

#[tokio::test]
async fn limits_that_are_counted_per_call_hold_from_the_next_call_on() {
    let server = answering().await;
    let limited = |limits: &str| {
        let more = format!("kind: Mesh\nmetadata: {{name: m}}\nspec: {{limits: {{{limits}}}}}");
        mesh(&[("only", &server.url())], &more)
    };
    let gateway = RunningGateway::start(&limited("callsPerSecond: 1, callBurst: 100")).await;
    assert_eq!(call().to(&gateway).await.status, 200);
    gateway.reload(&limited("callsPerSecond: 1, callBurst: 1"));
    assert_eq!(call().to(&gateway).await.status, 429);
    gateway.reload(&limited("callsPerSecond: 1, callBurst: 100"));
    assert_eq!(call().to(&gateway).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn sixty_reloads_under_calls_fail_none_and_leave_nothing_behind() {
    let servers = [answering().await, answering().await];
    let file = |which: usize, more: &str| {
        let text = mesh(&[("only", &servers[which].url())], UNHURRIED);
        format!("{text}{more}")
    };
    let gateway = Arc::new(RunningGateway::start(&file(0, "")).await);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, stop, answered) = (gateway.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = call().to(&gateway).await;
                    let text = answer.text();
                    assert_eq!(answer.json()["result"]["resultType"], "complete", "{text}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 0..60 {
        let before = answered.load(Ordering::Relaxed);
        let extra = if n % 3 == 0 { EXTRA } else { "" };
        gateway.reload(&file(n / 2 % 2, extra));
        until("calls go on", || answered.load(Ordering::Relaxed) > before).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let sent: usize = servers.iter().map(|server| server.received("tools/call").len()).sum();
    assert_eq!(sent, answered.load(Ordering::Relaxed), "each call ran once");
    until("old ways are closed", || gateway.catalogues.leaving() == 0).await;
    let gateway = Arc::into_inner(gateway).unwrap();
    assert!(gateway.stop_in_peace().await);
}

fn reach(server: &ScriptedServer) -> meshgate_model::Reach {
    meshgate_model::Reach::Http {
        url: server.url(),
        headers: Vec::new(),
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let all = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect(what);
}
