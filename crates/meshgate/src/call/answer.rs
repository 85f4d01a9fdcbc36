//! From the gateway's bytes to what is printed.

use std::process::ExitCode;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use meshgate_mcp::{SseDecoder, meta};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::Output;
use crate::exit::{FAILED, FORBIDDEN, Failure, UNAVAILABLE};
use crate::out;

/// One JSON-RPC message, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Params>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

#[derive(Debug, Deserialize)]
struct Params {
    #[serde(default)]
    progress: Option<f64>,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RpcError {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// The end of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// A result, whatever it says.
    Result(Box<RawValue>),
    /// An error of the protocol or a refusal.
    Refused(Failure),
}

/// Reads an answer as its bytes arrive.
pub(super) struct Reader {
    status: StatusCode,
    form: Form,
    bytes_left: usize,
}

enum Form {
    Whole(Vec<u8>),
    Events(Box<SseDecoder>),
}

impl Reader {
    /// A reader for an answer with this head.
    pub(super) fn new(head: &http::response::Parts, bytes_max: usize) -> Self {
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let form = if kind.starts_with("text/event-stream") {
            Form::Events(Box::new(SseDecoder::new(bytes_max)))
        } else {
            Form::Whole(Vec::new())
        };
        Self {
            status: head.status,
            form,
            bytes_left: bytes_max,
        }
    }

    /// Takes bytes; a stream's answer is known before the stream ends.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Failure> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.len())
            .ok_or_else(|| unreadable("it is too long"))?;
        match &mut self.form {
            Form::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(None)
            }
            Form::Events(decoder) => {
                decoder.push(bytes);
                while let Some(event) = decoder.next_event().map_err(|cause| unreadable(&cause.to_string()))? {
                    if event.data.is_empty() {
                        continue;
                    }
                    if let Some(answer) = read(&event.data)? {
                        return Ok(Some(answer));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The answer when no more bytes come.
    pub(super) fn end(self) -> Result<Answer, Failure> {
        match self.form {
            Form::Whole(body) => match read(&body) {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) | Err(_) => Err(Failure::new(
                    UNAVAILABLE,
                    format!(
                        "the gateway answered {}: {}",
                        self.status,
                        out::one_line(&String::from_utf8_lossy(&body), 200)
                    ),
                )),
            },
            Form::Events(_) => Err(unreadable("the stream ended before the answer; the call may have run")),
        }
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::new(UNAVAILABLE, format!("the answer cannot be read: {why}"))
}

/// The answer in a message; progress is told and gives none.
fn read(bytes: &[u8]) -> Result<Option<Answer>, Failure> {
    let message: Message = serde_json::from_slice(bytes).map_err(|cause| unreadable(&cause.to_string()))?;
    if let Some(error) = message.error {
        return Ok(Some(Answer::Refused(refused(&error))));
    }
    if let Some(result) = message.result {
        return Ok(Some(Answer::Result(result)));
    }
    if message.method.as_deref() == Some("notifications/progress")
        && let Some(params) = message.params
    {
        out::note(&progress(&params));
    }
    Ok(None)
}

fn progress(params: &Params) -> String {
    let done = params.progress.unwrap_or_default();
    let of = params.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let text = params
        .message
        .as_deref()
        .map(|text| format!(": {}", out::one_line(text, 120)))
        .unwrap_or_default();
    format!("  progress {done}{of}{text}")
}

/// Who refused, whether the call ran, and what came with it.
fn refused(error: &RpcError) -> Failure {
    let vendor = error.data.as_ref().and_then(|data| data.get(meta::VENDOR_REFUSAL));
    let text = |name: &str| vendor.and_then(|v| v.get(name)).and_then(|v| v.as_str());
    let by = text("by").map_or_else(String::new, |by| format!(" by the {by}"));
    let ran = match text("executed") {
        Some("no") => "; the call did not run",
        Some(_) => "; the call may have run",
        None => "",
    };
    let message = format!(
        "refused{by}: {} ({}){ran}",
        out::one_line(&error.message, 500),
        error.code
    );
    let code = match text("reason") {
        Some("unauthenticated" | "forbidden") => FORBIDDEN,
        _ => FAILED,
    };
    let failure = Failure::new(code, message);
    match text("rule") {
        Some(rule) => failure.remedy(format!("the rule was `{}`", out::one_line(rule, 200))),
        None => failure,
    }
}

/// What is looked at of a tool's result.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ToolResult {
    result_type: Option<String>,
    content: Vec<serde_json::Value>,
    structured_content: Option<Box<RawValue>>,
    is_error: bool,
    input_requests: Option<Box<RawValue>>,
}

impl Answer {
    /// Prints the answer; what the tool calls an error fails the command.
    pub(super) fn print(self, output: Output) -> Result<ExitCode, Failure> {
        let raw = match self {
            Self::Result(raw) => raw,
            Self::Refused(failure) => return Err(failure),
        };
        let result: ToolResult = serde_json::from_str(raw.get()).unwrap_or_default();
        match output {
            Output::Json => out::print(raw.get()),
            Output::Text => out::print_foreign(&readable(&result)),
        }
        if result.result_type.as_deref() == Some("input_required") {
            return Err(
                Failure::new(FAILED, "the tool asks for input, and this command cannot give any")
                    .remedy("call it with a client that can answer questions"),
            );
        }
        Ok(if result.is_error {
            ExitCode::from(FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn readable(result: &ToolResult) -> String {
    if let Some(asked) = &result.input_requests {
        return asked.get().to_owned();
    }
    let mut parts: Vec<String> = result.content.iter().map(item).collect();
    if parts.is_empty() {
        parts.extend(result.structured_content.iter().map(|raw| raw.get().to_owned()));
    }
    parts.join("\n")
}

/// One item of content: text as it is, everything else named.
fn item(item: &serde_json::Value) -> String {
    let text = |pointer: &str| item.pointer(pointer).and_then(|value| value.as_str());
    let kind = text("/type").unwrap_or("unknown");
    match kind {
        "text" => text("/text").unwrap_or_default().to_owned(),
        "resource_link" => format!(
            "[{} {}]",
            text("/name").unwrap_or_default(),
            text("/uri").unwrap_or_default()
        ),
        "resource" => match text("/resource/text") {
            Some(content) => content.to_owned(),
            None => format!("[resource {}]", text("/resource/uri").unwrap_or_default()),
        },
        kind => {
            let size = text("/data").map_or(0, str::len);
            format!(
                "[{kind} {}, {size} characters of base64]",
                text("/mimeType").unwrap_or_default()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn result(text: &str) -> ToolResult {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn content_reads_as_text_and_the_rest_is_named() {
        let shown = readable(&result(
            r#"{"content":[{"type":"text","text":"two\nlines"},{"type":"image","mimeType":"image/png","data":"AAAA"},
                {"type":"resource_link","name":"a.txt","uri":"file:///a.txt"},
                {"type":"resource","resource":{"uri":"file:///b","text":"inside"}},{"type":"new"}]}"#,
        ));
        let expected = "two\nlines\n[image image/png, 4 characters of base64]\n[a.txt file:///a.txt]\ninside\n\
                        [new , 0 characters of base64]";
        assert_eq!(shown, expected);
    }

    #[test]
    fn structured_content_is_shown_where_there_is_no_other() {
        assert_eq!(
            readable(&result(r#"{"content":[],"structuredContent":{"n":1.0}}"#)),
            r#"{"n":1.0}"#
        );
    }

    #[test]
    fn a_refusal_says_who_why_and_whether_the_call_ran() {
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"server `x` is away","data":
            {"dev.meshgate/refusal":{"by":"server","reason":"server_away","executed":"unknown","rule":"server/x"}}}}"#;
        let Some(Answer::Refused(failure)) = read(body.as_bytes()).unwrap() else {
            panic!("no refusal")
        };
        assert_eq!(
            failure.to_string(),
            "error: refused by the server: server `x` is away (-32603); the call may have run\n  help: the rule was `server/x`"
        );
    }

    #[test]
    fn an_answer_on_a_stream_is_known_before_the_stream_ends() {
        let head = http::Response::builder()
            .header(CONTENT_TYPE, "text/event-stream")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let mut reader = Reader::new(&head, 10_000);
        let progress =
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n\n";
        assert!(reader.push(progress.as_bytes()).unwrap().is_none());
        assert!(
            reader
                .push(b"data: {\"jsonrpc\":\"2.0\",\"id\":1,\"res")
                .unwrap()
                .is_none()
        );
        let answer = reader.push(b"ult\":{\"content\":[]}}\n\n").unwrap();
        assert!(matches!(answer, Some(Answer::Result(_))));
        assert!(Reader::new(&head, 10).push(&[b'x'; 11]).is_err());
    }
}
