//! Reading one server's catalogue: discover, then each list it offers, page by page, with every loop bounded.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use meshgate_mcp::{Envelope, Kind, MODERN, Method, Object, Rules, elements, json, lookup, message, meta, scan};
use meshgate_model::{Check, Reach, Server};

use super::{Capabilities, Item, ListKind, ServerCatalogue, ServerList, ToolFacts};
use crate::call::{Caller, Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::Upstream;
use crate::validate::Schema;

/// Pages of one list that are read at most.
const PAGES_MAX: usize = 100;
/// Items of one list that are kept at most.
const ITEMS_MAX: usize = 10_000;
/// Bytes of the pages of one list that are kept at most; the page that goes over is the last.
const LIST_BYTES_MAX: usize = 32 << 20;
/// The longest name that is shown.
const NAME_CHARS_MAX: usize = 128;

/// For whom a catalogue is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    /// The caller whose own session is read in; `None` for what everybody is shown.
    pub(super) caller: Option<Arc<Caller>>,
    /// The view that it is read for, where it is read for one caller.
    pub(super) view: Option<Arc<str>>,
    /// What its client can be asked.
    pub(super) can: meshgate_bridge::Capabilities,
}

/// A request of our own: `params` is an object's members without braces, or empty.
pub fn internal_request(id: u64, method: Method, params: &[u8], deadline: Instant) -> Outbound {
    request_as(&Reader::default(), id, method, params, deadline)
}

fn request_as(reader: &Reader, id: u64, method: Method, params: &[u8], deadline: Instant) -> Outbound {
    let mut body = Vec::with_capacity(320 + params.len());
    body.extend_from_slice(b"{\"_meta\":{");
    json::push_quoted(&mut body, meta::PROTOCOL_VERSION);
    body.push(b':');
    json::push_quoted(&mut body, MODERN.name);
    body.push(b',');
    json::push_quoted(&mut body, meta::CLIENT_CAPABILITIES);
    body.push(b':');
    body.extend_from_slice(reader.can.to_declared().as_bytes());
    body.push(b',');
    json::push_quoted(&mut body, meta::CLIENT_INFO);
    body.push(b':');
    body.extend_from_slice(super::gateway_identity());
    body.push(b'}');
    if !params.is_empty() {
        body.push(b',');
        body.extend_from_slice(params);
    }
    body.push(b'}');
    Outbound {
        id,
        owner: None,
        method,
        method_name: method.as_str().into(),
        name: None,
        param_headers: Vec::new(),
        body: Bytes::from(message::request(id.to_string().as_bytes(), method.as_str(), &body)),
        deadline,
        traceparent: None,
        caller: reader.caller.clone(),
        view: reader.view.clone(),
    }
}

/// The response at the end of a reply, notifications dropped.
pub async fn drain_reply(reply: Reply) -> Result<Bytes, Refusal> {
    let mut messages = match reply {
        Reply::One(body) => return Ok(body),
        Reply::Stream(messages) => messages,
    };
    let mut last = None;
    while let Some(next) = messages.next().await {
        last = Some(next?);
    }
    last.ok_or_else(|| broken("the server ended its answer without a response"))
}

fn broken(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::server(Reason::ServerBroken, Executed::Unknown, text)
}

/// The result object of a response, or the server's error as a refusal.
fn result_of(body: &Bytes, rules: &Rules) -> Result<(Bytes, Object), Refusal> {
    let message = scan(body, rules).map_err(|e| broken(format!("the server's answer: {e}")))?;
    let object = message
        .body
        .ok_or_else(|| broken("the server's answer has no result object"))?;
    if message.envelope != Envelope::Result {
        let code = object.get(body, "code").and_then(|c| c.i64(body)).unwrap_or_default();
        let reason = if code == meshgate_mcp::codes::METHOD_NOT_FOUND {
            Reason::MethodNotFound
        } else {
            Reason::ServerBroken
        };
        return Err(Refusal::server(
            reason,
            Executed::Unknown,
            format!("the server answered with error {code}"),
        ));
    }
    Ok((body.clone(), object))
}

/// Reads everything a server offers.
pub(super) async fn catalogue(
    upstream: &Upstream,
    server: &Server,
    reader: &Reader,
    next_id: &(dyn Fn() -> u64 + Sync),
    now: &(dyn Fn() -> Instant + Sync),
) -> Result<ServerCatalogue, Refusal> {
    let discover = upstream.discover().await?;
    let capabilities = capabilities(&discover);
    let instructions = whole_object(&discover).and_then(|o| {
        o.get(&discover, "instructions")
            .and_then(|v| v.str(&discover).map(|s| Arc::from(&*s)))
    });
    let mut lists: [ServerList; 4] = Default::default();
    for (kind, list) in ListKind::ALL.into_iter().zip(lists.iter_mut()) {
        let offered = match kind {
            ListKind::Tools => capabilities.tools,
            ListKind::Prompts => capabilities.prompts,
            ListKind::Resources | ListKind::Templates => capabilities.resources,
        };
        if offered {
            *list = match pages(upstream, (server, kind), reader, next_id, now).await {
                Ok(list) => list,
                // Offered as a capability and still not served: legal for templates, and no reason to lose the rest.
                Err(refusal) if refusal.reason == Reason::MethodNotFound => ServerList::default(),
                Err(refusal) => return Err(refusal),
            };
        }
    }
    Ok(ServerCatalogue {
        discover,
        capabilities,
        instructions,
        lists,
    })
}

/// The object that a whole buffer holds.
pub(super) fn whole_object(src: &[u8]) -> Option<Object> {
    let end = u32::try_from(src.len()).ok()?;
    Object::read(src, meshgate_mcp::Span { start: 0, end })
}

pub(super) fn capabilities(discover: &Bytes) -> Capabilities {
    let Some(span) = whole_object(discover).map(|o| o.span) else {
        return Capabilities::default();
    };
    let has = |path: &[&str]| lookup(discover, span, path).is_some_and(|v| !matches!(v.kind, Kind::Null | Kind::False));
    Capabilities {
        tools: has(&["capabilities", "tools"]),
        prompts: has(&["capabilities", "prompts"]),
        resources: has(&["capabilities", "resources"]),
        subscribe: has(&["capabilities", "resources", "subscribe"]),
        completions: has(&["capabilities", "completions"]),
        logging: has(&["capabilities", "logging"]),
        tasks: has(&["capabilities", "extensions", "io.modelcontextprotocol/tasks"]),
        list_changed: [
            has(&["capabilities", "tools", "listChanged"]),
            has(&["capabilities", "resources", "listChanged"]),
            has(&["capabilities", "prompts", "listChanged"]),
        ],
    }
}

async fn pages(
    upstream: &Upstream,
    (server, kind): (&Server, ListKind),
    reader: &Reader,
    next_id: &(dyn Fn() -> u64 + Sync),
    now: &(dyn Fn() -> Instant + Sync),
) -> Result<ServerList, Refusal> {
    let mut list = ServerList::default();
    let mut cursor: Option<String> = None;
    let mut seen = std::collections::HashSet::new();
    let mut names = std::collections::HashSet::new();
    let mut bytes = 0;
    for page in 0..PAGES_MAX {
        let mut params = Vec::new();
        if let Some(cursor) = &cursor {
            params.extend_from_slice(b"\"cursor\":");
            json::push_quoted(&mut params, cursor);
        }
        let out = request_as(reader, next_id(), kind.method(), &params, now() + server.deadline);
        let body = drain_reply(upstream.call(out).await?).await?;
        let (body, result) = result_of(&body, &Rules::SERVER)?;
        bytes += body.len();
        take_page(&mut list, &mut names, server, kind, &body, &result, page == 0);
        cursor = result
            .get(&body, "nextCursor")
            .and_then(|c| c.str(&body).map(std::borrow::Cow::into_owned));
        match &cursor {
            None => return Ok(list),
            Some(next) if !seen.insert(next.clone()) => {
                tracing::warn!(server = %server.name, list = kind.member(), "the server repeats a cursor; the list ends here");
                return Ok(list);
            }
            Some(_) if list.items.len() >= ITEMS_MAX || bytes >= LIST_BYTES_MAX => break,
            Some(_) => {}
        }
    }
    tracing::warn!(server = %server.name, list = kind.member(), items = list.items.len(), "the list is over its limit and is cut");
    Ok(list)
}

fn take_page(
    list: &mut ServerList,
    names: &mut std::collections::HashSet<Arc<str>>,
    server: &Server,
    kind: ListKind,
    body: &Bytes,
    result: &Object,
    first: bool,
) {
    for member in &result.members {
        let key = member.key.of(body);
        let raw = |m: &meshgate_mcp::Member| body.slice(m.key.start as usize - 1..m.value.span.end as usize);
        match key {
            k if k == kind.member().as_bytes() => {
                for value in elements(body, member.value.span) {
                    if list.items.len() >= ITEMS_MAX {
                        break;
                    }
                    // Of two items with one name the first counts: a call could only ever reach one of them.
                    if let Some(item) = item(server, kind, body, value)
                        && names.insert(item.key.clone())
                    {
                        list.items.push(item);
                    }
                }
            }
            b"nextCursor" | b"ttlMs" | b"cacheScope" | b"resultType" => {}
            b"_meta" if first => {
                if let Some(fields) = Object::read(body, member.value.span) {
                    let keep = |m: &&meshgate_mcp::Member| m.key.of(body) != meta::SERVER_INFO.as_bytes();
                    list.extra_meta = fields.members.iter().filter(keep).map(raw).collect();
                }
            }
            _ if first => list.extra.push(raw(member)),
            _ => {}
        }
    }
}

fn item(server: &Server, kind: ListKind, body: &Bytes, value: meshgate_mcp::Value) -> Option<Item> {
    let object = Object::read(body, value.span)?;
    let key = object.get(body, kind.key())?.str(body)?;
    if matches!(kind, ListKind::Tools | ListKind::Prompts) && !showable(&key) {
        tracing::warn!(server = %server.name, name = %key.escape_default(), "a name outside [A-Za-z0-9_.-]{{1,128}} is not shown");
        return None;
    }
    let facts = match kind {
        ListKind::Tools => Some(Arc::new(tool_facts(server, body, &object, &key)?)),
        _ => None,
    };
    Some(Item {
        key: Arc::from(&*key),
        raw: body.slice(value.span.start as usize..value.span.end as usize),
        facts,
    })
}

/// Whether a name is one that clients and models can carry.
pub(super) fn showable(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `None` means that the tool must not be shown: its header annotations are invalid, and clients must drop it.
fn tool_facts(server: &Server, body: &Bytes, tool: &Object, name: &str) -> Option<ToolFacts> {
    let schema = |member: &str| {
        tool.get(body, member)
            .filter(|v| v.kind == Kind::Object)
            .map(|v| v.raw(body))
    };
    // A sidecar checks what goes to its server and what comes from it; once is enough.
    let checks = !matches!(server.reach, Reach::Sidecar { .. });
    let published = |check: Check, member: &'static str| {
        let text = schema(member).filter(|_| checks && check != Check::Off)?;
        let text = body.slice_ref(text);
        Some(Schema::new(text, server.name.clone(), Arc::from(name), member))
    };
    let param_headers = match schema("inputSchema").map(meshgate_mcp::headers::param_headers) {
        None => Vec::new(),
        Some(Ok(headers)) => headers,
        Some(Err(why)) => {
            tracing::warn!(server = %server.name, tool = name, %why, "the tool is not shown: `x-mcp-header` is invalid");
            return None;
        }
    };
    Some(ToolFacts {
        param_headers,
        input: published(server.validate_arguments, "inputSchema"),
        output: published(server.validate_results, "outputSchema"),
        reads_only: lookup(body, tool.span, &["annotations", "readOnlyHint"]).and_then(|hint| hint.bool(body))
            == Some(true),
        mismatches: AtomicU64::new(0),
    })
}
