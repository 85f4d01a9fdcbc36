//! Fetching from an address that somebody else may have chosen.
//!
//! A program that fetches what it is told to becomes a way into the network it stands in. So: `https` only, no redirect is
//! followed, no user name, no port that speaks something else; the name is resolved once, every address it has must be
//! public, and the connection goes to the address that was checked, so that a second answer of the name server changes
//! nothing. What comes back has a size and a time, and is not unpacked.

mod address;
mod target;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

pub(crate) use target::Target;

/// Largest answer, in bytes: a page of a hundred entries has some hundred KiB.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long one answer may take, from the first packet to the last byte.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long the name server may take.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why nothing was fetched, in one sentence without a full stop.
pub(crate) type Refused = String;

/// Where names are looked up.
pub(crate) trait Resolve {
    /// All addresses of a name.
    async fn addresses(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// The machine's own resolver.
pub(crate) struct System;

impl Resolve for System {
    async fn addresses(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// A place to fetch from, its addresses checked and fixed.
#[derive(Debug)]
pub(crate) struct Pinned {
    target: Target,
    addresses: Vec<SocketAddr>,
    tls: Arc<ClientConfig>,
    /// How long one answer may take.
    time: Duration,
}

impl Pinned {
    /// Looks the name up, once. `inside` takes addresses that are not public too: a company's own registry.
    pub(crate) async fn new(
        target: Target,
        resolver: &impl Resolve,
        roots: RootCertStore,
        inside: bool,
    ) -> Result<Self, Refused> {
        let host = target.host();
        let found = tokio::time::timeout(RESOLVE_TIME, resolver.addresses(host, target.port()))
            .await
            .map_err(|_| format!("`{host}` was not resolved within {} s", RESOLVE_TIME.as_secs()))?
            .map_err(|cause| format!("`{host}` cannot be resolved: {cause}"))?;
        if found.is_empty() {
            return Err(format!("`{host}` has no address"));
        }
        // One address that is not public makes the whole name doubtful: the next answer may hold that one alone.
        if let Some(refused) = found
            .iter()
            .find(|address| !inside && !address::is_public(address.ip()))
        {
            return Err(format!(
                "`{host}` has the address {}, which is not public",
                refused.ip()
            ));
        }
        Ok(Self {
            target,
            addresses: found.into_iter().take(ADDRESSES_MAX).collect(),
            tls: client_config(roots)?,
            time: ANSWER_TIME,
        })
    }

    /// Fetches JSON from a path below the place.
    pub(crate) async fn json(&self, path: &str) -> Result<Bytes, Refused> {
        tokio::time::timeout(self.time, self.answer(path))
            .await
            .map_err(|_| format!("`{}` did not answer within {:?}", self.target.host(), self.time))?
    }

    async fn answer(&self, path: &str) -> Result<Bytes, Refused> {
        let host = self.target.host();
        let failed = |what: &str, cause: &dyn std::fmt::Display| format!("`{host}`: {what}: {cause}");
        let tcp = self.connect().await?;
        let tls = TlsConnector::from(self.tls.clone())
            .connect(self.target.server_name().clone(), tcp)
            .await
            .map_err(|cause| failed("the TLS handshake failed", &cause))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|cause| failed("the connection failed", &cause))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let request = Request::get(self.target.path(path))
            .header(header::HOST, self.target.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("meshgate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|cause| failed("the request cannot be made", &cause))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|cause| failed("it did not answer", &cause))?;
        let (head, body) = answer.into_parts();
        acceptable(head.status, &head.headers).map_err(|why| format!("`{host}` {why}"))?;
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|cause| failed("its answer cannot be read", &cause))?;
        Ok(body.to_bytes())
    }

    /// A connection to the first of the checked addresses that takes one.
    async fn connect(&self) -> Result<TcpStream, Refused> {
        let mut last = None;
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(cause) => last = Some(cause),
            }
        }
        let cause = last.map_or_else(String::new, |cause| format!(": {cause}"));
        Err(format!("`{}` cannot be reached{cause}", self.target.host()))
    }
}

/// Whether an answer is one that is read.
fn acceptable(status: StatusCode, headers: &HeaderMap) -> Result<(), Refused> {
    if status.is_redirection() {
        return Err(format!(
            "answers {status}, and no redirect is followed; name the address it leads to"
        ));
    }
    if status != StatusCode::OK {
        return Err(format!("answers {status}"));
    }
    let says = |name| {
        headers
            .get(name)
            .map_or("", |value: &http::HeaderValue| value.to_str().unwrap_or("?"))
    };
    let kind = says(header::CONTENT_TYPE);
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") && !essence.to_ascii_lowercase().ends_with("+json") {
        return Err(format!("answers with `{essence}` in place of JSON"));
    }
    let packed = says(header::CONTENT_ENCODING);
    if !packed.is_empty() && !packed.eq_ignore_ascii_case("identity") {
        return Err(format!("answers packed as `{packed}`, which was not asked for"));
    }
    let length = says(header::CONTENT_LENGTH).parse::<usize>().unwrap_or(0);
    if length > ANSWER_BYTES_MAX {
        return Err(format!(
            "answers with {length} bytes, at most {ANSWER_BYTES_MAX} are read"
        ));
    }
    Ok(())
}

/// The roots that browsers trust.
pub(crate) fn public_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// The certificates (PEM) of a file, as authorities.
pub(crate) fn roots_in(file: &Path) -> Result<RootCertStore, Refused> {
    let failed = |cause: &dyn std::fmt::Display| format!("`{}` holds no certificates: {cause}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|cause| failed(&cause))? {
        let certificate = certificate.map_err(|cause| failed(&cause))?;
        roots.add(certificate).map_err(|cause| failed(&cause))?;
    }
    if roots.is_empty() {
        return Err(failed(&"it holds none"));
    }
    Ok(roots)
}

/// For connections of HTTP/1.1 inside TLS to whoever these authorities vouch for.
pub(crate) fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, Refused> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| format!("TLS cannot be set up: {cause}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
