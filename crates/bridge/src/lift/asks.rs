//! What the bridge itself says to a legacy server: session-wide requests that no modern caller can send.

use meshgate_mcp::{json, message};

/// Tells the server that the handshake is done.
pub const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Sets the level of the whole session's log messages.
pub fn set_level(id: u64, level: super::Level) -> Vec<u8> {
    request(id, "logging/setLevel", "level", level.as_str())
}

/// Asks for `notifications/resources/updated` of one resource, for the whole session.
pub fn subscribe(id: u64, uri: &str) -> Vec<u8> {
    request(id, "resources/subscribe", "uri", uri)
}

/// Ends what [`subscribe`] began.
pub fn unsubscribe(id: u64, uri: &str) -> Vec<u8> {
    request(id, "resources/unsubscribe", "uri", uri)
}

/// Asks whether the server still answers.
pub fn ping(id: u64) -> Vec<u8> {
    message::request(id.to_string().as_bytes(), "ping", b"{}")
}

/// Says that nobody waits for the answer to request `id` any more. In the legacy eras a closed connection does not say
/// that.
pub fn cancelled(id: u64, reason: &str) -> Vec<u8> {
    let mut params = format!("{{\"requestId\":{id},\"reason\":").into_bytes();
    json::push_quoted(&mut params, reason);
    params.push(b'}');
    message::notification("notifications/cancelled", Some(&params))
}

fn request(id: u64, method: &str, member: &str, value: &str) -> Vec<u8> {
    let mut params = format!("{{\"{member}\":").into_bytes();
    json::push_quoted(&mut params, value);
    params.push(b'}');
    message::request(id.to_string().as_bytes(), method, &params)
}
