//! A server that changes when it is told to: its tool, a resource that everybody watches, and a flood that few watch.
#![allow(
    clippy::indexing_slicing,
    reason = "JSON that is missing reads as null, and what is written to is an object of ours"
)]

use std::pin::Pin;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{Failure, serve};

/// The resource that every listener watches.
pub(super) const SHARED: &str = "file:///shared";
/// What is flooded lies below it.
pub(super) const FLOOD: &str = "file:///flood/";
const FLOOD_BYTES: usize = 2048;

/// What there is to be told, and to whom.
#[derive(Default)]
pub(super) struct Source {
    change: AtomicU64,
    listens: Mutex<Vec<Listen>>,
    opened: AtomicU64,
}

struct Listen {
    id: Value,
    lists: bool,
    resources: bool,
    to: UnboundedSender<Bytes>,
}

impl Source {
    /// Changes the tool and the shared resource, and says so.
    pub(super) fn change(&self) -> u64 {
        let change = self.change.fetch_add(1, Ordering::SeqCst) + 1;
        self.say(|listen| listen.lists, "notifications/tools/list_changed", &json!({}));
        let updated = json!({"uri": SHARED, "change": change, "last": true});
        self.say(|listen| listen.resources, "notifications/resources/updated", &updated);
        change
    }

    /// Says that a resource below the flooded one has changed, at length.
    pub(super) fn flood(&self, number: u64) {
        let updated = json!({"uri": format!("{FLOOD}{number}"), "text": "f".repeat(FLOOD_BYTES)});
        self.say(|listen| listen.resources, "notifications/resources/updated", &updated);
    }

    /// Subscriptions to resources that were ever opened, and those that are open.
    pub(super) fn subscriptions(&self) -> (u64, usize) {
        let listens = self.listens.lock();
        let open = listens
            .iter()
            .filter(|listen| listen.resources && !listen.to.is_closed());
        (self.opened.load(Ordering::SeqCst), open.count())
    }

    fn say(&self, to: impl Fn(&Listen) -> bool, method: &str, members: &Value) {
        let mut listens = self.listens.lock();
        listens.retain(|listen| !listen.to.is_closed());
        for listen in listens.iter().filter(|listen| to(listen)) {
            let mut params = members.clone();
            params["_meta"] = json!({"io.modelcontextprotocol/subscriptionId": listen.id});
            let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
            let _ = listen.to.send(Bytes::from(format!("data: {message}\n\n")));
        }
    }

    fn open(&self, id: &Value, wanted: &Value) -> Told {
        let (to, from) = unbounded_channel();
        let ack = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": wanted}});
        let _ = to.send(Bytes::from(format!("data: {ack}\n\n")));
        let resources = wanted["resourceSubscriptions"].is_array();
        self.opened.fetch_add(u64::from(resources), Ordering::SeqCst);
        let lists = wanted["toolsListChanged"] == true;
        let listen = Listen {
            id: id.clone(),
            lists,
            resources,
            to,
        };
        self.listens.lock().push(listen);
        Told::Stream(from)
    }
}

/// The body of an answer.
pub(super) enum Told {
    Whole(Option<Bytes>),
    Stream(UnboundedReceiver<Bytes>),
}

impl Body for Told {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(from) => from
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }
}

/// Serves on a free port until dropped; answers the port and the work.
pub(super) async fn start(source: Arc<Source>) -> Result<(u16, impl Future<Output = ()> + Send), Failure> {
    let listener = serve::bind(0).await?;
    let port = listener.local_addr().map_err(|e| format!("no address: {e}"))?.port();
    let respond = move |request| answer(Arc::clone(&source), request);
    Ok((port, serve::serve(listener, respond)))
}

async fn answer(source: Arc<Source>, request: Request<Incoming>) -> Response<Told> {
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let request: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    let list = |member: &str, items: Value| {
        let mut result = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
        result[member] = items;
        result
    };
    let result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0,
            "cacheScope": "private", "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}},
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "bench", "version": "1.0.0"}}}),
        "tools/list" => {
            let change = source.change.load(Ordering::SeqCst);
            list(
                "tools",
                json!([{"name": "echo", "description": format!("change {change}"), "inputSchema": {"type": "object"},
                    "annotations": {"readOnlyHint": true}}]),
            )
        }
        "resources/list" => list("resources", json!([])),
        "resources/templates/list" => list("resourceTemplates", json!([])),
        "tools/call" => json!({"resultType": "complete", "content": [{"type": "text", "text": "right"}]}),
        "subscriptions/listen" => {
            let told = source.open(&request["id"], &request["params"]["notifications"]);
            return typed(told, "text/event-stream");
        }
        _ => return typed(Told::Whole(None), "application/json"),
    };
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    typed(Told::Whole(Some(Bytes::from(answer.to_string()))), "application/json")
}

fn typed(told: Told, kind: &'static str) -> Response<Told> {
    let mut response = Response::new(told);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
