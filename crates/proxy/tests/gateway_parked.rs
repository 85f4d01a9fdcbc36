//! Parked calls over the whole gateway: a modern client, spelled by hand, before legacy servers that ask in the middle of a
//! call.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use common::parked::{ALL, Asks, DONE, FORM, Last, answers, asking, asks, asks_once, before, call, gone, question};
use common::{UNHURRIED, mesh};
use meshgate_testkit::{Answer, ScriptedServer, Step};
use serde_json::{Value, json};

#[tokio::test]
async fn a_question_parks_the_call_and_the_retry_goes_on_with_it() {
    for (method, params, answer) in [
        (
            "elicitation/create",
            FORM,
            json!({"action": "accept", "content": {"name": "Ada"}}),
        ),
        (
            "elicitation/create",
            r#"{"mode":"url","elicitationId":"e1","url":"https://a/","message":"m"}"#,
            json!({"action": "accept"}),
        ),
        (
            "sampling/createMessage",
            r#"{"messages":[],"maxTokens":1}"#,
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "42"}}),
        ),
        ("roots/list", "{}", json!({"roots": [{"uri": "file:///home"}]})),
        ("elicitation/create", FORM, json!({"action": "decline"})),
        ("elicitation/create", FORM, json!({"action": "cancel"})),
    ] {
        let (server, gateway) = before(asks_once(method, params)).await;
        let first = gateway.modern("/mcp", "\"a\"", "tools/call", &call(ALL, "")).await;
        assert_eq!(first.last()["id"], "a");
        let asked = asks(&first);
        let request = &asked.requests[asked.key()];
        assert_eq!(request["method"], method);
        assert!(
            request["params"].get("elicitationId").is_none() && request.get("id").is_none(),
            "{request}"
        );

        let retry = asked.retry(&json!({ asked.key(): answer, "unknown": {"action": "accept"} }));
        let second = gateway.modern("/mcp", "8", "tools/call", &retry).await.last();
        assert_eq!(
            (&second["id"], &second["result"]["resultType"]),
            (&json!(8), &json!("complete")),
            "{second}"
        );
        assert_eq!(second["result"]["content"][0]["text"], "done");
        assert_eq!(
            answers(&server, "s7"),
            [json!({"jsonrpc": "2.0", "id": "s7", "result": answer})]
        );
        assert_eq!(server.received("tools/call").len(), 1, "{method}");
        assert!(server.received("notifications/cancelled").is_empty());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_handshake_declares_what_the_client_declared_and_calls_in_a_row_share_the_session() {
    let (server, gateway) = before(asking("2025-11-25", |call| {
        let mut steps = question(&format!("s{}", call.json()["id"]), "roots/list", "{}").to_vec();
        steps.push(Step::message(DONE));
        steps
    }))
    .await;
    for _ in 0..2 {
        let first = gateway
            .modern("/mcp", "1", "tools/call", &call(r#"{"roots":{}}"#, ""))
            .await;
        let asked = asks(&first);
        let retry = asked.retry(&json!({ asked.key(): {"roots": []} }));
        assert_eq!(gateway.modern("/mcp", "2", "tools/call", &retry).await.last()["id"], 2);
    }
    // Without anything declared, and where nothing can be asked, the session of all callers serves.
    let lists = gateway
        .modern(
            "/mcp",
            "3",
            "tools/list",
            &call(ALL, "").replace(r#""name":"ask","#, ""),
        )
        .await;
    assert_eq!(lists.status, 200);
    let declared: Vec<Value> = server
        .received("initialize")
        .iter()
        .map(|request| request.json()["params"]["capabilities"].clone())
        .collect();
    assert_eq!(declared, [json!({}), json!({"roots": {}})]);
    gateway.stop().await;
}

#[tokio::test]
async fn several_questions_are_asked_at_once_and_what_was_not_answered_is_asked_again() {
    let (server, gateway) = before(asking("2025-11-25", |_| {
        let [a, a_answered] = question("a", "elicitation/create", FORM);
        let [b, b_answered] = question("b", "roots/list", "{}");
        let [c, c_answered] = question("c", "sampling/createMessage", r#"{"messages":[],"maxTokens":1}"#);
        vec![a, b, c, a_answered, b_answered, c_answered, Step::message(DONE)]
    }))
    .await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    let key = |asked: &Asks, method: &str| {
        let requests = asked.requests.as_object().unwrap();
        let found = requests.iter().find(|(_, request)| request["method"] == method);
        found
            .unwrap_or_else(|| panic!("{method}: {}", asked.requests))
            .0
            .clone()
    };
    assert_eq!(asked.requests.as_object().unwrap().len(), 3);
    let answers_of_two = json!({
        key(&asked, "elicitation/create"): {"action": "accept"},
        key(&asked, "roots/list"): {"roots": []},
    });
    let again = asks(
        &gateway
            .modern("/mcp", "2", "tools/call", &asked.retry(&answers_of_two))
            .await,
    );
    let missing = again.key();
    assert_eq!(again.requests[&missing]["method"], "sampling/createMessage");
    assert_ne!(again.state, asked.state);
    let sampled = json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "1"}});
    let done = gateway
        .modern("/mcp", "3", "tools/call", &again.retry(&json!({ missing: sampled })))
        .await;
    assert_eq!(done.last()["result"]["content"][0]["text"], "done");
    for id in ["a", "b", "c"] {
        assert_eq!(answers(&server, id).len(), 1, "{id}");
    }
    assert_eq!(server.received("tools/call").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_may_ask_in_nine_rounds_and_not_in_a_tenth() {
    for rounds in [8, 9, 10] {
        let (server, gateway) = before(asking("2025-06-18", move |_| {
            let asked = (0..rounds).flat_map(|n| question(&format!("s{n}"), "elicitation/create", FORM));
            asked.chain([Step::message(DONE)]).collect()
        }))
        .await;
        let mut answer = gateway.modern("/mcp", "0", "tools/call", &call(ALL, "")).await;
        for _ in 0..rounds.min(9) {
            let asked = asks(&answer);
            let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
            answer = gateway.modern("/mcp", "0", "tools/call", &retry).await;
        }
        if rounds <= 9 {
            assert_eq!(answer.last()["result"]["content"][0]["text"], "done", "{rounds}");
        } else {
            let refused = answer.last()["error"].clone();
            assert_eq!(
                refused["data"]["dev.meshgate/refusal"]["rule"], "lift/rounds",
                "{refused}"
            );
            assert_eq!(refused["data"]["dev.meshgate/refusal"]["executed"], "unknown");
            server.wait_for("notifications/cancelled", 1).await;
            assert_eq!(answers(&server, "s9")[0]["result"], json!({"action": "cancel"}));
        }
        assert_eq!(server.received("tools/call").len(), 1);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a072_what_the_client_did_not_declare_is_refused_to_the_server_and_the_call_goes_on() {
    let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
    let roots = call(r#"{"roots":{}}"#, "");
    let done = gateway.modern("/mcp", "1", "tools/call", &roots).await.last();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
    assert_eq!(answers(&server, "s7")[0]["error"]["code"], -32601);
    gateway.stop().await;
}

#[tokio::test]
async fn d41_a_retry_is_good_once_and_its_call_is_never_made_a_second_time() {
    let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
    let done = gateway.modern("/mcp", "2", "tools/call", &retry).await.last();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
    for _ in 0..2 {
        gone(&gateway.modern("/mcp", "3", "tools/call", &retry).await);
    }
    assert_eq!(
        (server.received("tools/call").len(), answers(&server, "s7").len()),
        (1, 1)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_named_and_the_call_waits_on() {
    let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    let wrong = asked.retry(&json!({ asked.key(): {"action": "maybe"} }));
    let refused = gateway.modern("/mcp", "2", "tools/call", &wrong).await.last();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert!(
        refused["error"]["message"].as_str().unwrap().contains(&asked.key()),
        "{refused}"
    );
    assert_eq!(refused["error"]["data"]["dev.meshgate/refusal"]["executed"], "unknown");
    assert!(answers(&server, "s7").is_empty());
    let retry = asked.retry(&json!({ asked.key(): {"action": "decline"} }));
    assert_eq!(
        gateway.modern("/mcp", "3", "tools/call", &retry).await.last()["result"]["resultType"],
        "complete"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_given_up_properly_on_both_sides() {
    let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(299)).await;
    tokio::time::resume();
    assert!(answers(&server, "s7").is_empty());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let cancelled = server.wait_for("notifications/cancelled", 1).await;
    assert_eq!(
        cancelled[0].json()["params"]["requestId"],
        server.received("tools/call")[0].json()["id"]
    );
    assert_eq!(answers(&server, "s7")[0]["result"], json!({"action": "cancel"}));
    gone(
        &gateway
            .modern(
                "/mcp",
                "2",
                "tools/call",
                &asked.retry(&json!({ asked.key(): {"action": "accept"} })),
            )
            .await,
    );
    assert_eq!(server.received("tools/call").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_that_stops_tells_the_server_what_will_not_come() {
    let (server, gateway) = before(asks_once("sampling/createMessage", r#"{"messages":[],"maxTokens":1}"#)).await;
    asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    assert!(gateway.stop_in_peace().await);
    assert_eq!(answers(&server, "s7")[0]["error"]["code"], -32603);
    assert_eq!(server.received("notifications/cancelled").len(), 1);
    let ended = server
        .recorded()
        .iter()
        .filter(|request| request.verb == http::Method::DELETE)
        .count();
    assert_eq!(ended, 2, "the session of all callers and that of the call");
}

#[tokio::test]
async fn a_server_that_is_removed_hears_that_its_question_is_given_up() {
    let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
    let other = ScriptedServer::legacy("2025-11-25")
        .tool("ask", r#"{"content":[]}"#)
        .start()
        .await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    gateway.reload(&mesh(&[("only", &other.url())], UNHURRIED));
    server.wait_for("notifications/cancelled", 1).await;
    assert_eq!(answers(&server, "s7")[0]["result"], json!({"action": "cancel"}));
    gone(
        &gateway
            .modern("/mcp", "2", "tools/call", &asked.retry(&json!({})))
            .await,
    );
    assert!(other.received("tools/call").is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_a_round_cancels_its_call() {
    let (server, gateway) = before(asking("2025-11-25", |_| {
        let mut steps = question("s7", "roots/list", "{}").to_vec();
        steps.push(Step::Hold);
        steps
    }))
    .await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    let retry = common::Post::modern("2", "tools/call", &asked.retry(&json!({ asked.key(): {"roots": []} })));
    let connection = retry.open(&gateway).await;
    while answers(&server, "s7").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(connection);
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
    gone(
        &gateway
            .modern("/mcp", "3", "tools/call", &asked.retry(&json!({})))
            .await,
    );
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_while_nobody_listens_is_kept_and_handed_out_once() {
    let (server, gateway) = before(asking("2025-11-25", |_| {
        let [asked, _] = question("s7", "elicitation/create", FORM);
        let withdrawn = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s7"}}"#;
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
        let pause = Step::Wait(Duration::from_millis(150));
        vec![
            asked,
            pause,
            Step::message(withdrawn),
            Step::message(progress),
            Step::message(DONE),
        ]
    }))
    .await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
    let done = gateway.modern("/mcp", "2", "tools/call", &retry).await;
    assert_eq!(
        (done.messages().len(), &done.last()["id"]),
        (1, &json!(2)),
        "{}",
        done.text()
    );
    assert!(
        answers(&server, "s7").is_empty(),
        "the server did not want the answer any more"
    );
    gone(&gateway.modern("/mcp", "3", "tools/call", &retry).await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_that_was_done_with_needs_no_answer_and_progress_comes_under_the_newest_token() {
    let (server, gateway) = before(asking("2025-11-25", |_| {
        let page = r#"{"mode":"url","elicitationId":"e1","url":"https://a/","message":"m"}"#;
        let [asked, answered] = question("s7", "elicitation/create", page);
        let complete =
            r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e1"}}"#;
        let progress =
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
        let pause = Step::Wait(Duration::from_millis(150));
        let rest = [Step::message(progress), Step::message(DONE)];
        [
            asked,
            pause.clone(),
            Step::message(complete),
            answered,
            Step::Until("go on".to_owned()),
        ]
        .into_iter()
        .chain(rest)
        .collect()
    }))
    .await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    while answers(&server, "s7").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answers(&server, "s7")[0]["result"], json!({"action": "accept"}));
    let retry = asked
        .retry(&json!({ asked.key(): {"action": "accept"} }))
        .replace("\"p\"", "\"p2\"");
    let post = common::Post::modern("2", "tools/call", &retry);
    let retry = post.open(&gateway);
    let poke = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        meshgate_testkit::raw::post(
            server.address(),
            "/mcp",
            &[("mcp-session-id", "session-1")],
            b"\"go on\"",
        )
        .await
    };
    let (mut retry, _) = tokio::join!(retry, poke);
    let answer = retry.answer().await.unwrap();
    let messages = answer.messages();
    assert!(messages[0].contains(r#""progressToken":"p2""#), "{messages:?}");
    assert_eq!(answer.last()["id"], 2);
    assert_eq!(answers(&server, "s7").len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_that_must_be_opened_first_is_asked_and_then_the_call_is_sent_again() {
    for (action, calls) in [("accept", 2), ("decline", 1)] {
        let required = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32042,"message":"first","data":{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://a/","message":"sign in"}]}}}"#;
        let times = std::sync::atomic::AtomicUsize::new(0);
        let (server, gateway) = before(ScriptedServer::legacy("2025-11-25").tool_as(
            "ask",
            r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
            move |_| match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Answer::json(required),
                _ => Answer::result(r#"{"content":[{"type":"text","text":"done"}]}"#),
            },
        ))
        .await;
        let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
        let request = &asked.requests[asked.key()];
        assert_eq!(
            request,
            &json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://a/", "message": "sign in"}})
        );
        let asked = asks(
            &gateway
                .modern("/mcp", "2", "tools/call", &asked.retry(&json!({})))
                .await,
        );
        let done = gateway
            .modern(
                "/mcp",
                "3",
                "tools/call",
                &asked.retry(&json!({ asked.key(): {"action": action} })),
            )
            .await
            .last();
        if action == "accept" {
            assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
        } else {
            assert_eq!(
                done["error"]["data"]["dev.meshgate/refusal"]["reason"], "declined",
                "{done}"
            );
            assert_eq!(done["error"]["data"]["dev.meshgate/refusal"]["executed"], "no");
        }
        assert_eq!(server.received("tools/call").len(), calls);
        assert!(
            !server
                .received("tools/call")
                .iter()
                .any(|call| call.text().contains("inputResponses"))
        );
        gateway.stop().await;
    }
}
