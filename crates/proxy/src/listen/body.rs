//! Reading a request body whole, within its limits.
//!
//! Nothing is done for a call before its last byte is here: a body that breaks its framing half way must not have
//! reached a server. The wire guard watches the pace of HTTP/1.1 bodies; HTTP/2 shares one connection among many
//! bodies, so the time is watched here for both.

use std::io;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;
use crate::refusal::{Reason, Refusal};

/// Refuses a body that says of itself that it is larger than `bytes_max`.
///
/// # Errors
/// It does.
pub fn check_announced<B: Body>(body: &B, bytes_max: usize) -> Result<(), Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        Err(too_large())
    } else {
        Ok(())
    }
}

/// Reads the body to its end. A body that comes in one frame is not copied.
///
/// # Errors
/// Larger than `bytes_max`, slower than the limits allow, or broken off.
pub async fn read_body<B>(body: B, bytes_max: usize, limits: &Limits) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + 'static,
{
    check_announced(&body, bytes_max)?;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut body = std::pin::pin!(body);
    let deadline = Instant::now() + limits.body_time;
    let mut read = Read::Nothing;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(read.whole()),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(bytes) = frame.into_data() else { continue };
        if read.len() + bytes.len() > bytes_max {
            return Err(too_large());
        }
        read = read.and(bytes, announced);
    }
}

/// Takes what a client that is refused by its head has sent by now, within the limits for it. Answers whether that was all.
pub async fn take_rest<B>(body: B, limits: &Limits) -> bool
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let deadline = Instant::now() + limits.h2_refused_time;
    let mut room = limits.h2_refused_bytes;
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None | Some(Err(_))) => return true,
            Ok(Some(Ok(frame))) => match room.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => room = left,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

/// What has been read.
enum Read {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Read {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    fn and(self, more: Bytes, announced: usize) -> Self {
        match self {
            Self::Nothing => Self::One(more),
            Self::One(first) => {
                let mut bytes = BytesMut::with_capacity(announced.max(first.len() + more.len()));
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&more);
                Self::Many(bytes)
            }
            Self::Many(mut bytes) => {
                bytes.extend_from_slice(&more);
                Self::Many(bytes)
            }
        }
    }

    fn whole(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
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

/// The wire guard breaks a body off for its framing or for its pace; the first error behind it tells which.
fn broken(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::debug!(%error, "request body");
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        {
            return too_slow();
        }
        cause = error.source();
    }
    Refusal::new(
        Reason::InvalidRequest,
        "the request body broke off or its framing is malformed",
    )
    .rule("http/body")
}

#[cfg(test)]
mod tests;
