#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use meshgate_mcp::{Rules, scan};

use super::*;
use crate::cli::Output;

fn tool(schema: &str) -> Tool {
    let definition = serde_json::from_str(&format!(r#"{{"name":"search","inputSchema":{schema}}}"#)).unwrap();
    Tool {
        name: "documents__search".into(),
        server: "documents".into(),
        definition,
    }
}

fn args(single: &[&str], whole: Option<&str>) -> CallArgs {
    CallArgs {
        tool: "documents__search".into(),
        args: single.iter().map(|&text| text.to_owned()).collect(),
        args_json: whole.map(str::to_owned),
        view: None,
        timeout: 1,
        output: Output::Text,
    }
}

fn sent(single: &[&str], whole: Option<&str>, schema: &str) -> Result<String, String> {
    let body = body(&args(single, whole), &tool(schema)).map_err(|failure| failure.to_string())?;
    let span = arguments::span_in(&body).unwrap();
    Ok(String::from_utf8(span.of(&body).to_vec()).unwrap())
}

#[test]
fn the_request_is_one_our_own_gateway_takes() {
    let body = body(&args(&["query=titan"], None), &tool("{}")).unwrap();
    let message = scan(&body, &Rules::CLIENT).expect("the strict scan");
    assert_eq!(message.method.unwrap().str(&body).unwrap(), "tools/call");
    assert!(message.meta.unwrap().get(&body, meta::PROTOCOL_VERSION).is_some());
}

#[test]
fn a_value_is_what_the_schema_says_it_is() {
    let schema = r#"{"type":"object","properties":{"id":{"type":"string"},"maybe":{"type":["string","null"]},
        "n":{"type":"integer"},"any":true,"odd":{"enum":[1]}}}"#;
    for (typed, expected) in [
        ("id=007", r#"{"id":"007"}"#),
        ("id=true", r#"{"id":"true"}"#),
        ("maybe=1", r#"{"maybe":"1"}"#),
        ("n=7", r#"{"n":7}"#),
        ("n=seven", r#"{"n":"seven"}"#),
        ("any={\"a\":1}", r#"{"any":{"a":1}}"#),
        ("odd=1", r#"{"odd":1}"#),
        ("other=a=b \"c\"", r#"{"other":"a=b \"c\""}"#),
        ("empty=", r#"{"empty":""}"#),
    ] {
        assert_eq!(sent(&[typed], None, schema).unwrap(), expected);
    }
}

#[test]
fn typed_numbers_go_on_digit_for_digit() {
    let number = "123456789012345678901234567890";
    assert_eq!(
        sent(&[&format!("n={number}"), "z=-0", "f=1.0"], None, "{}").unwrap(),
        format!(r#"{{"f":1.0,"n":{number},"z":-0}}"#)
    );
    let whole = format!(r#"{{"z": -0, "n":{number}}}"#);
    assert_eq!(sent(&[], Some(&whole), "{}").unwrap(), whole);
    assert_eq!(
        sent(&["a=1"], Some(&whole), "{}").unwrap(),
        format!(r#"{{"a":1,"n":{number},"z":-0}}"#)
    );
}

#[test]
fn what_makes_no_arguments_is_refused_with_the_remedy() {
    for (single, whole, why) in [
        (&["query"][..], None, "has no name and value"),
        (&["=x"], None, "has no name and value"),
        (&["a=1", "a=2"], None, "given twice"),
        (&["a=1"], Some(r#"{"a":2}"#), "given twice"),
        (&[], Some("[1]"), "not a JSON object"),
        (&[], Some("{"), "not a JSON object"),
    ] {
        let refused = sent(single, whole, "{}").unwrap_err();
        assert!(refused.contains(why) && refused.contains("help:"), "{refused}");
    }
}

#[test]
fn arguments_that_the_schema_mirrors_become_headers() {
    let schema = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
    let tool = tool(schema);
    let body = body(&args(&["region=eu"], None), &tool).unwrap();
    let headers = param_headers(&tool, &body);
    assert_eq!(
        headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect::<Vec<_>>(),
        [("mcp-param-region", &b"eu"[..])]
    );
}

#[test]
fn an_unknown_tool_is_refused_with_close_names() {
    let tools = |away: &[&str]| Tools {
        view: "default".into(),
        path: "/mcp".into(),
        tools: vec![tool("{}")],
        away: away.iter().map(|&name| name.to_owned()).collect(),
    };
    assert!(
        unknown(&tools(&[]), "search")
            .to_string()
            .contains("did you mean `documents__search`")
    );
    assert!(unknown(&tools(&["projects"]), "leads").to_string().contains("are away"));
    assert!(unknown(&tools(&[]), "leads").to_string().contains("meshgate tools"));
}

#[test]
fn a_gateway_of_tls_listeners_only_is_explained() {
    let refused = authority(&Status::default()).unwrap_err().to_string();
    assert!(refused.contains("TLS") && refused.contains("help:"), "{refused}");
}
