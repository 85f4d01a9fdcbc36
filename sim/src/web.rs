//! A server over Streamable HTTP: sessions that it can forget, an answer as one message or as a stream, and a stream of
//! its own for what belongs to no call.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::server::{Server, Session};

const PIPE_BYTES: usize = 64 << 10;
const SESSION: &str = "mcp-session-id";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Accepts a connection: the gateway's end of it.
pub(crate) fn accept(server: &Arc<Server>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(answer(&server, request).await) }
        });
        // How the connection ends is the gateway's affair.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(ours), service)
            .await;
    });
    theirs
}

async fn answer(server: &Arc<Server>, request: Request<Incoming>) -> Response<Body> {
    let named = request.headers().get(SESSION).cloned();
    let found = named
        .as_ref()
        .map(|name| name.to_str().ok().and_then(|name| server.session(name)));
    let verb = request.method().clone();
    let session = match found {
        Some(None) => return empty(StatusCode::NOT_FOUND),
        Some(Some(session)) => Some(session),
        None => None,
    };
    match (verb, session) {
        (Method::GET, Some(session)) => aside(&session),
        (Method::DELETE, Some(session)) => {
            session.end();
            empty(StatusCode::OK)
        }
        (Method::POST, session) => post(server, session, request).await,
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn post(server: &Arc<Server>, session: Option<Arc<Session>>, request: Request<Incoming>) -> Response<Body> {
    let Ok(body) = request.into_body().collect().await else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let opens = message["method"] == "initialize";
    let session = match session {
        Some(session) => session,
        None if opens => server.open(),
        None => return empty(StatusCode::BAD_REQUEST),
    };
    let (out, mut messages) = mpsc::unbounded_channel();
    let is_request = message.get("method").is_some() && message.get("id").is_some();
    let streams = message["method"] == "tools/call";
    session.receive(message, &out);
    drop(out);
    if !is_request {
        return empty(StatusCode::ACCEPTED);
    }
    if streams {
        return stream(messages, session.over.clone());
    }
    let Some(whole) = messages.recv().await else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::new(Full::new(Bytes::from(whole.to_string())).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    if opens && let Ok(name) = session.name.parse() {
        headers.insert(SESSION, name);
    }
    response
}

/// The stream of a session for what belongs to no call.
fn aside(session: &Arc<Session>) -> Response<Body> {
    let (out, messages) = mpsc::unbounded_channel();
    *session.aside.lock() = Some(out);
    stream(messages, session.over.clone())
}

/// Events until nobody has anything to say any more, or the session is lost.
fn stream(messages: mpsc::UnboundedReceiver<Value>, over: CancellationToken) -> Response<Body> {
    let events = futures_util::stream::unfold(messages, |mut messages| async move {
        let message = messages.recv().await?;
        Some((format!("data: {message}\n\n"), messages))
    });
    let frames = events
        .take_until(over.cancelled_owned())
        .map(|event| Ok::<_, Infallible>(Frame::data(Bytes::from(event))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = http::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", kind);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = status;
    response
}
