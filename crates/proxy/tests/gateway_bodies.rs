//! Bodies over the whole gateway: what is not exactly one sound message gets the answer it deserves, and no server hears
//! of it; what is sound arrives, however odd it looks.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{META, Post, RunningGateway, UNHURRIED, mesh, refused};
use meshgate_testkit::ScriptedServer;
use meshgate_testkit::raw::exchange;

const OK: &str = r#"{"resultType":"complete","content":[]}"#;

async fn one() -> (ScriptedServer, RunningGateway) {
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn call() -> Post {
    Post::modern("1", "tools/call", r#""name":"danger","arguments":{}"#)
}

fn text(body: &str) -> Vec<u8> {
    body.replace("META", META).into_bytes()
}

/// Sends bodies that are no sound message; none may reach the server.
async fn bodies_refused(cases: Vec<(String, Vec<u8>, i64)>) {
    let (server, gateway) = one().await;
    for (case, body, code) in cases {
        refused(&case, &call().body(body).to(&gateway).await, 400, code);
    }
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn d05_a010_a011_a012_repeated_and_respelled_members_reach_no_server() {
    let in_params = |members: &str| {
        text(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{members},META}}}}"#
        ))
    };
    let cases = [
        ("a010 name twice", in_params(r#""name":"safe","name":"danger""#)),
        (
            "a010 method twice",
            text(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"danger",META}}"#,
            ),
        ),
        (
            "a010 params twice",
            text(
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe",META},"params":{"name":"danger",META}}"#,
            ),
        ),
        (
            "a010 id twice",
            text(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"danger",META}}"#),
        ),
        (
            "a010 _meta twice",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger",META,META}}"#),
        ),
        (
            "a010 inside arguments",
            in_params(r#""name":"danger","arguments":{"path":"/ok","path":"/etc"}"#),
        ),
        (
            "a010 deep inside arguments",
            in_params(r#""name":"danger","arguments":{"a":[{"b":1,"b":2}]}"#),
        ),
        (
            "a011 escaped spelling",
            in_params(r#""name":"safe","na\u006de":"danger""#),
        ),
        (
            "a011 escaped spelling in arguments",
            in_params(r#""name":"danger","arguments":{"a":1,"\u0061":2}"#),
        ),
        ("a012 Name", in_params(r#""name":"safe","Name":"danger""#)),
        ("a012 Name alone", in_params(r#""Name":"danger""#)),
        (
            "a012 METHOD",
            text(
                r#"{"jsonrpc":"2.0","id":1,"METHOD":"tools/call","method":"tools/call","params":{"name":"danger",META}}"#,
            ),
        ),
        (
            "a012 long s",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger",META},"paramſ":{}}"#),
        ),
        (
            "a012 Kelvin sign",
            in_params(r#""name":"danger","_meta":{"progressTo\u212Aen":1}"#),
        ),
    ];
    bodies_refused(cases.map(|(case, body)| (case.to_owned(), body, -32600)).to_vec()).await;
}

#[tokio::test]
async fn d06_a013_to_a018_text_that_two_readers_could_read_differently_reaches_no_server() {
    let with = |argument: &[u8]| {
        let head = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger","arguments":{"x":"#;
        [head.as_bytes(), argument, b"},", META.as_bytes(), b"}}"].concat()
    };
    let sound = text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger",META}}"#);
    let mut cases = vec![
        ("a013 100,000 brackets".to_owned(), vec![b'['; 100_000], -32600),
        (
            "a013 brackets inside arguments".to_owned(),
            with(&vec![b'['; 100_000]),
            -32600,
        ),
        (
            "a013 65 levels".to_owned(),
            with(&[[b'['; 62], [b']'; 62]].concat()),
            -32600,
        ),
        (
            "a014 a number of a million digits".to_owned(),
            with(&vec![b'7'; 1_000_000]),
            -32600,
        ),
        (
            "a017 byte order mark".to_owned(),
            [b"\xef\xbb\xbf".as_slice(), &sound].concat(),
            -32700,
        ),
        (
            "a018 a second message".to_owned(),
            [sound.as_slice(), b"{}"].concat(),
            -32700,
        ),
        (
            "a018 an array".to_owned(),
            [b"[".as_slice(), &sound, b"]"].concat(),
            -32600,
        ),
        (
            "a018 a comment".to_owned(),
            [sound.as_slice(), b"// x"].concat(),
            -32700,
        ),
        ("a018 nothing".to_owned(), Vec::new(), -32700),
    ];
    for number in ["0x1", "01", "NaN", "Infinity", "+1", ".5", "1."] {
        cases.push((format!("a014 {number}"), with(number.as_bytes()), -32700));
    }
    for bytes in [
        b"\"\xff\"".as_slice(),
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
    ] {
        cases.push((format!("a015 {bytes:x?}"), with(bytes), -32700));
    }
    cases.push(("a015 a lone surrogate".to_owned(), with(br#""\ud800""#), -32700));
    cases.push(("a018 a trailing comma".to_owned(), with(b"[1,]"), -32700));
    cases.push((
        "a016 NUL in a name".to_owned(),
        text(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"dan\u0000ger",META}}"#),
        -32600,
    ));
    bodies_refused(cases).await;
}

#[tokio::test]
async fn a014_a020_odd_but_sound_values_arrive_as_they_were_sent() {
    let (server, gateway) = one().await;
    let arguments = r#"{"n":[1e400,-0,1.0,123456789012345678901234567890],"__proto__":{"constructor":1}}"#;
    let body = text(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"danger","arguments":{arguments},META}}}}"#
    ));
    let answer = call().body(body).to(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        server
            .recorded()
            .iter()
            .any(|request| request.text().contains(arguments))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn d07_a019_ids_of_other_forms_reach_no_server_and_sound_ones_come_back_as_they_were() {
    let body = |id: &str| {
        text(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"danger",META}}}}"#
        ))
    };
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let wrong = [
        "null",
        "1.5",
        "1e0",
        "9007199254740993",
        "\"\"",
        &long,
        "{}",
        "[1]",
        "true",
    ];
    let mut cases = wrong.map(|id| (format!("a019 {id:.40}"), body(id), -32600)).to_vec();
    let silent = text(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"danger",META}}"#);
    cases.push(("a019 missing".to_owned(), silent, -32600));
    bodies_refused(cases).await;

    let (server, gateway) = one().await;
    for id in ["0", "-1", "9007199254740992", "\"1\"", r#""a\u0062""#] {
        let answer = call().body(body(id)).to(&gateway).await;
        assert!(
            answer.text().contains(&format!(r#""id":{id}"#)),
            "{id}: {}",
            answer.text()
        );
    }
    assert_eq!(server.received("tools/call").len(), 5);
    gateway.stop().await;
}

#[tokio::test]
async fn d08_a_body_is_taken_up_to_its_limit_and_refused_beyond_announced_or_not() {
    const LIMIT: usize = 2048;
    let server = ScriptedServer::modern().tool("danger", OK).start().await;
    let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {body: 2KiB}}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], limits)).await;
    for (size, taken) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false), (4 * LIMIT, false)] {
        let mut post = call();
        let padding = " ".repeat(size - post.body.len());
        post.body.extend(padding.as_bytes());
        for chunked in [false, true] {
            let answer = exchange(gateway.address, &post.bytes(gateway.address, chunked)).await;
            if taken {
                assert_eq!(answer.status, 200, "{size} {chunked}: {}", answer.text());
            } else {
                refused(&format!("{size} {chunked}"), &answer, 413, -33009);
                let rule = &answer.json()["error"]["data"]["dev.meshgate/refusal"]["rule"];
                assert_eq!(rule, "limit/body-bytes");
            }
        }
    }
    assert_eq!(server.received("tools/call").len(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn a_notification_is_taken_and_dropped_and_a_response_is_refused() {
    let (server, gateway) = one().await;
    let notice = text(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,META}}"#);
    let answer = call().body(notice).to(&gateway).await;
    assert_eq!((answer.status, answer.text()), (202, ""));
    for response in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
    ] {
        refused(response, &call().body(response).to(&gateway).await, 400, -32600);
    }
    let reached =
        |request: &meshgate_testkit::Recorded| request.is_response() || request.method() == "notifications/cancelled";
    assert!(!server.recorded().iter().any(reached));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_modern_request_must_say_of_itself_is_asked_for() {
    let (server, gateway) = one().await;
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"danger"}}"#;
    refused("no _meta", &call().body(bare).to(&gateway).await, 400, -32602);
    for (case, meta) in [
        (
            "no capabilities",
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
        ),
        ("no version", r#"{"io.modelcontextprotocol/clientCapabilities":{}}"#),
        (
            "a version that is no text",
            r#"{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}}"#,
        ),
        (
            "capabilities that are a list",
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
        ),
    ] {
        let post = Post::modern("1", "tools/call", &format!(r#""name":"danger","_meta":{meta}"#));
        refused(case, &post.to(&gateway).await, 400, -32602);
    }
    let level = META.replace("{}}", r#"{},"io.modelcontextprotocol/logLevel":"loud"}"#);
    let answer = Post::modern("1", "tools/call", &format!(r#""name":"danger",{level}"#))
        .to(&gateway)
        .await;
    refused("an unknown log level", &answer, 200, -32602);
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_version_that_is_not_served_is_answered_with_those_that_are() {
    let (server, gateway) = one().await;
    let meta = META.replace("2026-07-28", "2027-01-01");
    let post = Post::modern("7", "tools/call", &format!(r#""name":"danger",{meta}"#))
        .with("mcp-protocol-version", "2027-01-01");
    let answer = post.to(&gateway).await;
    refused("2027", &answer, 400, -32022);
    let json = answer.json();
    assert_eq!(json["id"], 7);
    let data = &json["error"]["data"];
    assert_eq!(data["requested"], "2027-01-01");
    assert_eq!(data["supported"][0], "2026-07-28");
    assert!(server.received("tools/call").is_empty());
    gateway.stop().await;
}
