//! The one connection to the control plane: TCP, TLS of the mesh, gRPC.
//!
//! It is made here step by step and handed to the gRPC library when it stands, so that what went wrong is known by name: a
//! name that does not resolve, a port that is closed and a certificate of somebody else have different remedies. It is
//! never remade behind our back: a connection that is lost ends whatever ran on it, and who wants another asks for one and
//! gets the certificate of that moment.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use meshgate_identity::identity::server_name;
use parking_lot::Mutex;
use rustls::ClientConfig;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Name, TCP and TLS together.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How often an idle connection is asked whether the other end is there, and how long that may take to answer.
const PING_TIME: Duration = Duration::from_secs(10);
/// The address that gRPC puts into its requests; nothing is resolved or compared by it.
const ORIGIN: &str = "http://control.mesh.invalid";

/// Why the control plane was not reached.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// No connection.
    #[error("`{address}` cannot be reached: {cause}")]
    Reach {
        /// The control plane.
        address: String,
        /// Why.
        cause: io::Error,
    },
    /// Somebody else answered, or refused us.
    #[error("`{address}` is not the control plane of this mesh, or does not take this certificate: {cause}")]
    Trust {
        /// The control plane.
        address: String,
        /// Why.
        cause: io::Error,
    },
    /// What answered does not speak HTTP/2.
    #[error("`{address}` does not speak the protocol of a control plane: {cause}")]
    Protocol {
        /// The control plane.
        address: String,
        /// Why.
        cause: tonic::transport::Error,
    },
}

/// Connects to the control plane, a host with a port, with a configuration for this one connection. Also says which address
/// of this machine leads there.
pub(super) async fn open(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<(Channel, std::net::IpAddr), ChannelError> {
    let unreached = |cause| ChannelError::Reach {
        address: address.to_owned(),
        cause,
    };
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", CONNECT_TIME.as_secs()),
        )
    };
    let connected = timeout(CONNECT_TIME, TcpStream::connect(address)).await;
    let socket = connected.unwrap_or_else(|_| Err(late())).map_err(unreached)?;
    socket.set_nodelay(true).map_err(unreached)?;
    let own = socket.local_addr().map_err(unreached)?.ip();
    let shaken = timeout(CONNECT_TIME, TlsConnector::from(config).connect(server_name(), socket)).await;
    let stream = shaken
        .unwrap_or_else(|_| Err(late()))
        .map_err(|cause| ChannelError::Trust {
            address: address.to_owned(),
            cause,
        })?;
    let once = Mutex::new(Some(TokioIo::new(stream)));
    let connector = service_fn(move |_| {
        let stream = once.lock().take();
        async move { stream.ok_or_else(|| io::Error::other("the connection has ended")) }
    });
    let endpoint = Endpoint::from_static(ORIGIN)
        .http2_keep_alive_interval(PING_TIME)
        .keep_alive_timeout(PING_TIME)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|cause| ChannelError::Protocol {
        address: address.to_owned(),
        cause,
    })?;
    Ok((channel, own))
}
