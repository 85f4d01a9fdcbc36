//! Admission over the whole gateway: a request that contradicts itself, or comes from where it should not, gets the
//! answer it deserves, and no server hears of it.
//!
//! The rules are tested where they are written; here each is met by bytes on a socket, with a server behind that keeps
//! a record.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{Post, RunningGateway, TOKEN, UNHURRIED, compiled, documents, mesh, mesh_with, refused};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use std::sync::Arc;

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
/// A tool whose arguments HTTP mirrors.
const MIRRORED: &str = r#"{"name":"mirrored","inputSchema":{"type":"object","properties":{
    "region":{"type":"string","x-mcp-header":"Region"},
    "count":{"type":"integer","x-mcp-header":"Count"},
    "on":{"type":"boolean","x-mcp-header":"On"}}}}"#;

async fn one() -> (ScriptedServer, RunningGateway) {
    let mirrored = Answer::result(OK);
    let server = ScriptedServer::modern()
        .tool("danger", OK)
        .tool("safe", OK)
        .tool("=?base64?x?=", OK)
        .tool_as("mirrored", &MIRRORED.replace('\n', ""), move |_| mirrored.clone())
        .start()
        .await;
    // Not checked against their schemas here, so that null reaches the rule for headers.
    let unchecked = ", validation: {arguments: off}";
    let gateway = RunningGateway::start(&mesh_with("", &[("only", &server.url(), unchecked)], UNHURRIED)).await;
    (server, gateway)
}

fn call() -> Post {
    Post::modern("1", "tools/call", r#""name":"danger","arguments":{}"#)
}

#[tokio::test]
async fn d02_a001_a002_a003_a007_headers_that_contradict_the_body_reach_no_server() {
    let (server, gateway) = one().await;
    assert_eq!(call().to(&gateway).await.status, 200, "the unbent call is sound");
    let cases = [
        ("a001 another method", call().with("mcp-method", "tools/list")),
        ("a001 method in capitals", call().with("mcp-method", "TOOLS/CALL")),
        ("a001 no method", call().without("mcp-method")),
        ("a001 empty method", call().with("mcp-method", "")),
        ("a002 another name", call().with("mcp-name", "safe")),
        ("a002 name in capitals", call().with("mcp-name", "Danger")),
        ("a002 no name", call().without("mcp-name")),
        ("a002 a list", call().with("mcp-name", "danger, danger")),
        ("a003 two names", call().and("mcp-name", "safe")),
        ("a003 two equal names", call().and("mcp-name", "danger")),
        ("a003 two methods", call().and("mcp-method", "tools/call")),
        ("a003 two versions", call().and("mcp-protocol-version", "2026-07-28")),
        (
            "a007 an older version",
            call().with("mcp-protocol-version", "2025-11-25"),
        ),
        (
            "a007 a newer version",
            call().with("mcp-protocol-version", "2027-01-01"),
        ),
        ("a007 no version", call().without("mcp-protocol-version")),
    ];
    for (case, post) in cases {
        refused(case, &post.to(&gateway).await, 400, -32020);
    }
    assert_eq!(
        server.received("tools/call").len(),
        1,
        "only the unbent call reached the server"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a008_an_old_version_header_leads_to_the_legacy_face_and_past_no_rule() {
    let (server, gateway) = one().await;
    let bare = Post::legacy(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger"}}"#)
        .and("mcp-protocol-version", "2025-11-25");
    let answer = bare.to(&gateway).await;
    refused("no session", &answer, 400, -32600);
    let made_up = bare.and("mcp-session-id", "made-up").to(&gateway).await;
    refused("a made-up session", &made_up, 404, -33005);
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn d03_a004_a005_a006_encoded_names_are_decoded_strictly_and_then_compared() {
    let (server, gateway) = one().await;
    for (case, value) in [
        ("a004 decodes to another name", "=?base64?c2FmZQ==?="),
        ("a005 capital marker", "=?BASE64?ZGFuZ2Vy?="),
        ("a005 no padding", "=?base64?c2FmZQ?="),
        ("a005 a space inside", "=?base64?ZGFu Z2Vy?="),
        ("a005 other trailing bits", "=?base64?c2FmZR==?="),
        ("a005 not UTF-8", "=?base64?/w==?="),
        ("a005 the web alphabet", "=?base64?_w==?="),
        ("a005 no end", "=?base64?ZGFuZ2Vy"),
        ("a005 empty", "=?base64??="),
    ] {
        refused(case, &call().with("mcp-name", value).to(&gateway).await, 400, -32020);
    }
    let literal = Post::modern("1", "tools/call", r#""name":"=?base64?x?=","arguments":{}"#);
    let literal = literal.with("mcp-name", "=?base64?x?=");
    refused("a006 sent as it is", &literal.to(&gateway).await, 400, -32020);
    assert!(server.received("tools/call").is_empty());

    let encoded = call().with("mcp-name", "=?base64?ZGFuZ2Vy?=").to(&gateway).await;
    assert_eq!(encoded.status, 200, "{}", encoded.text());
    let upstream = &server.received("tools/call")[0];
    assert_eq!(
        upstream.header("mcp-name"),
        Some("danger"),
        "spelled anew for the server"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn d04_a009_mirrored_arguments_must_agree_with_the_published_schema() {
    let (server, gateway) = one().await;
    let call = |arguments: &str| {
        Post::modern(
            "1",
            "tools/call",
            &format!(r#""name":"mirrored","arguments":{arguments}"#),
        )
    };
    let wrong = [
        ("another text", call(r#"{"region":"eu"}"#).and("mcp-param-region", "us")),
        ("omitted", call(r#"{"region":"eu"}"#)),
        (
            "present for null",
            call(r#"{"region":null}"#).and("mcp-param-region", "us"),
        ),
        ("present for nothing", call("{}").and("mcp-param-region", "us")),
        ("present for no arguments", {
            Post::modern("1", "tools/call", r#""name":"mirrored""#).and("mcp-param-region", "us")
        }),
        (
            "repeated",
            call(r#"{"region":"eu"}"#)
                .and("mcp-param-region", "eu")
                .and("mcp-param-region", "eu"),
        ),
        (
            "case of the value",
            call(r#"{"region":"eu"}"#).and("mcp-param-region", "EU"),
        ),
        (
            "badly encoded",
            call(r#"{"region":"eu"}"#).and("mcp-param-region", "=?base64?ZXU?="),
        ),
        (
            "a neighbouring integer",
            call(r#"{"count":9007199254740992}"#).and("mcp-param-count", "9007199254740993"),
        ),
        ("another boolean", call(r#"{"on":true}"#).and("mcp-param-on", "false")),
        (
            "another word for a boolean",
            call(r#"{"on":true}"#).and("mcp-param-on", "1"),
        ),
    ];
    for (case, post) in wrong {
        refused(case, &post.to(&gateway).await, 400, -32020);
    }
    assert!(server.received("tools/call").is_empty());

    let right = [
        (
            "equal",
            call(r#"{"region":"eu"}"#).and("Mcp-Param-Region", "eu"),
            "mcp-param-region",
            Some("eu"),
        ),
        (
            "encoded",
            call(r#"{"region":"eu"}"#).and("mcp-param-region", "=?base64?ZXU=?="),
            "mcp-param-region",
            Some("eu"),
        ),
        (
            "not ASCII",
            call(r#"{"region":"é"}"#).and("mcp-param-region", "=?base64?w6k=?="),
            "mcp-param-region",
            Some("=?base64?w6k=?="),
        ),
        ("null", call(r#"{"region":null}"#), "mcp-param-region", None),
        ("nothing", call("{}"), "mcp-param-region", None),
        (
            "42.0 and 42",
            call(r#"{"count":42.0}"#).and("mcp-param-count", "42"),
            "mcp-param-count",
            Some("42"),
        ),
        (
            "42 and 42.0",
            call(r#"{"count":42}"#).and("mcp-param-count", "42.0"),
            "mcp-param-count",
            Some("42"),
        ),
        (
            "a boolean",
            call(r#"{"on":false}"#).and("mcp-param-on", "false"),
            "mcp-param-on",
            Some("false"),
        ),
        (
            "a parameter nobody published",
            call("{}").and("mcp-param-other", "x"),
            "mcp-param-other",
            None,
        ),
    ];
    for (index, (case, post, name, expected)) in right.into_iter().enumerate() {
        let answer = post.to(&gateway).await;
        assert_eq!(answer.status, 200, "{case}: {}", answer.text());
        assert_eq!(server.received("tools/call")[index].header(name), expected, "{case}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn d12_a028_a032_another_host_is_refused_before_anything_else_is_looked_at() {
    let (server, gateway) = one().await;
    let port = gateway.address.port();
    let wrong = [
        "attacker.example:8443".to_owned(),
        format!("attacker.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{}", port.wrapping_add(1)),
        format!("localhost.evil.com:{port}"),
        format!("localhost:{port}/health?x="),
        format!("localhost/health?x=:{port}"),
        format!("good@localhost:{port}"),
        format!("localhost.:{port}"),
        String::new(),
    ];
    for host in wrong {
        // Without a token, so that a 400 shows that the host was looked at first.
        let answer = call().host(&host).without("authorization").to(&gateway).await;
        assert_eq!(answer.status, 400, "{host}: {}", answer.text());
        assert!(answer.header("www-authenticate").is_none(), "{host}");
    }
    for host in [
        format!("localhost:{port}"),
        format!("LocalHost:{port}"),
        format!("[::1]:{port}"),
    ] {
        assert_eq!(call().host(&host).to(&gateway).await.status, 200, "{host}");
    }
    assert_eq!(server.received("tools/call").len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn d12_a029_a030_another_origin_is_refused_before_who_calls_and_nobody_gets_cors() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let listener = ", origins: ['https://good.example']";
    let gateway = RunningGateway::start(&mesh_with(listener, &[("only", &server.url(), "")], UNHURRIED)).await;
    for origin in [
        "null",
        "http://good.example",
        "http://localhost.evil.com",
        "https://good.example.evil",
        "https://good.example:444",
        "https://user@good.example",
        "https://good.example@evil.example",
        "https://good.example, https://evil.example",
        "",
    ] {
        let answer = call().and("origin", origin).without("authorization").to(&gateway).await;
        refused(origin, &answer, 403, -33003);
    }
    let two = call()
        .and("origin", "https://good.example")
        .and("origin", "https://evil.example");
    refused("two origins", &two.to(&gateway).await, 403, -33003);
    for origin in ["https://good.example", "https://GOOD.example:443"] {
        let answer = call().and("origin", origin).to(&gateway).await;
        assert_eq!(answer.status, 200, "{origin}");
        assert!(
            !answer
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("access-control")),
            "{origin}"
        );
    }
    // A030: a preflight is a method that is not served, whoever asks.
    for (origin, status) in [("https://good.example", 405), ("https://evil.example", 403)] {
        let preflight = call()
            .verb("OPTIONS")
            .and("origin", origin)
            .and("access-control-request-method", "POST");
        let answer = preflight.to(&gateway).await;
        assert_eq!(answer.status, status, "{origin}");
        assert!(
            !answer
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("access-control")),
            "{origin}"
        );
    }
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn d12_a021_a031_a_body_that_is_not_plain_json_for_a_client_that_takes_both_answers_is_refused() {
    let (server, gateway) = one().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
        "",
    ] {
        refused(kind, &call().with("content-type", kind).to(&gateway).await, 415, -33008);
    }
    refused(
        "no type",
        &call().without("content-type").to(&gateway).await,
        415,
        -33008,
    );
    for coding in ["gzip", "gzip, gzip", "br", "identity, gzip"] {
        refused(
            coding,
            &call().and("content-encoding", coding).to(&gateway).await,
            415,
            -33008,
        );
    }
    for accept in [
        "application/json",
        "text/event-stream",
        "text/html",
        "application/json;q=0, text/event-stream",
        "",
    ] {
        refused(accept, &call().with("accept", accept).to(&gateway).await, 406, -33007);
    }
    refused("no accept", &call().without("accept").to(&gateway).await, 406, -33007);
    assert!(server.received("tools/call").is_empty());

    let sound = call()
        .with("content-type", "Application/JSON; charset=utf-8")
        .and("content-encoding", "identity")
        .with("accept", "application/*")
        .and("accept", "text/event-stream;q=0.5");
    assert_eq!(sound.to(&gateway).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a064_whoever_sends_no_sound_token_is_told_how_and_nothing_else() {
    let (server, gateway) = one().await;
    let challenge = "Bearer realm=\"meshgate\"";
    let invalid = "Bearer realm=\"meshgate\", error=\"invalid_token\"";
    let cases = [
        ("none", call().without("authorization"), challenge),
        (
            "in the query",
            call()
                .without("authorization")
                .at(&format!("/mcp?access_token={TOKEN}")),
            challenge,
        ),
        ("wrong", call().token("mg_wrong"), invalid),
        ("nearly right", call().token(&TOKEN[..TOKEN.len() - 1]), invalid),
        ("too long", call().token(&format!("{TOKEN}x")), invalid),
        (
            "another scheme",
            call().with("authorization", &format!("Basic {TOKEN}")),
            invalid,
        ),
        ("no scheme", call().with("authorization", TOKEN), invalid),
        (
            "two spaces",
            call().with("authorization", &format!("Bearer  {TOKEN}")),
            invalid,
        ),
        (
            "repeated",
            call().and("authorization", &format!("Bearer {TOKEN}")),
            invalid,
        ),
        (
            "a list",
            call().with("authorization", &format!("Bearer {TOKEN}, Bearer {TOKEN}")),
            invalid,
        ),
    ];
    for (case, post, expected) in cases {
        let answer = post.to(&gateway).await;
        refused(case, &answer, 401, -33001);
        assert_eq!(answer.header("www-authenticate"), Some(expected), "{case}");
        assert!(!answer.text().contains(TOKEN), "{case}");
    }
    assert!(server.received("tools/call").is_empty());
    let small = call().with("authorization", &format!("bearer {TOKEN}"));
    assert_eq!(small.to(&gateway).await.status, 200, "the scheme has no case");
    gateway.stop().await;
}

#[tokio::test]
async fn d10_a_view_that_one_may_not_use_answers_as_one_that_does_not_exist() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let documents = documents(&[
        "kind: View\nmetadata: {name: aaaa}\nspec: {servers: [{name: only}]}",
        "kind: View\nmetadata: {name: mine}\nspec: {servers: [{name: only}]}",
        "kind: Application\nmetadata: {name: other}\nspec: {views: [mine], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
        "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {unauthenticatedPerSecond: 1000}}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &documents));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let allowed = call().token("mg_other").at("/views/mine/mcp").to(&gateway).await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    let forbidden = |post: Post| {
        let gateway = &gateway;
        async move {
            let answers = ["/views/aaaa/mcp", "/views/bbbb/mcp"].map(|path| post.clone().at(path));
            let [known, unknown] = answers;
            (known.to(gateway).await, unknown.to(gateway).await)
        }
    };
    let posts = [
        ("a known caller", call().token("mg_other"), 404),
        ("a stranger", call().without("authorization"), 401),
        ("a wrong token", call().token("mg_wrong"), 401),
        ("a stranger's GET", call().verb("GET").without("authorization"), 405),
        ("a known caller's GET", call().verb("GET").token("mg_other"), 405),
        (
            "a known caller's DELETE",
            call().verb("DELETE").token("mg_other").and("mcp-session-id", "x"),
            404,
        ),
        ("not JSON", call().token("mg_other").body("{"), 404),
        (
            "initialize",
            Post::legacy(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#).token("mg_other"),
            404,
        ),
    ];
    for (case, post, status) in posts {
        let (known, unknown) = forbidden(post).await;
        let stable = |answer: &RawAnswer| {
            let headers = answer.headers.iter().filter(|(name, _)| name != "date");
            (answer.status, headers.cloned().collect::<Vec<_>>())
        };
        assert_eq!(known.status, status, "{case}: {}", known.text());
        assert_eq!(stable(&known), stable(&unknown), "{case}");
        assert_eq!(known.text().replace("aaaa", "bbbb"), unknown.text(), "{case}");
    }
    assert_eq!(server.received("tools/call").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_modern_endpoint_takes_post_alone() {
    let (server, gateway) = one().await;
    for verb in ["GET", "DELETE", "PUT", "PATCH", "HEAD"] {
        let answer = call().verb(verb).to(&gateway).await;
        assert_eq!(answer.status, 405, "{verb}");
        assert_eq!(answer.header("allow"), Some("POST"), "{verb}");
    }
    // Stray leftovers of legacy sessions change nothing for a modern request, and are not repeated back.
    let answer = call()
        .and("mcp-session-id", "left-over")
        .and("last-event-id", "7")
        .to(&gateway)
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("mcp-session-id").is_none());
    let upstream = &server.received("tools/call")[0];
    assert_eq!(
        (upstream.header("mcp-session-id"), upstream.header("last-event-id")),
        (None, None)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn methods_that_nobody_serves_are_not_found() {
    let (server, gateway) = one().await;
    for method in [
        "ping",
        "initialize",
        "logging/setLevel",
        "prompts/list",
        "sampling/createMessage",
        "tasks/list",
    ] {
        let answer = Post::modern("1", method, "").to(&gateway).await;
        refused(method, &answer, 404, -32601);
    }
    // What nobody knows goes to the one server there is, in its own words, and its word comes back.
    let answer = Post::modern("1", "com.example/other", r#""x":1"#).to(&gateway).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (404, &(-32601).into())
    );
    assert_eq!(server.received("com.example/other").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn header_names_have_no_case() {
    let (_server, gateway) = one().await;
    let mut post = call();
    for (name, _) in &mut post.headers {
        *name = name.to_uppercase();
    }
    assert_eq!(post.to(&gateway).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_back() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {callsPerSecond: 1, callBurst: 2}}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], limits)).await;
    for _ in 0..2 {
        assert_eq!(call().to(&gateway).await.status, 200);
    }
    let answer = call().to(&gateway).await;
    refused("the third", &answer, 429, -33012);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}
