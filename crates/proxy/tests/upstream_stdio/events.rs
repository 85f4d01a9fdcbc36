//! Servers that have only HTTP+SSE of 2024-11-05, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use meshgate_mcp::Era;
use meshgate_model::{EnvValue, Reach};
use meshgate_proxy::refusal::{Executed, Reason};
use meshgate_proxy::upstream::{State, Upstream, UpstreamOptions};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::facade::{one, outbound, server};
use super::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("a_server_of_2024_11_05_is_called_over_its_event_stream", called),
        trial("many_calls_share_one_event_stream", many_calls),
        trial(
            "an_event_stream_that_ends_is_opened_again_and_the_next_call_succeeds",
            opened_again,
        ),
        trial(
            "a_message_to_a_forgotten_session_did_not_run_and_the_next_one_does",
            forgotten,
        ),
        trial("messages_are_never_sent_to_another_origin", another_origin),
        trial("a_server_that_does_not_say_where_messages_go_is_away", no_address),
        trial(
            "a158_events_of_other_kinds_on_an_event_stream_mean_nothing",
            other_events,
        ),
        trial("http_and_sse_is_never_tried_unless_it_is_configured", never_tried),
    ]
}

/// A scripted server; it ends with its tasks.
struct EventServer {
    address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Head and message of every request.
    requests: Mutex<Vec<(String, Value)>>,
    stream: Mutex<Option<mpsc::UnboundedSender<String>>>,
    opened: watch::Sender<usize>,
    /// What the next messages are answered with; 0 stands for 202.
    status: AtomicU16,
}

impl EventServer {
    /// `first` is what the event stream begins with.
    async fn start(first: impl Fn(SocketAddr) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, first(address), Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    async fn usual() -> Self {
        Self::start(|_| "event: endpoint\ndata: /messages/?session_id=s1\n\n".to_owned()).await
    }

    fn reach(&self) -> Reach {
        Reach::Sse {
            url: format!("http://{}/sse", self.address),
            headers: vec![("x-api-key".to_owned(), EnvValue::Literal(Arc::from("k1")))],
        }
    }

    fn upstream(&self) -> Arc<Upstream> {
        let reach = self.reach();
        Upstream::start(server(&[], |server| server.reach = reach), UpstreamOptions::default())
    }

    fn heads(&self, start: &str) -> Vec<String> {
        let requests = self.seen.requests.lock();
        requests
            .iter()
            .map(|(head, _)| head.clone())
            .filter(|head| head.starts_with(start))
            .collect()
    }

    fn methods(&self) -> Vec<String> {
        let requests = self.seen.requests.lock();
        requests
            .iter()
            .filter_map(|(_, body)| body["method"].as_str().map(str::to_owned))
            .collect()
    }
}

async fn serve(mut socket: TcpStream, first: String, seen: Arc<Seen>) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head
            .split("content-length:")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        while bytes.len() < end + 4 + length {
            if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Value = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap_or_default();
        bytes.drain(..end + 4 + length);
        seen.requests.lock().push((head.clone(), body.clone()));
        if head.starts_with("get ") {
            return stream(socket, &first, &seen).await;
        }
        let status = match seen.status.swap(0, Ordering::SeqCst) {
            0 if head.starts_with("post /messages") => 202,
            0 => 405,
            other => other,
        };
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if status == 202 {
            answer_on_stream(&body, &seen);
        }
    }
}

async fn stream(mut socket: TcpStream, first: &str, seen: &Seen) {
    let (sender, mut events) = mpsc::unbounded_channel();
    *seen.stream.lock() = Some(sender);
    seen.opened.send_modify(|count| *count += 1);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let _ = socket.write_all(format!("{head}: hello\n\n{first}").as_bytes()).await;
    while let Some(event) = events.recv().await {
        let _ = socket.write_all(event.as_bytes()).await;
    }
}

fn answer_on_stream(message: &Value, seen: &Seen) {
    let (id, params) = (&message["id"], &message["params"]);
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            r#"{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"1"}}"#
                .to_owned()
        }
        "tools/call" => format!(r#"{{"content":[],"got":{params}}}"#),
        _ => return,
    };
    let event = format!("event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n\n");
    let stream = seen.stream.lock();
    let _ = stream.as_ref().map(|stream| stream.send(event));
}

async fn called() {
    let server = EventServer::usual().await;
    let upstream = server.upstream();
    let answer = one(upstream.call(outbound(1, "tools/call")).await.unwrap());
    assert_eq!(
        (&answer["id"], &answer["result"]["resultType"]),
        (&1.into(), &"complete".into())
    );
    let status = upstream.status();
    assert_eq!((status.era, status.revision), (Some(Era::Legacy), Some("2024-11-05")));
    assert_eq!(
        server.methods(),
        ["initialize", "notifications/initialized", "tools/call"]
    );
    let posts = server.heads("post /messages/?session_id=s1 ");
    assert_eq!(posts.len(), 3, "every message goes where the server said");
    for head in posts.iter().chain(&server.heads("get /sse ")) {
        assert!(
            head.contains("x-api-key: k1") && !head.contains("accept-encoding"),
            "{head}"
        );
    }
    upstream.close().await;
    assert_eq!(
        upstream.call(outbound(2, "tools/call")).await.unwrap_err().executed,
        Executed::No
    );
}

async fn many_calls() {
    let server = EventServer::usual().await;
    let upstream = server.upstream();
    let calls = (1..=200).map(|id| {
        let upstream = &upstream;
        async move { assert_eq!(one(upstream.call(outbound(id, "tools/call")).await.unwrap())["id"], id) }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!((*server.seen.opened.borrow(), upstream.status().in_flight), (1, 0));
}

async fn opened_again() {
    let server = EventServer::usual().await;
    let upstream = server.upstream();
    upstream.call(outbound(1, "tools/call")).await.unwrap();
    let mut connections = upstream.connections();
    connections.borrow_and_update();
    *server.seen.stream.lock() = None;
    connections.changed().await.unwrap();
    assert_eq!(one(upstream.call(outbound(2, "tools/call")).await.unwrap())["id"], 2);
    assert_eq!((*server.seen.opened.borrow(), upstream.status().restarts), (2, 1));
}

async fn forgotten() {
    let server = EventServer::usual().await;
    let upstream = server.upstream();
    upstream.call(outbound(1, "tools/call")).await.unwrap();
    server.seen.status.store(404, Ordering::SeqCst);
    let refusal = upstream.call(outbound(2, "tools/call")).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::No),
        "{refusal}"
    );
    assert_eq!(one(upstream.call(outbound(3, "tools/call")).await.unwrap())["id"], 3);
}

async fn another_origin() {
    let stolen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = stolen.local_addr().unwrap();
    let server = EventServer::start(move |_| format!("event: endpoint\ndata: http://{elsewhere}/messages\n\n")).await;
    let upstream = server.upstream();
    let refusal = upstream.call(outbound(1, "tools/call")).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert!(refusal.message.contains("origin"), "{refusal}");
    let nobody = tokio::time::timeout(Duration::from_millis(200), stolen.accept()).await;
    assert!(nobody.is_err(), "somebody came with the gateway's credentials");
}

async fn no_address() {
    for first in [
        "data: {}\n\n",
        "event: message\ndata: /messages\n\n",
        "event: endpoint\ndata: \u{0}\n\n",
    ] {
        let server = EventServer::start(move |_| first.to_owned()).await;
        let upstream = server.upstream();
        let refusal = upstream.call(outbound(1, "tools/call")).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerAway, Executed::No),
            "{first}"
        );
        assert!(!matches!(upstream.status().state, State::Up));
    }
}

async fn other_events() {
    let server = EventServer::start(|_| {
        let more = "id: 7\nretry: 0\n\nevent: endpoint\ndata: http://127.0.0.1:1/stolen\n\nevent: other\ndata: {}\n\ndata:\n\n";
        format!("event: endpoint\ndata: /messages/?session_id=s1\n\n{more}")
    })
    .await;
    let upstream = server.upstream();
    for id in 1..=3 {
        assert_eq!(one(upstream.call(outbound(id, "tools/call")).await.unwrap())["id"], id);
    }
    assert_eq!(server.heads("post /messages/?session_id=s1 ").len(), 5);
    assert_eq!(upstream.status().noise, 0);
}

async fn never_tried() {
    let server = EventServer::usual().await;
    let url = format!("http://{}/sse", server.address);
    let upstream = Upstream::start(
        super::facade::server(&[], |server| {
            server.reach = Reach::Http {
                url,
                headers: Vec::new(),
            }
        }),
        UpstreamOptions::default(),
    );
    let refusal = upstream.call(outbound(1, "tools/call")).await.unwrap_err();
    assert_eq!(refusal.executed, Executed::No);
    assert!(server.heads("get ").is_empty(), "an event stream was asked for");
}
