use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use meshgate_identity::keys::KeyRing;

use super::super::{Answer, Lower, SessionLimits};
use super::{Client, Inside, body_of, caller, face, seams};
use crate::refusal::Reason;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn silent() -> super::Dispatch {
    Inside::new().dispatch
}

fn reason(answer: Result<Answer, crate::refusal::Refusal>) -> Reason {
    answer.unwrap_err().reason
}

#[tokio::test]
async fn initialize_opens_a_session_with_a_visible_ascii_id() {
    let mut client = Client::new(&face(SessionLimits::default()), "app", &silent());
    let body = client.initialize("2025-06-18", "{}").await;
    assert!(
        body.contains(r#""protocolVersion":"2025-06-18""#) && body.contains(r#""serverInfo":{"name":"mesh""#),
        "{body}"
    );
    let id = client.session_id();
    assert!(
        id.len() <= 1024 && id.bytes().all(|b| (0x21..=0x7e).contains(&b)),
        "{id}"
    );
    assert_eq!(
        body_of(client.post(PING).await),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
}

#[tokio::test]
async fn d17_a_session_id_with_any_bit_flipped_is_no_session() {
    let client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    let id = client.session_id().to_owned();
    for position in 0..id.len() {
        for bit in 0..8 {
            let mut bytes = id.clone().into_bytes();
            bytes[position] ^= 1 << bit;
            let Ok(value) = http::HeaderValue::from_bytes(&bytes) else {
                continue;
            };
            let mut forged = client.clone();
            forged.headers.insert(super::SESSION_ID, value);
            assert_eq!(
                reason(forged.post(PING).await),
                Reason::NotFound,
                "byte {position}, bit {bit}"
            );
        }
    }
    assert!(client.post(PING).await.is_ok());
}

#[tokio::test]
async fn d17_a_shortened_or_lengthened_session_id_is_no_session() {
    let client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    let id = client.session_id();
    for forged in [
        &id[..id.len() - 1],
        &id[1..],
        &format!("{id}A"),
        "x",
        &"A".repeat(9_000),
    ] {
        assert_eq!(
            reason(client.with("mcp-session-id", forged).post(PING).await),
            Reason::NotFound
        );
    }
}

#[tokio::test]
async fn a082_d22_another_callers_session_is_no_session() {
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &silent()).await;
    let mut thief = client.clone();
    thief.caller = caller("other");
    assert_eq!(reason(thief.post(PING).await), Reason::NotFound);
    assert_eq!(reason(thief.get().await), Reason::NotFound);
    assert_eq!(reason(thief.delete().await), Reason::NotFound);
    thief.caller = Arc::new(crate::call::Caller::anonymous());
    assert_eq!(reason(thief.post(PING).await), Reason::NotFound);
    assert!(client.post(PING).await.is_ok());
}

#[tokio::test]
async fn d22_a_session_of_another_view_is_no_session() {
    let mut client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    client.offered.view = "/views/other/mcp".into();
    assert_eq!(reason(client.post(PING).await), Reason::NotFound);
}

#[tokio::test]
async fn a_session_of_another_process_with_the_same_keys_is_not_at_home_here() {
    let keys = Arc::new(KeyRing::from_entropy().unwrap());
    let now = Arc::new(AtomicU64::new(1_000));
    let here = Lower::new(Arc::clone(&keys), SessionLimits::default(), seams(&now));
    let there = Lower::new(keys, SessionLimits::default(), seams(&now));
    let mut client = Client::newest(&here, &silent()).await;
    client.lower = there;
    assert_eq!(reason(client.post(PING).await), Reason::NotFound);
}

#[tokio::test]
async fn a_request_without_a_session_id_is_told_to_initialize() {
    let client = Client::new(&face(SessionLimits::default()), "app", &silent());
    let refusal = client.post(PING).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidRequest);
    assert!(refusal.message.contains("initialize"));
}

#[tokio::test]
async fn a_repeated_session_id_is_refused() {
    let mut client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    let id = client.headers[super::SESSION_ID].clone();
    client.headers.append(super::SESSION_ID, id);
    assert_eq!(reason(client.post(PING).await), Reason::InvalidRequest);
}

#[tokio::test]
async fn delete_ends_the_session_for_good() {
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &silent()).await;
    assert!(matches!(
        client.delete().await.unwrap(),
        Answer::Empty {
            status: StatusCode::NO_CONTENT,
            ..
        }
    ));
    assert_eq!(reason(client.post(PING).await), Reason::NotFound);
    assert_eq!(reason(client.delete().await), Reason::NotFound);
    assert_eq!(lower.sessions(), 0);
}

#[tokio::test]
async fn the_version_header_may_be_absent_or_any_legacy_revision_and_nothing_else() {
    let client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    assert!(client.post(PING).await.is_ok());
    assert!(
        client
            .with("mcp-protocol-version", "2025-03-26")
            .post(PING)
            .await
            .is_ok()
    );
    for wrong in ["2026-07-28", "2025-1-1", "latest"] {
        assert_eq!(
            reason(client.with("mcp-protocol-version", wrong).post(PING).await),
            Reason::InvalidRequest
        );
    }
}

#[tokio::test]
async fn notifications_are_accepted_and_go_nowhere() {
    let mut inside = Inside::new();
    let client = Client::newest(&face(SessionLimits::default()), &inside.dispatch.clone()).await;
    for method in ["initialized", "roots/list_changed", "cancelled", "com.example/anything"] {
        let answer = client
            .post(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#))
            .await
            .unwrap();
        assert!(matches!(
            answer,
            Answer::Empty {
                status: StatusCode::ACCEPTED,
                ..
            }
        ));
    }
    assert!(inside.arrived.try_recv().is_err());
}

#[tokio::test]
async fn methods_that_a_session_does_not_have_are_not_offered() {
    let client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    for method in [
        "server/discover",
        "subscriptions/listen",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "roots/list",
    ] {
        let body = body_of(
            client
                .post(&format!(r#"{{"jsonrpc":"2.0","id":"a","method":"{method}"}}"#))
                .await,
        );
        assert!(
            body.contains(r#""code":-32601"#) && body.contains(r#""id":"a""#),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_log_level_is_checked_and_offered_only_with_logging() {
    let mut client = Client::newest(&face(SessionLimits::default()), &silent()).await;
    let set = |level: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#)
    };
    assert_eq!(
        body_of(client.post(&set("debug")).await),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
    assert!(body_of(client.post(&set("loud")).await).contains("-32602"));
    client.offered.capabilities = b"{}".as_slice().into();
    assert!(body_of(client.post(&set("debug")).await).contains("-32601"));
}

#[tokio::test(start_paused = true)]
async fn an_unused_session_ends_and_a_used_one_does_not() {
    let lower = face(SessionLimits::default());
    let unused = Client::newest(&lower, &silent()).await;
    let used = Client::newest(&lower, &silent()).await;
    tokio::time::advance(Duration::from_secs(29 * 60)).await;
    assert!(used.post(PING).await.is_ok());
    tokio::time::advance(Duration::from_secs(2 * 60)).await;
    lower.sweep();
    assert_eq!(reason(unused.post(PING).await), Reason::NotFound);
    assert!(used.post(PING).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_with_an_open_stream_is_not_unused() {
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &silent()).await;
    let stream = client.get().await.unwrap();
    tokio::time::advance(Duration::from_secs(60 * 60)).await;
    lower.sweep();
    assert_eq!(lower.sessions(), 1);
    drop(stream);
    lower.sweep();
    assert_eq!(lower.sessions(), 0);
}

#[tokio::test]
async fn a_session_id_expires() {
    let now = Arc::new(AtomicU64::new(1_000));
    let lower = Lower::new(
        Arc::new(KeyRing::from_entropy().unwrap()),
        SessionLimits::default(),
        seams(&now),
    );
    let client = Client::newest(&lower, &silent()).await;
    now.fetch_add(24 * 60 * 60, Ordering::Relaxed);
    assert_eq!(reason(client.post(PING).await), Reason::NotFound);
    lower.sweep();
    assert_eq!(lower.sessions(), 0);
}

#[tokio::test]
async fn a085_a_flood_of_initialize_costs_its_caller_and_nobody_else() {
    let limits = SessionLimits {
        sessions_max: 500,
        sessions_per_caller_max: 100,
        ..SessionLimits::default()
    };
    let lower = face(limits);
    let bystander = Client::newest(&lower, &silent()).await;
    let mut flood = Client::new(&lower, "flood", &silent());
    // In two halves, of which the second must not need memory that the first did not; a campaign sends a hundred thousand.
    let half = if std::env::var_os("MESHGATE_CAMPAIGN").is_some() {
        50_000
    } else {
        5_000
    };
    let mut resident = Vec::new();
    for _ in 0..2 {
        for _ in 0..half {
            flood.initialize("2025-11-25", "{}").await;
        }
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        resident.push(statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096);
    }
    assert!(resident[1] <= resident[0] + (8 << 20), "{resident:?}");
    assert_eq!(lower.sessions(), 101);
    assert!(bystander.post(PING).await.is_ok());
    assert!(flood.post(PING).await.is_ok());
}

#[tokio::test]
async fn a085_a_caller_whose_sessions_are_all_in_use_is_told_so() {
    let limits = SessionLimits {
        sessions_per_caller_max: 2,
        ..SessionLimits::default()
    };
    let lower = face(limits);
    let (one, two) = (
        Client::newest(&lower, &silent()).await,
        Client::newest(&lower, &silent()).await,
    );
    let streams = (one.get().await.unwrap(), two.get().await.unwrap());
    let refusal = one.try_initialize("2025-11-25", "{}").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::RateLimited);
    drop(streams.1);
    assert!(one.try_initialize("2025-11-25", "{}").await.is_ok());
    assert_eq!(reason(two.post(PING).await), Reason::NotFound);
}

#[tokio::test]
async fn a_broken_initialize_is_answered_and_opens_nothing() {
    let lower = face(SessionLimits::default());
    let client = Client::new(&lower, "app", &silent());
    let body = body_of(
        client
            .post(r#"{"jsonrpc":"2.0","id":4,"method":"initialize","params":{}}"#)
            .await,
    );
    assert!(body.contains("-32602") && body.contains(r#""id":4"#), "{body}");
    assert_eq!(lower.sessions(), 0);
}

#[tokio::test]
async fn the_revision_of_a_session_is_known_to_its_caller_only() {
    let lower = face(SessionLimits::default());
    let client = Client::newest(&lower, &silent()).await;
    let known = |who: &str| lower.revision(&client.headers, &caller(who), "/mcp").map(|r| r.name);
    assert_eq!((known("app"), known("other")), (Some("2025-11-25"), None));
}
