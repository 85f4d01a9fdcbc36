//! One call at a time over HTTP: what reaches the server, what comes back.

use meshgate_testkit::{Answer, ScriptedServer, Step};

use super::{EVERYTHING, lifted, messages, next, only, request, stream, tool, until};
use crate::call::Reply;
use crate::refusal::{Executed, Reason};

#[tokio::test]
async fn the_handshake_settles_the_headers_that_a_revision_wants() {
    for (revision, version) in [
        ("2024-11-05", None),
        ("2025-03-26", None),
        ("2025-06-18", Some("2025-06-18")),
        ("2025-11-25", Some("2025-11-25")),
    ] {
        let server = ScriptedServer::legacy(revision).start().await;
        let lifted = lifted(&server).await;
        assert_eq!(lifted.revision().name, revision);
        let initialize = &server.received("initialize")[0];
        assert_eq!(initialize.header("mcp-protocol-version"), None);
        assert!(initialize.text().contains(r#""capabilities":{}"#));
        let initialized = &server.received("notifications/initialized")[0];
        assert_eq!(initialized.header("mcp-session-id"), Some("session-1"));
        assert_eq!(initialized.header("mcp-protocol-version"), version, "{revision}");
        only(lifted.call(request("tools/list", ""), until()).await).await;
        assert_eq!(
            server.received("tools/list")[0].header("mcp-protocol-version"),
            version,
            "{revision}"
        );
    }
}

#[tokio::test]
async fn a_server_without_sessions_is_served_without_one() {
    let server = ScriptedServer::legacy("2025-06-18")
        .without_sessions()
        .without_get()
        .start()
        .await;
    let lifted = lifted(&server).await;
    only(lifted.call(request("tools/list", ""), until()).await).await;
    assert_eq!(server.received("tools/list")[0].header("mcp-session-id"), None);
    lifted.close().await;
    assert!(
        server
            .recorded()
            .iter()
            .all(|request| request.verb != http::Method::DELETE)
    );
}

#[tokio::test]
async fn discovery_is_answered_from_the_handshake() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(EVERYTHING)
        .start()
        .await;
    let lifted = lifted(&server).await;
    let before = server
        .recorded()
        .iter()
        .filter(|request| request.verb == http::Method::POST)
        .count();
    let answer = only(lifted.call(request("server/discover", ""), until()).await).await;
    assert!(answer.contains(r#""supportedVersions":["2026-07-28"]"#), "{answer}");
    assert!(answer.contains(EVERYTHING), "{answer}");
    assert_eq!(
        server
            .recorded()
            .iter()
            .filter(|request| request.verb == http::Method::POST)
            .count(),
        before
    );
}

#[tokio::test]
async fn numbers_and_unknown_members_are_the_same_bytes_on_both_sides() {
    let result = r#"{ "content":[{"type":"hologram","n":123456789012345678901234567890,"z":-0,"f":1.0,"e":1E400}],"é":"\u00e9\/","_meta":{"com.example/x":-0.0}}"#;
    let server = ScriptedServer::legacy("2025-11-25").tool("bytes", result).start().await;
    let lifted = lifted(&server).await;
    let arguments = r#""name":"bytes", "arguments":{"n":123456789012345678901234567890,"z":-0,"f":1.0,"é":"\u00e9\/"},"unknown":[1.0]"#;
    let out = request("tools/call", arguments);
    let id = out.id;
    let answer = only(lifted.call(out, until()).await).await;
    let modern = format!(r#"{},"resultType":"complete"}}"#, result.strip_suffix('}').unwrap());
    assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{modern}}}"#));
    assert_eq!(
        server.received("tools/call")[0].text(),
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{{arguments},"_meta":{{"progressToken":{id}}}}}}}"#
        )
    );
}

#[tokio::test]
async fn every_method_of_a_modern_client_has_a_legacy_answer() {
    let server = ScriptedServer::legacy("2025-03-26")
        .capabilities(EVERYTHING)
        .tool("t", r#"{"content":[]}"#)
        .on("resources/list", |_| Answer::result(r#"{"resources":[]}"#))
        .on("resources/templates/list", |_| {
            Answer::result(r#"{"resourceTemplates":[]}"#)
        })
        .on("resources/read", |_| Answer::error(-32002, "gone"))
        .on("prompts/list", |_| Answer::result(r#"{"prompts":[],"nextCursor":"2"}"#))
        .on("prompts/get", |_| Answer::result(r#"{"messages":[]}"#))
        .on("completion/complete", |_| {
            Answer::result(r#"{"completion":{"values":[]}}"#)
        })
        .start()
        .await;
    let lifted = lifted(&server).await;
    let hints = r#""resultType":"complete","ttlMs":0,"cacheScope":"private""#;
    for method in [
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    ] {
        let answer = only(lifted.call(request(method, r#""cursor":"1""#), until()).await).await;
        assert!(answer.contains(hints), "{answer}");
        assert!(server.received(method)[0].text().contains(r#""cursor":"1""#));
    }
    let read = only(
        lifted
            .call(request("resources/read", r#""uri":"file:///x""#), until())
            .await,
    )
    .await;
    assert!(
        read.contains(r#""code":-32602"#) && read.contains(r#""data":{"uri":"file:///x"}"#),
        "{read}"
    );
    for (method, params) in [
        ("tools/call", r#""name":"t""#),
        ("prompts/get", r#""name":"p""#),
        (
            "completion/complete",
            r#""ref":{"type":"ref/prompt","name":"p"},"argument":{},"context":{}"#,
        ),
    ] {
        let answer = only(lifted.call(request(method, params), until()).await).await;
        assert!(
            answer.contains(r#""resultType":"complete""#) && !answer.contains("ttlMs"),
            "{answer}"
        );
    }
    assert!(!server.received("completion/complete")[0].text().contains("context"));
}

#[tokio::test]
async fn progress_comes_before_the_response_with_the_token_it_was_sent() {
    let progress = |token: &str, n: u32| {
        Step::message(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n}}}}}"#
        ))
    };
    let steps = [
        progress("$TOKEN", 1),
        progress(r#""$TOKEN""#, 2),
        progress("7", 3),
        Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#),
    ];
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("slow", "{}", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let lifted = lifted(&server).await;
    let out = tool("slow");
    let id = out.id;
    let all = messages(lifted.call(out, until()).await).await;
    assert_eq!(all.len(), 3, "{all:?}");
    for (message, n) in all.iter().zip([1, 2]) {
        assert!(
            message.contains(&format!(r#""progressToken":{id},"progress":{n}"#)),
            "{message}"
        );
    }
    assert!(all[2].contains(&format!(r#""id":{id},"result""#)));
}

#[tokio::test]
async fn a_server_that_asks_in_the_middle_of_a_call_is_refused_and_goes_on() {
    let steps = [
        Step::message(r#"{"jsonrpc":"2.0","id":"q1","method":"sampling/createMessage","params":{}}"#),
        Step::Until(r#""id":"q1","error":{"code":-32601"#.into()),
        Step::message(r#"{"jsonrpc":"2.0","id":"q2","method":"ping"}"#),
        Step::Until(r#""id":"q2","result":{}"#.into()),
        Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#),
    ];
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("asks", "{}", move |_| Answer::stream(steps.clone()))
        .start()
        .await;
    let answer = only(lifted(&server).await.call(tool("asks"), until()).await).await;
    assert!(answer.contains(r#""resultType":"complete""#), "{answer}");
}

#[tokio::test]
async fn a_server_that_asks_without_end_does_not_fill_the_gateway() {
    let ask = |id| Step::message(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#));
    let mut steps: Vec<_> = (0..2000).map(ask).collect();
    steps.push(Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#));
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("asks", "{}", move |_| Answer::stream(steps.clone()))
        .when(|request| request.is_response().then(|| Answer::stream([Step::Hold])))
        .start()
        .await;
    only(lifted(&server).await.call(tool("asks"), until()).await).await;
    let answers = server.recorded().iter().filter(|request| request.is_response()).count();
    assert!(answers <= 32, "{answers}");
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_with_exactly_one_message() {
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
    let steps = [Step::message(progress), Step::Hold];
    let server = ScriptedServer::legacy("2025-11-25")
        .tool_as("slow", "{}", move |_| Answer::stream(steps.clone()))
        .tool("quick", r#"{"content":[]}"#)
        .start()
        .await;
    let lifted = lifted(&server).await;
    let out = tool("slow");
    let id = out.id;
    let mut answer = stream(lifted.call(out, until()).await);
    next(&mut answer).await;
    drop(answer);
    let cancelled = server.wait_for("notifications/cancelled", 1).await;
    assert!(cancelled[0].text().contains(&format!(r#""requestId":{id}"#)));
    assert_eq!(cancelled[0].header("mcp-session-id"), Some("session-1"));
    only(lifted.call(tool("quick"), until()).await).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(server.received("notifications/cancelled").len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_byte_cancels_too() {
    let server = ScriptedServer::legacy("2025-11-25")
        .tool_as("slow", "{}", |_| Answer::stream([Step::Hold]))
        .start()
        .await;
    let lifted = lifted(&server).await;
    let waiting = tokio::time::timeout(
        std::time::Duration::from_millis(200),
        lifted.call(tool("slow"), until()),
    )
    .await;
    assert!(waiting.is_err());
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
}

#[tokio::test]
async fn a_deadline_cancels_and_says_that_the_call_may_have_run() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("slow", "{}", |_| Answer::stream([Step::Hold]))
        .start()
        .await;
    let mut out = tool("slow");
    out.deadline = std::time::Instant::now() + std::time::Duration::from_millis(200);
    let refusal = lifted(&server).await.call(out, until()).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
}

#[tokio::test]
async fn what_the_server_does_not_offer_never_reaches_it() {
    let server = ScriptedServer::legacy("2025-06-18").start().await;
    let lifted = lifted(&server).await;
    for method in ["prompts/list", "ping", "initialize", "resources/subscribe"] {
        let refusal = lifted.call(request(method, ""), until()).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::MethodNotFound, Executed::No),
            "{method}"
        );
    }
    assert!(server.received("prompts/list").is_empty());
}

#[tokio::test]
async fn an_error_keeps_its_words_whatever_status_it_rides_on() {
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32602,"message":"no such tool","data":{"n":1.0}}}"#;
    for status in [200, 400, 500] {
        let server = ScriptedServer::legacy("2025-06-18")
            .tool_as("t", "{}", move |_| Answer::whole(status, error))
            .start()
            .await;
        let out = tool("t");
        let expected = error.replace("$ID", &out.id.to_string());
        assert_eq!(only(lifted(&server).await.call(out, until()).await).await, expected);
    }
}

#[tokio::test]
async fn a_status_without_a_message_is_a_refusal_that_shows_no_credential_challenge() {
    for (status, reason, executed) in [
        (401, Reason::ServerBroken, Executed::No),
        (429, Reason::ServerAway, Executed::No),
        (503, Reason::ServerAway, Executed::Unknown),
        (500, Reason::ServerBroken, Executed::Unknown),
        (202, Reason::ServerBroken, Executed::Unknown),
    ] {
        let server = ScriptedServer::legacy("2025-06-18")
            .tool_as("t", "{}", move |_| {
                Answer::whole(status, "").header("www-authenticate", "Bearer x")
            })
            .start()
            .await;
        let refusal = lifted(&server).await.call(tool("t"), until()).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.executed), (reason, executed), "{status}");
        assert!(refusal.header.is_none());
    }
}

#[tokio::test]
async fn a_batch_of_2025_03_26_is_taken_apart() {
    let batch = r#"[{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}},{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}]"#;
    for answer in [Answer::json(batch), Answer::stream([Step::message(batch)])] {
        let server = ScriptedServer::legacy("2025-03-26")
            .tool_as("t", "{}", move |_| answer.clone())
            .start()
            .await;
        assert_eq!(
            messages(lifted(&server).await.call(tool("t"), until()).await)
                .await
                .len(),
            2
        );
    }
}

#[tokio::test]
async fn a_plain_answer_is_one_message_and_no_stream() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool_as("t", "{}", |_| {
            Answer::stream([Step::message(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#)])
        })
        .start()
        .await;
    assert!(matches!(
        lifted(&server).await.call(tool("t"), until()).await,
        Ok(Reply::One(_))
    ));
}
