//! The requests of each workload, as the bytes that go on the wire.
//!
//! They are made once; only the id changes from call to call, and it always has the same number of digits, so that the
//! generator overwrites it in place.

use std::{net::SocketAddr, ops::Range};

use crate::{Failure, upstream::BLOB_END};

pub(crate) const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-06-18";
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
/// What `echo` sends and must get back.
const TEXT: &str = "Which projects slipped in the first quarter, who leads them, and what did the strategy say?";
/// Ids count up from here, so that all have as many digits.
pub(crate) const FIRST_ID: u64 = 1_000_000_000;
/// The last tool of the last server.
const LAST_TOOL: &str = "s9__tool_49";

/// How a client speaks to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// 2026-07-28: each request stands alone
    Modern,
    /// 2025-06-18: initialize first, then a session id on every request
    Session,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// A call whose answer is its own text, about 200 bytes
    Echo,
    /// A call whose answer is a text of 16 KiB
    Blob,
    /// The list of 500 tools of ten servers
    List,
    /// A call whose answer is a text of 1 MiB
    Mib,
    /// A call whose answer is a text of 32 MiB
    Huge,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] = [Self::Echo, Self::Blob, Self::List, Self::Mib, Self::Huge];

    /// What a right answer holds, beside the id.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Echo => TEXT.to_owned(),
            Self::Blob | Self::Mib | Self::Huge => BLOB_END.to_owned(),
            Self::List => format!(r#""{LAST_TOOL}""#),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Blob => "blob",
            Self::List => "list",
            Self::Mib => "mib",
            Self::Huge => "huge",
        }
    }

    /// How many of the connections call it at once: what is large fills any link with few calls, and the generator has
    /// to hold every answer whole.
    pub(crate) fn connections(self, most: usize) -> usize {
        match self {
            Self::Echo | Self::Blob | Self::List => most,
            Self::Mib => most.min(8),
            Self::Huge => most.min(2),
        }
    }
}

/// Who is spoken to, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Peer {
    /// Address and port of the target
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Path of its endpoint
    #[arg(long, default_value = "/mcp")]
    pub(crate) path: String,
    /// Bearer token, where it wants one
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// How it is spoken to
    #[arg(long, value_enum, default_value = "modern")]
    pub(crate) protocol: Protocol,
    /// Number of the server whose tools are called
    #[arg(long, default_value_t = 0)]
    pub(crate) server: u8,
}

/// One request, with the place of its id.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    id: Range<usize>,
}

impl Request {
    /// Writes another id into it.
    pub(crate) fn set_id(&mut self, id: u64) {
        if let Some(place) = self.bytes.get_mut(self.id.clone()) {
            let mut rest = id;
            for digit in place.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        }
    }
}

/// A modern call of a tool with this name, which answers with the text it is sent.
pub(crate) fn call_body(name: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"tools/call","params":{{"name":"{name}","arguments":{{"text":"{TEXT}"}},{META}}}}}"#
    )
}

impl Peer {
    /// A call of the server itself, as a line.
    pub(crate) fn line(workload: Workload) -> Vec<u8> {
        format!("{}\n", call_body(workload.name())).into_bytes()
    }

    /// The request of a workload.
    pub(crate) fn request(&self, workload: Workload, session: Option<&str>) -> Result<Request, Failure> {
        let (method, name, fields) = match workload {
            Workload::Echo => ("tools/call", Some("echo"), format!(r#"{{"text":"{TEXT}"}}"#)),
            Workload::List => ("tools/list", None, String::new()),
            large => ("tools/call", Some(large.name()), r#"{"text":"any"}"#.to_owned()),
        };
        let name = name.map(|name| format!("s{}__{name}", self.server));
        let mut params = Vec::new();
        params.extend(
            name.as_ref()
                .map(|name| format!(r#""name":"{name}","arguments":{fields}"#)),
        );
        if self.protocol == Protocol::Modern {
            params.push(META.to_owned());
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"{method}","params":{{{}}}}}"#,
            params.join(",")
        );
        let mut headers = Vec::new();
        if self.protocol == Protocol::Modern {
            headers.push(format!("Mcp-Method: {method}"));
            headers.extend(name.map(|name| format!("Mcp-Name: {name}")));
        }
        let bytes = self.post(&body, session, &headers);
        let id = FIRST_ID.to_string();
        let start = memchr::memmem::find(&bytes, id.as_bytes()).ok_or("the request has no id")?;
        Ok(Request {
            bytes,
            id: start..start + id.len(),
        })
    }

    /// The first request of a session.
    pub(crate) fn initialize(&self) -> Vec<u8> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1.0.0"}}}}}}"#
        );
        self.post(&body, None, &[])
    }

    /// What a client says once it has its session.
    pub(crate) fn initialized(&self, session: &str) -> Vec<u8> {
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.post(body, Some(session), &[])
    }

    /// Opens the stream of a session.
    pub(crate) fn listen(&self, session: &str) -> Vec<u8> {
        let mut lines = self.head("GET", Some(session));
        lines.push("Accept: text/event-stream".to_owned());
        format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
    }

    fn post(&self, body: &str, session: Option<&str>, more: &[String]) -> Vec<u8> {
        let mut lines = self.head("POST", session);
        lines.push("Content-Type: application/json".to_owned());
        lines.push("Accept: application/json, text/event-stream".to_owned());
        lines.extend_from_slice(more);
        lines.push(format!("Content-Length: {}", body.len()));
        format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
    }

    fn head(&self, verb: &str, session: Option<&str>) -> Vec<String> {
        let mut lines = vec![
            format!("{verb} {} HTTP/1.1", self.path),
            format!("Host: {}", self.address),
        ];
        match (self.protocol, session) {
            (Protocol::Modern, None) => lines.push(format!("MCP-Protocol-Version: {MODERN}")),
            (_, Some(session)) => {
                lines.push(format!("MCP-Protocol-Version: {LEGACY}"));
                lines.push(format!("Mcp-Session-Id: {session}"));
            }
            (Protocol::Session, None) => {}
        }
        lines.extend(
            self.token
                .as_ref()
                .map(|token| format!("Authorization: Bearer {token}")),
        );
        lines
    }
}
