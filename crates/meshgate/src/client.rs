//! The little HTTP that the command line needs: the admin socket, and the gateway's own endpoint.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use meshgate_proxy::admin::connect as connect_admin;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::exit::{Failure, SYSTEM, UNAVAILABLE};
use crate::state::StatePath;

/// Largest answer of the admin interface that is read.
const ADMIN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the admin interface may take.
const ADMIN_TIME: Duration = Duration::from_secs(10);
/// How long a connection to the gateway may take.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);

/// A text as one segment of a path or one value of a query: everything but letters, digits and `-._~` as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    match out.as_str() {
        // A segment of dots alone would leave the path.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => out,
    }
}

/// A runtime for a command that asks and prints.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(SYSTEM, format!("the runtime cannot be started: {cause}")))?
        .block_on(work)
}

/// Asks the admin interface; the answer is JSON.
pub(crate) async fn admin<T: DeserializeOwned>(state: &StatePath, path: &str) -> Result<T, Failure> {
    asked(state, Request::get(path), Bytes::new()).await
}

/// Tells the admin interface something, with a body that may be empty; the answer is JSON.
pub(crate) async fn tell_admin<T: DeserializeOwned>(state: &StatePath, path: &str, body: Bytes) -> Result<T, Failure> {
    asked(state, Request::post(path), body).await
}

async fn asked<T: DeserializeOwned>(state: &StatePath, request: Builder, body: Bytes) -> Result<T, Failure> {
    let socket = state.admin_socket();
    let answered = tokio::time::timeout(ADMIN_TIME, admin_bytes(&socket, request, body)).await;
    let (status, body) = answered.unwrap_or_else(|_| Err(away(&socket, "it does not answer")))?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|cause| {
            away(
                &socket,
                &format!("its answer cannot be read ({cause}); is it another version?"),
            )
        }),
        _ => Err(Failure::new(
            UNAVAILABLE,
            String::from_utf8_lossy(&body).trim().to_owned(),
        )),
    }
}

async fn admin_bytes(socket: &Path, request: Builder, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
    let stream = connect_admin(socket).await.map_err(|_| nobody(socket))?;
    let request = request
        .header(http::header::HOST, "localhost")
        .body(Full::new(body))
        .map_err(|cause| away(socket, &cause.to_string()))?;
    let (response, _connection) = send(stream, request)
        .await
        .map_err(|cause| away(socket, &cause.to_string()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ADMIN_BYTES_MAX)
        .collect()
        .await
        .map_err(|cause| away(socket, &cause.to_string()))?;
    Ok((status, body.to_bytes()))
}

fn nobody(socket: &Path) -> Failure {
    let directory = socket.parent().unwrap_or(socket).display();
    Failure::new(
        UNAVAILABLE,
        format!("no gateway is running with state directory `{directory}`"),
    )
    .remedy("start one with `meshgate up`, or name its directory with `--state DIR`")
}

fn away(socket: &Path, why: &str) -> Failure {
    Failure::new(
        UNAVAILABLE,
        format!("the gateway at `{}` cannot be asked: {why}", socket.display()),
    )
}

/// Sends a request to the gateway's endpoint at `authority` (`127.0.0.1:7300`).
pub(crate) async fn post(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection), Failure> {
    let refused = |cause: String| Failure::new(UNAVAILABLE, format!("the gateway at `{authority}` {cause}"));
    let stream = connect(authority).await.map_err(refused)?;
    send(stream, request)
        .await
        .map_err(|cause| refused(format!("broke off ({cause}); the call may have run")))
}

/// A connection to `authority`, or why there is none.
pub(crate) async fn connect(authority: &str) -> Result<TcpStream, String> {
    let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(authority))
        .await
        .map_err(|_| "does not answer".to_owned())?
        .map_err(|cause| format!("cannot be reached: {cause}"))?;
    // Small writes should leave at once; where that cannot be set they still leave.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Drives a connection; it ends with this value.
pub(crate) type Connection = JoinSet<hyper::Result<()>>;

/// Sends a request over a connection of its own, and reads the head of the answer.
pub(crate) async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<(Response<Incoming>, Connection)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    Ok((sender.send_request(request).await?, driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(encoded("io.example/weather"), "io.example%2Fweather");
        assert_eq!(encoded("1.0.0+build ?&#é"), "1.0.0%2Bbuild%20%3F%26%23%C3%A9");
        assert_eq!((encoded("."), encoded("..")), ("%2E".into(), "%2E%2E".into()));
    }
}
