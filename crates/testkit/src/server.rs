//! A scripted MCP server on loopback HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::{Answer, Recorded, Script, Step};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A running server. It stops when it is dropped.
pub struct ScriptedServer {
    address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

struct State {
    script: Script,
    recorded: Mutex<Vec<Recorded>>,
    arrivals: watch::Sender<usize>,
    session: AtomicUsize,
    pushes: broadcast::Sender<String>,
    streams: watch::Sender<usize>,
    holds: watch::Sender<usize>,
}

impl ScriptedServer {
    /// A modern server (2026-07-28).
    pub fn modern() -> Script {
        Script::new("2026-07-28", false)
    }

    /// A legacy server of that revision, with a session id and a GET stream.
    pub fn legacy(revision: &str) -> Script {
        Script::new(revision, true)
    }

    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            script,
            recorded: Mutex::default(),
            arrivals: watch::Sender::new(0),
            session: AtomicUsize::new(1),
            pushes: broadcast::Sender::new(64),
            streams: watch::Sender::new(0),
            holds: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        Self { address, state, task }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of its MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Everything that arrived, in order.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.state.recorded.lock().clone()
    }

    /// Everything that arrived with that JSON-RPC method.
    pub fn received(&self, method: &str) -> Vec<Recorded> {
        self.recorded()
            .into_iter()
            .filter(|request| request.method() == method)
            .collect()
    }

    /// Waits until `count` messages with that method have arrived, at most five seconds; answers those that have.
    pub async fn wait_for(&self, method: &str, count: usize) -> Vec<Recorded> {
        let mut arrivals = self.state.arrivals.subscribe();
        let enough = async {
            while self.received(method).len() < count {
                arrivals.changed().await.expect("the server runs");
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), enough).await;
        self.received(method)
    }

    /// Sends a message on every GET stream that is open.
    pub fn push(&self, message: &str) {
        let _ = self.state.pushes.send(message.to_owned());
    }

    /// Waits until that many GET streams are open, at most five seconds.
    pub async fn wait_for_streams(&self, count: usize) {
        let mut streams = self.state.streams.subscribe();
        let _ = tokio::time::timeout(Duration::from_secs(5), streams.wait_for(|open| *open >= count)).await;
    }

    /// Waits until exactly that many answers stand still at a [`Step::Hold`], at most five seconds; whether it came so.
    pub async fn holds(&self, count: usize) -> bool {
        let mut holds = self.state.holds.subscribe();
        let came = holds.wait_for(|holding| *holding == count);
        tokio::time::timeout(Duration::from_secs(5), came).await.is_ok()
    }

    /// Forgets the session: whoever names it hears 404 from now on.
    pub fn lose_session(&self) {
        self.state.session.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| serve(Arc::clone(&state), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn serve(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let recorded = Recorded {
        verb: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    };
    state.recorded.lock().push(recorded.clone());
    state.arrivals.send_modify(|count| *count += 1);
    Ok(match state.respond(&recorded) {
        Some(answer) => state.spell(answer, &recorded),
        None => state.get_stream(),
    })
}

impl State {
    fn session_id(&self) -> String {
        format!("session-{}", self.session.load(Ordering::SeqCst))
    }

    /// The answer by the script and the session; none for a GET stream.
    fn respond(&self, request: &Recorded) -> Option<Answer> {
        let method = request.method();
        if self.script.sessions && method != "initialize" && method != "server/discover" {
            match request.header("mcp-session-id") {
                Some(id) if id == self.session_id() => {}
                Some(_) => return Some(Answer::status(404)),
                None => return Some(Answer::whole(400, "session id is missing")),
            }
        }
        if request.verb == Method::POST {
            let answer = self.script.answer(request);
            let first = self.script.sessions && method == "initialize";
            return Some(if first {
                answer.header("mcp-session-id", &self.session_id())
            } else {
                answer
            });
        }
        match self.script.scripted_other(request) {
            Some(answer) => Some(answer),
            None if request.verb == Method::GET && self.script.get_stream => None,
            None if request.verb == Method::DELETE && self.script.sessions => Some(Answer::status(200)),
            None => Some(Answer::status(405)),
        }
    }

    fn spell(self: &Arc<Self>, answer: Answer, request: &Recorded) -> Response<Body> {
        match answer {
            Answer::Whole { status, headers, body } => {
                let body = request.fill(&body);
                let mut response = Response::new(whole(body.clone()));
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                *response.headers_mut() = headers;
                if !body.is_empty() && !response.headers().contains_key(header::CONTENT_TYPE) {
                    let json = http::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(header::CONTENT_TYPE, json);
                }
                response
            }
            Answer::Stream(steps) => events(self.play(steps, request.clone())),
        }
    }

    /// The steps of a streamed answer, as chunks.
    fn play(self: &Arc<Self>, steps: Vec<Step>, request: Recorded) -> impl Stream<Item = Result<Bytes, ()>> + use<> {
        let state = Arc::clone(self);
        stream::iter(steps).then(move |step| {
            let (state, request) = (Arc::clone(&state), request.clone());
            async move {
                match step {
                    Step::Message(text) => Ok(event(None, None, &request.fill(&text))),
                    Step::Event { id, retry_ms, data } => Ok(event(id.as_deref(), retry_ms, &request.fill(&data))),
                    Step::Bytes(bytes) => Ok(bytes.into()),
                    Step::Wait(time) => {
                        tokio::time::sleep(time).await;
                        Ok(Bytes::new())
                    }
                    Step::Until(text) => {
                        state.until(&text).await;
                        Ok(Bytes::new())
                    }
                    Step::Hold => {
                        let _held = Held::new(state);
                        std::future::pending().await
                    }
                    Step::Break => Err(()),
                }
            }
        })
    }

    async fn until(&self, text: &str) {
        let mut arrivals = self.arrivals.subscribe();
        let seen = |request: &Recorded| String::from_utf8_lossy(&request.body).contains(text);
        while !self.recorded.lock().iter().any(seen) {
            if arrivals.changed().await.is_err() {
                return;
            }
        }
    }

    fn get_stream(self: &Arc<Self>) -> Response<Body> {
        let pushed = self.pushes.subscribe();
        let open = OpenStream(Arc::clone(self));
        self.streams.send_modify(|count| *count += 1);
        events(stream::unfold((pushed, open), |(mut pushed, open)| async move {
            let message = pushed.recv().await.ok()?;
            Some((Ok(event(None, None, &message)), (pushed, open)))
        }))
    }
}

struct OpenStream(Arc<State>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.send_modify(|count| *count -= 1);
    }
}

struct Held(Arc<State>);

impl Held {
    fn new(state: Arc<State>) -> Self {
        state.holds.send_modify(|count| *count += 1);
        Self(state)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.holds.send_modify(|count| *count -= 1);
    }
}

fn whole(body: String) -> Body {
    Full::new(Bytes::from(body))
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn events(chunks: impl Stream<Item = Result<Bytes, ()>> + Send + 'static) -> Response<Body> {
    let frames = chunks.map(|chunk| chunk.map(Frame::data).map_err(|()| std::io::Error::other("broken off")));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = http::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn event(id: Option<&str>, retry_ms: Option<u64>, data: &str) -> Bytes {
    let mut text = String::new();
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    if let Some(retry_ms) = retry_ms {
        text.push_str(&format!("retry: {retry_ms}\n"));
    }
    text.push_str(&format!("data: {data}\n\n"));
    text.into()
}
