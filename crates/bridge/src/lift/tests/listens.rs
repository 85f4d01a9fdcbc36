use meshgate_mcp::{Rules, scan};

use super::{EVERYTHING, session, text};
use crate::lift::{Filter, Level, Logs, Offered, Subscriptions};

fn offered() -> Offered {
    session("2025-11-25", EVERYTHING).offered
}

fn filter(tools: bool, uris: &[&str]) -> Filter {
    Filter {
        tools,
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        ..Filter::default()
    }
}

fn published(subscriptions: &Subscriptions, notification: &str) -> Vec<(u64, String)> {
    let message = scan(notification.as_bytes(), &Rules::SERVER).unwrap();
    let sent = subscriptions.publish(notification.as_bytes(), &message);
    sent.into_iter().map(|(id, message)| (id, text(message))).collect()
}

fn updated(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#)
}

#[test]
fn a_resource_is_subscribed_by_the_first_and_unsubscribed_by_the_last() {
    let mut subscriptions = Subscriptions::default();
    assert_eq!(
        subscriptions.open(1, filter(false, &["a", "b"]), &offered()),
        ["a", "b"]
    );
    assert_eq!(subscriptions.open(2, filter(false, &["b", "c"]), &offered()), ["c"]);
    assert_eq!(subscriptions.close(1), ["a"]);
    assert_eq!(subscriptions.uris().into_iter().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(subscriptions.close(2), ["b", "c"]);
    assert!(subscriptions.close(2).is_empty() && subscriptions.is_empty());
}

#[test]
fn the_acknowledgement_names_what_is_honoured_and_nothing_else() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.open(7, filter(true, &["a", "b"]), &offered());
    subscriptions.refuse(7, "b");
    assert_eq!(
        text(subscriptions.acknowledge(7)),
        r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a"]}}}"#
    );
    let nothing = Offered::default();
    assert!(subscriptions.open(8, filter(true, &["a"]), &nothing).is_empty());
    assert!(text(subscriptions.acknowledge(8)).ends_with(r#""notifications":{}}}"#));
}

#[test]
fn nothing_is_published_before_the_acknowledgement_or_to_those_who_did_not_ask() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.open(1, filter(true, &[]), &offered());
    subscriptions.open(2, filter(false, &["a"]), &offered());
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert!(published(&subscriptions, changed).is_empty());
    subscriptions.acknowledge(1);
    subscriptions.acknowledge(2);
    let tagged = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#;
    assert_eq!(published(&subscriptions, changed), [(1, tagged.to_owned())]);
}

#[test]
fn a_notification_keeps_its_bytes_beside_the_tag() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.open(3, filter(true, &[]), &offered());
    subscriptions.acknowledge(3);
    let method = "notifications/tools/list_changed";
    let with_meta = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"n":1.0,"_meta":{{"a":-0}}}}}}"#);
    assert_eq!(
        published(&subscriptions, &with_meta)[0].1,
        format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"n":1.0,"_meta":{{"a":-0,"io.modelcontextprotocol/subscriptionId":3}}}}}}"#
        )
    );
    let null = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":null}}"#);
    assert!(
        published(&subscriptions, &null)[0]
            .1
            .ends_with(r#""params":{"_meta":{"io.modelcontextprotocol/subscriptionId":3}}}"#)
    );
}

#[test]
fn a_part_of_a_watched_resource_reaches_its_watcher_and_what_nobody_explains_reaches_all() {
    let mut subscriptions = Subscriptions::default();
    for (id, uri) in [(1, "file:///d"), (2, "file:///e/")] {
        subscriptions.open(id, filter(false, &[uri]), &offered());
        subscriptions.acknowledge(id);
    }
    subscriptions.open(3, filter(true, &[]), &offered());
    subscriptions.acknowledge(3);
    let to = |uri: &str| {
        published(&subscriptions, &updated(uri))
            .into_iter()
            .map(|(id, _)| id)
            .collect::<Vec<_>>()
    };
    assert_eq!(to("file:///d"), [1]);
    assert_eq!(to("file:///d/part"), [1]);
    assert_eq!(to("file:///d#part"), [1]);
    assert_eq!(to("file:///e/part"), [2]);
    assert_eq!(to("file:///different"), [1, 2]);
    assert_eq!(to("item:7"), [1, 2], "not those who watch no resources");
}

#[test]
fn a_listen_ends_with_an_empty_result_that_names_it() {
    assert_eq!(
        text(Subscriptions::finished(4)),
        r#"{"jsonrpc":"2.0","id":4,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":4},"resultType":"complete"}}"#
    );
}

#[test]
fn the_session_has_the_most_verbose_level_that_a_live_request_asked_for() {
    let mut logs = Logs::default();
    assert_eq!(logs.open(None), None);
    assert_eq!(logs.open(Some(Level::Warning)), Some(Level::Warning));
    assert_eq!(logs.open(Some(Level::Error)), None);
    assert_eq!(logs.open(Some(Level::Debug)), Some(Level::Debug));
    logs.close(Some(Level::Debug));
    logs.close(Some(Level::Warning));
    assert_eq!(logs.open(Some(Level::Error)), Some(Level::Error));
    logs.forget_level();
    assert_eq!(logs.open(Some(Level::Alert)), Some(Level::Error));
}

#[test]
fn a_log_message_is_delivered_only_when_it_can_be_about_nobody_else() {
    let mut logs = Logs::default();
    logs.open(Some(Level::Warning));
    assert!(logs.carries(Some(Level::Warning), Level::Error));
    assert!(!logs.carries(Some(Level::Warning), Level::Info));
    assert!(!logs.carries(None, Level::Error));
    logs.open(None);
    assert!(!logs.carries(Some(Level::Warning), Level::Error));
    logs.close(None);
    assert!(logs.carries(Some(Level::Warning), Level::Error));
}
