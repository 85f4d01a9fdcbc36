//! The server over HTTP: streamable HTTP with sessions before 2026-07-28, single POSTs since.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Arrival, Out, Peer, error};
use crate::{
    Failure,
    wire::{Arrived, end_events, send, send_event, send_events_head},
};

/// Listens for the rest of the process's life. Answers the address of the endpoint.
pub(crate) fn serve(peer: Arc<Peer>) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("cannot listen: {e}"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let peer = Arc::clone(&peer);
            // A connection carries one request; what is wrong with it shows in the cell that waits for it.
            std::thread::spawn(move || exchange(&peer, stream).unwrap_or_default());
        }
    });
    Ok(format!("http://{address}/mcp"))
}

/// The response to one request: one body, or a stream as soon as something comes before the answer.
struct Response {
    stream: Mutex<(TcpStream, bool)>,
}

impl Out for Response {
    fn send(&self, message: &Value) -> Result<(), Failure> {
        let mut held = self.stream.lock();
        if !held.1 {
            held.1 = true;
            send_events_head(&mut held.0, &[])?;
        }
        send_event(&mut held.0, message)
    }

    fn closed(&self) -> bool {
        let stream = self.stream.lock().0.try_clone();
        let mut one = [0; 1];
        stream.is_ok_and(|mut stream| !matches!(stream.read(&mut one), Ok(1..)))
    }
}

impl Response {
    fn finish(&self, answer: Option<&Value>, headers: &[(&str, &str)]) -> Result<(), Failure> {
        let mut held = self.stream.lock();
        match (answer, held.1) {
            (Some(answer), true) => {
                send_event(&mut held.0, answer)?;
                end_events(&mut held.0);
                Ok(())
            }
            (Some(answer), false) => json_answer(&mut held.0, 200, answer, headers),
            (None, true) => {
                end_events(&mut held.0);
                Ok(())
            }
            (None, false) => empty(&mut held.0, "202 Accepted"),
        }
    }
}

fn exchange(peer: &Arc<Peer>, stream: TcpStream) -> Result<(), Failure> {
    let mut request = Arrived::read(stream, false)?;
    let mut stream = request.connection()?;
    let verb = request.first.split(' ').next().unwrap_or_default().to_owned();
    let session = request.header("mcp-session-id").unwrap_or_default().to_owned();
    match verb.as_str() {
        "POST" => {}
        "GET" if !peer.is_modern() && !session.is_empty() => return standalone(peer, &session, stream),
        "DELETE" if !peer.is_modern() => {
            peer.detach(&session);
            return empty(&mut stream, "200 OK");
        }
        _ => return empty(&mut stream, "405 Method Not Allowed"),
    }
    let body = request.whole()?;
    let message: Value = serde_json::from_slice(&body).map_err(|e| format!("a body that is not JSON: {e}"))?;
    let version = request.header("mcp-protocol-version").unwrap_or_default().to_owned();
    let opens = message.get("method").and_then(Value::as_str) == Some("initialize");
    let at = match (peer.is_modern(), opens) {
        (true, _) => "endpoint".to_owned(),
        (false, true) => format!("session-{}", peer.number()),
        (false, false) => session,
    };
    peer.note(&at, json!({"message": message, "version": version}));
    let id = message.get("id").cloned().unwrap_or_default();
    if let Some((status, fault)) = fault(peer, &request, &message, &at, opens) {
        return json_answer(&mut stream, status, &fault_of(&id, &fault), &[]);
    }
    let arrival = Arrival { at, message };
    if arrival.message.get("method").is_none() || arrival.message.get("id").is_none() {
        peer.take(&arrival);
        return empty(&mut stream, "202 Accepted");
    }
    let response = Arc::new(Response {
        stream: Mutex::new((stream, false)),
    });
    let out: Arc<dyn Out> = response.clone();
    let answer = peer.answer(&arrival, &out);
    let named = [("mcp-session-id", arrival.at.as_str())];
    response.finish(answer.as_ref(), if opens { &named } else { &[] })
}

/// What a server of the revision would not take.
fn fault(peer: &Peer, request: &Arrived, message: &Value, at: &str, opens: bool) -> Option<(u16, (i64, String))> {
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    let version = request.header("mcp-protocol-version").unwrap_or_default();
    if !peer.is_modern() {
        if !opens && !at.starts_with("session-") {
            return Some((400, (-32600, "Missing session ID".to_owned())));
        }
        let needs = !opens && peer.has("2025-06-18");
        return (needs && version != peer.revision)
            .then(|| (400, (-32600, format!("wrong protocol version {version}"))));
    }
    // What has no id is a notification, which no header mirrors.
    message.get("id")?;
    let name = match method {
        "tools/call" | "prompts/get" => message.pointer("/params/name"),
        "resources/read" => message.pointer("/params/uri"),
        _ => None,
    };
    let wrong = |header: &str, value: &str| {
        (request.header(header) != Some(value)).then(|| (400, (-32020, format!("{header} is not {value}"))))
    };
    wrong("mcp-protocol-version", &peer.revision)
        .or_else(|| wrong("mcp-method", method))
        .or_else(|| wrong("mcp-name", name?.as_str()?))
}

fn fault_of(id: &Value, fault: &(i64, String)) -> Value {
    error(id, fault.0, &fault.1)
}

/// The stream of a session that belongs to no call.
fn standalone(peer: &Arc<Peer>, session: &str, mut stream: TcpStream) -> Result<(), Failure> {
    send_events_head(&mut stream, &[])?;
    let response = Arc::new(Response {
        stream: Mutex::new((stream, true)),
    });
    let out: Arc<dyn Out> = response.clone();
    peer.attach(session, None, Value::Null, &out);
    let _left = response.closed();
    Ok(())
}

fn json_answer(stream: &mut TcpStream, status: u16, answer: &Value, more: &[(&str, &str)]) -> Result<(), Failure> {
    let first = format!("HTTP/1.1 {status} {}", if status == 200 { "OK" } else { "Bad Request" });
    let mut headers = vec![("content-type", "application/json"), ("connection", "close")];
    headers.extend_from_slice(more);
    send(stream, &first, &headers, answer.to_string().as_bytes())
}

fn empty(stream: &mut TcpStream, status: &str) -> Result<(), Failure> {
    send(stream, &format!("HTTP/1.1 {status}"), &[("connection", "close")], b"")
}
