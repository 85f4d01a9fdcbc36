//! What a client may send to get past the gateway, each input as it is listed, against a whole gateway.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{LegacyClient, META, Post, RunningGateway, TOKEN, UNHURRIED, compiled, documents, mesh, refused};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_proxy::listen::network;
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::raw::exchange;
use serde_json::json;

const OK: &str = r#"{"resultType":"complete","content":[]}"#;

async fn one() -> (ScriptedServer, RunningGateway) {
    let server = ScriptedServer::modern()
        .tool("danger", OK)
        .tool("safe", OK)
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn call() -> Post {
    Post::modern("1", "tools/call", r#""name":"danger","arguments":{}"#)
}

/// A gzip stream of this many zeros: one zero, then copies of 258 of them, in the code that needs no table.
fn gzip_of_zeros(zeros: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u32, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    let copies = (zeros - 1) / 258;
    code(0x30, 8);
    for _ in 0..copies {
        code(0xc5, 8);
        code(0, 5);
    }
    for _ in 0..zeros - 1 - 258 * copies {
        code(0x30, 8);
    }
    code(0, 7);
    let packed = bits
        .chunks(8)
        .map(|byte| byte.iter().rev().fold(0, |all, bit| all << 1 | u8::from(*bit)));
    let mut crc = u32::MAX;
    for _ in 0..zeros {
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let size = u32::try_from(zeros).unwrap().to_le_bytes();
    [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..],
        &packed.collect::<Vec<u8>>(),
        &(!crc).to_le_bytes(),
        &size,
    ]
    .concat()
}

#[tokio::test]
async fn a005_each_listed_encoding_is_refused() {
    let (server, gateway) = one().await;
    let safe = Post::modern("1", "tools/call", r#""name":"safe","arguments":{}"#);
    for value in [
        "=?BASE64?c2FmZQ==?=",
        "=?base64?c2FmZQ?=",
        "=?base64?c2Fm ZQ==?=",
        "=?base64?c2FmZR==?=",
        "=?base64?/w==?=",
    ] {
        refused(
            value,
            &safe.clone().with("mcp-name", value).to(&gateway).await,
            400,
            -32020,
        );
    }
    assert!(server.received("tools/call").is_empty());
    let sound = safe.with("mcp-name", "=?base64?c2FmZQ==?=").to(&gateway).await;
    assert_eq!(sound.status, 200, "{}", sound.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a012_a018_each_listed_text_is_refused_or_is_plain_data() {
    let (server, gateway) = one().await;
    let params = |members: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"danger",{members}{META}}}}}"#)
    };
    for (case, body, code) in [
        ("a012 Name", params(r#""Name":"safe","#), -32600),
        ("a018 {}{}", "{}{}".to_owned(), -32700),
        ("a018 [{…}]", format!("[{}]", params("")), -32600),
        ("a018 a comment before", format!("/* x */{}", params("")), -32700),
        ("a018 a trailing comma", params(r#""x":[1,],"#), -32700),
    ] {
        refused(case, &call().body(body).to(&gateway).await, 400, code);
    }
    assert!(server.received("tools/call").is_empty());
    // A Kelvin sign folds to `k`: `Key` is no word of the protocol, so this is a member like any other, and stays one.
    let kelvin = r#""\u212Aey":1,"#;
    let answer = call().body(params(kelvin)).to(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server.received("tools/call")[0].text().contains(kelvin));
    gateway.stop().await;
}

#[tokio::test]
async fn a021_a_compressed_body_is_refused_however_it_is_said() {
    let (server, gateway) = one().await;
    let bomb = gzip_of_zeros(10 << 20);
    assert!(bomb.len() < 80 << 10, "{} bytes", bomb.len());
    let plain = call().body;
    for (case, codings, body) in [
        ("ten megabytes of zeros", &["gzip"][..], &bomb),
        ("nested", &["gzip, gzip"], &bomb),
        ("nested in two headers", &["gzip", "gzip"], &bomb),
        ("behind a plain one", &["identity", "gzip"], &bomb),
        ("deflate", &["deflate"], &bomb),
        ("another name of gzip", &["x-gzip"], &bomb),
        ("in capitals", &["GZIP"], &bomb),
        ("said of a plain body", &["gzip"], &plain),
        ("no name", &[""], &plain),
    ] {
        let post = codings.iter().fold(call().body(body.clone()), |post, coding| {
            post.and("content-encoding", coding)
        });
        refused(case, &post.to(&gateway).await, 415, -33008);
    }
    // Not said at all, it is not JSON.
    refused("unsaid", &call().body(bomb).to(&gateway).await, 400, -32700);
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn r01_r26_headers_that_other_gateways_obey_open_nothing_and_reach_nobody() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let documents = documents(&[
        UNHURRIED,
        "kind: View\nmetadata: {name: secret}\nspec: {servers: [{name: only}], liftLimits: true}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
        "kind: Application\nmetadata: {name: other}\nspec: {views: [default], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
        "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {unauthenticatedPerSecond: 1000}}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &documents));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let names = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Uri", "/views/secret/mcp"),
        ("X-Forwarded-User", "root"),
        ("X-Forwarded-Prefix", "/views/secret"),
        ("X-Forwarded-Client-Cert", "By=spiffe://mesh/gateway/main"),
        ("Forwarded", "for=127.0.0.1;host=localhost"),
        ("X-Real-Ip", "127.0.0.1"),
        ("X-Original-Url", "/views/secret/mcp"),
        ("X-Rewrite-Url", "/views/secret/mcp"),
        ("X-Http-Method-Override", "GET"),
        ("X-Auth-Request-User", "local"),
        ("Mesh-Caller", "local"),
        ("Mesh-Caller-Context", "local"),
        ("Mesh-Application", "local"),
        ("Mcp-Init-Host", "only"),
        ("Router-Key", "secret-api-key"),
        ("X-Meshgate-View", "secret"),
        ("Meshgate-Application", "local"),
        ("X-Api-Key", TOKEN),
        ("Proxy-Authorization", &format!("Bearer {TOKEN}")),
        ("Cookie", &format!("token={TOKEN}")),
    ];
    for (name, value) in names {
        let with = |post: Post| post.and(name, value);
        let stranger = with(call().without("authorization")).to(&gateway).await;
        assert_eq!(stranger.status, 401, "{name}: {}", stranger.text());
        let beyond = with(call().token("mg_other").at("/views/secret/mcp"))
            .to(&gateway)
            .await;
        assert_eq!(beyond.status, 404, "{name}: {}", beyond.text());
        assert_eq!(with(call()).to(&gateway).await.status, 200, "{name}");
        let seen = server.received("tools/call").pop().unwrap();
        assert_eq!(
            seen.header(&name.to_ascii_lowercase()),
            None,
            "{name} reached the server"
        );
    }
    for name in ["X_Forwarded_User", "mesh_caller", "Mcp_Name", "authorization_"] {
        let answer = exchange(gateway.address, &call().and(name, "root").bytes(gateway.address, false)).await;
        assert_eq!(answer.status, 400, "{name}");
    }
    for names in [
        "close, X-Forwarded-Host",
        "authorization",
        "mcp-name",
        "close, mcp-protocol-version",
        "host",
        "content-length",
    ] {
        let bytes = call().bytes(gateway.address, false);
        let text = String::from_utf8(bytes)
            .unwrap()
            .replace("connection: close", &format!("connection: {names}"));
        assert_eq!(exchange(gateway.address, text.as_bytes()).await.status, 400, "{names}");
    }
    assert_eq!(server.received("tools/call").len(), names.len());
    gateway.stop().await;
}

#[tokio::test]
async fn r23_a_header_that_decides_anything_comes_once_and_is_no_list() {
    let (server, gateway) = one().await;
    let twice = |name: &str, value: &str| call().with(name, value).and(name, value);
    for (case, post, status) in [
        ("a token twice", twice("authorization", &format!("Bearer {TOKEN}")), 401),
        (
            "a list of tokens",
            call().with("authorization", &format!("Bearer {TOKEN}, Bearer x")),
            401,
        ),
        (
            "an allowed origin twice",
            {
                let origin = format!("http://{}", gateway.address);
                twice("origin", &origin)
            },
            403,
        ),
        ("a content type twice", twice("content-type", "application/json"), 415),
        ("two content types", call().and("content-type", "text/plain"), 415),
        (
            "a list of content types",
            call().with("content-type", "application/json, text/plain"),
            415,
        ),
        ("a version twice", twice("mcp-protocol-version", "2026-07-28"), 400),
        (
            "a list of versions",
            call().with("mcp-protocol-version", "2026-07-28, 2026-07-28"),
            400,
        ),
        ("a method twice", twice("mcp-method", "tools/call"), 400),
        (
            "a list of methods",
            call().with("mcp-method", "tools/call, tools/call"),
            400,
        ),
        ("a name twice", twice("mcp-name", "danger"), 400),
        ("a list of names", call().with("mcp-name", "danger, danger"), 400),
        ("a session twice", twice("mcp-session-id", "x"), 400),
        ("a host twice", call().and("host", &gateway.address.to_string()), 400),
        (
            "a length twice",
            call().and("content-length", &call().body.len().to_string()),
            400,
        ),
    ] {
        let answer = post.to(&gateway).await;
        assert_eq!(answer.status, status, "{case}: {}", answer.text());
    }
    let legacy = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let doubled = legacy.request("1", "tools/call", r#""name":"danger""#);
    for (name, value) in [
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-session-id", legacy.session.as_str()),
    ] {
        assert_eq!(
            doubled.clone().and(name, value).to(&gateway).await.status,
            400,
            "{name}"
        );
    }
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a084_a_modern_call_beside_a_session_is_a_modern_call() {
    let (server, gateway) = one().await;
    let legacy = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    let modern = call().and("mcp-session-id", &legacy.session).to(&gateway).await;
    assert_eq!(modern.json()["result"]["resultType"], "complete", "{}", modern.text());
    assert!(modern.header("mcp-session-id").is_none());
    let legacy_header = call()
        .and("mcp-session-id", &legacy.session)
        .with("mcp-protocol-version", "2025-11-25");
    refused(
        "a session does not excuse a header",
        &legacy_header.to(&gateway).await,
        400,
        -32020,
    );
    let within = legacy
        .request("2", "tools/call", r#""name":"danger""#)
        .to(&gateway)
        .await;
    assert!(within.json()["result"].get("resultType").is_none(), "{}", within.text());
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a087_whoever_changes_tokens_and_addresses_of_one_network_is_slowed_all_the_same() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {unauthenticatedPerSecond: 5}}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], limits)).await;
    let mut heard = Vec::new();
    for n in 0..40 {
        let post = call()
            .token(&format!("mg_guess-number-{n}"))
            .and("x-forwarded-for", &format!("192.0.2.{n}"));
        heard.push(post.to(&gateway).await.status);
    }
    let refused = heard.iter().filter(|status| **status == 429).count();
    assert_eq!(heard[..5], [401; 5], "one below and at the limit");
    assert!(refused >= 20, "{heard:?}");
    assert_eq!(
        call().to(&gateway).await.status,
        200,
        "who proves itself is not slowed by its neighbours"
    );
    gateway.stop().await;

    let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
    assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert!(
        same("::ffff:192.0.2.1", "192.0.2.1"),
        "an address is the same in either form"
    );
    assert!(
        !same("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        "or all of the old internet would be one neighbour"
    );
}

#[tokio::test]
async fn one_caller_with_slow_bodies_does_not_take_the_place_of_others() {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let documents = documents(&[
        "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {callsInFlight: 8}}",
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}]}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
        "kind: Application\nmetadata: {name: other}\nspec: {views: [default], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &documents));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let bytes = call().bytes(gateway.address, false);
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut connection = meshgate_testkit::raw::RawConnection::open(gateway.address).await;
        connection.send(&bytes[..bytes.len() - 1]).await;
        slow.push(connection);
    }
    let seventh = loop {
        let answer = call().to(&gateway).await;
        if answer.status != 200 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    let rule = &seventh.json()["error"]["data"]["dev.meshgate/refusal"]["rule"];
    assert_eq!(
        (seventh.status, rule),
        (429, &json!("limit/calls-of-caller")),
        "{}",
        seventh.text()
    );
    assert_eq!(
        call().token("mg_other").to(&gateway).await.status,
        200,
        "another caller has the rest"
    );
    for mut connection in slow {
        connection.send(&bytes[bytes.len() - 1..]).await;
        assert_eq!(connection.answer().await.unwrap().status, 200);
    }
    assert_eq!(call().to(&gateway).await.status, 200);
    gateway.stop().await;
}
