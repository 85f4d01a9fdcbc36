//! `meshgate call TOOL`: one call, made as any modern client makes it.
//!
//! The call enters through the gateway's own endpoint with the local token, so what it shows is what applications get.
//! Only what is needed to make it (where the gateway listens, what the tool's schema is) comes from the admin socket.

mod answer;
mod arguments;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use meshgate_mcp::{MODERN, Method, headers, json, message, meta};
use meshgate_proxy::admin::shape::{Status, Tool, Tools};

use self::answer::Answer;
use crate::cli::CallArgs;
use crate::client::{admin, block_on, post};
use crate::exit::{FAILED, Failure, UNAVAILABLE};
use crate::state::StatePath;
use crate::{out, tools};

/// The variable that holds a token to use in place of the one in the state directory.
const TOKEN: &str = "MESHGATE_TOKEN";
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Calls and prints.
pub(crate) fn run(args: &CallArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let state = StatePath::find(state)?;
    let limit = Duration::from_secs(args.timeout);
    block_on(async {
        match tokio::time::timeout(limit, call(args, &state)).await {
            Ok(answer) => answer?.print(args.output),
            Err(_) => Err(Failure::new(
                FAILED,
                format!("no answer within {} s; the call may have run", args.timeout),
            )
            .remedy("wait longer with `--timeout SECONDS`")),
        }
    })
}

async fn call(args: &CallArgs, state: &StatePath) -> Result<Answer, Failure> {
    let tools = tools::of_view(state, args.view.as_deref()).await?;
    let tool = tools
        .tools
        .iter()
        .find(|tool| tool.name == args.tool)
        .ok_or_else(|| unknown(&tools, &args.tool))?;
    let status: Status = admin(state, "/status").await?;
    let authority = authority(&status)?;
    let anonymous = status
        .views
        .iter()
        .any(|view| view.name == tools.view && view.anonymous);
    let body = body(args, tool)?;
    let mut request = Request::post(&*tools.path)
        .header(HOST, &authority)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", MODERN.name)
        .header("mcp-method", Method::ToolsCall.as_str())
        .header("mcp-name", &*headers::encode(&tool.name));
    for (name, value) in param_headers(tool, &body) {
        request = request.header(name, value);
    }
    if !anonymous {
        request = request.header(AUTHORIZATION, bearer(state)?);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|cause| Failure::new(FAILED, format!("the call cannot be written: {cause}")))?;
    let (response, _connection) = post(&authority, request).await?;
    receive(response).await
}

/// Reads the answer as it comes; progress is shown while it does.
async fn receive(response: http::Response<hyper::body::Incoming>) -> Result<Answer, Failure> {
    let (head, mut body) = response.into_parts();
    let mut reader = answer::Reader::new(&head, ANSWER_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| broken(&cause.to_string()))?;
        if let Some(answer) = frame.data_ref().map(|data| reader.push(data)).transpose()?.flatten() {
            return Ok(answer);
        }
    }
    reader.end()
}

fn broken(why: &str) -> Failure {
    Failure::new(
        UNAVAILABLE,
        format!("the answer broke off: {why}; the call may have run"),
    )
}

/// A listener that this program can speak to: plain, on this machine.
fn authority(status: &Status) -> Result<String, Failure> {
    let plain = status.listeners.iter().find(|listener| !listener.tls);
    plain.map(|listener| listener.address.clone()).ok_or_else(|| {
        Failure::new(
            UNAVAILABLE,
            "every listener of the gateway speaks TLS, and this command only speaks plain HTTP",
        )
        .remedy("add a loopback listener without TLS, or call with any MCP client")
    })
}

fn bearer(state: &StatePath) -> Result<HeaderValue, Failure> {
    let token = match std::env::var(TOKEN) {
        Ok(token) => token.trim().to_owned(),
        Err(_) => {
            let none = format!("give an application's token in the variable `{TOKEN}`");
            state
                .token()
                .map_err(|failure| failure.or_remedy(none))?
                .expose()
                .to_owned()
        }
    };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| Failure::new(FAILED, "the token holds characters that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unknown(tools: &Tools, wanted: &str) -> Failure {
    let close = tools
        .tools
        .iter()
        .filter(|tool| tool.name.contains(wanted) || wanted.contains(&tool.name));
    let close: Vec<_> = close
        .map(|tool| format!("`{}`", out::one_line(&tool.name, 128)))
        .take(5)
        .collect();
    let remedy = match (close.is_empty(), tools.away.is_empty()) {
        (false, _) => format!("did you mean {}?", close.join(" or ")),
        (true, false) => format!(
            "these servers are away, so their tools are missing: {}",
            tools.away.join(", ")
        ),
        (true, true) => "`meshgate tools` lists them".to_owned(),
    };
    Failure::new(FAILED, format!("view `{}` has no tool `{wanted}`", tools.view)).remedy(remedy)
}

/// The request's bytes. Arguments stand in it as they were typed.
fn body(args: &CallArgs, tool: &Tool) -> Result<Vec<u8>, Failure> {
    let schema = arguments::schema(tool.definition.get());
    let arguments = arguments::object(args.args_json.as_deref(), &args.args, schema.as_ref())?;
    let mut params = br#"{"name":"#.to_vec();
    json::push_quoted(&mut params, &tool.name);
    params.extend_from_slice(br#","arguments":"#);
    params.extend_from_slice(arguments.as_bytes());
    params.extend_from_slice(br#","_meta":{"#);
    let client = format!(r#"{{"name":"meshgate-cli","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    let version = format!("\"{}\"", MODERN.name);
    let members = [
        (meta::PROTOCOL_VERSION, version.as_str()),
        (meta::CLIENT_INFO, &client),
        (meta::CLIENT_CAPABILITIES, "{}"),
        (meta::PROGRESS_TOKEN, "1"),
    ];
    for (at, (key, value)) in members.into_iter().enumerate() {
        if at > 0 {
            params.push(b',');
        }
        json::push_quoted(&mut params, key);
        params.push(b':');
        params.extend_from_slice(value.as_bytes());
    }
    params.extend_from_slice(b"}}");
    Ok(message::request(b"1", Method::ToolsCall.as_str(), &params))
}

/// The arguments that HTTP mirrors in headers, as the tool's schema asks.
fn param_headers(tool: &Tool, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let Some(schema) = arguments::schema_text(tool.definition.get()) else {
        return Vec::new();
    };
    let mirrored = headers::param_headers(schema.as_bytes()).unwrap_or_default();
    let Some(arguments) = arguments::span_in(body) else {
        return Vec::new();
    };
    let header = |param: &headers::ParamHeader| {
        let name = HeaderName::try_from(param.header_name()).ok()?;
        Some((name, HeaderValue::try_from(param.value(body, Some(arguments))?).ok()?))
    };
    mirrored.iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests;
