//! A request while it is being admitted, as far as its answer depends on it.
//!
//! Its body stays here until it is read, because a client that is refused by its head may still be sending: some lose the
//! answer when their HTTP/2 stream ends meanwhile, and then nobody tells them why.

use bytes::Bytes;
use hyper::body::Incoming;

use crate::limits::Limits;
use crate::listen::{check_announced, read_body, take_rest};
use crate::refusal::Refusal;

/// What is known of a request while it is being admitted; how a refusal is answered depends on it.
pub(super) struct Arrival {
    pub(super) id: Option<Bytes>,
    pub(super) legacy: bool,
    /// Until it is read.
    body: Option<Incoming>,
}

impl Arrival {
    /// Nothing is known but that it has come.
    pub(super) fn of(body: Incoming) -> Self {
        Self {
            id: None,
            legacy: false,
            body: Some(body),
        }
    }

    /// Refuses a body that says of itself that it is too large.
    pub(super) fn check_announced(&self, limits: &Limits) -> Result<(), Refusal> {
        let body = self.body.as_ref();
        body.map_or(Ok(()), |body| check_announced(body, limits.body_bytes))
    }

    /// The body, whole; nothing where it was read before.
    pub(super) async fn read(&mut self, limits: &Limits) -> Result<Bytes, Refusal> {
        match self.body.take() {
            Some(body) => read_body(body, limits.body_bytes, limits).await,
            None => Ok(Bytes::new()),
        }
    }

    /// Takes what is being sent by one that is refused, as far as nobody has read it.
    pub(super) async fn take_rest(&mut self, limits: &Limits) {
        if let Some(unread) = self.body.take() {
            Box::pin(take_rest(unread, limits)).await;
        }
    }
}
