//! The few HTTP requests that a verb makes itself, to see whether something is up.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use crate::Failure;

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let failure = |e: std::io::Error| format!("cannot find a free port: {e}");
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|a| a.port())
        .map_err(failure)
}

/// The names in a modern `tools/list`, as raw text of the answer; empty when there is none yet.
pub(crate) fn list_tools(authority: &str, path: &str, token: Option<&str>) -> String {
    let meta =
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{meta}}}}}"#);
    let authorization = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n\
         {authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(authority, &request).unwrap_or_default()
}

fn exchange(authority: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
