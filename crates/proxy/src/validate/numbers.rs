//! Numbers that have no exact 64-bit form.
//!
//! JSON sets no bound to a number; the parsed form does. A rule that compares such a number with another may be wrong
//! about it, so a break of such a rule does not count. Other rules (`type`, `required`) are right about it still.

use serde_json::Value;

/// From here on, neighbouring whole numbers share one 64-bit float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Rules that compare numbers, or that join other rules.
const COMPARING: [&str; 20] = [
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "const",
    "enum",
    "uniqueItems",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// Reads a value; a number beyond every float counts as the largest. `None` for what is no JSON.
pub(super) fn read(instance: &[u8]) -> Option<Value> {
    match serde_json::from_slice(instance) {
        Ok(value) => Some(value),
        Err(_) => serde_json::from_slice(&within_range(instance)).ok(),
    }
}

/// Whether a break of `rule` by `instance` may come from a number that is not exact.
pub(super) fn may_mislead(rule: &str, instance: &Value) -> bool {
    COMPARING.contains(&rule) && holds_inexact(instance)
}

fn holds_inexact(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            !number.is_i64() && !number.is_u64() && number.as_f64().is_none_or(|number| number.abs() >= EXACT_MAX)
        }
        Value::Array(items) => items.iter().any(holds_inexact),
        Value::Object(members) => members.values().any(holds_inexact),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// The text with numbers beyond every float replaced by the largest of their sign.
fn within_range(instance: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(instance.len());
    let mut rest = instance;
    while let Some((&byte, after)) = rest.split_first() {
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => rest
                .iter()
                .position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                .unwrap_or(rest.len()),
            _ => 1,
        };
        let (token, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let number = if byte == b'"' {
            None
        } else {
            std::str::from_utf8(token)
                .ok()
                .and_then(|text| text.parse::<f64>().ok())
        };
        match number {
            Some(number) if number.is_infinite() => out.extend_from_slice(if number > 0.0 {
                b"1.7976931348623157e308"
            } else {
                b"-1.7976931348623157e308"
            }),
            _ => out.extend_from_slice(token),
        }
        rest = if length == 0 { after } else { next };
    }
    out
}

/// The length of the string at the start of the text, with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}
