//! The MCP servers behind the targets: as cheap as a server can be, so that what is measured is in front of it.
//!
//! Several servers of fifty tools each for targets that merge, and one *wide* server that offers the merged names itself
//! for targets that only forward. So every target gets the same requests and gives the same bytes.

use std::sync::Arc;

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

/// Tools of one server; two of them do something.
const TOOLS: usize = 50;
const BLOB_BYTES: usize = 16 * 1024;
/// The last words of a blob, so that a reader can tell that it came whole.
pub(crate) const BLOB_END: &str = "the blob ends here";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many servers of fifty tools
    #[arg(long, default_value_t = 10)]
    servers: usize,
}

/// Runs until standard input closes; the first line on standard output says which ports.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    serve::on_this_thread(async {
        let mut ports = Vec::new();
        let mut running = tokio::task::JoinSet::new();
        for offer in offers(options.servers) {
            let listener = serve::bind(0).await?;
            ports.push(listener.local_addr().map_err(|e| format!("no address: {e}"))?.port());
            let offer = Arc::new(offer);
            running.spawn(serve::serve(listener, move |request| {
                answer(Arc::clone(&offer), request)
            }));
        }
        let wide = ports.pop().ok_or("no wide server")?;
        println!("{}", serde_json::json!({ "servers": ports, "wide": wide }));
        serve::until_left().await;
        Ok(())
    })
}

/// What one server says, made once.
struct Offer {
    list: Bytes,
    blob: Bytes,
}

/// The servers, and last the wide one.
fn offers(servers: usize) -> Vec<Offer> {
    let mut offers: Vec<Offer> = (0..servers).map(|_| Offer::new(&tools(""))).collect();
    let merged: Vec<String> = (0..servers).flat_map(|server| tools(&format!("s{server}__"))).collect();
    offers.push(Offer::new(&merged));
    offers
}

fn tools(prefix: &str) -> Vec<String> {
    let names = ["echo".to_owned(), "blob".to_owned()]
        .into_iter()
        .chain((2..TOOLS).map(|n| format!("tool_{n:02}")));
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

impl Offer {
    fn new(tools: &[String]) -> Self {
        let list = format!(
            r#"{{"resultType":"complete","tools":[{}],"ttlMs":60000,"cacheScope":"public"}}"#,
            tools.join(",")
        );
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(BLOB_BYTES / 45);
        let blob = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}{BLOB_END}"}}]}}"#);
        Self {
            list: list.into(),
            blob: blob.into(),
        }
    }
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
        return status(StatusCode::BAD_REQUEST);
    };
    let Some(id) = envelope.id else {
        return status(StatusCode::ACCEPTED);
    };
    match envelope.method.as_ref() {
        "tools/call" => call(&offer, &envelope, id.get()),
        "tools/list" => result(id.get(), offer.list.clone()),
        "server/discover" => result(id.get(), Bytes::from_static(DISCOVER.as_bytes())),
        "subscriptions/listen" => stream(acknowledged(id.get())),
        "initialize" => {
            let mut response = result(id.get(), Bytes::from_static(INITIALIZE.as_bytes()));
            let session = HeaderValue::from_static("bench-session");
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

const DISCOVER: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1.0.0"}}}"#;
const INITIALIZE: &str =
    r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1.0.0"}}"#;

fn call(offer: &Offer, envelope: &Envelope<'_>, id: &str) -> Response<Pieces> {
    let params = envelope.params();
    let name = params.name.unwrap_or_default();
    if name.ends_with("blob") {
        return result(id, offer.blob.clone());
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
