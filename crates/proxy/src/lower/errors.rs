//! A refusal in the words of a legacy client.
//!
//! Legacy keeps the two layers apart: what concerns the transport (who you are, how much you may send) is an HTTP
//! status, what concerns the call is a JSON-RPC error on a response that is itself fine (HTTP 200).

use meshgate_bridge::lower::{lower_answer, read_inside};
use meshgate_mcp::{Method, Revision};

use crate::refusal::{Reason, Refusal};
use crate::respond::error_body;

/// Whether a refusal of the call is an HTTP status for a legacy client, too.
pub(super) const fn is_transport(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unauthenticated
            | Reason::Forbidden
            | Reason::Origin
            | Reason::Host
            | Reason::NotFound
            | Reason::MethodNotAllowed
            | Reason::NotAcceptable
            | Reason::UnsupportedMedia
            | Reason::TooLarge
            | Reason::Conflict
            | Reason::RequestTimeout
            | Reason::RateLimited
            | Reason::Overloaded
    )
}

/// The JSON-RPC error for `refusal`; `id` is raw JSON.
pub(super) fn error_message(id: &[u8], refusal: &Refusal, method: Method, revision: &Revision) -> Vec<u8> {
    let modern = error_body(Some(id), refusal);
    match read_inside(&modern) {
        Some(msg) => lower_answer(&modern, &msg, method, revision),
        None => modern,
    }
}
