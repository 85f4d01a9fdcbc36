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
    let mut out = Vec::with_capacity(HEAD.len() + id.len() + result.len() + 20);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(b"\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(result);
    out.push(b'}');
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
