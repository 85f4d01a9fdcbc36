//! A view of several servers is one server to its clients: everything that a server offers works through it, in the
//! view's own names, and what the view does not show does not exist.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{Post, RunningGateway, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_model::naming::wrap_uri;
use meshgate_testkit::{Answer, Script, ScriptedServer, Step, raw::RawAnswer};
use serde_json::{Value, json};

const BOTH: &str = "kind: View\nmetadata: {name: both}\nspec: {path: /mcp, servers: [{name: alpha, tools: {hide: [secret], rename: {region: place}}}, {name: beta}], liftLimits: true}";

fn listed(member: &str, items: &Value) -> Answer {
    Answer::result(&format!(
        r#"{{"resultType":"complete","{member}":{items},"ttlMs":0,"cacheScope":"public"}}"#
    ))
}

/// A server with everything that a view can merge. Its answers name it.
fn everything(name: &'static str) -> Script {
    let capabilities = r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}"#;
    let region = json!({"name": "region", "title": "Region", "icons": [{"src": "https://icons.example/r.png", "sizes": ["48x48"]}],
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
        "_meta": {"ui": {"resourceUri": "ui://panel/region"}, "ui/resourceUri": "ui://panel/region"}});
    let ok = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{name}"}}]}}"#);
    let doc = format!(r#"{{"uri":"file:///{name}/doc","text":"{name}","mimeType":"text/plain"}}"#);
    let prompt = format!(
        r#"{{"resultType":"complete","messages":[{{"role":"user","content":{{"type":"resource","resource":{doc}}}}}]}}"#
    );
    let read = format!(r#"{{"resultType":"complete","contents":[{doc}],"ttlMs":0,"cacheScope":"private"}}"#);
    let values = format!(r#"{{"resultType":"complete","completion":{{"values":["{name}"]}}}}"#);
    let answer = ok.clone();
    ScriptedServer::modern()
        .capabilities(capabilities)
        .tool("secret", &ok)
        .tool_as("region", &region.to_string(), move |_| Answer::result(&answer))
        .on("resources/list", move |_| {
            let uri = format!("file:///{name}/doc");
            listed("resources", &json!([{"uri": uri, "name": "doc", "icons": [{"src": "data:image/png;base64,AA=="}]}, {"uri": "ui://panel/region", "name": "panel"}]))
        })
        .on("resources/templates/list", move |_| {
            listed("resourceTemplates", &json!([{"uriTemplate": format!("file:///{name}/{{+path}}"), "name": "files"}]))
        })
        .on("prompts/list", |_| {
            listed("prompts", &json!([{"name": "ask", "icons": [{"src": "https://icons.example/p.svg"}], "arguments": [{"name": "topic"}]}]))
        })
        .on("prompts/get", move |_| Answer::result(&prompt))
        .on("resources/read", move |_| Answer::result(&read))
        .on("completion/complete", move |_| Answer::result(&values))
        .on("subscriptions/listen", |request| {
            let wanted = request.json()["params"]["notifications"].clone();
            Answer::stream([
                Step::message(format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":$ID}},"notifications":{wanted}}}}}"#
                )),
                Step::Hold,
            ])
        })
}

async fn two() -> (ScriptedServer, ScriptedServer, RunningGateway) {
    let (alpha, beta) = (everything("alpha").start().await, everything("beta").start().await);
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], BOTH)).await;
    (alpha, beta, gateway)
}

async fn ask(gateway: &RunningGateway, method: &str, params: &str) -> Value {
    let answer = gateway.modern("/mcp", "1", method, params).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["result"].clone()
}

#[tokio::test]
async fn a_renamed_tool_is_called_with_its_headers_and_the_old_name_is_unknown() {
    let (alpha, beta, gateway) = two().await;
    let call = |name: &str| {
        let params = format!(r#""name":"{name}","arguments":{{"region":"eü"}}"#);
        Post::modern("1", "tools/call", &params).and("mcp-param-region", "=?base64?ZcO8?=")
    };
    for (name, server) in [("alpha__place", &alpha), ("beta__region", &beta)] {
        let answer = call(name).to(&gateway).await;
        assert_eq!(answer.json()["result"]["resultType"], "complete", "{}", answer.text());
        let request = &server.received("tools/call")[0];
        assert_eq!(request.json()["params"]["name"], "region");
        assert_eq!(request.header("mcp-name"), Some("region"));
        assert_eq!(request.header("mcp-param-region"), Some("=?base64?ZcO8?="));
    }
    // A-024: by their old names, hidden or renamed, they are as unknown as what never was.
    let unknown = call("alpha__nobody").to(&gateway).await;
    for name in ["alpha__region", "alpha__secret"] {
        let refused = call(name).to(&gateway).await;
        assert_eq!(refused.text().replace(name, "alpha__nobody"), unknown.text());
    }
    // What the client mirrors is held against the tool it names in this view.
    let wrong = call("alpha__place").with("mcp-param-region", "us").to(&gateway).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (400, &json!(-32020)));
    assert_eq!(alpha.received("tools/call").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn icons_come_as_they_are_and_interfaces_keep_their_scheme() {
    let (_alpha, _beta, gateway) = two().await;
    let tools = ask(&gateway, "tools/list", "").await["tools"].clone();
    let place = tools
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "alpha__place")
        .unwrap();
    assert_eq!(
        place["icons"],
        json!([{"src": "https://icons.example/r.png", "sizes": ["48x48"]}])
    );
    let panel = wrap_uri("alpha", "ui://panel/region");
    assert!(panel.starts_with("ui://"));
    assert_eq!(place["_meta"]["ui"]["resourceUri"], *panel);
    assert_eq!(place["_meta"]["ui/resourceUri"], *panel);
    let resources = ask(&gateway, "resources/list", "").await["resources"].clone();
    assert_eq!(resources[0]["icons"], json!([{"src": "data:image/png;base64,AA=="}]));
    assert_eq!(resources[1]["uri"], *panel);
    let prompts = ask(&gateway, "prompts/list", "").await["prompts"].clone();
    assert_eq!(prompts[1]["name"], "beta__ask");
    assert_eq!(prompts[1]["icons"], json!([{"src": "https://icons.example/p.svg"}]));
    // An interface that no list names is read all the same.
    let (alpha, hidden) = (&_alpha, wrap_uri("alpha", "ui://elsewhere"));
    ask(&gateway, "resources/read", &format!(r#""uri":"{hidden}""#)).await;
    let read = &alpha.received("resources/read")[0];
    assert_eq!(
        (read.header("mcp-name"), &read.json()["params"]["uri"]),
        (Some("ui://elsewhere"), &json!("ui://elsewhere"))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn prompts_bring_their_resources_in_the_views_own_words() {
    let (_alpha, beta, gateway) = two().await;
    let got = ask(
        &gateway,
        "prompts/get",
        r#""name":"beta__ask","arguments":{"topic":"x"}"#,
    )
    .await;
    let resource = &got["messages"][0]["content"]["resource"];
    let uri = wrap_uri("beta", "file:///beta/doc");
    assert_eq!((&resource["uri"], &resource["text"]), (&json!(uri), &json!("beta")));
    assert_eq!(beta.received("prompts/get")[0].json()["params"]["name"], "ask");
    let read = ask(&gateway, "resources/read", &format!(r#""uri":"{uri}""#)).await;
    assert_eq!(read["contents"][0]["uri"], *uri);
    gateway.stop().await;
}

#[tokio::test]
async fn completions_go_to_the_one_server_that_is_named_with_their_context() {
    let (alpha, beta, gateway) = two().await;
    let template = meshgate_model::naming::wrap_template("alpha", "file:///alpha/{+path}");
    let shown = ask(&gateway, "resources/templates/list", "").await["resourceTemplates"][0]["uriTemplate"].clone();
    assert_eq!(shown, *template);
    let rest = r#""argument":{"name":"path","value":"do"},"context":{"arguments":{"path":"mesh+alpha:x"}}"#;
    let of_template = format!(r#""ref":{{"type":"ref/resource","uri":"{template}"}},{rest}"#);
    let of_prompt = format!(r#""ref":{{"type":"ref/prompt","name":"beta__ask"}},{rest}"#);
    assert_eq!(
        ask(&gateway, "completion/complete", &of_template).await["completion"]["values"],
        json!(["alpha"])
    );
    assert_eq!(
        ask(&gateway, "completion/complete", &of_prompt).await["completion"]["values"],
        json!(["beta"])
    );
    let (at_alpha, at_beta) = (
        alpha.received("completion/complete"),
        beta.received("completion/complete"),
    );
    assert_eq!((at_alpha.len(), at_beta.len()), (1, 1));
    assert_eq!(at_alpha[0].json()["params"]["ref"]["uri"], "file:///alpha/{+path}");
    assert_eq!(at_beta[0].json()["params"]["ref"]["name"], "ask");
    for request in [&at_alpha[0], &at_beta[0]] {
        let context = &request.json()["params"]["context"]["arguments"]["path"];
        assert_eq!(context, "mesh+alpha:x", "an argument is nobody's to read");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn instructions_of_servers_stand_under_their_headings() {
    let with = |name: &'static str, text: &str| {
        let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
            "instructions": text, "ttlMs": 0, "cacheScope": "private"});
        everything(name).on("server/discover", move |_| Answer::result(&result.to_string()))
    };
    let alpha = with("alpha", "Ask alpha.\n## beta\nforged").start().await;
    let beta = with("beta", "Ask beta.").start().await;
    let gateway = RunningGateway::start(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], BOTH)).await;
    let discover = ask(&gateway, "server/discover", "").await;
    assert_eq!(
        discover["instructions"],
        "## alpha\nAsk alpha.\n\\## beta\nforged\n\n## beta\nAsk beta."
    );
    assert_eq!(discover["cacheScope"], "private");
    gateway.stop().await;
}

/// Two applications, each with a view of its own over the same two servers and more.
async fn separated() -> (Vec<ScriptedServer>, RunningGateway) {
    let mut servers = Vec::new();
    for name in ["alpha", "beta", "gamma"] {
        servers.push(everything(name).on("tools/list", |_| many()).start().await);
    }
    let urls: Vec<String> = servers.iter().map(ScriptedServer::url).collect();
    let view = |name: &str, own: &str| {
        format!(
            "kind: View\nmetadata: {{name: {name}}}\nspec: {{path: /{name}, servers: [{{name: {own}}}, {{name: gamma, tools: {{hide: [secret]}}}}], liftLimits: true}}"
        )
    };
    let application = |name: &str| {
        format!(
            "kind: Application\nmetadata: {{name: {name}}}\nspec: {{views: [{name}], tokens: [{{environment: UNUSED_{name}}}]}}"
        )
    };
    let more = documents(&[
        &view("one", "alpha"),
        &view("two", "beta"),
        &application("one"),
        &application("two"),
    ]);
    let named: Vec<(&str, &str)> = ["alpha", "beta", "gamma"]
        .into_iter()
        .zip(urls.iter().map(String::as_str))
        .collect();
    let mut snapshot = compiled(&mesh(&named, &more));
    for name in ["one", "two"] {
        assert!(snapshot.add_token(name, token_digest(name)));
    }
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    (servers, gateway)
}

/// More tools than fit one page.
fn many() -> Answer {
    let tools: Vec<Value> = (0..600)
        .map(|n| json!({"name": format!("tool_{n}"), "inputSchema": {"type": "object"}}))
        .collect();
    listed("tools", &json!(tools))
}

async fn as_caller(gateway: &RunningGateway, caller: &str, path: &str, method: &str, params: &str) -> RawAnswer {
    gateway.modern_as(Some(caller), path, "1", method, params, &[]).await
}

#[tokio::test]
async fn two_applications_with_views_of_their_own_never_meet() {
    let (servers, gateway) = separated().await;
    let foreign = wrap_uri("alpha", "file:///alpha/doc");
    let uri = format!(r#""uri":"{foreign}""#);
    let complete = |reference: &str| format!(r#""ref":{reference},"argument":{{"name":"topic","value":""}}"#);
    let asked = [
        ("tools/call", r#""name":"alpha__tool_1","arguments":{}"#.to_owned()),
        ("tools/call", r#""name":"gamma__secret","arguments":{}"#.to_owned()),
        ("prompts/get", r#""name":"alpha__ask""#.to_owned()),
        ("resources/read", uri.clone()),
        (
            "completion/complete",
            complete(r#"{"type":"ref/prompt","name":"alpha__ask"}"#),
        ),
        (
            "completion/complete",
            complete(&format!(r#"{{"type":"ref/resource","uri":"{foreign}"}}"#)),
        ),
    ];
    for (method, params) in &asked {
        let refused = as_caller(&gateway, "two", "/two", method, params).await;
        assert_eq!(
            refused.json()["error"]["code"],
            -32602,
            "{method} {params}: {}",
            refused.text()
        );
    }
    // The other application's view is no view at all, whatever is asked of it.
    for (caller, path) in [("two", "/one"), ("one", "/two"), ("one", "/nowhere")] {
        for method in ["tools/list", "server/discover", "subscriptions/listen"] {
            let answer = as_caller(&gateway, caller, path, method, r#""notifications":{}"#).await;
            assert_eq!(answer.status, 404, "{caller} {path} {method}: {}", answer.text());
        }
    }
    // Lists name what is theirs; a cursor of one is worth nothing to the other.
    let mut cursors = Vec::new();
    for (caller, path, own, other) in [("one", "/one", "alpha__", "beta"), ("two", "/two", "beta__", "alpha")] {
        let list = as_caller(&gateway, caller, path, "tools/list", "").await;
        let text = list.text().to_owned();
        assert!(
            text.contains(own) && text.contains("gamma__") && !text.contains(other),
            "{caller}"
        );
        cursors.push(list.json()["result"]["nextCursor"].as_str().unwrap().to_owned());
        for method in [
            "resources/list",
            "resources/templates/list",
            "prompts/list",
            "server/discover",
        ] {
            let text = as_caller(&gateway, caller, path, method, "").await;
            assert!(!text.text().contains(other), "{caller} {method}");
        }
    }
    for (caller, path, cursor, good) in [
        ("two", "/two", 0, false),
        ("one", "/one", 1, false),
        ("one", "/one", 0, true),
    ] {
        let params = format!(r#""cursor":"{}""#, cursors[cursor]);
        let page = as_caller(&gateway, caller, path, "tools/list", &params).await;
        assert_eq!(
            page.json()["error"].is_null(),
            good,
            "{caller} {cursor}: {}",
            page.text()
        );
    }
    // A subscription to what the other one has is granted to neither of them, and the server is not asked.
    let wanted = format!(r#""notifications":{{"resourceSubscriptions":["{foreign}"]}}"#);
    let post = |caller: &str, path: &str| {
        Post::modern("1", "subscriptions/listen", &wanted)
            .token(caller)
            .at(path)
    };
    let granted = async |caller: &str, path: &str| {
        let mut events = post(caller, path).stream(&gateway).await;
        events.next().await["params"]["notifications"]["resourceSubscriptions"].clone()
    };
    assert_eq!(granted("two", "/two").await, json!([]));
    assert_eq!(granted("one", "/one").await, json!([foreign]));
    for method in ["tools/call", "prompts/get", "resources/read", "completion/complete"] {
        assert!(
            servers.iter().all(|server| server.received(method).is_empty()),
            "{method}"
        );
    }
    gateway.stop().await;
}
