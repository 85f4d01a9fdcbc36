//! The way to the other replicas of a gateway.
//!
//! What is soft state at one replica, a legacy session or a call that waits at a server of its own, can be asked for at
//! any. The replica that is asked passes the request on whole, to that one and to no other, and the answer comes back as
//! it is made. A request that has been passed on is never passed on again: who does not have what it asks for says so.

use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Uri};
use tokio::time::Instant;

use super::end::Carries;
use super::exchange::Inbound;
use super::pool::{Outgoing, Pool, To, Tried};
use super::table::gateway_group;
use super::{Endpoint, HopOptions};
use crate::refusal::Refusal;

/// The other replicas of this gateway.
pub struct Peers {
    pool: Pool,
    instance: u64,
}

/// A request that is passed on.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// POST, GET or DELETE.
    pub method: Method,
    /// Path and query as it came.
    pub uri: &'a Uri,
    /// The fields that it goes with.
    pub headers: HeaderMap,
    /// The body; empty for GET and DELETE.
    pub body: &'a Bytes,
    /// Whether the answer is a stream without an end of its own.
    pub lasts: bool,
    /// When the answer must have begun.
    pub until: Instant,
}

impl Peers {
    /// The replicas of `gateway` but this one, from now on. Must be called on the runtime that serves calls.
    pub fn start(options: HopOptions, gateway: &str) -> Self {
        let (own, instance) = (options.identity.id(), options.instance);
        let known = options.endpoints.watch(&gateway_group(gateway));
        let accepts = move |endpoint: &Endpoint| endpoint.spiffe_id == own && endpoint.instance != instance;
        Self {
            pool: Pool::start(options, known, Box::new(accepts)),
            instance,
        }
    }

    /// The number of this replica.
    pub fn own(&self) -> u64 {
        self.instance
    }

    /// Whether a replica of this number is known, and is not this one.
    pub fn has(&self, instance: u64) -> bool {
        self.pool.shared.has(instance)
    }

    /// Passes a request on. Dropping the answer's body cancels it there.
    ///
    /// # Errors
    /// When that replica cannot be reached, or was lost.
    pub async fn forward(&self, to: u64, forwarded: Forwarded<'_>) -> Result<(Parts, Inbound), Refusal> {
        let outgoing = Outgoing {
            method: forwarded.method,
            uri: forwarded.uri,
            body: forwarded.body,
            carries: if forwarded.lasts {
                Carries::Streams
            } else {
                Carries::Calls
            },
            to: To::Only(to),
            until: forwarded.until,
        };
        let fields = |_: &Endpoint, _: &Arc<_>| Ok(forwarded.headers.clone());
        let reached = self.pool.shared.send(&outgoing, &mut Tried::new(), fields).await?;
        Ok((reached.parts, reached.body))
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
