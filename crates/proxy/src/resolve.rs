//! Which server a call is for, and the call in that server's own words.
//!
//! Names, URIs, task ids and states are looked up in the caller's view and nowhere else; what is hidden and what does
//! not exist take the same path to the same answer. What goes to the server is the client's bytes with the mapped spans
//! spliced: id, progress token, name or URI, state, trace keys.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use meshgate_identity::{KeyRing, Purpose};
use meshgate_mcp::content::{self, Direction};
use meshgate_mcp::{Kind, Message, Method, Object, Span, Splice, Target, json, meta};
use meshgate_model::naming;

use crate::admit::PARAM_PREFIX;
use crate::call::{Caller, Outbound};
use crate::catalogue::{ServerInView, ToolEntry, ViewState};
use crate::refusal::{Executed, Reason, Refusal};

/// How long a `requestState` of ours is good for, in seconds.
const STATE_LIFE_S: u64 = 600;
/// The longest sealed value that is opened, in bytes.
const SEALED_BYTES_MAX: usize = 64 << 10;

/// One scanned request of a client, in the names of its view.
pub struct Call {
    /// Its bytes.
    pub body: Bytes,
    /// Its scan.
    pub message: Message,
    /// Its method.
    pub method: Method,
}

impl Call {
    /// The method as text.
    pub fn method_name(&self) -> std::borrow::Cow<'_, str> {
        self.message
            .method
            .as_ref()
            .and_then(|m| m.str(&self.body))
            .unwrap_or_default()
    }

    /// The caller's JSON-RPC id, raw.
    pub fn id(&self) -> Bytes {
        self.message.id.map_or_else(Bytes::new, |id| self.slice(id.span))
    }

    /// The caller's progress token, raw.
    pub fn progress_token(&self) -> Option<Bytes> {
        let token = self.message.meta.as_ref()?.get(&self.body, meta::PROGRESS_TOKEN)?;
        Some(self.slice(token.span))
    }

    /// A member of `params`.
    pub fn param(&self, name: &str) -> Option<&meshgate_mcp::Value> {
        self.message.body.as_ref()?.get(&self.body, name)
    }

    /// A string member of `params`, decoded.
    pub fn param_str(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.param(name)?.str(&self.body)
    }

    /// The span of `arguments`, when it is an object.
    pub fn arguments(&self) -> Option<Span> {
        self.param("arguments")
            .filter(|v| v.kind == Kind::Object)
            .map(|v| v.span)
    }

    fn slice(&self, span: Span) -> Bytes {
        self.body.slice(span.start as usize..span.end as usize)
    }
}

/// Where a call goes.
pub struct Destination {
    /// Index of the server in the view.
    pub server: usize,
    /// The tool's entry, for `tools/call`.
    pub tool: Option<ToolEntry>,
    /// What `Mcp-Name` mirrors at the server: its own name, URI or task id.
    pub name: Option<Arc<str>>,
    /// For a retry: the state as the server gave it, `None` where it gave none.
    state: Option<Option<String>>,
}

fn unknown(what: &str, name: &str) -> Refusal {
    let shown: String = name.chars().take(200).collect();
    Refusal::new(Reason::InvalidParams, format!("unknown {what}: {shown}"))
}

fn missing(field: &'static str) -> Refusal {
    Refusal::new(Reason::InvalidParams, format!("`params.{field}` is required, a string"))
}

/// Finds the server of a call.
pub fn destination(
    view: &ViewState,
    call: &Call,
    caller: &Caller,
    keys: &KeyRing,
    now: u64,
) -> Result<Destination, Refusal> {
    let to = |server: usize, name: Option<Arc<str>>| Destination {
        server,
        tool: None,
        name,
        state: None,
    };
    let mut destination = match call.method {
        Method::ToolsCall => {
            let name = call.param_str("name").ok_or_else(|| missing("name"))?;
            let entry = view.tools.get(&*name).ok_or_else(|| unknown("tool", &name))?;
            Destination {
                tool: Some(entry.clone()),
                ..to(entry.server, Some(entry.original.clone()))
            }
        }
        Method::PromptsGet => {
            let name = call.param_str("name").ok_or_else(|| missing("name"))?;
            let (server, original) = view.prompts.get(&*name).ok_or_else(|| unknown("prompt", &name))?;
            to(*server, Some(original.clone()))
        }
        Method::ResourcesRead => {
            let uri = call.param_str("uri").ok_or_else(|| missing("uri"))?;
            let (server, original) = by_uri(view, &uri)?;
            to(server, Some(original))
        }
        Method::Complete => complete(view, call)?,
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            let id = call.param_str("taskId").ok_or_else(|| missing("taskId"))?;
            let (server, original) = open_task(view, &id, caller, keys)?;
            to(server, Some(original))
        }
        // What nobody here knows can only be passed on where there is no question of whom it is for.
        _ if !view.view.is_merged() && !view.servers.is_empty() => to(0, None),
        _ => return Err(method_not_found(&call.method_name())),
    };
    if call.method.row().rounds {
        destination.state = open_state(view, call, &destination, caller, keys, now)?;
    }
    Ok(destination)
}

/// The refusal of a method that is not served.
pub fn method_not_found(name: &str) -> Refusal {
    let shown: String = name.chars().take(200).collect();
    Refusal::new(Reason::MethodNotFound, format!("method `{shown}` is not served here"))
}

fn by_uri(view: &ViewState, uri: &str) -> Result<(usize, Arc<str>), Refusal> {
    let unknown = || {
        let mut data = b"{\"uri\":".to_vec();
        json::push_quoted(&mut data, uri);
        data.push(b'}');
        unknown("resource", uri).data(data)
    };
    if !view.view.is_merged() {
        return if view.servers.is_empty() {
            Err(unknown())
        } else {
            Ok((0, Arc::from(uri)))
        };
    }
    let (alias, original) = naming::unwrap_uri(uri).ok_or_else(unknown)?;
    let server = view.by_alias(&alias).ok_or_else(unknown)?;
    Ok((server, Arc::from(original)))
}

fn complete(view: &ViewState, call: &Call) -> Result<Destination, Refusal> {
    let body = &call.body;
    let reference = call
        .param("ref")
        .and_then(|r| Object::read(body, r.span))
        .ok_or_else(|| Refusal::new(Reason::InvalidParams, "`params.ref` is required, an object"))?;
    let field = |name: &str| reference.get(body, name).and_then(|v| v.str(body));
    let (server, name) = match (field("type").as_deref(), field("name"), field("uri")) {
        (Some("ref/prompt"), Some(name), _) => view
            .prompts
            .get(&*name)
            .cloned()
            .ok_or_else(|| unknown("prompt", &name))?,
        (Some("ref/resource"), _, Some(uri)) => by_uri(view, &uri)?,
        _ => {
            return Err(Refusal::new(
                Reason::InvalidParams,
                "`params.ref` must be a `ref/prompt` with `name` or a `ref/resource` with `uri`",
            ));
        }
    };
    Ok(Destination {
        server,
        tool: None,
        name: Some(name),
        state: None,
    })
}

fn scope(view: &ViewState, caller: &Caller) -> Vec<u8> {
    let mut aad = view.view.name.as_bytes().to_vec();
    aad.push(0);
    aad.extend_from_slice(caller.binding());
    aad
}

/// What a state is bound to: view, caller, method, target and arguments.
fn state_binding(view: &ViewState, call: &Call, name: Option<&str>, caller: &Caller) -> Vec<u8> {
    let mut aad = scope(view, caller);
    for part in [call.method_name().as_bytes(), name.unwrap_or("").as_bytes()] {
        aad.push(0);
        aad.extend_from_slice(part);
    }
    aad.push(0);
    if let Some(arguments) = call.param("arguments") {
        aad.extend_from_slice(arguments.raw(&call.body));
    }
    aad
}

fn open_state(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    caller: &Caller,
    keys: &KeyRing,
    now: u64,
) -> Result<Option<Option<String>>, Refusal> {
    let wrong = || {
        Refusal::new(
            Reason::InvalidParams,
            "`requestState` is not valid for this call, or not any more; call again without it",
        )
        .rule("view/request-state")
        .data(b"{\"reason\":\"invalid_request_state\"}".to_vec())
    };
    let Some(state) = call.param("requestState") else {
        // Every question of ours comes with a state, so answers without one belong to no question.
        return if call.param("inputResponses").is_some() {
            Err(wrong())
        } else {
            Ok(None)
        };
    };
    let token = state
        .str(&call.body)
        .filter(|t| t.len() <= SEALED_BYTES_MAX)
        .ok_or_else(wrong)?;
    let aad = state_binding(view, call, destination.name.as_deref(), caller);
    let plain = keys.open(Purpose::RequestState, &aad, &token).map_err(|_| wrong())?;
    let claims = StateClaims::decode(&plain).ok_or_else(wrong)?;
    let server = view.servers.get(destination.server).ok_or_else(wrong)?;
    if claims.expires < now || claims.server != *server.server.name {
        return Err(wrong());
    }
    Ok(Some(claims.inner))
}

struct StateClaims {
    expires: u64,
    server: String,
    inner: Option<String>,
}

impl StateClaims {
    fn encode(&self) -> Vec<u8> {
        let mut plain = self.expires.to_be_bytes().to_vec();
        plain.push(u8::from(self.inner.is_some()));
        plain.push(u8::try_from(self.server.len()).unwrap_or(u8::MAX));
        plain.extend_from_slice(self.server.as_bytes());
        plain.extend_from_slice(self.inner.as_deref().unwrap_or("").as_bytes());
        plain
    }

    fn decode(plain: &[u8]) -> Option<Self> {
        let expires = u64::from_be_bytes(plain.get(..8)?.try_into().ok()?);
        let given = *plain.get(8)? == 1;
        let end = 10 + usize::from(*plain.get(9)?);
        let server = std::str::from_utf8(plain.get(10..end)?).ok()?.to_owned();
        let inner = std::str::from_utf8(plain.get(end..)?).ok()?.to_owned();
        Some(Self {
            expires,
            server,
            inner: given.then_some(inner),
        })
    }
}

/// Seals what a server wants back with the next round.
pub fn seal_state(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    caller: &Caller,
    keys: &KeyRing,
    now: u64,
    inner: Option<String>,
) -> Result<String, Refusal> {
    let server = view
        .servers
        .get(destination.server)
        .map(|s| s.server.name.to_string())
        .unwrap_or_default();
    let claims = StateClaims {
        expires: now + STATE_LIFE_S,
        server,
        inner,
    };
    let aad = state_binding(view, call, destination.name.as_deref(), caller);
    keys.seal(Purpose::RequestState, &aad, &claims.encode()).map_err(|_| {
        Refusal::server(
            Reason::Internal,
            Executed::Unknown,
            "the request state could not be sealed",
        )
    })
}

/// Seals a task id, so that it says which server has it and is good for its caller only.
pub fn seal_task(view: &ViewState, server: usize, caller: &Caller, keys: &KeyRing, id: &str) -> Option<String> {
    let name = &view.servers.get(server)?.server.name;
    let mut plain = vec![u8::try_from(name.len()).ok()?];
    plain.extend_from_slice(name.as_bytes());
    plain.extend_from_slice(id.as_bytes());
    keys.seal(Purpose::TaskId, &scope(view, caller), &plain).ok()
}

fn open_task(view: &ViewState, token: &str, caller: &Caller, keys: &KeyRing) -> Result<(usize, Arc<str>), Refusal> {
    let wrong = || Refusal::new(Reason::InvalidParams, "unknown task");
    if token.len() > SEALED_BYTES_MAX {
        return Err(wrong());
    }
    let plain = keys
        .open(Purpose::TaskId, &scope(view, caller), token)
        .map_err(|_| wrong())?;
    let end = 1 + usize::from(*plain.first().ok_or_else(wrong)?);
    let name = plain.get(1..end).ok_or_else(wrong)?;
    let id = plain
        .get(end..)
        .and_then(|id| std::str::from_utf8(id).ok())
        .ok_or_else(wrong)?;
    let server = view
        .servers
        .iter()
        .position(|s| s.server.name.as_bytes() == name)
        .ok_or_else(wrong)?;
    Ok((server, Arc::from(id)))
}

/// The trace keys that a call carries to its server.
pub struct TraceKeys {
    /// `traceparent` with our own span.
    pub traceparent: String,
}

/// The call in its server's words.
pub fn outbound(
    view: &ViewState,
    call: &Call,
    destination: &Destination,
    id: u64,
    deadline: Instant,
    trace: &TraceKeys,
) -> Result<Outbound, Refusal> {
    let body = &call.body;
    let mut splice = Splice::new(body);
    let hop_id = id.to_string().into_bytes();
    if let Some(id) = call.message.id {
        splice.replace(id.span, hop_id.clone());
    }
    if let Some(params) = &call.message.body {
        retarget(view, call, destination, params, &mut splice);
        if let Some(state) = &destination.state
            && let Some(index) = params.find(body, "requestState")
        {
            match (state, params.members.get(index)) {
                (Some(inner), Some(member)) => splice.replace(member.value.span, json::quote(inner)),
                _ => splice.remove(params, index),
            }
        }
    }
    if let Some(fields) = &call.message.meta {
        if let Some(token) = fields.get(body, meta::PROGRESS_TOKEN) {
            splice.replace(token.span, hop_id);
        }
        match fields.get(body, meta::TRACEPARENT) {
            Some(theirs) => splice.replace(theirs.span, json::quote(&trace.traceparent)),
            None => splice.insert(fields, meta::TRACEPARENT, json::quote(&trace.traceparent)),
        }
        // Baggage crosses a trust boundary here and nobody has said what may pass.
        if let Some(index) = fields.find(body, meta::BAGGAGE) {
            splice.remove(fields, index);
        }
    }
    Ok(Outbound {
        id,
        method: call.method,
        method_name: Arc::from(&*call.method_name()),
        name: destination
            .name
            .clone()
            .filter(|_| call.method.row().target != Target::None),
        param_headers: param_headers(call, destination)?,
        body: Bytes::from(splice.finish()),
        deadline,
        traceparent: HeaderValue::from_str(&trace.traceparent).ok(),
    })
}

/// Names, URIs and task ids back into the server's own.
fn retarget(view: &ViewState, call: &Call, destination: &Destination, params: &Object, splice: &mut Splice<'_>) {
    let body = &call.body;
    let Some(name) = &destination.name else { return };
    let replace = |splice: &mut Splice<'_>, member: &str| {
        if let Some(value) = params.get(body, member)
            && value.str(body).as_deref() != Some(&**name)
        {
            splice.replace(value.span, json::quote(name));
        }
    };
    match call.method {
        Method::ToolsCall | Method::PromptsGet => replace(splice, "name"),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => replace(splice, "taskId"),
        Method::Complete => {
            let reference = params.get(body, "ref").and_then(|r| Object::read(body, r.span));
            if let Some(value) = reference.as_ref().and_then(|r| r.get(body, "name"))
                && value.str(body).as_deref() != Some(&**name)
            {
                splice.replace(value.span, json::quote(name));
            }
        }
        _ => {}
    }
    if let (true, Some(server)) = (view.view.is_merged(), view.servers.get(destination.server)) {
        unwrap_uris(call, server, splice);
    }
}

fn unwrap_uris(call: &Call, server: &ServerInView, splice: &mut Splice<'_>) {
    let alias = &server.server.alias;
    let mut unwrap = |uri: &str, _| {
        naming::unwrap_uri(uri)
            .filter(|(a, _)| *a == **alias)
            .map(|(_, original)| original)
    };
    content::map_uris(
        &call.body,
        &call.message,
        call.method,
        Direction::ToServer,
        &mut unwrap,
        splice,
    );
}

fn param_headers(call: &Call, destination: &Destination) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let Some(tool) = &destination.tool else {
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for mirrored in &tool.facts.param_headers {
        if let Some(value) = mirrored.value(&call.body, call.arguments()) {
            let name = format!("{PARAM_PREFIX}{}", mirrored.name.to_ascii_lowercase());
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            headers.push(
                header.ok_or_else(|| Refusal::new(Reason::Internal, "a mirrored argument does not fit a header"))?,
            );
        }
    }
    Ok(headers)
}
