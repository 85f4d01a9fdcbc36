//! Clients of the four legacy revisions, spelled by hand, through a view of a modern and of a legacy server.
//!
//! A client must not be able to tell which era stands behind the gateway, and a server must not be able to tell which
//! era called. So most tests here run against both, and compare what either side was told.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::raw::{self, RawConnection};
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step};
use serde_json::{Value, json};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const CAPABILITIES: &str =
    r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}"#;
const OPEN: &str = r#"{"name":"NAME","inputSchema":{"type":"object"}}"#;

/// A server of either era with one of everything; `modern` members are left out of legacy results.
fn scripted(modern: bool) -> Script {
    let script = if modern {
        ScriptedServer::modern()
    } else {
        ScriptedServer::legacy("2025-06-18")
    };
    let (complete, cached) = if modern {
        (
            r#","resultType":"complete""#,
            r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#,
        )
    } else {
        ("", "")
    };
    let result = |members: &str, more: &str| Answer::result(&format!("{{{members}{more}}}"));
    let on = |script: Script, method: &str, members: &str, more: &str| {
        let answer = result(members, more);
        script.on(method, move |_| answer.clone())
    };
    let script = script.capabilities(CAPABILITIES).tool(
        "echo",
        &format!(r#"{{"content":[{{"type":"text","text":"said"}}]{complete}}}"#),
    );
    let script = on(script, "prompts/list", r#""prompts":[{"name":"ask"}]"#, cached);
    let script = on(
        script,
        "prompts/get",
        r#""messages":[{"role":"user","content":{"type":"text","text":"asked"}}]"#,
        complete,
    );
    let script = on(
        script,
        "resources/list",
        r#""resources":[{"uri":"file:///a","name":"a"}]"#,
        cached,
    );
    let script = on(script, "resources/templates/list", r#""resourceTemplates":[]"#, cached);
    let script = on(
        script,
        "completion/complete",
        r#""completion":{"values":["done"]}"#,
        complete,
    );
    let read = result(r#""contents":[{"uri":"file:///a","text":"A"}]"#, cached);
    let missing = if modern { -32602 } else { -32002 };
    script.on("resources/read", move |request| {
        if request.json()["params"]["uri"] == "file:///a" {
            read.clone()
        } else {
            Answer::error(missing, "no such resource")
        }
    })
}

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

/// A streamed answer that ends with this result.
fn ending(request: &Recorded, steps: Vec<Step>, members: &str) -> Answer {
    let modern = request
        .header("mcp-method")
        .map_or("", |_| r#""resultType":"complete","#);
    let last = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{{modern}{members}}}}}"#);
    Answer::stream(steps.into_iter().chain([Step::message(last)]))
}

fn progress(n: u32) -> Step {
    Step::message(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n}}}}}"#
    ))
}

fn tool(script: Script, name: &str, answer: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Script {
    script.tool_as(name, &OPEN.replace("NAME", name), answer)
}

#[tokio::test]
async fn every_revision_gets_everything_from_a_server_of_either_era_in_its_own_words() {
    for modern in [true, false] {
        let (server, gateway) = before(scripted(modern)).await;
        for revision in REVISIONS {
            let case = format!(
                "{revision} before a {} server",
                if modern { "modern" } else { "legacy" }
            );
            let client = LegacyClient::open(&gateway, revision, "{}").await;
            assert_eq!(client.version, revision, "{case}");
            assert!(
                client.hello["capabilities"]["tools"].is_object(),
                "{case}: {}",
                client.hello
            );
            let ask = async |method: &str, params: &str| {
                let answer = client.request("\"n-1\"", method, params).to(&gateway).await;
                assert_eq!(answer.status, 200, "{case} {method}: {}", answer.text());
                let json = answer.json();
                assert_eq!(json["id"], "n-1", "{case} {method}");
                for modern_only in ["resultType", "ttlMs", "cacheScope"] {
                    assert!(json["result"].get(modern_only).is_none(), "{case} {method}: {json}");
                }
                json
            };
            assert_eq!(ask("ping", "").await["result"], json!({}), "{case}");
            let tools = ask("tools/list", "").await;
            assert_eq!(tools["result"]["tools"][0]["name"], "echo", "{case}");
            let called = ask("tools/call", r#""name":"echo","arguments":{"n":1}"#).await;
            assert_eq!(called["result"]["content"][0]["text"], "said", "{case}");
            let prompts = ask("prompts/list", "").await;
            assert_eq!(prompts["result"]["prompts"][0]["name"], "ask", "{case}");
            let asked = ask("prompts/get", r#""name":"ask""#).await;
            assert_eq!(asked["result"]["messages"][0]["content"]["text"], "asked", "{case}");
            let resources = ask("resources/list", "").await;
            assert_eq!(resources["result"]["resources"][0]["uri"], "file:///a", "{case}");
            let read = ask("resources/read", r#""uri":"file:///a""#).await;
            assert_eq!(read["result"]["contents"][0]["text"], "A", "{case}");
            let missing = ask("resources/read", r#""uri":"file:///b""#).await;
            assert_eq!(missing["error"]["code"], -32002, "{case}: {missing}");
            let complete = r#""ref":{"type":"ref/prompt","name":"ask"},"argument":{"name":"a","value":"d"}"#;
            let completed = ask("completion/complete", complete).await;
            assert_eq!(completed["result"]["completion"]["values"], json!(["done"]), "{case}");
            let unknown = ask("tools/call", r#""name":"nobody""#).await;
            assert_eq!(unknown["error"]["code"], -32602, "{case}");
            for method in ["server/discover", "subscriptions/listen", "nobody/knows"] {
                assert!(ask(method, "").await["error"].is_object(), "{case} {method}");
            }
        }
        for call in server.received("tools/call") {
            let text = call.text();
            assert_eq!(call.header("mcp-method").is_some(), modern, "{text}");
            assert_eq!(
                text.contains("io.modelcontextprotocol/protocolVersion"),
                modern,
                "{text}"
            );
            assert!(text.contains(r#""arguments":{"n":1}"#), "{text}");
            assert!(!text.contains("n-1"), "the client's id stays at its hop: {text}");
        }
        assert_eq!(server.received("tools/call").len(), REVISIONS.len());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_initialize_that_names_a_newer_revision_gets_the_newest_legacy_one() {
    let (_server, gateway) = before(scripted(true)).await;
    for version in ["2026-07-28", "2099-01-01", "1.0"] {
        let client = LegacyClient::open(&gateway, version, "{}").await;
        assert_eq!(client.version, "2025-11-25", "{version}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_the_call_under_the_clients_token() {
    for modern in [true, false] {
        let script = tool(scripted(modern), "slow", |request| {
            ending(request, vec![progress(1), progress(2)], r#""content":[]"#)
        });
        let (server, gateway) = before(script).await;
        for revision in REVISIONS {
            let client = LegacyClient::open(&gateway, revision, "{}").await;
            let call = client.request("5", "tools/call", r#""name":"slow","_meta":{"progressToken":"mine"}"#);
            let mut events = call.stream(&gateway).await;
            for n in [1, 2] {
                let note = events.next().await;
                assert_eq!(note["method"], "notifications/progress", "{note}");
                assert_eq!(note["params"], json!({"progressToken": "mine", "progress": n}));
            }
            assert_eq!(events.next().await["id"], 5);
            assert_eq!(events.maybe_next().await, None);
        }
        let told = server.received("tools/call");
        assert!(
            !told.iter().any(|call| call.text().contains("mine")),
            "the token stays at its hop"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn d41_cancelling_a_call_reaches_the_server_by_its_eras_rule_and_once() {
    for modern in [true, false] {
        let script = tool(scripted(modern), "slow", |_| Answer::stream([progress(1), Step::Hold]));
        let (server, gateway) = before(script).await;
        let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
        let call = client.request("\"c\"", "tools/call", r#""name":"slow","_meta":{"progressToken":1}"#);
        let mut events = call.stream(&gateway).await;
        events.next().await;
        assert!(server.holds(1).await);
        let foreign = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
        for (who, id) in [(&foreign, "\"c\""), (&client, "\"d\""), (&client, "1")] {
            let body =
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
            assert_eq!(who.post(&body).to(&gateway).await.status, 202);
        }
        assert!(server.holds(1).await, "another session and another id cancel nothing");
        let body =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c","reason":"enough"}}"#;
        assert_eq!(client.post(body).to(&gateway).await.status, 202);
        assert!(server.holds(0).await, "the server's answer is not waited for any more");
        if modern {
            assert!(
                server.received("notifications/cancelled").is_empty(),
                "closing the stream says it"
            );
        } else {
            let cancelled = server.wait_for("notifications/cancelled", 1).await;
            let upstream = server.received("tools/call")[0].json();
            assert_eq!(cancelled[0].json()["params"]["requestId"], upstream["id"]);
            assert_eq!(cancelled.len(), 1);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_legacy_client_that_disconnects_has_not_cancelled_and_may_take_the_stream_up_again() {
    let script = tool(scripted(true), "slow", |request| {
        let steps = vec![progress(1), Step::Until("go on".to_owned()), progress(2)];
        ending(request, steps, r#""content":[]"#)
    });
    let (server, gateway) = before(script).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    let call = client.request("5", "tools/call", r#""name":"slow","_meta":{"progressToken":1}"#);
    let mut connection = call.open(&gateway).await;
    connection.head().await.unwrap();
    connection.next_event().await.unwrap();
    drop(connection);
    raw::post(server.address(), "/mcp", &[], b"go on").await;

    // The ids of events name the stream; the first call of a session has the first stream of its own.
    let attach = client.attach().and("last-event-id", "1-0");
    let mut events = attach.stream(&gateway).await;
    let rest = [events.next().await, events.next().await, events.next().await];
    assert_eq!(rest[0]["params"]["progress"], 1, "{rest:?}");
    assert_eq!(rest[1]["params"]["progress"], 2, "{rest:?}");
    assert_eq!(rest[2]["id"], 5, "{rest:?}");
    assert_eq!(server.received("tools/call").len(), 1, "nothing ran twice");
    gateway.stop().await;
}

#[tokio::test]
async fn log_messages_come_on_the_stream_once_a_level_was_set() {
    for modern in [true, false] {
        let script = tool(scripted(modern), "chatty", |request| {
            let log =
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":"mind"}}"#;
            ending(request, vec![Step::message(log)], r#""content":[]"#)
        });
        let (server, gateway) = before(script).await;
        let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
        assert!(client.hello["capabilities"]["logging"].is_object(), "{}", client.hello);
        let call = || client.request("1", "tools/call", r#""name":"chatty""#);
        let silent = call().to(&gateway).await;
        assert!(!silent.text().contains("mind"), "{}", silent.text());
        let set = client
            .request("2", "logging/setLevel", r#""level":"info""#)
            .to(&gateway)
            .await;
        assert_eq!(set.json()["result"], json!({}), "{}", set.text());
        let mut events = call().stream(&gateway).await;
        let note = events.next().await;
        assert_eq!(note["params"], json!({"level": "warning", "data": "mind"}));
        assert_eq!(events.next().await["id"], 1);
        if modern {
            let level = &server.received("tools/call")[1].json()["params"]["_meta"]["io.modelcontextprotocol/logLevel"];
            assert_eq!(level, "info");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_subscribed_resource_that_changes_is_told_on_the_get_stream() {
    let updated = r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#;
    for modern in [true, false] {
        let script = scripted(modern).when(move |request| {
            let params = request.json()["params"]["notifications"].clone();
            (request.method() == "subscriptions/listen" && !params["resourceSubscriptions"].is_null()).then(|| {
                let tagged = |method: &str, members: &str| {
                    let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":$ID}"#;
                    Step::message(format!(
                        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{{tag},{members}}}}}"#
                    ))
                };
                Answer::stream([
                    tagged(
                        "notifications/subscriptions/acknowledged",
                        r#""notifications":{"resourceSubscriptions":["file:///a"]}"#,
                    ),
                    Step::Until("it changed".to_owned()),
                    tagged("notifications/resources/updated", r#""uri":"file:///a""#),
                    Step::Hold,
                ])
            })
        });
        let (server, gateway) = before(script).await;
        let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
        let mut events = client.attach().stream(&gateway).await;
        let subscribed = client
            .request("1", "resources/subscribe", r#""uri":"file:///a""#)
            .to(&gateway)
            .await;
        assert_eq!(subscribed.json()["result"], json!({}), "{}", subscribed.text());
        if modern {
            raw::post(server.address(), "/mcp", &[], b"it changed").await;
        } else {
            assert_eq!(server.wait_for("resources/subscribe", 1).await.len(), 1);
            server.push(updated);
        }
        let note = events.next().await;
        assert_eq!(
            note,
            serde_json::from_str::<Value>(updated).unwrap(),
            "no tag of a subscription is left"
        );
        let done = client
            .request("2", "resources/unsubscribe", r#""uri":"file:///a""#)
            .to(&gateway)
            .await;
        assert_eq!(done.json()["result"], json!({}));
        if !modern {
            assert_eq!(server.wait_for("resources/unsubscribe", 1).await.len(), 1);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_changed_list_is_told_on_the_get_stream() {
    let server = scripted(false).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let mut events = client.attach().stream(&gateway).await;
    server.wait_for_streams(1).await;
    // Until the gateway has taken the wish on, a change may be missed; so the server repeats itself.
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let told = async {
        loop {
            server.push(changed);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let note = tokio::select! {
        note = events.next() => note,
        () = told => unreachable!(),
    };
    assert_eq!(note["method"], "notifications/tools/list_changed", "{note}");
    assert!(!note.to_string().contains("subscriptionId"), "{note}");
    gateway.stop().await;
}

#[tokio::test]
async fn d22_a082_a_session_is_worth_nothing_when_changed_or_in_other_hands() {
    let server = scripted(true).start().await;
    let documents = documents(&[
        UNHURRIED,
        "kind: View\nmetadata: {name: twin}\nspec: {servers: [{name: only}], liftLimits: true}",
        "kind: Application\nmetadata: {name: other}\nspec: {views: [default, twin], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &documents));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    let list = |client: &LegacyClient| client.request("1", "tools/call", r#""name":"echo""#);
    assert_eq!(list(&client).to(&gateway).await.status, 200);

    let mut wrong = Vec::new();
    for index in 0..client.session.len() {
        let mut id = client.session.clone().into_bytes();
        id[index] = if id[index] == b'A' { b'B' } else { b'A' };
        let session = String::from_utf8(id).unwrap();
        wrong.push((
            format!("character {index}"),
            LegacyClient {
                session,
                ..client.clone()
            },
        ));
    }
    let cut = client.session[..client.session.len() - 1].to_owned();
    wrong.push((
        "cut".to_owned(),
        LegacyClient {
            session: cut,
            ..client.clone()
        },
    ));
    let longer = format!("{}A", client.session);
    wrong.push((
        "longer".to_owned(),
        LegacyClient {
            session: longer,
            ..client.clone()
        },
    ));
    let token = "mg_other".to_owned();
    wrong.push((
        "another caller".to_owned(),
        LegacyClient {
            token,
            ..client.clone()
        },
    ));
    let path = "/views/twin/mcp".to_owned();
    wrong.push(("another view".to_owned(), LegacyClient { path, ..client.clone() }));
    for (case, thief) in &wrong {
        let answer = list(thief).to(&gateway).await;
        assert_eq!(answer.status, 404, "{case}: {}", answer.text());
    }
    for (case, thief) in &wrong[wrong.len() - 2..] {
        assert_eq!(thief.attach().to(&gateway).await.status, 404, "{case}");
        assert_eq!(thief.post("").verb("DELETE").to(&gateway).await.status, 404, "{case}");
    }
    let twice = list(&client).and("mcp-session-id", &client.session).to(&gateway).await;
    assert_eq!(twice.status, 400);
    assert_eq!(
        server.received("tools/call").len(),
        1,
        "only its owner's call reached the server"
    );

    assert_eq!(client.post("").verb("DELETE").to(&gateway).await.status, 204);
    assert_eq!(list(&client).to(&gateway).await.status, 404, "an ended session is gone");
    gateway.stop().await;
}

#[tokio::test]
async fn a083_a_second_get_stream_is_a_conflict() {
    let (_server, gateway) = before(scripted(true)).await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let _first = client.attach().stream(&gateway).await;
    assert_eq!(client.attach().to(&gateway).await.status, 409);
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_is_answered_in_one_piece_and_only_where_the_revision_has_batches() {
    let (server, gateway) = before(scripted(true)).await;
    let call = |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#);
    let batch = format!(
        r#"[{},{{"jsonrpc":"2.0","method":"notifications/x"}},{}]"#,
        call(1),
        call(2)
    );
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let answer = client.post(&batch).to(&gateway).await;
    let json = answer.json();
    let mut ids: Vec<u64> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2], "{json}");
    for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = LegacyClient::open(&gateway, revision, "{}").await;
        let answer = client.post(&batch).to(&gateway).await;
        assert_eq!(answer.status, 400, "{revision}: {}", answer.text());
    }
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_modern_client_that_goes_away_cancels_the_call_at_the_server() {
    for modern in [true, false] {
        let script = tool(scripted(modern), "slow", |_| Answer::stream([progress(1), Step::Hold]));
        let (server, gateway) = before(script).await;
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":1}"#;
        let call = Post::modern("1", "tools/call", &format!(r#""name":"slow",{meta}"#));
        let mut events = call.stream(&gateway).await;
        events.next().await;
        assert!(server.holds(1).await);
        drop(events);
        assert!(server.holds(0).await, "the server's answer is not waited for any more");
        if modern {
            assert!(server.received("notifications/cancelled").is_empty());
        } else {
            assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_modern_client_that_goes_away_before_the_first_byte_cancels_too() {
    let script = tool(scripted(true), "silent", |_| Answer::stream([Step::Hold]));
    let (server, gateway) = before(script).await;
    let call = Post::modern("1", "tools/call", r#""name":"silent""#);
    let connection: RawConnection = call.open(&gateway).await;
    assert!(server.holds(1).await);
    drop(connection);
    assert!(server.holds(0).await);
    gateway.stop().await;
}

#[tokio::test]
async fn requests_without_params_and_servers_without_sessions_are_served_all_the_same() {
    let scripts = [
        scripted(true),
        scripted(false).without_sessions().without_get(),
        scripted(false),
    ];
    for (index, script) in scripts.into_iter().enumerate() {
        let (server, gateway) = before(script).await;
        let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
        for method in [
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "ping",
        ] {
            let bare = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}"}}"#);
            let answer = client.post(&bare).to(&gateway).await;
            assert!(
                answer.json()["result"].is_object(),
                "{index} {method}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["id"], 0);
        }
        let bare = client
            .post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#)
            .to(&gateway)
            .await;
        assert_eq!(bare.json()["error"]["code"], -32602, "{index}: {}", bare.text());
        let call = client.request("1", "tools/call", r#""name":"echo""#).to(&gateway).await;
        assert_eq!(call.json()["result"]["content"][0]["text"], "said", "{index}");
        assert_eq!(server.received("tools/call").len(), 1, "{index}");
        gateway.stop().await;
    }
}
