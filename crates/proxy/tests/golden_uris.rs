//! Every place that holds a URI, in both directions, as files: what comes in, and what must go out byte for byte.
//!
//! A file is named after its direction, its method and what it shows; its partner holds the bytes that are expected.
//! Whatever is not a URI of a known place must be the same in both, however strangely it is spelled.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use meshgate_mcp::content::{Direction, UriKind, map_uris};
use meshgate_mcp::{Method, Rules, Splice, scan};
use meshgate_model::naming;
use meshgate_proxy::catalogue::wrapped;

fn files() -> Vec<(String, Direction, String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/uris");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".in.json") else {
            continue;
        };
        let read = |end: &str| std::fs::read_to_string(folder.join(format!("{stem}.{end}.json"))).unwrap();
        let (way, what) = stem.split_once('.').unwrap();
        let direction = match way {
            "to-client" => Direction::ToClient,
            "to-server" => Direction::ToServer,
            other => panic!("`{other}` is no direction"),
        };
        all.push((what.to_owned(), direction, read("in"), read("out")));
    }
    all.sort_by_key(|(what, direction, ..)| (*direction == Direction::ToServer, what.clone()));
    all
}

/// The method of a message, or of the request that a response answers.
fn method(what: &str, message: &str) -> Method {
    let stated = serde_json::from_str::<serde_json::Value>(&message.replace("1e400", "1")).unwrap();
    if let Some(method) = stated["method"].as_str() {
        return Method::parse(method);
    }
    let name = what.split_once('.').unwrap().0;
    let known = |name: &str| Some(Method::parse(name)).filter(|method| *method != Method::Other);
    let whole = name.replace('-', "/");
    known(&whole).unwrap_or_else(|| panic!("`{whole}` is no method"))
}

#[test]
fn every_place_that_holds_a_uri_is_mapped_and_every_other_byte_stays() {
    let mut seen = BTreeSet::new();
    for (what, direction, before, after) in files() {
        let message = scan(before.as_bytes(), &Rules::SERVER).unwrap_or_else(|e| panic!("{what}: {e}"));
        let method = method(&what, &before);
        let mut splice = Splice::new(before.as_bytes());
        let mut map = |uri: &str, kind: UriKind| match direction {
            Direction::ToClient => Some(wrapped("alpha", uri, kind)),
            Direction::ToServer => naming::unwrap_uri(uri).map(|(_, own)| own),
        };
        map_uris(before.as_bytes(), &message, method, direction, &mut map, &mut splice);
        assert_eq!(String::from_utf8(splice.finish()).unwrap(), after, "{what}");
        // What was added is the wrapping and nothing else: without it both are the same bytes.
        let bare = |text: &str| text.replace("\"mesh+alpha:", "\"").replace("\"ui://alpha.", "\"ui://");
        match direction {
            Direction::ToClient => assert_eq!(before, bare(&after), "{what}"),
            Direction::ToServer => assert_eq!(bare(&before), bare(&after), "{what}"),
        }
        seen.insert((direction == Direction::ToServer, method.as_str()));
    }
    // The places that the protocol has: a file for each, so that none is lost with its test.
    let to_client = [
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks",
        "prompts/get",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "tasks/get",
        "tools/call",
        "tools/list",
    ];
    let to_server = [
        "completion/complete",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "sampling/createMessage",
        "subscriptions/listen",
        "tasks/update",
        "tools/call",
    ];
    for method in to_client {
        assert!(seen.contains(&(false, method)), "no file shows {method} to a client");
    }
    for method in to_server {
        assert!(seen.contains(&(true, method)), "no file shows {method} to a server");
    }
}

#[test]
fn what_is_mapped_to_a_client_and_back_is_what_it_was() {
    for uri in [
        "file:///a b",
        "ui://x.y/z",
        "ui://",
        "mesh+alpha:ui://x",
        "a",
        "",
        "urn:ä:\u{7}",
        "{+all}",
    ] {
        for kind in [UriKind::Resource, UriKind::Template, UriKind::Ui] {
            let shown = wrapped("alpha", uri, kind);
            assert_eq!(
                naming::unwrap_uri(&shown),
                Some(("alpha".to_owned(), uri.to_owned())),
                "{shown}"
            );
            assert_eq!(
                uri.starts_with("ui://"),
                shown.starts_with("ui://"),
                "the scheme of an interface stays"
            );
        }
    }
}
