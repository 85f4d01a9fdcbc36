#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use super::*;

fn validator(schema: &str) -> Validator {
    Validator::compile(schema.as_bytes()).unwrap()
}

fn refused(schema: &str) -> String {
    Validator::compile(schema.as_bytes()).unwrap_err().to_string()
}

fn broken(schema: &str, instance: &str) -> (String, String) {
    let violation = validator(schema).check(instance.as_bytes()).unwrap_err();
    (violation.path, violation.rule)
}

fn passes(schema: &str, instance: &str) -> bool {
    validator(schema).check(instance.as_bytes()).is_ok()
}

#[test]
fn a_violation_names_path_and_rule_and_not_the_value() {
    let schema = r#"{"type":"object","properties":{"filter":{"type":"object","properties":{"limit":{"type":"integer"}}}},"required":["query"]}"#;
    assert_eq!(broken(schema, "{}"), (String::new(), "required".to_owned()));
    let violation = validator(schema)
        .check(br#"{"query":"x","filter":{"limit":"hunter2"}}"#)
        .unwrap_err();
    assert_eq!(
        (violation.path.as_str(), violation.rule.as_str()),
        ("/filter/limit", "type")
    );
    let text = violation.tool_result_text();
    assert!(
        text.contains("/filter/limit") && text.contains("type") && !text.contains("hunter2"),
        "{text}"
    );
    assert!(passes(schema, r#"{"query":"x","filter":{"limit":3},"more":1}"#));
}

#[test]
fn the_dialect_is_the_one_named_and_2020_12_without() {
    let tuple = r#""prefixItems":[{"type":"integer"}]}"#;
    assert!(!passes(&format!("{{{tuple}"), r#"["x"]"#));
    let seven =
        r#"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"integer"}],"additionalItems":false}"#;
    assert_eq!(broken(seven, "[1,2]").1, "additionalItems");
    let four = r#"{"$schema":"http://json-schema.org/draft-04/schema#","minimum":3,"exclusiveMinimum":true}"#;
    assert!(!passes(four, "3"));
    for named in [
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema#",
    ] {
        assert!(!passes(&format!(r#"{{"$schema":"{named}","type":"string"}}"#), "1"));
    }
    assert!(refused(r#"{"$schema":"https://example.com/mine"}"#).contains("dialect"));
    assert!(refused(r#"{"$schema":7}"#).contains("dialect"));
}

#[test]
fn an_output_schema_may_be_any_schema() {
    assert!(passes("true", "null"));
    assert!(!passes("false", "null"));
    assert!(passes(r#"{"type":["null","array"]}"#, "null"));
}

#[test]
fn nothing_is_ever_fetched() {
    for target in [
        "http://127.0.0.1:1/x.json",
        "file:///etc/passwd",
        "other.json",
        "https://json-schema.org/draft/2020-12/schema",
        "#/nowhere",
    ] {
        assert!(
            refused(&format!(r#"{{"$ref":"{target}"}}"#)).contains("nothing is fetched"),
            "{target}"
        );
    }
    let inner = r##"{"$defs":{"a b/c":{"type":"integer"},"n":{"$anchor":"n","type":"string"}},"properties":{"x":{"$ref":"#/$defs/a%20b~1c"},"y":{"$ref":"#n"}}}"##;
    assert_eq!(broken(inner, r#"{"x":"1"}"#).0, "/x");
    assert_eq!(broken(inner, r#"{"y":1}"#).0, "/y");
}

#[test]
fn a_schema_over_a_bound_is_not_validated_and_says_why() {
    let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX));
    assert!(refused(&long).contains("bytes"));
    let deep = format!("{}true{}", r#"{"items":"#.repeat(17), "}".repeat(17));
    assert!(refused(&deep).contains("levels"));
    assert!(Validator::compile(format!("{}true{}", r#"{"items":"#.repeat(16), "}".repeat(16)).as_bytes()).is_ok());
    let wide = |count: usize| format!(r#"{{"anyOf":[{}]}}"#, vec!["{}"; count].join(","));
    assert!(refused(&wide(512)).contains("subschemas"));
    assert!(Validator::compile(wide(511).as_bytes()).is_ok());
    assert!(refused("{").contains("cannot be read"));
    assert!(refused(r#"{"type":"strin"}"#).contains("cannot be used"));
    assert!(refused(r#"{"const":1e999}"#).contains("cannot be read"));
}

#[test]
fn a157_a_pattern_runs_in_linear_time() {
    let schema = r#"{"type":"string","pattern":"^(a+)+$"}"#;
    let value = format!("\"{}!\"", "a".repeat(200_000));
    let start = Instant::now();
    assert_eq!(broken(schema, &value).1, "pattern");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(refused(r#"{"pattern":"(?=a)b"}"#).contains("cannot be used"));
    assert!(refused(r#"{"pattern":"(a{1000}){1000}"}"#).contains("cannot be used"));
}

#[test]
fn a157_definitions_that_double_are_not_followed() {
    let mut defs: Vec<String> = (0..20)
        .map(|level| {
            format!(
                r##""d{level}":{{"anyOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##,
                level + 1
            )
        })
        .collect();
    defs.push(r#""d20":{"type":"string"}"#.to_owned());
    let schema = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{}}}}}"##, defs.join(","));
    assert!(refused(&schema).contains("one place"));
}

#[test]
fn a157_reference_cycles_end() {
    assert!(refused(r##"{"$ref":"#"}"##).contains("refers to itself"));
    assert!(
        refused(r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"allOf":[{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}"##)
            .contains("refers to itself")
    );
    assert!(refused(r##"{"$dynamicRef":"#x"}"##).contains("$dynamicRef"));
    let tree =
        r##"{"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#"},"value":{"type":"integer"}}}"##;
    assert_eq!(
        broken(tree, r#"{"left":{"right":{"value":"x"}}}"#).0,
        "/left/right/value"
    );
}

#[test]
fn a157_branching_recursion_is_checked_as_deep_as_the_bound_allows() {
    let schema = r##"{"type":"object","properties":{"x":{"anyOf":[{"$ref":"#"},{"allOf":[{"$ref":"#"}]}]},"v":{"type":"string"}}}"##;
    let nested = |depth: usize| format!("{}{{\"v\":1}}{}", r#"{"x":"#.repeat(depth), "}".repeat(depth));
    assert!(!passes(schema, &nested(4)));
    let start = Instant::now();
    assert!(passes(schema, &nested(60)), "too many steps: let through");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a157_plain_recursion_is_checked_however_deep() {
    let tree =
        r##"{"type":"object","properties":{"left":{"$ref":"#"},"right":{"$ref":"#"},"value":{"type":"integer"}}}"##;
    let deep = format!("{}{{\"value\":\"x\"}}{}", r#"{"left":"#.repeat(60), "}".repeat(60));
    assert!(!passes(tree, &deep));
}

#[test]
fn a157_a_million_values_and_a_tiny_divisor_end_soon() {
    let start = Instant::now();
    let _ = validator(r#"{"multipleOf":1e-300}"#).check(b"7");
    let long = format!("[{}]", vec!["1"; 100_000].join(","));
    let _ = validator(r#"{"uniqueItems":true,"items":{"type":"integer"}}"#).check(long.as_bytes());
    let many = format!(r#"{{"enum":[{}]}}"#, vec!["1"; 1_000_000].join(","));
    assert!(refused(&many).contains("bytes"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn numbers_beyond_64_bits_are_never_refused_wrongly() {
    let big = "123456789012345678901234567891";
    assert!(passes(r#"{"type":"integer"}"#, big));
    assert!(passes(r#"{"type":"integer","multipleOf":3}"#, big));
    assert!(passes(r#"{"exclusiveMaximum":123456789012345678901234567892}"#, big));
    assert!(passes(r#"{"not":{"const":123456789012345678901234567890}}"#, big));
    assert!(passes(
        r#"{"uniqueItems":true}"#,
        "[123456789012345678901234567890,123456789012345678901234567891]"
    ));
    assert!(passes(
        r#"{"type":"object","properties":{"n":{"type":"number"}}}"#,
        r#"{"n":1e400,"s":"1e400"}"#
    ));
    assert!(!passes(r#"{"properties":{"n":{"type":"string"}}}"#, r#"{"n":-1e400}"#));
    assert!(!passes(r#"{"type":"string"}"#, big));
    assert!(passes(r#"{"type":"integer"}"#, "1.0"));
    assert!(passes(r#"{"type":"integer"}"#, "-0"));
    assert!(passes(r#"{"multipleOf":0.01}"#, "19.99"));
    assert!(!passes(r#"{"multipleOf":2}"#, "3"));
    assert!(!passes(r#"{"maximum":10}"#, "11"));
}

#[test]
fn formats_are_annotations() {
    assert!(passes(r#"{"type":"string","format":"email"}"#, r#""no address""#));
    assert!(passes(
        r#"{"$schema":"http://json-schema.org/draft-07/schema#","format":"uri"}"#,
        r#""no uri""#
    ));
}

#[test]
fn a_message_is_short_however_long_its_cause() {
    let name = "n".repeat(10_000);
    let schema = r#"{"additionalProperties":false}"#;
    let violation = validator(schema)
        .check(format!(r#"{{"{name}":1}}"#).as_bytes())
        .unwrap_err();
    assert!(violation.message.chars().count() <= WORDS_CHARS_MAX + 1);
}
