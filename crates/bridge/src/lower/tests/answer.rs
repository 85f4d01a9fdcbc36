use meshgate_mcp::Method;

use super::super::lower_answer;
use super::{read, revision, text};

fn lowered(name: &str, method: Method, result: &str) -> String {
    let src = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    let answer = text(lower_answer(src.as_bytes(), &read(&src), method, revision(name)));
    answer
        .strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#)
        .unwrap()
        .strip_suffix('}')
        .unwrap()
        .to_owned()
}

fn lowered_error(name: &str, method: Method, error: &str) -> String {
    let src = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
    let answer = text(lower_answer(src.as_bytes(), &read(&src), method, revision(name)));
    answer
        .strip_prefix(r#"{"jsonrpc":"2.0","id":1,"error":"#)
        .unwrap()
        .strip_suffix('}')
        .unwrap()
        .to_owned()
}

#[test]
fn modern_bookkeeping_goes_and_everything_else_stays_byte_for_byte() {
    assert_eq!(
        lowered(
            "2025-11-25",
            Method::ToolsList,
            r#"{"tools":[ ],"resultType":"complete","ttlMs":60000,"cacheScope":"private","x":-0, "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"},"dev.meshgate/server":"a"}}"#
        ),
        r#"{"tools":[ ],"x":-0, "_meta":{"dev.meshgate/server":"a"}}"#
    );
}

#[test]
fn meta_that_held_only_modern_bookkeeping_goes_with_it() {
    assert_eq!(
        lowered(
            "2025-11-25",
            Method::ToolsCall,
            r#"{"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#
        ),
        r#"{"content":[]}"#
    );
}

#[test]
fn members_named_like_cache_hints_stay_where_they_are_a_servers_own() {
    let result = r#"{"content":[],"ttlMs":5}"#;
    assert_eq!(lowered("2025-11-25", Method::ToolsCall, result), result);
}

#[test]
fn structured_objects_stay_for_revisions_that_have_them() {
    let result = r#"{"content":[{"type":"text","text":"{}"}],"structuredContent":{"a":1}}"#;
    assert_eq!(lowered("2025-11-25", Method::ToolsCall, result), result);
    assert_eq!(lowered("2025-06-18", Method::ToolsCall, result), result);
    let without = r#"{"content":[{"type":"text","text":"{}"}]}"#;
    assert_eq!(lowered("2025-03-26", Method::ToolsCall, result), without);
    assert_eq!(lowered("2024-11-05", Method::ToolsCall, result), without);
}

#[test]
fn structured_content_that_is_no_object_is_dropped_and_its_text_stays() {
    assert_eq!(
        lowered(
            "2025-11-25",
            Method::ToolsCall,
            r#"{"content":[{"type":"text","text":"[1]"}],"structuredContent":[1]}"#
        ),
        r#"{"content":[{"type":"text","text":"[1]"}]}"#
    );
}

#[test]
fn dropped_structured_content_becomes_text_when_there_was_no_other() {
    assert_eq!(
        lowered(
            "2025-11-25",
            Method::ToolsCall,
            r#"{"content":[],"structuredContent":["a"]}"#
        ),
        r#"{"content":[{"type":"text","text":"[\"a\"]"}]}"#
    );
}

#[test]
fn output_schemas_are_dropped_where_the_revision_cannot_read_them() {
    let tools = r#"{"tools":[{"name":"o","outputSchema":{"type":"object"}},{"name":"a","outputSchema":{"type":"array"},"title":"A"},{"name":"b","outputSchema":true}]}"#;
    assert_eq!(
        lowered("2025-11-25", Method::ToolsList, tools),
        r#"{"tools":[{"name":"o","outputSchema":{"type":"object"}},{"name":"a","title":"A"},{"name":"b"}]}"#
    );
    assert_eq!(
        lowered("2025-03-26", Method::ToolsList, tools),
        r#"{"tools":[{"name":"o"},{"name":"a","title":"A"},{"name":"b"}]}"#
    );
}

#[test]
fn a_resource_link_becomes_text_before_2025_06_18() {
    let result = r#"{"content":[{"type":"resource_link","uri":"file:///a","name":"a","title":"The \"A\"","description":"first","_meta":{"k":1}},{"type":"text","text":"t"}]}"#;
    assert_eq!(lowered("2025-06-18", Method::ToolsCall, result), result);
    assert_eq!(
        lowered("2025-03-26", Method::ToolsCall, result),
        r#"{"content":[{"type":"text","text":"The \"A\": file:///a\nfirst","_meta":{"k":1}},{"type":"text","text":"t"}]}"#
    );
}

#[test]
fn audio_becomes_text_for_2024_11_05_only() {
    let result = r#"{"messages":[{"role":"user","content":{"type":"audio","data":"AAAA","mimeType":"audio/wav"}}]}"#;
    assert_eq!(lowered("2025-03-26", Method::PromptsGet, result), result);
    assert_eq!(
        lowered("2024-11-05", Method::PromptsGet, result),
        r#"{"messages":[{"role":"user","content":{"type":"text","text":"[audio, audio/wav; this client's protocol revision cannot carry it]"}}]}"#
    );
}

#[test]
fn unknown_content_types_icons_and_titles_arrive_as_they_were() {
    let result =
        r#"{"content":[{"type":"com.example/hologram","data":1e5,"icons":[{"src":"data:,"}]}],"isError":false}"#;
    for name in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(lowered(name, Method::ToolsCall, result), result);
    }
}

#[test]
fn a_missing_resource_has_its_legacy_code() {
    assert_eq!(
        lowered_error(
            "2025-11-25",
            Method::ResourcesRead,
            r#"{"code":-32602,"message":"none","data":{"uri":"a:b"}}"#
        ),
        r#"{"code":-32002,"message":"none","data":{"uri":"a:b"}}"#
    );
    let unchanged = r#"{"code":-32602,"message":"unknown tool"}"#;
    assert_eq!(lowered_error("2025-11-25", Method::ToolsCall, unchanged), unchanged);
    // What the gateway refuses for another reason is no missing resource.
    let lost = r#"{"code":-32602,"message":"m","data":{"dev.meshgate/refusal":{"by":"gateway"}}}"#;
    assert_eq!(lowered_error("2025-11-25", Method::ResourcesRead, lost), lost);
    let unknown = r#"{"code":-32602,"message":"m","data":{"uri":"a:b","dev.meshgate/refusal":{"by":"gateway"}}}"#;
    assert_eq!(
        lowered_error("2025-11-25", Method::ResourcesRead, unknown),
        unknown.replace("-32602", "-32002")
    );
}

#[test]
fn codes_of_the_modern_era_are_never_shown() {
    for (modern, legacy) in [
        (-32020, -32603),
        (-32021, -32602),
        (-32022, -32603),
        (-32601, -32601),
        (-33001, -33001),
    ] {
        assert_eq!(
            lowered_error(
                "2025-06-18",
                Method::ToolsCall,
                &format!(r#"{{"code":{modern},"message":"m"}}"#)
            ),
            format!(r#"{{"code":{legacy},"message":"m"}}"#)
        );
    }
}

#[test]
fn a_result_type_that_legacy_does_not_have_is_an_error_that_names_it() {
    let src = r#"{"jsonrpc":"2.0","id":"x","result":{"resultType":"task","taskId":"1"}}"#;
    let answer = text(lower_answer(
        src.as_bytes(),
        &read(src),
        Method::ToolsCall,
        revision("2025-11-25"),
    ));
    assert!(
        answer.contains(r#""id":"x""#) && answer.contains("`task`") && answer.contains("-32603"),
        "{answer}"
    );
}
