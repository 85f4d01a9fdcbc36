//! A way in without a socket, for a simulation: everything behind `accept` is as it is for a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio_util::task::TaskTracker;

use super::{Caps, Cover, Service, drive};
use crate::drain::Drain;
use crate::limits::Limits;

/// Serves pipes as connections.
pub struct Door<S> {
    edge: Arc<drive::Edge<S>>,
    caps: Arc<Caps>,
}

impl<S> Clone for Door<S> {
    fn clone(&self) -> Self {
        Self {
            edge: Arc::clone(&self.edge),
            caps: Arc::clone(&self.caps),
        }
    }
}

impl<S> Door<S> {
    /// A door to `service`, which answers as if it listened at `local`.
    pub fn new(local: SocketAddr, service: S, limits: Arc<Limits>, caps: Arc<Caps>, drain: Drain) -> Self {
        let edge = drive::Edge {
            local,
            cover: Cover::Plain,
            limits,
            drain,
            service,
            tasks: TaskTracker::new(),
            calls: Arc::default(),
            refused: Arc::clone(caps.refused()),
        };
        Self {
            edge: Arc::new(edge),
            caps,
        }
    }

    /// Serves one connection until its end.
    pub async fn serve<B>(self, pipe: DuplexStream, peer: SocketAddr)
    where
        S: Service<B>,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(slot) = self.caps.take(peer.ip()) {
            self.edge.drive_pipe::<B>(pipe, peer, slot).await;
        }
    }
}
