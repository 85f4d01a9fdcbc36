//! The MCP servers behind the targets: as cheap as a server can be, so that what is measured is in front of it.
//!
//! Several servers of fifty tools each for targets that merge, and one *wide* server that offers the merged names itself
//! for targets that only forward. So every target gets the same requests and gives the same bytes. Beside them the same
//! servers of an older revision, and some that misbehave or ask.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::{
    Failure,
    body::Pieces,
    envelope::{Arguments, Envelope},
    serve,
};

/// Tools of one server; four of them do something.
const TOOLS: usize = 50;
const KIB: usize = 1024;
/// The last words of a blob, so that a reader can tell that it came whole.
pub(crate) const BLOB_END: &str = "the blob ends here";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many servers of fifty tools
    #[arg(long, default_value_t = 10)]
    servers: usize,
}

/// What the first line says: where everybody listens.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ports {
    pub(crate) servers: Vec<u16>,
    pub(crate) legacy: Vec<u16>,
    pub(crate) wide: u16,
    pub(crate) hung: u16,
    pub(crate) flooding: u16,
    pub(crate) cutting: u16,
    pub(crate) asking: Vec<u16>,
}

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Modern,
    /// Of a revision with sessions.
    Legacy,
    /// Never answers a call.
    Hung,
    /// Answers a call with notifications without end.
    Flooding,
    /// Hangs up in the middle of its answer to a call.
    Cutting,
    /// Of a revision with sessions; asks something when it is called, and waits.
    Asking,
}

/// Runs until standard input closes; the first line on standard output says which ports.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    serve::on_this_thread(async {
        let mut running = tokio::task::JoinSet::new();
        let mut start = async |list: &Bytes, manner| {
            let offer = Arc::new(Offer {
                list: list.clone(),
                manner,
            });
            let listener = serve::bind(0).await?;
            let port = listener.local_addr().map_err(|e| format!("no address: {e}"))?.port();
            running.spawn(serve::serve(listener, move |request| {
                answer(Arc::clone(&offer), request)
            }));
            Ok::<u16, Failure>(port)
        };
        let own = own_list();
        let merged: Vec<String> = (0..options.servers)
            .flat_map(|server| tools(&format!("s{server}__")))
            .collect();
        let mut ports = Ports::default();
        for _ in 0..options.servers {
            ports.servers.push(start(&own, Manner::Modern).await?);
            ports.legacy.push(start(&own, Manner::Legacy).await?);
            ports.asking.push(start(&own, Manner::Asking).await?);
        }
        ports.wide = start(&list(&merged), Manner::Modern).await?;
        ports.hung = start(&own, Manner::Hung).await?;
        ports.flooding = start(&own, Manner::Flooding).await?;
        ports.cutting = start(&own, Manner::Cutting).await?;
        let line = serde_json::to_string(&ports).map_err(|e| format!("cannot write the ports: {e}"))?;
        println!("{line}");
        serve::until_left().await;
        Ok(())
    })
}

/// What one server says.
struct Offer {
    list: Bytes,
    manner: Manner,
}

/// What one server shows.
pub(crate) fn own_list() -> Bytes {
    list(&tools(""))
}

/// The list of these tools, made once.
fn list(tools: &[String]) -> Bytes {
    let tools = tools.join(",");
    format!(r#"{{"resultType":"complete","tools":[{tools}],"ttlMs":60000,"cacheScope":"public"}}"#).into()
}

/// A result with a text of so many bytes, made when it is first asked for.
fn blob(made: &OnceLock<Bytes>, bytes: usize) -> Bytes {
    let make = || {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(bytes / 45);
        format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}{BLOB_END}"}}]}}"#).into()
    };
    made.get_or_init(make).clone()
}

fn tools(prefix: &str) -> Vec<String> {
    let names = ["echo", "blob", "mib", "huge"]
        .into_iter()
        .map(str::to_owned)
        .chain((4..TOOLS).map(|n| format!("tool_{n:02}")));
    names
        .map(|name| {
            serde_json::json!({
                "name": format!("{prefix}{name}"),
                "title": "A tool of the bench",
                "description": "Gives back the text it was given, or another text that has always the same length.",
                "inputSchema": {
                    "type": "object",
                    "properties": { "text": { "type": "string", "description": "Any text at all." } },
                    "required": ["text"]
                },
                "annotations": { "readOnlyHint": true }
            })
            .to_string()
        })
        .collect()
}

async fn answer(offer: Arc<Offer>, request: Request<Incoming>) -> Response<Pieces> {
    if request.method() == Method::GET {
        return stream(Bytes::from_static(b": open\n\n"));
    }
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return status(StatusCode::BAD_REQUEST);
    };
    let Some(envelope) = Envelope::read(&body) else {
        return status(match offer.manner {
            // An answer to its question.
            Manner::Asking => StatusCode::ACCEPTED,
            _ => StatusCode::BAD_REQUEST,
        });
    };
    let Some(id) = envelope.id else {
        return status(StatusCode::ACCEPTED);
    };
    match envelope.method.as_ref() {
        "tools/call" => match offer.manner {
            Manner::Modern | Manner::Legacy => call(&envelope, id.get()),
            Manner::Asking => stream(Bytes::from_static(QUESTION.as_bytes())),
            Manner::Hung => std::future::pending().await,
            Manner::Flooding => typed(Pieces::endless(flood()), HeaderValue::from_static("text/event-stream")),
            Manner::Cutting => typed(
                Pieces::cut_off(Bytes::from_static(b"{\"jsonrpc\"")),
                HeaderValue::from_static("application/json"),
            ),
        },
        "tools/list" => result(id.get(), offer.list.clone()),
        "server/discover" if !matches!(offer.manner, Manner::Legacy | Manner::Asking) => {
            result(id.get(), Bytes::from_static(DISCOVER.as_bytes()))
        }
        "subscriptions/listen" => stream(acknowledged(id.get())),
        "initialize" => {
            let mut response = result(id.get(), Bytes::from_static(INITIALIZE.as_bytes()));
            static SESSIONS: AtomicU64 = AtomicU64::new(0);
            let session = HeaderValue::from(SESSIONS.fetch_add(1, Ordering::Relaxed));
            response.headers_mut().insert("mcp-session-id", session);
            response
        }
        "ping" => result(id.get(), Bytes::from_static(b"{}")),
        _ => json([Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"method not found"}}}}"#,
            id.get()
        ))]),
    }
}

pub(crate) const DISCOVER: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1.0.0"}}}"#;
/// What a server that asks says first of all, and last for a long time.
const QUESTION: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"elicitation/create\",\"params\":{\"message\":\"Who are you?\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}}}}}\n\n";
pub(crate) const INITIALIZE: &str =
    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1.0.0"}}"#;

fn call(envelope: &Envelope<'_>, id: &str) -> Response<Pieces> {
    static BLOB: OnceLock<Bytes> = OnceLock::new();
    static MIB: OnceLock<Bytes> = OnceLock::new();
    static HUGE: OnceLock<Bytes> = OnceLock::new();
    let params = envelope.params();
    let name = params.name.unwrap_or_default();
    let large = [
        ("blob", &BLOB, 16 * KIB),
        ("mib", &MIB, KIB * KIB),
        ("huge", &HUGE, 32 * KIB * KIB),
    ];
    if let Some((_, made, bytes)) = large.into_iter().find(|(tool, ..)| name.ends_with(tool)) {
        return result(id, blob(made, bytes));
    }
    let text = params
        .arguments
        .and_then(|arguments| serde_json::from_str::<Arguments<'_>>(arguments.get()).ok())
        .and_then(|arguments| arguments.text)
        .map_or("\"\"", |text| text.get());
    json([Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[{{"type":"text","text":{text}}}]}}}}"#
    ))])
}

/// Notifications that nobody asked for, some in one piece.
fn flood() -> Bytes {
    let event =
        r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"Any text."}}"#;
    format!("{event}\n\n").repeat(64).into()
}

fn acknowledged(id: &str) -> Bytes {
    Bytes::from(format!(
        "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{{\"notifications\":{{}},\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}}}}}}\n\n"
    ))
}

fn result(id: &str, result: Bytes) -> Response<Pieces> {
    json([
        Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#)),
        result,
        Bytes::from_static(b"}"),
    ])
}

fn json<const N: usize>(pieces: [Bytes; N]) -> Response<Pieces> {
    typed(Pieces::whole(pieces), HeaderValue::from_static("application/json"))
}

fn stream(first: Bytes) -> Response<Pieces> {
    typed(Pieces::held(first), HeaderValue::from_static("text/event-stream"))
}

fn typed(body: Pieces, kind: HeaderValue) -> Response<Pieces> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn status(status: StatusCode) -> Response<Pieces> {
    let mut response = Response::new(Pieces::whole([]));
    *response.status_mut() = status;
    response
}
