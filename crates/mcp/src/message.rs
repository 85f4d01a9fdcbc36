//! Building the few messages that Meshgate writes itself.
//!
//! Ids, params, results and data come in as JSON bytes that are already valid and are copied as they are.

use crate::json::push_quoted;

const HEAD: &[u8] = br#"{"jsonrpc":"2.0","#;

/// An error response. Without an `id` the member is left out, as the schema wants for unreadable requests.
pub fn error(id: Option<&[u8]>, code: i64, message: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(96 + message.len() + data.map_or(0, <[u8]>::len));
    out.extend_from_slice(HEAD);
    if let Some(id) = id {
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id);
        out.push(b',');
    }
    out.extend_from_slice(b"\"error\":{\"code\":");
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(b",\"message\":");
    push_quoted(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
    out
}

/// A result response.
pub fn result(id: &[u8], result: &[u8]) -> Vec<u8> {
    let mut out = head(id, result.len() + RESULT_TAIL.len());
    out.extend_from_slice(result);
    out.extend_from_slice(RESULT_TAIL);
    out
}

/// What stands before the result in [`result`].
pub fn result_head(id: &[u8]) -> Vec<u8> {
    head(id, 0)
}

/// What stands behind the result in [`result`].
pub const RESULT_TAIL: &[u8] = b"}";

fn head(id: &[u8], more: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD.len() + id.len() + more + 20);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(b"\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":");
    out
}

/// A request.
pub fn request(id: &[u8], method: &str, params: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD.len() + id.len() + method.len() + params.len() + 36);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(b"\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"method\":");
    push_quoted(&mut out, method);
    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(params);
    out.push(b'}');
    out
}

/// A notification.
pub fn notification(method: &str, params: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD.len() + method.len() + params.map_or(0, <[u8]>::len) + 32);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(b"\"method\":");
    push_quoted(&mut out, method);
    if let Some(params) = params {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(params);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Envelope, Rules, scan};

    #[test]
    fn what_is_built_is_a_message_even_with_awkward_text() {
        let awkward = "say \"no\"\n\u{0}\\é";
        for (built, envelope) in [
            (
                error(Some(b"\"a\""), -32602, awkward, Some(br#"{"uri":"a:1"}"#)),
                Envelope::Error,
            ),
            (
                error(Some(b"7"), crate::codes::INTERNAL_ERROR, "", None),
                Envelope::Error,
            ),
            (result(b"-1", br#"{"content":[]}"#), Envelope::Result),
            (request(b"1", "tools/call", br#"{"name":"x"}"#), Envelope::Request),
            (
                notification("notifications/progress", Some(b"{}")),
                Envelope::Notification,
            ),
            (notification("notifications/initialized", None), Envelope::Notification),
        ] {
            assert_eq!(scan(&built, &Rules::CLIENT).unwrap().envelope, envelope);
            serde_json::from_slice::<serde_json::Value>(&built).unwrap();
        }
        let built: serde_json::Value = serde_json::from_slice(&error(Some(b"1"), -1, awkward, None)).unwrap();
        assert_eq!(built["error"]["message"], awkward);
    }

    #[test]
    fn an_error_without_id_leaves_the_member_out() {
        let built = error(None, -32700, "not JSON", None);
        assert_eq!(
            built,
            br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"not JSON"}}"#
        );
        assert_eq!(scan(&built, &Rules::SERVER).unwrap().error_code(&built), Some(-32700));
    }
}
