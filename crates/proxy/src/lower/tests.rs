//! The legacy face against a scripted inside: what a client sends, what goes in, what the client gets.

mod calls;
mod questions;
mod sessions;
mod streams;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use meshgate_identity::keys::KeyRing;
use meshgate_mcp::{Rules, scan};
use tokio::sync::mpsc;

use super::{Answer, Dispatch, Edge, Events, Inward, Lower, Offered, SESSION_ID, Seams, SessionLimits};
use crate::call::{Answered, Caller, Told};
use crate::refusal::Refusal;

/// The inside of a test: every request arrives here, and the test answers it when it likes.
struct Inside {
    dispatch: Dispatch,
    arrived: mpsc::UnboundedReceiver<Arrived>,
}

struct Arrived {
    request: String,
    messages: mpsc::UnboundedSender<Result<Bytes, Refusal>>,
}

impl Arrived {
    fn says(&self, message: &str) {
        self.messages
            .send(Ok(Bytes::copy_from_slice(message.as_bytes())))
            .expect("the call still listens");
    }

    fn answers(self, result: &str) {
        let id = self.id();
        self.says(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
    }

    fn id(&self) -> String {
        let msg = scan(self.request.as_bytes(), &Rules::SERVER).unwrap();
        String::from_utf8(msg.id.unwrap().raw(self.request.as_bytes()).to_vec()).unwrap()
    }

    /// Whether the gateway let go of the reply.
    async fn is_dropped(&self) {
        self.messages.closed().await;
    }
}

impl Inside {
    fn new() -> Self {
        let (inbox, arrived) = mpsc::unbounded_channel();
        let dispatch: Dispatch = Arc::new(move |inward: Inward| {
            let (messages, mut inside) = mpsc::unbounded_channel();
            let request = String::from_utf8(inward.body.to_vec()).unwrap();
            inbox.send(Arrived { request, messages }).unwrap();
            let stream = futures_util::stream::poll_fn(move |cx| inside.poll_recv(cx));
            // What is a response is found by reading it, whatever it is called.
            let telling = stream.map(|message: Result<Bytes, Refusal>| message.map(Told::Result));
            async move { Ok(Answered::Stream(Box::pin(telling))) }.boxed()
        });
        Self { dispatch, arrived }
    }

    /// An inside that answers every request the same way.
    fn always(reply: impl Fn(Bytes) -> Result<Bytes, Refusal> + Send + Sync + 'static) -> Dispatch {
        Arc::new(move |inward: Inward| {
            let answered = reply(inward.body).map(|body| Answered::One(Told::Result(body)));
            std::future::ready(answered).boxed()
        })
    }

    async fn next(&mut self) -> Arrived {
        self.arrived.recv().await.unwrap()
    }
}

/// One client in front of the face.
#[derive(Clone)]
struct Client {
    lower: Lower,
    caller: Arc<Caller>,
    offered: Offered,
    headers: HeaderMap,
    dispatch: Dispatch,
}

fn caller(name: &str) -> Arc<Caller> {
    Arc::new(Caller::new(Some(name.into()), None))
}

fn seams(now: &Arc<AtomicU64>) -> Seams {
    let now = Arc::clone(now);
    Seams {
        now_s: Arc::new(move || now.load(Ordering::Relaxed)),
        ..Seams::system()
    }
}

fn face(limits: SessionLimits) -> Lower {
    let keys = Arc::new(KeyRing::from_entropy().unwrap());
    Lower::new(keys, limits, seams(&Arc::new(AtomicU64::new(1_000))))
}

fn offered() -> Offered {
    Offered {
        view: "/mcp".into(),
        capabilities: br#"{"tools":{},"logging":{},"resources":{"subscribe":true}}"#.as_slice().into(),
        server_info: br#"{"name":"mesh","version":"1"}"#.as_slice().into(),
        instructions: None,
        limits_lifted: false,
    }
}

impl Client {
    fn new(lower: &Lower, name: &str, dispatch: &Dispatch) -> Self {
        Self {
            lower: lower.clone(),
            caller: caller(name),
            offered: offered(),
            headers: HeaderMap::new(),
            dispatch: Arc::clone(dispatch),
        }
    }

    /// A client with a session of `version`, and these capabilities.
    async fn open(lower: &Lower, dispatch: &Dispatch, version: &str, capabilities: &str) -> Self {
        let mut client = Self::new(lower, "app", dispatch);
        client.initialize(version, capabilities).await;
        client
    }

    async fn newest(lower: &Lower, dispatch: &Dispatch) -> Self {
        Self::open(
            lower,
            dispatch,
            "2025-11-25",
            r#"{"elicitation":{},"sampling":{},"roots":{}}"#,
        )
        .await
    }

    async fn initialize(&mut self, version: &str, capabilities: &str) -> String {
        let (id, body) = self.try_initialize(version, capabilities).await.unwrap();
        self.headers.insert(SESSION_ID, id);
        body
    }

    async fn try_initialize(&self, version: &str, capabilities: &str) -> Result<(HeaderValue, String), Refusal> {
        let answer = self
            .post(&format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
            ))
            .await?;
        let Answer::Json {
            status: StatusCode::OK,
            headers,
            body,
        } = answer
        else {
            panic!("{answer:?}")
        };
        Ok((
            headers.get(SESSION_ID).cloned().unwrap(),
            String::from_utf8(body.to_vec()).unwrap(),
        ))
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut changed = self.clone();
        changed
            .headers
            .insert(HeaderName::from_static(name), value.parse().unwrap());
        changed
    }

    fn session_id(&self) -> &str {
        self.headers.get(SESSION_ID).unwrap().to_str().unwrap()
    }

    fn edge(&self) -> Edge<'_> {
        Edge {
            headers: &self.headers,
            caller: &self.caller,
            offered: &self.offered,
            dispatch: Arc::clone(&self.dispatch),
            record: None,
        }
    }

    async fn post(&self, message: &str) -> Result<Answer, Refusal> {
        let body = Bytes::copy_from_slice(message.as_bytes());
        let msg = scan(&body, &Rules::CLIENT).unwrap();
        self.lower.post(&self.edge(), &body, &msg).await
    }

    /// A POST that runs on its own, as on a connection of its own.
    fn send(&self, message: &str) -> tokio::task::JoinHandle<Result<Answer, Refusal>> {
        let (client, message) = (self.clone(), message.to_owned());
        tokio::spawn(async move { client.post(&message).await })
    }

    async fn get(&self) -> Result<Answer, Refusal> {
        self.lower.get(&self.edge()).await
    }

    async fn delete(&self) -> Result<Answer, Refusal> {
        self.lower.delete(&self.edge()).await
    }

    /// Answers a question.
    async fn replies(&self, question: &str, outcome: &str) {
        let id = json_member(question, "id");
        let answer = self
            .post(&format!(r#"{{"jsonrpc":"2.0","id":{id},{outcome}}}"#))
            .await
            .unwrap();
        assert!(matches!(
            answer,
            Answer::Empty {
                status: StatusCode::ACCEPTED,
                ..
            }
        ));
    }
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
const LOG: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;

fn body_of(answer: Result<Answer, Refusal>) -> String {
    match answer.unwrap() {
        Answer::Json {
            status: StatusCode::OK,
            body,
            ..
        } => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn events_of(answer: Result<Answer, Refusal>) -> Events {
    match answer.unwrap() {
        Answer::Sse { events, .. } => events,
        other => panic!("{other:?}"),
    }
}

/// The next event: its id and its data. Comments are passed over.
async fn event(events: &mut Events) -> Option<(String, String)> {
    loop {
        let bytes = events.next().await?;
        let text = std::str::from_utf8(&bytes).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(name))
                .map(|v| v.trim_start().to_owned())
        };
        if let Some(data) = field("data:") {
            return Some((field("id:").unwrap(), data));
        }
    }
}

async fn data(events: &mut Events) -> String {
    event(events).await.expect("the stream goes on").1
}

fn json_member(message: &str, name: &str) -> String {
    let msg = scan(message.as_bytes(), &Rules::SERVER).unwrap();
    String::from_utf8(
        msg.root
            .get(message.as_bytes(), name)
            .unwrap()
            .raw(message.as_bytes())
            .to_vec(),
    )
    .unwrap()
}

/// Lets every task run that can.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}
