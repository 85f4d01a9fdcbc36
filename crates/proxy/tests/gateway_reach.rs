//! What a client may name to reach what is not its own: tools, prompts, resources, links, subscriptions, cursors.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::KeyRing;
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::json;

const OK: &str = r#"{"resultType":"complete","content":[]}"#;

/// An answer without what differs from call to call.
fn stable(answer: &RawAnswer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| name != "date" && name != "content-length")
        .cloned();
    (answer.status, headers.collect(), answer.text().to_owned())
}

#[tokio::test]
async fn a022_a023_a027_names_that_resemble_another_lead_nowhere() {
    let long = "n".repeat(128);
    let mut script = ScriptedServer::modern()
        .tool("delete", OK)
        .tool("tool", OK)
        .tool("Tool", OK)
        .tool("b__c", OK);
    // The server itself offers names that nobody may be shown.
    for name in [
        "d\u{435}lete",
        "\u{ff44}elete",
        "de\u{200b}lete",
        "delete ",
        "\u{e9}",
        "e\u{301}",
    ] {
        script = script.tool(name, OK);
    }
    let a = script.tool(&long, OK).start().await;
    let c = ScriptedServer::modern().tool("c", OK).start().await;
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: a}, {name: b}], liftLimits: true}";
    let gateway = RunningGateway::start(&mesh(&[("a", &a.url()), ("b", &c.url())], view)).await;
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    let shown: Vec<&str> = list["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    let cut = *shown
        .iter()
        .find(|name| name.contains("nnnn"))
        .expect("the long name is shown short");
    assert!(cut.len() <= 64);
    assert_eq!(shown.len(), 6, "{shown:?}");
    for name in [
        "a__d\u{435}lete",
        "a__\u{ff44}elete",
        "a__de\u{200b}lete",
        "a__delete ",
        " a__delete",
        "a__\u{e9}",
        "a__e\u{301}",
        "a__DELETE",
        "a__b__c__",
        "a__b",
        "a__c",
        &format!("a__{long}"),
    ] {
        let answer = gateway
            .modern("/mcp", "1", "tools/call", &format!(r#""name":"{name}""#))
            .await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{name:?}: {}", answer.text());
    }
    assert!(a.received("tools/call").is_empty() && c.received("tools/call").is_empty());
    for name in ["a__delete", "a__tool", "a__Tool", "a__b__c", cut] {
        gateway
            .modern("/mcp", "1", "tools/call", &format!(r#""name":"{name}""#))
            .await;
    }
    let reached: Vec<_> = a
        .received("tools/call")
        .iter()
        .map(|r| r.json()["params"]["name"].clone())
        .collect();
    assert_eq!(json!(reached), json!(["delete", "tool", "Tool", "b__c", long]));
    // An alias that holds the separator, so that two pairs could meet, is no alias.
    let twin = mesh(&[("a__b", "http://127.0.0.1:1/mcp")], "");
    let config = meshgate_model::parse("twin.yaml", &twin);
    assert!(config.is_err() || config.is_ok_and(|config| config.compile().is_err()));
    gateway.stop().await;
}

#[tokio::test]
async fn a008_a024_a026_what_is_hidden_answers_as_what_is_missing_on_both_faces() {
    let list = |kind: &str, items: &str| {
        format!(r#"{{"resultType":"complete","{kind}":[{items}],"ttlMs":0,"cacheScope":"public"}}"#)
    };
    let prompts = list("prompts", r#"{"name":"shown"},{"name":"secret"}"#);
    let resources = list("resources", r#"{"uri":"file:///shown","name":"s"}"#);
    let script = || {
        let (prompts, resources) = (prompts.clone(), resources.clone());
        ScriptedServer::modern()
            .capabilities(r#"{"tools":{},"prompts":{},"resources":{},"completions":{}}"#)
            .tool("shown", OK)
            .tool("secret", OK)
            .on("prompts/list", move |_| Answer::result(&prompts))
            .on("resources/list", move |_| Answer::result(&resources))
    };
    let (alpha, secret) = (script().start().await, script().start().await);
    let view = documents(&[
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: alpha, tools: {hide: [secret]}}, {name: other}], liftLimits: true}",
        "kind: View\nmetadata: {name: all}\nspec: {servers: [{name: hidden}, {name: alpha}]}",
    ]);
    let gateway = RunningGateway::start(&mesh(
        &[
            ("alpha", &alpha.url()),
            ("hidden", &secret.url()),
            ("other", "http://127.0.0.1:1/mcp"),
        ],
        &view,
    ))
    .await;
    let uri = |alias: &str| meshgate_model::naming::wrap_uri(alias, "file:///shown");
    let complete = |reference: String| format!(r#""ref":{reference},"argument":{{"name":"a","value":"b"}}"#);
    let prompt = |name: &str| complete(format!(r#"{{"type":"ref/prompt","name":"{name}"}}"#));
    let resource = |alias: &str| complete(format!(r#"{{"type":"ref/resource","uri":"{}"}}"#, uri(alias)));
    // Each pair is of one length, so that nothing but the name may differ.
    let pairs = [
        (
            "tools/call",
            r#""name":"alpha__secret""#.to_owned(),
            r#""name":"alpha__absent""#.to_owned(),
            "secret",
            "absent",
        ),
        (
            "tools/call",
            r#""name":"hidden__shown""#.to_owned(),
            r#""name":"absent__shown""#.to_owned(),
            "hidden",
            "absent",
        ),
        (
            "prompts/get",
            r#""name":"hidden__shown""#.to_owned(),
            r#""name":"absent__shown""#.to_owned(),
            "hidden",
            "absent",
        ),
        (
            "resources/read",
            format!(r#""uri":"{}""#, uri("hidden")),
            format!(r#""uri":"{}""#, uri("absent")),
            "hidden",
            "absent",
        ),
        (
            "completion/complete",
            prompt("hidden__shown"),
            prompt("absent__shown"),
            "hidden",
            "absent",
        ),
        (
            "completion/complete",
            resource("hidden"),
            resource("absent"),
            "hidden",
            "absent",
        ),
    ];
    let legacy = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    for (method, hidden, missing, secret, absent) in pairs {
        let modern = (
            gateway.modern("/mcp", "1", method, &hidden).await,
            gateway.modern("/mcp", "1", method, &missing).await,
        );
        let old = (
            legacy.request("1", method, &hidden).to(&gateway).await,
            legacy.request("1", method, &missing).to(&gateway).await,
        );
        for (face, (hidden, missing)) in [("modern", modern), ("legacy", old)] {
            let (status, headers, text) = stable(&hidden);
            assert_eq!(
                (status, headers, text.replace(secret, absent)),
                stable(&missing),
                "{face} {method}"
            );
            assert!(
                hidden.text().contains("\"error\""),
                "{face} {method}: {}",
                hidden.text()
            );
        }
    }
    let asked = ["tools/call", "prompts/get", "resources/read", "completion/complete"];
    for server in [&alpha, &secret] {
        assert!(asked.iter().all(|method| server.received(method).is_empty()));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a025_a_link_to_anothers_resource_and_what_a_template_makes_of_it_stay_with_the_server_that_named_them() {
    let foreign = meshgate_model::naming::wrap_uri("gamma", "file:///secret");
    let link =
        format!(r#"{{"resultType":"complete","content":[{{"type":"resource_link","name":"l","uri":"{foreign}"}}]}}"#);
    let read = r#"{"resultType":"complete","contents":[],"ttlMs":0,"cacheScope":"private"}"#;
    let script = || {
        let link = link.clone();
        ScriptedServer::modern()
            .capabilities(r#"{"tools":{},"resources":{}}"#)
            .tool_as(
                "link",
                r#"{"name":"link","inputSchema":{"type":"object"}}"#,
                move |_| Answer::result(&link),
            )
            .on("resources/read", move |_| Answer::result(read))
    };
    let (alpha, beta, gamma) = (script().start().await, script().start().await, script().start().await);
    let view =
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: alpha}, {name: beta}], liftLimits: true}";
    let gateway = RunningGateway::start(&mesh(
        &[("alpha", &alpha.url()), ("beta", &beta.url()), ("gamma", &gamma.url())],
        view,
    ))
    .await;
    let told = gateway
        .modern("/mcp", "1", "tools/call", r#""name":"alpha__link""#)
        .await
        .json();
    let shown = told["result"]["content"][0]["uri"].as_str().unwrap().to_owned();
    for uri in [
        shown,
        meshgate_model::naming::wrap_uri("alpha", "file:///{x}").replace("{x}", "../../gamma/secret"),
    ] {
        let answer = gateway
            .modern("/mcp", "1", "resources/read", &format!(r#""uri":"{uri}""#))
            .await;
        assert!(answer.json()["result"].is_object(), "{}", answer.text());
    }
    let direct = gateway
        .modern("/mcp", "1", "resources/read", &format!(r#""uri":"{foreign}""#))
        .await;
    assert_eq!(direct.json()["error"]["code"], -32602);
    let asked: Vec<_> = alpha
        .received("resources/read")
        .iter()
        .map(|r| r.json()["params"]["uri"].clone())
        .collect();
    assert_eq!(json!(asked), json!([foreign, "file:///../../gamma/secret"]));
    assert!(beta.received("resources/read").is_empty() && gamma.received("resources/read").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn d20_a077_a_resource_that_is_not_the_callers_is_left_out_of_a_subscription() {
    let list = r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#;
    let script = || {
        ScriptedServer::modern()
            .capabilities(r#"{"resources":{"subscribe":true},"tools":{}}"#)
            .on("resources/list", move |_| Answer::result(list))
    };
    let (alpha, beta, gamma) = (script().start().await, script().start().await, script().start().await);
    let view =
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: alpha}, {name: beta}], liftLimits: true}";
    let gateway = RunningGateway::start(&mesh(
        &[("alpha", &alpha.url()), ("beta", &beta.url()), ("gamma", &gamma.url())],
        view,
    ))
    .await;
    let secret = meshgate_model::naming::wrap_uri("gamma", "file:///secret");
    let wanted = format!(r#""notifications":{{"resourceSubscriptions":["{secret}","file:///secret"]}}"#);
    let mut events = Post::modern("1", "subscriptions/listen", &wanted)
        .stream(&gateway)
        .await;
    let acknowledged = events.next().await;
    assert_eq!(
        acknowledged["params"]["notifications"]["resourceSubscriptions"],
        json!([]),
        "{acknowledged}"
    );
    let legacy = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    for uri in [&secret, "file:///secret"] {
        let answer = legacy
            .request("1", "resources/subscribe", &format!(r#""uri":"{uri}""#))
            .to(&gateway)
            .await;
        assert!(answer.json()["error"].is_object(), "{}", answer.text());
    }
    for server in [&alpha, &beta, &gamma] {
        assert!(
            !server
                .recorded()
                .iter()
                .any(|request| request.text().contains("secret"))
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a071_a_cursor_is_held_by_its_client_alone_and_shows_nothing_that_is_gone() {
    let mut script = ScriptedServer::modern();
    for n in 0..1003 {
        script = script.tool(&format!("t{n:04}"), OK);
    }
    let server = script.start().await;
    let keys = Arc::new(KeyRing::from_entropy().unwrap());
    let start = async |view: &str| {
        RunningGateway::start_snapshot(compiled(&mesh(&[("only", &server.url())], view)), keys.clone()).await
    };
    let before = start(UNHURRIED).await;
    let first = before.modern("/mcp", "1", "tools/list", "").await.json();
    let cursor = first["result"]["nextCursor"].as_str().unwrap().to_owned();
    before.stop().await;
    let next = |gateway: RunningGateway| {
        let cursor = format!(r#""cursor":"{cursor}""#);
        async move {
            let answer = gateway.modern("/mcp", "2", "tools/list", &cursor).await;
            gateway.stop().await;
            answer
        }
    };
    // Another process with the keys has never heard of this client, and goes on where it was.
    let page = next(start(UNHURRIED).await).await.json();
    assert_eq!(page["result"]["tools"].as_array().map(Vec::len), Some(3), "{page}");
    // The policy has changed since: what is gone is gone, whatever page it was on.
    let narrow = UNHURRIED.replace("{name: only}", "{name: only, tools: {hide: [t1001]}}");
    let answer = next(start(&narrow).await).await;
    assert!(!answer.text().contains("t1001"), "{}", answer.text());
}

#[tokio::test]
async fn a081_a_thousand_opens_of_one_caller_get_its_seats_and_no_more() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}]}";
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {callBurst: 2000}}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], &documents(&[limits, view]))).await;
    let listen = Post::modern(
        "1",
        "subscriptions/listen",
        r#""notifications":{"toolsListChanged":true}"#,
    );
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..1000 {
        let mut connection = listen.open(&gateway).await;
        match connection.head().await.unwrap().status {
            200 => held.push(connection),
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((held.len(), refused), (32, 968));
    let call = Post::modern("1", "tools/call", r#""name":"danger""#);
    assert_eq!(call.to(&gateway).await.status, 200, "and its calls go on");
    gateway.stop().await;
}
