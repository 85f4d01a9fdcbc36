use std::collections::BTreeSet;

use meshgate_mcp::Method;

use super::super::{Acknowledged, Stamp, Wanted};
use super::{read, text};

const WITH: Stamp<'_> = Stamp {
    capabilities: b"{}",
    client_info: None,
    log_level: None,
};

fn request(wanted: &Wanted) -> String {
    let request = text(wanted.request(br#""l""#, &WITH));
    read(&request);
    request
        .split_once(r#""notifications":"#)
        .unwrap()
        .1
        .split_once(r#","_meta""#)
        .unwrap()
        .0
        .to_owned()
}

fn uris(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(ToString::to_string).collect()
}

#[test]
fn the_wish_of_a_session_is_one_listen() {
    let lists = r#""toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true"#;
    assert_eq!(
        request(&Wanted {
            lists: true,
            uris: uris(&[])
        }),
        format!("{{{lists}}}")
    );
    assert_eq!(
        request(&Wanted {
            lists: false,
            uris: uris(&["b:\"", "a:"])
        }),
        r#"{"resourceSubscriptions":["a:","b:\""]}"#
    );
    assert_eq!(
        request(&Wanted {
            lists: true,
            uris: uris(&["a:"])
        }),
        format!(r#"{{{lists},"resourceSubscriptions":["a:"]}}"#)
    );
    assert!(Wanted::default().is_empty());
}

#[test]
fn a_listen_is_a_whole_modern_request() {
    assert_eq!(
        text(
            Wanted {
                lists: false,
                uris: uris(&["a:"])
            }
            .request(b"7", &WITH)
        ),
        r#"{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["a:"]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#
    );
}

#[test]
fn an_acknowledgement_says_what_the_server_took_on() {
    let src = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["a:"]},"_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}"#;
    let read_back = Acknowledged::read(src.as_bytes(), &read(src)).unwrap();
    assert_eq!(
        read_back,
        Acknowledged {
            lists: vec![Method::ToolsChanged],
            uris: uris(&["a:"])
        }
    );
    let other = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(Acknowledged::read(other.as_bytes(), &read(other)), None);
}
