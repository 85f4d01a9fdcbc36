//! What holds for every message, not only for those somebody thought of.

use meshgate_mcp::{Method, Rules, scan};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{EVERYTHING, REVISIONS, session};
use crate::lift::{Arrival, Pending, Plan, sort, split};

/// Any JSON, with the names that the bridge looks for among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "_meta",
        "context",
        "task",
        "uri",
        "level",
        "resultType",
        "ttlMs",
        "cacheScope",
        "code",
        "data",
        "progressToken",
        "notifications",
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/subscriptionId",
    ];
    prop_oneof![3 => ".{0,6}", 2 => prop::sample::select(known.to_vec()).prop_map(str::to_owned)]
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(any_key(), any_json(), 0..8).prop_map(|map| map.into_iter().collect())
}

/// What a legacy server should see of modern params.
fn stripped(mut params: Map<String, Value>, revision: &str) -> Map<String, Value> {
    if let Some(Value::Object(meta)) = params.get_mut("_meta") {
        let before = meta.len();
        for name in ["protocolVersion", "clientCapabilities", "clientInfo", "logLevel"] {
            meta.remove(&format!("io.modelcontextprotocol/{name}"));
        }
        if meta.is_empty() && before > 0 {
            params.remove("_meta");
        }
    }
    if revision == "2025-11-25" {
        params.remove("task");
    }
    params
}

proptest! {
    #[test]
    fn a_request_loses_exactly_what_the_rules_name(params in any_object(), revision in 0..4_usize) {
        let revision = REVISIONS[revision];
        let request = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
        let plan = session(revision, EVERYTHING).plan(request.to_string().as_bytes(), Method::ToolsCall);
        let Ok(Plan::Forward(forward)) = plan else { panic!("{plan:?}") };
        let sent: Value = serde_json::from_slice(&forward.body).unwrap();
        prop_assert_eq!(&sent["params"], &Value::Object(stripped(params, revision)));
    }

    #[test]
    fn a_result_gains_exactly_what_the_rules_name(result in any_object()) {
        let response = json!({"jsonrpc": "2.0", "id": 5, "result": result}).to_string();
        let message = scan(response.as_bytes(), &Rules::SERVER).unwrap();
        let pending = Pending { method: Method::ToolsList, uri: None, can: crate::Capabilities::NONE };
        let answer = session("2025-06-18", EVERYTHING).answer(&pending, response.as_bytes(), &message).unwrap();
        let mut expected = result;
        expected.insert("resultType".into(), json!("complete"));
        expected.insert("ttlMs".into(), json!(0));
        expected.insert("cacheScope".into(), json!("private"));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        prop_assert_eq!(&answer["result"], &Value::Object(expected));
    }

    #[test]
    fn every_error_stays_an_error_with_a_code_that_modern_clients_may_see(mut error in any_object(), code in any::<i16>()) {
        error.insert("code".into(), json!(-32_000 - i64::from(code)));
        let response = json!({"jsonrpc": "2.0", "id": 5, "error": error}).to_string();
        let message = scan(response.as_bytes(), &Rules::SERVER).unwrap();
        let pending = Pending { method: Method::ResourcesRead, uri: Some("u".into()), can: crate::Capabilities::NONE };
        let answer = session("2025-06-18", EVERYTHING).answer(&pending, response.as_bytes(), &message).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        prop_assert!(!matches!(answer["error"]["code"].as_i64(), None | Some(-32002 | -32042)), "{}", answer);
    }

    #[test]
    fn whatever_a_server_says_is_sorted(params in any_json(), method in prop::sample::select(Method::all().collect::<Vec<_>>())) {
        let said = json!({"jsonrpc": "2.0", "method": method.as_str(), "params": params}).to_string();
        if let Ok(message) = scan(said.as_bytes(), &Rules::SERVER) {
            prop_assert!(!matches!(sort(said.as_bytes(), &message), Arrival::Response(_) | Arrival::Question(_)));
        }
    }

    #[test]
    fn a_frame_is_taken_apart_within_its_bounds(frame in prop_oneof![any::<Vec<u8>>(), any_json().prop_map(|json| json.to_string().into_bytes())]) {
        for part in split(&frame) {
            prop_assert!(frame.get(part).is_some());
        }
    }
}
