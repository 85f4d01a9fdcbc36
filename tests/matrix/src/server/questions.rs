//! The questions a server can ask, as its revision spells them.

use serde_json::{Value, json};

/// The method and the parameters of a question of this kind; every one of them carries `word` where it can.
pub(super) fn question(kind: &str, word: &str, is_modern: bool) -> Option<(&'static str, Value)> {
    let asked = match kind {
        "form" => (
            "elicitation/create",
            json!({"message": format!("the word is {word}"), "requestedSchema": {"type": "object",
                "properties": {"word": {"type": "string"}}, "required": ["word"]}}),
        ),
        "url" if is_modern => (
            "elicitation/create",
            json!({"mode": "url", "message": format!("the word is {word}"), "url": page(word)}),
        ),
        "url" => (
            "elicitation/create",
            json!({"mode": "url", "message": format!("the word is {word}"), "url": page(word),
                "elicitationId": format!("e-{word}")}),
        ),
        "sampling" => (
            "sampling/createMessage",
            json!({"messages": [{"role": "user", "content": {"type": "text", "text": format!("the word is {word}")}}],
                "maxTokens": 10}),
        ),
        "roots" => ("roots/list", json!({})),
        _ => return None,
    };
    Some(asked)
}

/// A page that a user is asked to open.
pub(super) fn page(word: &str) -> String {
    format!("https://example.com/consent/{word}")
}
