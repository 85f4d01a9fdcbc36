//! Where a control plane's API is, and how the operator token gets there unseen.
//!
//! The token opens everything. In clear it goes to this machine and nowhere else; to any other it goes inside TLS, to whoever
//! has a certificate of that name from an authority that the operator believes. There is no switch to look away.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::client::{self, CONNECT_TIME, Connection};
use crate::exit::{FAILED, Failure, UNAVAILABLE};
use crate::fetch;

/// Port of an address that names none.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// An address that the operator token may be sent to.
#[derive(Debug)]
pub(super) struct Place {
    /// `host:port`.
    authority: String,
    tls: Option<Tls>,
}

/// How the other end has to prove itself.
#[derive(Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Place {
    /// Reads an address as it is typed. `authorities` is the file with those that an `https` address is believed by, in place
    /// of the public ones.
    pub(super) fn parse(url: &str, authorities: Option<&Path>) -> Result<Self, Failure> {
        let refused = |why: &str, remedy: &str| {
            Failure::new(FAILED, format!("`{url}` is no address of a control plane: {why}")).remedy(remedy)
        };
        let form = "write it as `http://127.0.0.1:7311` or `https://HOST:PORT`";
        let uri: Uri = url.parse().map_err(|_| refused("it is no URL", form))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused("it begins neither with `http://` nor with `https://`", form));
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(refused("it holds more than a host and a port", form));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let tls = scheme == "https";
        if !tls && !is_here(host) {
            let remedy = "write `https://` where the API has a certificate (`meshgate control --api-certificate`); where it \
                          has none it is on loopback: `ssh -L 7311:127.0.0.1:7311 HOST`, then `--control http://127.0.0.1:7311`";
            return Err(refused("the operator token would leave this machine in clear", remedy));
        }
        let authority = match (authority.port(), tls) {
            (Some(_), _) => authority.as_str().to_owned(),
            (None, false) => format!("{authority}:{HTTP_PORT}"),
            (None, true) => format!("{authority}:{HTTPS_PORT}"),
        };
        let tls = tls.then(|| Tls::to(host, authorities).map_err(|why| refused(&why, form)));
        Ok(Self {
            authority,
            tls: tls.transpose()?,
        })
    }

    /// The address as it is typed, for a file that [`parse`](Self::parse) reads.
    pub(super) fn url(address: SocketAddr, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        // Who listens everywhere is reached on this machine too.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
    }

    /// `host:port`.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Connects and sends. What stands in the way is a failure in the words of whoever typed the address.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), Failure> {
        let stream = client::connect(&self.authority)
            .await
            .map_err(|_| self.away("it cannot be reached"))?;
        let broke = |cause: hyper::Error| self.away(&format!("it broke off ({cause})"));
        let Some(tls) = &self.tls else {
            return client::send(stream, request).await.map_err(broke);
        };
        let shaken = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream);
        let shaken = tokio::time::timeout(CONNECT_TIME, shaken)
            .await
            .map_err(|_| self.away("it does not finish the handshake of TLS"))?
            .map_err(|cause| self.unproven(&cause))?;
        client::send(shaken, request).await.map_err(broke)
    }

    /// That nobody can be asked there.
    pub(super) fn away(&self, why: &str) -> Failure {
        self.failed(why)
            .remedy("start one with `meshgate up --mesh` or `meshgate control`, or name it with `--control URL`")
    }

    /// That whoever answers is not believed. The token has not been sent.
    fn unproven(&self, cause: &std::io::Error) -> Failure {
        let cause = cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => self
                .failed("its certificate is of an authority that is not believed here")
                .remedy("name the file of that authority with `--control-ca FILE`"),
            Some(rustls::Error::InvalidCertificate(cause)) => self
                .failed(&format!("its certificate is not to be believed: {cause}"))
                .remedy("name it with `--control https://HOST:PORT` by the host that its certificate is for"),
            _ => self
                .failed("it does not speak TLS with us")
                .remedy("write `http://` for an API without a certificate, which is on loopback"),
        }
    }

    fn failed(&self, why: &str) -> Failure {
        let message = format!("the control plane at `{}` cannot be asked: {why}", self.authority);
        Failure::new(UNAVAILABLE, message)
    }
}

impl Tls {
    fn to(host: &str, authorities: Option<&Path>) -> Result<Self, String> {
        let roots = match authorities {
            Some(file) => fetch::roots_in(file)?,
            None => fetch::public_roots(),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "its host is neither a name nor an address")?;
        Ok(Self {
            config: fetch::client_config(roots)?,
            name,
        })
    }
}

/// Whether a host is this machine, and can be nothing else.
fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
