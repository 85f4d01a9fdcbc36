//! Mirrored headers: the encoded form, and arguments in headers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::limits::{PARAM_NAME_BYTES_MAX, PARAM_PATH_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX};
use crate::value::Span;

#[test]
fn d02_a001_a002_a_header_that_says_something_else_is_refused() {
    assert_eq!(check(b"tools/list", "tools/call"), Err(HeaderError::Mismatch));
    assert_eq!(check(b"safe", "danger"), Err(HeaderError::Mismatch));
    assert_eq!(check(b"Safe", "safe"), Err(HeaderError::Mismatch));
    assert_eq!(check(b"tools/call", "tools/call"), Ok(()));
}

#[test]
fn d03_a004_the_encoded_form_is_compared_decoded() {
    assert_eq!(decode(b"=?base64?c2FmZQ==?=").unwrap(), "safe");
    assert_eq!(check(b"=?base64?c2FmZQ==?=", "danger"), Err(HeaderError::Mismatch));
    assert_eq!(check(b"=?base64?c2FmZQ==?=", "safe"), Ok(()));
    assert_eq!(check(b"=?base64?IMOpIA==?=", " é "), Ok(()));
    assert_eq!(decode(b"=?base64??=").unwrap(), "");
}

#[test]
fn d03_a005_sloppy_encodings_are_refused() {
    for (header, error) in [
        (&b"=?base64?c2FmZQ?="[..], HeaderError::Base64),
        (b"=?base64?c2Fm ZQ==?=", HeaderError::Base64),
        (b"=?base64?c2FmZR==?=", HeaderError::Base64),
        (b"=?base64?c2FmZQ==\n?=", HeaderError::Base64),
        (b"=?base64?c2FmZQ=?=", HeaderError::Base64),
        (b"=?base64?_-8=?=", HeaderError::Base64),
        (b"=?base64?====?=", HeaderError::Base64),
        (b"=?base64?/w==?=", HeaderError::Utf8),
        (b"=?base64?7aCA?=", HeaderError::Utf8),
    ] {
        assert_eq!(decode(header), Err(error), "{}", String::from_utf8_lossy(header));
    }
    // Another letter case is no encoded form at all, so it stands for itself and differs from the body.
    assert_eq!(check(b"=?BASE64?c2FmZQ==?=", "safe"), Err(HeaderError::Mismatch));
    assert_eq!(check(b"=?Base64?c2FmZQ==?=", "safe"), Err(HeaderError::Mismatch));
}

#[test]
fn d03_a006_a_name_that_looks_encoded_must_be_encoded() {
    assert_eq!(check(b"=?base64?x?=", "=?base64?x?="), Err(HeaderError::Base64));
    let header = encode("=?base64?x?=");
    assert_eq!(header, "=?base64?PT9iYXNlNjQ/eD89?=");
    assert_eq!(check(header.as_bytes(), "=?base64?x?="), Ok(()));
    for half in ["=?base64?c2FmZQ==", "c2FmZQ==?="] {
        assert_eq!(decode(half.as_bytes()).unwrap(), half);
        assert_eq!(encode(half), half);
    }
}

#[test]
fn plain_headers_carry_plain_text_only() {
    for header in [
        &b"a\0"[..],
        b"a\r\n",
        b"\x7f",
        "é".as_bytes(),
        b"\xff",
        b" a",
        b"a ",
        b"\ta",
        b"a\t",
    ] {
        assert_eq!(decode(header), Err(HeaderError::Characters), "{header:x?}");
    }
    for text in ["é", "a\n", " a", "a\t", "\u{7f}", "名前"] {
        assert!(encode(text).starts_with("=?base64?"), "{text:?}");
        assert_eq!(decode(encode(text).as_bytes()).unwrap(), text);
    }
    for text in ["", "a b", "a\tb", "file:///x?y=1#z", "~!@#$%^&*()"] {
        assert_eq!(encode(text), text);
        assert_eq!(decode(text.as_bytes()).unwrap(), text);
    }
}

fn schema(properties: &str) -> String {
    format!(r#"{{"type":"object","properties":{properties}}}"#)
}

fn parse(properties: &str) -> Result<Vec<ParamHeader>, ParamHeaderError> {
    param_headers(schema(properties).as_bytes())
}

#[test]
fn annotations_are_found_along_properties() {
    let found = parse(
        r#"{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"type":"object","properties":
           {"n":{"type":"integer","x-mcp-header":"N"},"x-mcp-header":{"type":"boolean","x-mcp-header":"B"}}},
           "data":{"default":{"x-mcp-header":"no"},"enum":[{"x-mcp-header":"no"}],"const":{"x-mcp-header":1}}}"#,
    )
    .unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|header| (header.header_name(), header.path.join("/"), header.kind))
        .collect();
    assert_eq!(
        found,
        [
            ("mcp-param-n".to_owned(), "deep/n".to_owned(), ParamKind::Integer),
            (
                "mcp-param-b".to_owned(),
                "deep/x-mcp-header".to_owned(),
                ParamKind::Boolean
            ),
            ("mcp-param-region".to_owned(), "region".to_owned(), ParamKind::String),
        ]
    );
    assert_eq!(parse(r#"{"a":{"type":"string"}}"#), Ok(vec![]));
    assert_eq!(param_headers(b"{}"), Ok(vec![]));
    assert_eq!(
        parse(r#"{"a":{"type":"string","x-mcp-\u0068eader":"A"}}"#)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_tool_with_a_malformed_or_misplaced_annotation_is_dropped() {
    for properties in [
        r#"{"a":{"type":"string","x-mcp-header":""}}"#,
        r#"{"a":{"type":"string","x-mcp-header":"a b"}}"#,
        r#"{"a":{"type":"string","x-mcp-header":"a:b"}}"#,
        r#"{"a":{"type":"string","x-mcp-header":"é"}}"#,
        r#"{"a":{"type":"string","x-mcp-header":1}}"#,
        r#"{"a":{"type":"string","x-mcp-header":null}}"#,
        r#"{"a":{"type":"number","x-mcp-header":"A"}}"#,
        r#"{"a":{"type":["string","null"],"x-mcp-header":"A"}}"#,
        r#"{"a":{"type":"object","x-mcp-header":"A"}}"#,
        r#"{"a":{"x-mcp-header":"A"}}"#,
        r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#,
        r#"{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#,
        r#"{"a":{"type":"array","prefixItems":[{"type":"string","x-mcp-header":"A"}]}}"#,
        r#"{"a":{"oneOf":[{"type":"string","x-mcp-header":"A"}]}}"#,
        r#"{"a":{"anyOf":[{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}]}}"#,
        r#"{"a":{"not":{"type":"string","x-mcp-header":"A"}}}"#,
        r#"{"a":{"unheard-of":{"type":"string","x-mcp-header":"A"}}}"#,
    ] {
        assert!(parse(properties).is_err(), "{properties}");
    }
    for schema in [
        r#"{"x-mcp-header":"A","type":"string"}"#,
        r#"{"$defs":{"d":{"type":"string","x-mcp-header":"A"}}}"#,
        r#"{"allOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
        r#"{"if":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}"#,
        r#"{"patternProperties":{"a":{"type":"string","x-mcp-header":"A"}}}"#,
        r#"{"additionalProperties":{"type":"string","x-mcp-header":"A"}}"#,
        r#"["x-mcp-header"]"#,
    ] {
        assert!(param_headers(schema.as_bytes()).is_err(), "{schema}");
    }
}

#[test]
fn d08_annotations_are_refused_at_one_more_than_the_limit() {
    let of = |count: usize| {
        let properties: Vec<_> = (0..count)
            .map(|n| format!(r#""p{n}":{{"type":"string","x-mcp-header":"H{n}"}}"#))
            .collect();
        parse(&format!("{{{}}}", properties.join(",")))
    };
    assert_eq!(of(63).unwrap().len(), 63);
    assert_eq!(of(64).unwrap().len(), 64);
    assert_eq!(of(65), Err(ParamHeaderError::TooLarge));
}

#[test]
fn d08_schemas_are_searched_to_a_limit() {
    let wide = |count: usize| {
        let properties: Vec<_> = (2..count).map(|n| format!(r#""p{n}":{{}}"#)).collect();
        parse(&format!(
            r#"{{"a":{{"type":"string","x-mcp-header":"A"}},{}}}"#,
            properties.join(",")
        ))
    };
    assert!(wide(SCHEMA_NODES_MAX - 1).is_ok() && wide(SCHEMA_NODES_MAX).is_ok());
    assert_eq!(wide(SCHEMA_NODES_MAX + 1), Err(ParamHeaderError::TooLarge));
    let deep = |depth: usize, key: &str| {
        let open = format!(r#"{{"properties":{{"{key}":"#).repeat(depth);
        param_headers(format!(r#"{open}{{"type":"string","x-mcp-header":"A"}}{}"#, "}}".repeat(depth)).as_bytes())
    };
    assert!(deep(SCHEMA_DEPTH_MAX - 1, "a").is_ok() && deep(SCHEMA_DEPTH_MAX, "a").is_ok());
    assert_eq!(deep(SCHEMA_DEPTH_MAX + 1, "a"), Err(ParamHeaderError::TooLarge));
    let long = |bytes: usize| deep(1, &"k".repeat(bytes));
    assert!(long(PARAM_PATH_BYTES_MAX - 1).is_ok() && long(PARAM_PATH_BYTES_MAX).is_ok());
    assert_eq!(long(PARAM_PATH_BYTES_MAX + 1), Err(ParamHeaderError::TooLarge));
    let named = |bytes: usize| {
        parse(&format!(
            r#"{{"a":{{"type":"string","x-mcp-header":"{}"}}}}"#,
            "N".repeat(bytes)
        ))
    };
    assert!(named(PARAM_NAME_BYTES_MAX - 1).is_ok() && named(PARAM_NAME_BYTES_MAX).is_ok());
    assert!(named(PARAM_NAME_BYTES_MAX + 1).is_err());
}

#[test]
fn the_keyword_that_breaks_the_chain_is_named() {
    let place = |schema: &str| match param_headers(schema.as_bytes()) {
        Err(ParamHeaderError::Place { keyword }) => keyword,
        other => panic!("{other:?}"),
    };
    let under = |keyword: &str| {
        place(&format!(
            r#"{{"{keyword}":[{{"properties":{{"a":{{"type":"string","x-mcp-header":"A"}}}}}}]}}"#
        ))
    };
    assert_eq!(under("anyOf"), "anyOf");
    assert_eq!(under(&"x".repeat(100)), "x".repeat(64));
    assert_eq!(place(r#"{"x-mcp-header":"A"}"#), "the root");
}

fn param(kind: &str) -> ParamHeader {
    parse(&format!(
        r#"{{"a":{{"type":"object","properties":{{"b":{{"type":"{kind}","x-mcp-header":"Region"}}}}}}}}"#
    ))
    .unwrap()
    .remove(0)
}

/// Compares a header with the argument at `a/b`.
fn compare(kind: &str, header: Option<&str>, value: &str) -> Result<(), HeaderError> {
    let src = format!(r#"{{"a":{{"b":{value}}}}}"#);
    let span = Span::new(0, src.len());
    param(kind).check(header.map(str::as_bytes), src.as_bytes(), Some(span))
}

#[test]
fn d04_a009_an_argument_and_its_header_must_agree() {
    assert_eq!(compare("string", Some("eu"), "\"eu\""), Ok(()));
    assert_eq!(compare("string", Some("us"), "\"eu\""), Err(HeaderError::Mismatch));
    assert_eq!(compare("string", Some("=?base64?ZXU=?="), "\"eu\""), Ok(()));
    assert_eq!(
        compare("string", Some("=?base64?ZXU?="), "\"eu\""),
        Err(HeaderError::Base64)
    );
    assert_eq!(compare("string", Some("eu"), "\"\\u0065u\""), Ok(()));
    assert_eq!(compare("string", None, "\"eu\""), Err(HeaderError::Missing));
    assert_eq!(compare("string", Some("eu"), "null"), Err(HeaderError::Unexpected));
    assert_eq!(compare("string", Some(""), "null"), Err(HeaderError::Unexpected));
    assert_eq!(compare("string", None, "null"), Ok(()));
    assert_eq!(compare("boolean", Some("true"), "true"), Ok(()));
    assert_eq!(compare("boolean", Some("True"), "true"), Err(HeaderError::Mismatch));
    assert_eq!(compare("boolean", Some("true"), "false"), Err(HeaderError::Mismatch));
    assert_eq!(compare("string", Some("42.0"), "\"42\""), Err(HeaderError::Mismatch));
}

#[test]
fn d04_a009_integers_are_compared_as_decimal_text() {
    for (header, value) in [
        ("42", "42.0"),
        ("42.0", "42"),
        ("42", "4.2e1"),
        ("42e0", "42"),
        ("-7", "-7.00"),
        ("0", "-0"),
        ("1E2", "100"),
        ("9007199254740993", "9007199254740993"),
        ("100000000000000000000000000000", "1e29"),
    ] {
        assert_eq!(compare("integer", Some(header), value), Ok(()), "{header} {value}");
    }
    for (header, value) in [
        ("9007199254740993", "9007199254740992"),
        ("42", "43"),
        ("42", "-42"),
        ("42", "42.1"),
        ("42", "420"),
        ("042", "42"),
        ("+42", "42"),
        ("0x2a", "42"),
        ("4 2", "42"),
        ("42.", "42"),
        ("", "0"),
        ("NaN", "0"),
        ("1e", "1"),
        ("--1", "1"),
    ] {
        assert_eq!(
            compare("integer", Some(header), value),
            Err(HeaderError::Mismatch),
            "{header} {value}"
        );
    }
    assert_eq!(compare("integer", Some("1e999999999999"), "1e999999999999"), Ok(()));
    assert_eq!(
        compare("integer", Some("1e99999999999999999999"), "1"),
        Err(HeaderError::Mismatch)
    );
}

#[test]
fn the_header_to_send_mirrors_the_argument() {
    let value = |kind: &str, value: &str| {
        let src = format!(r#"{{"a":{{"b":{value}}}}}"#);
        param(kind).value(src.as_bytes(), Some(Span::new(0, src.len())))
    };
    assert_eq!(value("string", "\"eu\"").as_deref(), Some("eu"));
    assert_eq!(value("string", "\"é\"").as_deref(), Some("=?base64?w6k=?="));
    assert_eq!(value("integer", "42.0").as_deref(), Some("42"));
    assert_eq!(value("integer", "-4.2e1").as_deref(), Some("-42"));
    assert_eq!(
        value("integer", "9007199254740993").as_deref(),
        Some("9007199254740993")
    );
    assert_eq!(value("integer", "-0").as_deref(), Some("0"));
    assert_eq!(value("integer", "1e400").as_deref(), Some("1e400"));
    assert_eq!(value("boolean", "false").as_deref(), Some("false"));
    for none in ["null", "[]", "{}"] {
        assert_eq!(value("string", none), None);
    }
    assert_eq!(param("string").value(b"{}", None), None);
    assert_eq!(param("string").value(br#"{"a":1}"#, Some(Span::new(0, 7))), None);
}
