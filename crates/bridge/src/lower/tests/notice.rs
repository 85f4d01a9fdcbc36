use super::super::{Progress, lower_notice};
use super::{read, text};

fn lowered(src: &str) -> Option<String> {
    lower_notice(src.as_bytes(), &read(src)).map(text)
}

fn progress(src: &str, progress: &mut Progress) -> Option<String> {
    let src = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{src}}}"#);
    let moved = text(progress.renumber(src.as_bytes(), &read(&src))?);
    Some(
        moved
            .split_once(r#""params":"#)
            .unwrap()
            .1
            .strip_suffix('}')
            .unwrap()
            .to_owned(),
    )
}

#[test]
fn log_messages_pass_as_they_are() {
    let src = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"n":1.0}}}"#;
    assert_eq!(lowered(src).as_deref(), Some(src));
}

#[test]
fn the_tag_of_a_subscription_goes() {
    assert_eq!(
        lowered(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#).as_deref(),
        Some(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#)
    );
    assert_eq!(
        lowered(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"io.modelcontextprotocol/subscriptionId":"x","k":1}}}"#).as_deref(),
        Some(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b","_meta":{"k":1}}}"#)
    );
}

#[test]
fn what_only_the_modern_era_has_is_not_shown() {
    for method in [
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "notifications/cancelled",
    ] {
        let src = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{}}}}"#);
        assert_eq!(lowered(&src), None, "{method}");
    }
}

#[test]
fn progress_of_one_round_passes_byte_for_byte() {
    let mut memory = Progress::default();
    for src in [
        r#"{"progressToken":"t","progress":0,"total":100}"#,
        r#"{"progressToken":"t","progress":50.50,"total":1e2}"#,
    ] {
        assert_eq!(progress(src, &mut memory).as_deref(), Some(src));
    }
}

#[test]
fn progress_that_does_not_grow_is_dropped() {
    let mut memory = Progress::default();
    assert!(progress(r#"{"progress":5}"#, &mut memory).is_some());
    assert!(progress(r#"{"progress":5}"#, &mut memory).is_none());
    assert!(progress(r#"{"progress":4}"#, &mut memory).is_none());
    assert!(progress(r#"{"progress":"6"}"#, &mut memory).is_none());
}

#[test]
fn progress_of_the_next_round_continues_where_the_last_stopped() {
    let mut memory = Progress::default();
    assert!(progress(r#"{"progress":60,"total":100}"#, &mut memory).is_some());
    memory.next_round();
    assert_eq!(progress(r#"{"progress":0,"total":100}"#, &mut memory), None);
    assert_eq!(
        progress(r#"{"progress":10,"total":100}"#, &mut memory).as_deref(),
        Some(r#"{"progress":70,"total":160}"#)
    );
    memory.next_round();
    assert_eq!(
        progress(r#"{"progress":0.5}"#, &mut memory).as_deref(),
        Some(r#"{"progress":70.5}"#)
    );
}

#[test]
fn progress_that_no_number_can_say_any_more_is_dropped() {
    let mut memory = Progress::default();
    assert!(progress(r#"{"progress":1e308}"#, &mut memory).is_some());
    memory.next_round();
    assert_eq!(progress(r#"{"progress":1e308}"#, &mut memory), None);
    let huge = progress(r#"{"progress":7e307,"total":1e308}"#, &mut memory).unwrap();
    assert!(!huge.contains("inf"), "{huge}");
}
