//! The few HTTP requests that a verb makes itself, to see whether something is up.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use crate::Failure;

const SILENCE_MAX: Duration = Duration::from_secs(30);
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let failure = |e: std::io::Error| format!("cannot find a free port: {e}");
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|a| a.port())
        .map_err(failure)
}

/// A modern `tools/list`, as raw text of the answer; empty when there is none yet.
pub(crate) fn list_tools(authority: &str, path: &str, token: Option<&str>) -> String {
    post(authority, path, token, "tools/list", None, &format!("{{{META}}}"))
}

/// A modern `tools/call`, as raw text of the answer, with its status line and headers.
pub(crate) fn call_tool(authority: &str, path: &str, token: Option<&str>, tool: &str, arguments: &str) -> String {
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments},{META}}}"#);
    post(authority, path, token, "tools/call", Some(tool), &params)
}

/// The same, where the connection is taken; `None` where it is refused, so that nothing was sent.
pub(crate) fn call_tool_if_taken(
    authority: &str,
    path: &str,
    token: &str,
    tool: &str,
    arguments: &str,
) -> Option<String> {
    let stream = TcpStream::connect(authority).ok()?;
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments},{META}}}"#);
    let request = request(authority, path, Some(token), "tools/call", Some(tool), &params);
    Some(exchange_on(stream, &request).unwrap_or_else(|error| format!("the connection broke: {error}")))
}

/// A request with a JSON body, or none, to an API with a bearer token: the status and the body of the answer.
pub(crate) fn json(
    method: &str,
    authority: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Result<(u16, String), Failure> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(authority, &request).map_err(|e| format!("{authority} cannot be asked: {e}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((
        status.ok_or(format!("{authority} does not speak HTTP"))?,
        body.to_owned(),
    ))
}

/// The same, under a span of the client's where it has one.
pub(crate) fn call_tool_traced(
    authority: &str,
    path: &str,
    token: Option<&str>,
    tool: &str,
    arguments: &str,
    traceparent: Option<&str>,
) -> String {
    let traced = traceparent.map(|parent| format!(r#""_meta":{{"traceparent":"{parent}","#));
    let meta = traced.map_or_else(|| META.to_owned(), |traced| META.replace("\"_meta\":{", &traced));
    let params = format!(r#"{{"name":"{tool}","arguments":{arguments},{meta}}}"#);
    post(authority, path, token, "tools/call", Some(tool), &params)
}

/// A modern `tools/call` of a client that can be asked for input, with more members of `params`; as raw text.
pub(crate) fn call_tool_asked(authority: &str, path: &str, token: &str, tool: &str, params: &str) -> String {
    let able = META.replace("clientCapabilities\":{}", "clientCapabilities\":{\"elicitation\":{}}");
    let params = format!(r#"{{"name":"{tool}",{params},{able}}}"#);
    post(authority, path, Some(token), "tools/call", Some(tool), &params)
}

/// A message of a client of the revision before the modern one, in a session or to begin one; as raw text of the answer.
pub(crate) fn legacy(authority: &str, path: &str, token: &str, session: Option<&str>, body: &str) -> String {
    let session = session.map_or(String::new(), |id| {
        format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: 2025-11-25\r\n")
    });
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nAuthorization: Bearer {token}\r\n{session}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(authority, &request).unwrap_or_default()
}

fn post(authority: &str, path: &str, token: Option<&str>, method: &str, name: Option<&str>, params: &str) -> String {
    exchange(authority, &request(authority, path, token, method, name, params)).unwrap_or_default()
}

fn request(authority: &str, path: &str, token: Option<&str>, method: &str, name: Option<&str>, params: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let mut headers = vec![
        format!("POST {path} HTTP/1.1"),
        format!("Host: {authority}"),
        "Connection: close".to_owned(),
        "Content-Type: application/json".to_owned(),
        "Accept: application/json, text/event-stream".to_owned(),
        "MCP-Protocol-Version: 2026-07-28".to_owned(),
        format!("Mcp-Method: {method}"),
        format!("Content-Length: {}", body.len()),
    ];
    headers.extend(name.map(|name| format!("Mcp-Name: {name}")));
    headers.extend(token.map(|token| format!("Authorization: Bearer {token}")));
    format!("{}\r\n\r\n{body}", headers.join("\r\n"))
}

fn exchange(authority: &str, request: &str) -> std::io::Result<String> {
    exchange_on(TcpStream::connect(authority)?, request)
}

fn exchange_on(mut stream: TcpStream, request: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
