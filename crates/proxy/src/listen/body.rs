//! Reading a request body whole, within its limits.
//!
//! Nothing is done for a call before its last byte is here: a body that breaks its framing half way must not have
//! reached a server. The wire guard watches the pace of HTTP/1.1 bodies; HTTP/2 shares one connection among many
//! bodies, so the time is watched here for both.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;
use crate::refusal::{Reason, Refusal};

/// Reads the body to its end. A body that comes in one frame is not copied.
///
/// # Errors
/// Larger than `bytes_max`, slower than the limits allow, or broken off.
pub async fn read_body<B>(body: B, bytes_max: usize, limits: &Limits) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let deadline = Instant::now() + limits.body_time;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(bytes) = frame.into_data() else { continue };
        if first.len() + rest.len() + bytes.len() > bytes_max {
            return Err(too_large());
        }
        if first.is_empty() {
            first = bytes;
        } else {
            rest.extend_from_slice(&bytes);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

fn too_large() -> Refusal {
    Refusal::new(Reason::TooLarge, "the request body is larger than this endpoint takes").rule("limit/body-bytes")
}

fn too_slow() -> Refusal {
    Refusal::new(
        Reason::RequestTimeout,
        "the request body came too slowly; send it without pauses",
    )
    .rule("limit/body-time")
}

fn broken(error: &dyn std::fmt::Display) -> Refusal {
    tracing::debug!(%error, "request body");
    Refusal::new(
        Reason::InvalidRequest,
        "the request body broke off or its framing is malformed",
    )
    .rule("http/body")
}

#[cfg(test)]
mod tests;
