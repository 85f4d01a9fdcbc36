//! Golden tests of the walker, both directions: each message with every place that holds a URI and many that only
//! look like one. `→` marks what the map returns.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::scan::{Rules, scan};

/// Maps every URI to `<kind>→<uri>` and compares the whole message.
#[track_caller]
fn golden(method: Method, dir: Direction, src: &str, expected: &str) {
    let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
    let mut splice = Splice::new(src.as_bytes());
    let mut map = |uri: &str, kind: UriKind| {
        let mark = match kind {
            UriKind::Resource => 'r',
            UriKind::Template => 't',
            UriKind::Ui => 'u',
        };
        Some(format!("{mark}→{uri}"))
    };
    map_uris(src.as_bytes(), &message, method, dir, &mut map, &mut splice);
    assert_eq!(String::from_utf8(splice.finish()).unwrap(), expected);
}

fn result(body: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{body}}}"#)
}

fn params(method: Method, body: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{body}}}"#)
}

#[track_caller]
fn wraps_result(method: Method, body: &str, expected: &str) {
    golden(method, Direction::ToClient, &result(body), &result(expected));
    golden(method, Direction::ToServer, &result(body), &result(body));
}

#[track_caller]
fn wraps_params(method: Method, body: &str, expected: &str) {
    golden(
        method,
        Direction::ToClient,
        &params(method, body),
        &params(method, expected),
    );
    golden(
        method,
        Direction::ToServer,
        &params(method, body),
        &params(method, body),
    );
}

#[track_caller]
fn unwraps_params(method: Method, body: &str, expected: &str) {
    golden(
        method,
        Direction::ToServer,
        &params(method, body),
        &params(method, expected),
    );
    golden(
        method,
        Direction::ToClient,
        &params(method, body),
        &params(method, body),
    );
}

const BLOCKS: &str = r#"[{"type":"text","text":"see a:1","uri":"a:x","_meta":{"uri":"a:x"}},
    {"type":"resource_link","uri":"a:1","name":"a:x","icons":[{"src":"a:x"}]},{"uri":"a:2","type":"resource_link"},
    {"type":"resource","resource":{"uri":"a:3","text":"a:x","mimeType":"a:x"},"annotations":{"uri":"a:x"}},
    {"type":"tool_result","toolUseId":"a:x","content":[{"type":"resource_link","uri":"a:4"},{"type":"text","text":"a:x"}],
     "structuredContent":{"uri":"a:x"}},{"type":"unheard-of","uri":"a:x","resource":{"uri":"a:x"}}, 7]"#;

/// The blocks as the map changes them.
fn mapped_blocks() -> String {
    let mut blocks = BLOCKS.to_owned();
    for number in 1..=4 {
        blocks = blocks.replace(&format!("\"uri\":\"a:{number}\""), &format!("\"uri\":\"r→a:{number}\""));
    }
    blocks
}

#[test]
fn lists_name_resources_templates_and_user_interfaces() {
    wraps_result(
        Method::ResourcesList,
        r#"{"resources":[{"uri":"a:1","name":"a:x"},{"name":"b","uri":"ui://x/y","_meta":{"ui":{"resourceUri":"a:x"}}}],"uri":"a:x","nextCursor":"a:x"}"#,
        r#"{"resources":[{"uri":"r→a:1","name":"a:x"},{"name":"b","uri":"r→ui://x/y","_meta":{"ui":{"resourceUri":"a:x"}}}],"uri":"a:x","nextCursor":"a:x"}"#,
    );
    wraps_result(
        Method::TemplatesList,
        r#"{"resourceTemplates":[{"uriTemplate":"a:{x}","uri":"a:x","description":"a:{x}"}]}"#,
        r#"{"resourceTemplates":[{"uriTemplate":"t→a:{x}","uri":"a:x","description":"a:{x}"}]}"#,
    );
    wraps_result(
        Method::ToolsList,
        r#"{"tools":[{"name":"t","description":"reads a:1","inputSchema":{"properties":{"uri":{"default":"a:x"}}},
           "_meta":{"ui":{"resourceUri":"ui://a","visibility":["app"]},"ui/resourceUri":"ui://b","uri":"a:x"}},{"name":"u","uri":"a:x"}]}"#,
        r#"{"tools":[{"name":"t","description":"reads a:1","inputSchema":{"properties":{"uri":{"default":"a:x"}}},
           "_meta":{"ui":{"resourceUri":"u→ui://a","visibility":["app"]},"ui/resourceUri":"u→ui://b","uri":"a:x"}},{"name":"u","uri":"a:x"}]}"#,
    );
    wraps_result(
        Method::PromptsList,
        r#"{"prompts":[{"name":"a:x","uri":"a:x"}]}"#,
        r#"{"prompts":[{"name":"a:x","uri":"a:x"}]}"#,
    );
}

#[test]
fn results_name_resources_in_contents_and_blocks() {
    wraps_result(
        Method::ResourcesRead,
        r#"{"contents":[{"uri":"a:1","text":"{\"uri\":\"a:x\"}","_meta":{"ui":{"csp":{"connectDomains":["a:x"]}}}},{"uri":"a:2","blob":""}]}"#,
        r#"{"contents":[{"uri":"r→a:1","text":"{\"uri\":\"a:x\"}","_meta":{"ui":{"csp":{"connectDomains":["a:x"]}}}},{"uri":"r→a:2","blob":""}]}"#,
    );
    for method in [Method::ToolsCall, Method::LegacyTasksResult] {
        let of =
            |blocks: &str| format!(r#"{{"content":{blocks},"structuredContent":{{"uri":"a:x"}},"isError":false}}"#);
        wraps_result(method, &of(BLOCKS), &of(&mapped_blocks()));
    }
    let of = |blocks: &str, link: &str| {
        format!(
            r#"{{"description":"a:x","messages":[{{"role":"user","content":{blocks}}},{{"role":"user","content":{link}}}]}}"#
        )
    };
    wraps_result(
        Method::PromptsGet,
        &of(BLOCKS, r#"{"type":"resource","resource":{"uri":"b:1"}}"#),
        &of(&mapped_blocks(), r#"{"type":"resource","resource":{"uri":"r→b:1"}}"#),
    );
}

#[test]
fn questions_of_a_server_name_resources_in_sampling_messages() {
    let question = |blocks: &str| {
        format!(
            r#"{{"resultType":"input_required","requestState":"a:x","inputRequests":{{"k1":{{"method":"sampling/createMessage","params":{{"messages":[{{"role":"user","content":{blocks}}}],"systemPrompt":"a:x"}}}},
            "k2":{{"method":"elicitation/create","params":{{"mode":"url","url":"a:x","messages":[{{"content":{BLOCKS}}}]}}}},"k3":{{"method":"roots/list"}}}}}}"#
        )
    };
    for method in [
        Method::ToolsCall,
        Method::ResourcesRead,
        Method::PromptsGet,
        Method::TasksGet,
    ] {
        wraps_result(method, &question(BLOCKS), &question(&mapped_blocks()));
    }
    let of =
        |blocks: &str| format!(r#"{{"messages":[{{"role":"user","content":{blocks}}}],"metadata":{{"uri":"a:x"}}}}"#);
    wraps_params(Method::SamplingCreate, &of(BLOCKS), &of(&mapped_blocks()));
}

#[test]
fn a_finished_task_carries_its_result() {
    let of = |blocks: &str, uri: &str| {
        format!(
            r#"{{"taskId":"a:x","status":"completed","result":{{"content":{blocks}}},"error":{{"code":-32602,"message":"a:x","data":{{"uri":"{uri}"}}}}}}"#
        )
    };
    wraps_result(Method::TasksGet, &of(BLOCKS, "b:1"), &of(&mapped_blocks(), "r→b:1"));
    wraps_params(Method::TaskStatus, &of(BLOCKS, "b:1"), &of(&mapped_blocks(), "r→b:1"));
}

#[test]
fn notifications_name_resources() {
    wraps_params(
        Method::ResourceUpdated,
        r#"{"uri":"a:1","title":"a:x"}"#,
        r#"{"uri":"r→a:1","title":"a:x"}"#,
    );
    wraps_params(
        Method::SubscriptionAck,
        r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1","a:2",3]},"resourceSubscriptions":["a:x"]}"#,
        r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["r→a:1","r→a:2",3]},"resourceSubscriptions":["a:x"]}"#,
    );
    wraps_params(
        Method::LogMessage,
        r#"{"level":"info","data":{"uri":"a:x"}}"#,
        r#"{"level":"info","data":{"uri":"a:x"}}"#,
    );
}

#[test]
fn errors_name_the_resource_that_is_missing() {
    let of = |uri: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32002,"message":"no a:1","data":{{"uri":"{uri}","other":"a:x"}}}}}}"#
        )
    };
    golden(Method::ResourcesRead, Direction::ToClient, &of("a:1"), &of("r→a:1"));
    golden(Method::ResourcesRead, Direction::ToServer, &of("a:1"), &of("a:1"));
}

#[test]
fn requests_of_a_client_name_resources() {
    for method in [Method::ResourcesRead, Method::Subscribe, Method::Unsubscribe] {
        golden(
            method,
            Direction::ToServer,
            &params(
                method,
                r#"{"uri":"a:\u0031","_meta":{"uri":"a:x"},"arguments":{"uri":"a:x"}}"#,
            ),
            &params(
                method,
                r#"{"uri":"r→a:1","_meta":{"uri":"a:x"},"arguments":{"uri":"a:x"}}"#,
            ),
        );
    }
    unwraps_params(
        Method::Complete,
        r#"{"ref":{"type":"ref/resource","uri":"a:{x}"},"argument":{"name":"uri","value":"a:x"},"context":{"arguments":{"uri":"a:x"}}}"#,
        r#"{"ref":{"type":"ref/resource","uri":"t→a:{x}"},"argument":{"name":"uri","value":"a:x"},"context":{"arguments":{"uri":"a:x"}}}"#,
    );
    unwraps_params(
        Method::Listen,
        r#"{"notifications":{"resourceSubscriptions":["a:1"],"taskIds":["a:x"]}}"#,
        r#"{"notifications":{"resourceSubscriptions":["r→a:1"],"taskIds":["a:x"]}}"#,
    );
}

#[test]
fn answers_of_a_client_name_resources_in_tool_results() {
    let of = |blocks: &str| {
        format!(
            r#"{{"name":"a:x","arguments":{{"uri":"a:x"}},"inputResponses":{{"k1":{{"role":"assistant","model":"m","content":{blocks}}},
            "k2":{{"action":"accept","content":{{"uri":"a:x"}}}},"k3":{{"roots":[{{"uri":"file:///x"}}]}}}}}}"#
        )
    };
    for method in [
        Method::ToolsCall,
        Method::PromptsGet,
        Method::ResourcesRead,
        Method::TasksUpdate,
    ] {
        unwraps_params(method, &of(BLOCKS), &of(&mapped_blocks()));
    }
    let of = |blocks: &str| result(&format!(r#"{{"role":"assistant","model":"m","content":{blocks}}}"#));
    golden(
        Method::SamplingCreate,
        Direction::ToServer,
        &of(BLOCKS),
        &of(&mapped_blocks()),
    );
    let one = |uri: &str| {
        result(&format!(
            r#"{{"content":{{"type":"tool_result","content":[{{"type":"resource_link","uri":"{uri}"}}]}}}}"#
        ))
    };
    golden(Method::SamplingCreate, Direction::ToServer, &one("a:1"), &one("r→a:1"));
    let roots = result(r#"{"roots":[{"uri":"file:///x"}]}"#);
    golden(Method::RootsList, Direction::ToServer, &roots, &roots);
}

#[test]
fn what_the_map_leaves_alone_stays_as_it_is_spelled() {
    let src = result(r#"{"resources":[{"uri":"a:\u0031"},{"uri":7},{"uri":null},5,{"uri":"b:1"}]}"#);
    let message = scan(src.as_bytes(), &Rules::SERVER).unwrap();
    let mut splice = Splice::new(src.as_bytes());
    let mut seen = Vec::new();
    let mut map = |uri: &str, _: UriKind| {
        seen.push(uri.to_owned());
        None
    };
    map_uris(
        src.as_bytes(),
        &message,
        Method::ResourcesList,
        Direction::ToClient,
        &mut map,
        &mut splice,
    );
    seen.sort();
    assert_eq!(seen, ["a:1", "b:1"]);
    assert!(splice.is_empty());
}

#[test]
fn blocks_inside_of_blocks_are_followed_to_a_limit() {
    let of = |levels: usize, uri: &str| {
        let (open, close) = (
            r#"[{"type":"tool_result","content":"#.repeat(levels),
            "}]".repeat(levels),
        );
        result(&format!(
            r#"{{"content":{open}[{{"type":"resource_link","uri":"{uri}"}}]{close}}}"#
        ))
    };
    for levels in [0, 1, CONTENT_DEPTH_MAX - 2, CONTENT_DEPTH_MAX - 1] {
        golden(
            Method::ToolsCall,
            Direction::ToClient,
            &of(levels, "a:1"),
            &of(levels, "r→a:1"),
        );
    }
    golden(
        Method::ToolsCall,
        Direction::ToClient,
        &of(CONTENT_DEPTH_MAX, "a:1"),
        &of(CONTENT_DEPTH_MAX, "a:1"),
    );
}

#[test]
fn a_uri_whose_name_hides_behind_escapes_is_found_all_the_same() {
    wraps_result(
        Method::ToolsCall,
        r#"{"content":[{"type":"resource_link","\u0075\u0072i":"file:///a"}]}"#,
        r#"{"content":[{"type":"resource_link","\u0075\u0072i":"r→file:///a"}]}"#,
    );
}
