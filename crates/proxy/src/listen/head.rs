//! The rules for a request head that only a parsed head can be asked for.
//!
//! The wire guard refuses malformed HTTP/1.1 before it is parsed. HTTP/2 fields are compressed, so the guard cannot see
//! them; and what both versions must keep is said once, here, for whatever the guard let through.

use http::HeaderName;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use memchr::memchr;

use crate::limits::Limits;
use crate::refusal::{Reason, Refusal};

/// Checks what every request head must keep: a bounded number of fields, one host that equals the authority, one
/// content length, no name with an underscore.
///
/// # Errors
/// The first rule that is broken.
pub fn check_head(parts: &Parts, limits: &Limits) -> Result<(), Refusal> {
    if parts.headers.len() > limits.head_fields {
        return Err(Refusal::new(
            Reason::HeadTooLarge,
            format!("too many header fields; send at most {}", limits.head_fields),
        )
        .rule("limit/head-fields"));
    }
    if parts.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(malformed("content-length is repeated; send it once"));
    }
    // Many systems read `x_user` and `x-user` as one name, so one of them could slip past whoever checks the other.
    let ambiguous = |name: &HeaderName| memchr(b'_', name.as_str().as_bytes()).is_some();
    if parts.headers.keys().any(ambiguous) {
        return Err(malformed("a header name holds an underscore; use a hyphen"));
    }
    check_host(parts)
}

/// The authority that the request is for: `Host`, or `:authority` in HTTP/2. `None` when there is none or two that differ.
pub fn authority(parts: &Parts) -> Option<&str> {
    let of_target = parts.uri.authority().map(http::uri::Authority::as_str);
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match hosts.next() {
        Some(host) => Some(host.to_str().ok()?),
        None => None,
    };
    if hosts.next().is_some() {
        return None;
    }
    match (host, of_target) {
        (Some(host), Some(target)) => host.eq_ignore_ascii_case(target).then_some(host),
        (host, target) => host.or(target),
    }
}

fn check_host(parts: &Parts) -> Result<(), Refusal> {
    match authority(parts) {
        Some(authority) if authority.contains('@') => {
            Err(Refusal::new(Reason::Host, "host names a user; send host and port only").rule("host"))
        }
        Some(authority) if !authority.is_empty() => Ok(()),
        _ => Err(Refusal::new(
            Reason::Host,
            "host must be sent once and equal the authority of the request",
        )
        .rule("host")),
    }
}

fn malformed(message: &'static str) -> Refusal {
    Refusal::new(Reason::InvalidRequest, message).rule("http")
}

#[cfg(test)]
mod tests;
