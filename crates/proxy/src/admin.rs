//! The admin interface: how people and scrapers on the same machine look into a running gateway.
//!
//! It has a door of its own, so that nothing on the path of calls leads here and no token of an application opens it: a
//! unix socket in the state directory, which only its owner can enter. Where the configuration names one, a loopback
//! listener answers `/metrics` and the two probes, and nothing else. All that the interface can change is which
//! configuration is served, and only through the socket ([`Steer`]). It runs on the keep runtime, so that a slow reader
//! costs no call its time.
//!
//! What it says is spelled out in [`shape`], apart from the types it is taken from, because programs read it.

pub mod shape;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::shape::{Compared, Configuration, Reloaded, Status, Tools};
pub use self::socket::connect;

#[cfg(test)]
mod tests;

/// Connections to one door; the next one waits.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send a request head, and to read an answer.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection lives at most.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The largest body of a question: a file of configuration, in which every character may be escaped.
const BODY_BYTES_MAX: usize = 6 * meshgate_model::limits::SOURCE_BYTES;
/// How long accepting pauses when the process is out of descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(250);
/// How long open answers may take when the gateway ends.
const LAST_ANSWER_TIME: Duration = Duration::from_secs(1);

/// What the admin interface may ask a gateway.
pub trait Sight: Send + Sync + 'static {
    /// How the gateway and its servers are.
    fn status(&self) -> Status;
    /// The tools of a view, by its name; `None` asks for the first view. `None` when there is no such view.
    fn tools(&self, view: Option<&str>) -> Option<Tools>;
    /// All metrics in their text form.
    fn metrics(&self) -> String;
    /// Why calls should not be sent here yet, or any more; `None` when they should.
    fn unready(&self) -> Option<String>;
}

/// What the admin interface may ask of whoever keeps the configuration.
pub trait Steer: Send + Sync + 'static {
    /// Where the configuration comes from, and what became of its last change.
    fn configuration(&self) -> Configuration;
    /// Reads the file again and takes it over if it is good.
    fn reload(&self, allow_shrink: bool) -> BoxFuture<'_, Reloaded>;
    /// What a file would change; `None` asks for the one that is followed.
    fn compare(&self, candidate: Option<Candidate>) -> BoxFuture<'_, Compared>;
}

/// A file that somebody wants to know the consequences of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Its absolute path; relative paths in it start there.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// The door through the file system.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Takes the path, which must lie in a directory that is the caller's alone; a socket left there by a process that
    /// was killed is replaced.
    ///
    /// # Errors
    /// When the path cannot be taken.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = socket::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until `closing`.
    pub async fn serve(self, sight: Arc<dyn Sight>, steer: Option<Arc<dyn Steer>>, closing: CancellationToken) {
        let door = Door::new(sight, steer, Reach::Everything, closing);
        door.accept(|| self.listener.accept()).await;
        // A socket that is left behind would only make the next client wait for nobody.
        let _ = std::fs::remove_file(&self.path);
        door.close().await;
    }
}

/// The door for scrapers: loopback, metrics and probes only.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl MetricsListener {
    /// Takes a loopback address.
    ///
    /// # Errors
    /// When the address is not loopback, or cannot be taken.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the admin listener must be on loopback",
            ));
        }
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local })
    }

    /// The address that was taken.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Answers until `closing`.
    pub async fn serve(self, sight: Arc<dyn Sight>, closing: CancellationToken) {
        let door = Door::new(sight, None, Reach::Metrics, closing);
        door.accept(|| self.listener.accept()).await;
        door.close().await;
    }
}

/// What a door leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Everything,
    Metrics,
}

/// What both doors do with a connection.
struct Door {
    sight: Arc<dyn Sight>,
    steer: Option<Arc<dyn Steer>>,
    reach: Reach,
    closing: CancellationToken,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Door {
    fn new(sight: Arc<dyn Sight>, steer: Option<Arc<dyn Steer>>, reach: Reach, closing: CancellationToken) -> Self {
        Self {
            sight,
            steer,
            reach,
            closing,
            room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            tasks: TaskTracker::new(),
        }
    }

    /// Admits connections until it is time to close.
    async fn accept<S, A, F>(&self, mut next: impl FnMut() -> F)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<(S, A)>>,
    {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                accepted = next() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream),
                Err(error) => {
                    tracing::warn!(%error, "the admin interface pauses accepting");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    fn admit<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sight, steer, closing) = (self.sight.clone(), self.steer.clone(), self.closing.clone());
        let reach = self.reach;
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            return;
        };
        self.tasks.spawn(async move {
            let service = service_fn(move |request| {
                let (sight, steer) = (sight.clone(), steer.clone());
                async move { Ok::<_, Infallible>(answer(&*sight, steer.as_deref(), reach, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_headers(32)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = tokio::time::sleep(CONNECTION_TIME) => {}
                () = async { closing.cancelled().await; tokio::time::sleep(LAST_ANSWER_TIME).await } => {}
            }
            drop(place);
        });
    }

    async fn close(self) {
        self.tasks.close();
        let _ = tokio::time::timeout(LAST_ANSWER_TIME, self.tasks.wait()).await;
    }
}

async fn answer<B>(
    sight: &dyn Sight,
    steer: Option<&dyn Steer>,
    reach: Reach,
    request: Request<B>,
) -> Response<Full<Bytes>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    if reach == Reach::Everything && request.method() == Method::POST {
        return steered(steer, request).await;
    }
    looked(sight, steer, reach, &request)
}

/// The questions that change something, or bring a file along.
async fn steered<B>(steer: Option<&dyn Steer>, request: Request<B>) -> Response<Full<Bytes>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let path = request.uri().path();
    let steer = match steer {
        Some(steer) => steer,
        None if ["/reload", "/diff"].contains(&path) => {
            return text(StatusCode::NOT_FOUND, "this gateway follows no file\n");
        }
        None => return text(StatusCode::METHOD_NOT_ALLOWED, "nothing takes POST at this path\n"),
    };
    match path {
        "/reload" => json(&steer.reload(query(&request, "allowShrink") == Some("true")).await),
        "/diff" => {
            let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")),
            };
            let candidate = match &*body {
                b"" => None,
                body => match serde_json::from_slice(body) {
                    Ok(candidate) => Some(candidate),
                    Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                },
            };
            json(&steer.compare(candidate).await)
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "nothing takes POST at this path\n"),
    }
}

fn looked<B>(
    sight: &dyn Sight,
    steer: Option<&dyn Steer>,
    reach: Reach,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "this interface only answers GET\n");
    }
    if reach == Reach::Metrics && !host_is_loopback(request) {
        return text(StatusCode::FORBIDDEN, "the host must be a loopback name\n");
    }
    match (reach, request.uri().path()) {
        (_, "/healthz") => text(StatusCode::OK, "ok\n"),
        (_, "/readyz") => match sight.unready() {
            None => text(StatusCode::OK, "ready\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        (_, "/metrics") => whole(
            StatusCode::OK,
            meshgate_telemetry::metrics::CONTENT_TYPE,
            sight.metrics().into_bytes(),
        ),
        (Reach::Everything, "/status") => json(&Status {
            configuration: steer.map(Steer::configuration),
            ..sight.status()
        }),
        (Reach::Everything, "/tools") => match sight.tools(query(request, "view")) {
            Some(tools) => json(&tools),
            None => text(
                StatusCode::NOT_FOUND,
                "there is no such view; `status` lists the views\n",
            ),
        },
        _ => text(StatusCode::NOT_FOUND, "nothing is answered at this path\n"),
    }
}

/// A browser that was led here by a name somebody else controls must not read metrics.
fn host_is_loopback<B>(request: &Request<B>) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |h| h.0);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// A query parameter. The names that are asked for need no escapes, so none are read.
fn query<'a, B>(request: &'a Request<B>, name: &str) -> Option<&'a str> {
    request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => whole(StatusCode::OK, "application/json", body),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written\n"),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    whole(status, "text/plain; charset=utf-8", body.into().into_bytes())
}

fn whole(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
