#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

/// A record with everything filled in.
pub(crate) fn full() -> AccessRecord {
    AccessRecord {
        view: Some("corpassist".into()),
        application: Some("assistant".into()),
        server: Some("documents".into()),
        team: Some("knowledge".into()),
        method: "tools/call".into(),
        target: Some(Target::Tool("search".into())),
        era_client: Some(Era::Legacy),
        era_server: Some(Era::Modern),
        http_status: 200,
        outcome: Some(Outcome::Ok),
        bytes_in: 120,
        bytes_out: 4_096,
        duration: Duration::from_micros(1_500),
        duration_upstream: Some(Duration::from_micros(1_200)),
        duration_first_byte: Some(Duration::from_micros(1_400)),
        peer: Some([127, 0, 0, 1].into()),
        ..bare()
    }
}

fn bare() -> AccessRecord {
    let trace = TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    AccessRecord::new(
        UNIX_EPOCH + Duration::from_millis(1_785_931_200_123),
        trace.child([1; 8]),
        7,
    )
}

fn line(record: &AccessRecord) -> String {
    let mut out = Vec::new();
    record.push_line(&mut out, &mut Clock::default());
    String::from_utf8(out).unwrap()
}

fn read(record: &AccessRecord) -> serde_json::Value {
    serde_json::from_str(&line(record)).unwrap()
}

#[test]
fn a_record_is_one_line_in_a_fixed_order() {
    assert_eq!(
        line(&full()),
        concat!(
            r#"{"time":"2026-08-05T12:00:00.123Z","kind":"call","summary":"ok","#,
            r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"0101010101010101","parentId":"b7ad6b7169203331","#,
            r#""hop":"gateway","view":"corpassist","application":"assistant","server":"documents","team":"knowledge","#,
            r#""method":"tools/call","tool":"search","eraClient":"legacy","eraServer":"modern","httpStatus":200,"#,
            r#""outcome":"ok","bytesIn":120,"bytesOut":4096,"durationMicros":1500,"upstreamMicros":1200,"#,
            r#""firstByteMicros":1400,"snapshot":7,"peer":"127.0.0.1"}"#,
            "\n"
        )
    );
}

#[test]
fn the_three_layers_of_an_outcome_do_not_mix() {
    let tool_error = AccessRecord {
        outcome: Some(Outcome::Error),
        ..full()
    };
    let seen = read(&tool_error);
    assert_eq!(
        (
            &seen["summary"],
            &seen["httpStatus"],
            &seen["outcome"],
            seen.get("rpcCode")
        ),
        (&"tool_error".into(), &200.into(), &"error".into(), None)
    );
    let rpc_error = AccessRecord {
        outcome: None,
        rpc_code: Some(-32_602),
        ..full()
    };
    let seen = read(&rpc_error);
    assert_eq!(
        (&seen["summary"], &seen["rpcCode"], seen.get("outcome")),
        (&"rpc_error".into(), &(-32_602).into(), None)
    );
}

#[test]
fn a_refusal_says_by_whom_why_by_which_rule_and_whether_the_call_ran() {
    let refused = Refused {
        by: "gateway",
        reason: "forbidden",
        rule: Some("view/x".into()),
        executed: "no",
    };
    let seen = read(&AccessRecord {
        refused: Some(refused),
        http_status: 403,
        ..bare()
    });
    assert_eq!(seen["summary"], "refused");
    assert_eq!(
        (&seen["refusedBy"], &seen["reason"], &seen["rule"], &seen["executed"]),
        (&"gateway".into(), &"forbidden".into(), &"view/x".into(), &"no".into())
    );
}

#[test]
fn d37_no_field_breaks_out_of_its_line() {
    let evil = "x\n{\"summary\":\"ok\"}\r\u{2028}\x1b[2J\",\"application\":\"root";
    let refused = Refused {
        by: "gateway",
        reason: "forbidden",
        rule: Some(evil.to_owned().into()),
        executed: "no",
    };
    for target in [
        Target::Tool(evil.into()),
        Target::Prompt(evil.into()),
        Target::Resource(evil.into()),
    ] {
        let record = AccessRecord {
            view: Some(evil.into()),
            application: Some(evil.into()),
            server: Some(evil.into()),
            team: Some(evil.into()),
            method: evil.to_owned().into(),
            target: Some(target),
            refused: Some(refused.clone()),
            ..full()
        };
        let text = line(&record);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{2028}'));
        assert_eq!(read(&record)["application"], evil);
        assert_eq!(read(&record)["summary"], "refused");
    }
}

#[test]
fn d37_a_record_of_long_names_stays_bounded() {
    let long: Arc<str> = "\u{1b}".repeat(1_000_000).into();
    let record = AccessRecord {
        view: Some(long.clone()),
        application: Some(long.clone()),
        server: Some(long.clone()),
        team: Some(long.clone()),
        method: long.to_string().into(),
        target: Some(Target::Resource(long)),
        ..full()
    };
    assert!(line(&record).len() < 6 * (6 * 1_024 + 64) + 1_024);
}

#[test]
fn d36_secrets_in_names_and_uris_do_not_reach_the_line() {
    let token = format!("mg_{}", "CANARY_".repeat(7).get(..43).unwrap());
    let record = AccessRecord {
        method: format!("tools/{token}").into(),
        target: Some(Target::Resource(
            format!("https://ann:CANARY@host/{token}?key=CANARY").into(),
        )),
        refused: Some(Refused {
            by: "gateway",
            reason: "unauthenticated",
            rule: Some(format!("token {token}").into()),
            executed: "no",
        }),
        ..full()
    };
    assert!(!line(&record).contains("CANARY"), "{}", line(&record));
}

#[test]
fn dates_follow_the_calendar() {
    let mut clock = Clock::default();
    for (seconds, shown) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_799, "2000-02-29T23:59:59.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (1_735_689_600, "2025-01-01T00:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        // Twice: the second one is remembered.
        for _ in 0..2 {
            let mut out = Vec::new();
            clock.push(&mut out, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(out, shown.as_bytes());
        }
    }
}

#[test]
fn a_record_stays_small_enough_to_move() {
    assert!(size_of::<AccessRecord>() <= 480, "{} bytes", size_of::<AccessRecord>());
}

#[test]
fn numbers_are_spelled_as_the_formatter_spells_them() {
    for value in [0, 7, 10, 999, 1_000, u64::from(u32::MAX), u64::MAX] {
        for digits in 1..=4 {
            let mut out = Vec::new();
            push_number(&mut out, value, digits);
            assert_eq!(out, format!("{value:0digits$}").as_bytes());
        }
    }
}
