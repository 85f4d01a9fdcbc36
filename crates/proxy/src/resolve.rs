//! Which server a call is for, and the call in that server's own words.
//!
//! Names, URIs, task ids and states are looked up in the caller's view and nowhere else; what is hidden and what does
//! not exist take the same path to the same answer. What goes to the server ([`outbound`]) is the client's bytes with the
//! mapped spans spliced; what must come back unharmed ([`seal`]) is sealed for its caller.

use std::sync::Arc;

use bytes::Bytes;
use meshgate_bridge::eras::cannot;
use meshgate_identity::KeyRing;
use meshgate_mcp::{Kind, Message, Method, Object, Span, json, meta};
use meshgate_model::naming;

use crate::call::Caller;
use crate::catalogue::{ToolEntry, ViewState};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::Owner;

mod outbound;
mod seal;

pub use outbound::{TraceKeys, outbound};
#[cfg(feature = "fuzzing")]
pub use seal::reread_state;
pub use seal::{seal_state, seal_task};

use self::seal::{open_state, open_task};

/// One scanned request of a client, in the names of its view.
pub struct Call {
    /// Its bytes.
    pub body: Bytes,
    /// Its scan.
    pub message: Box<Message>,
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
    /// Which of the call's requests this is, from 1.
    pub round: u8,
    /// Who holds what it goes on with, a question or a task; none for a call of its own.
    pub owner: Owner,
    /// For a retry: the state as the server gave it, `None` where it gave none.
    state: Option<Option<String>>,
}

impl Destination {
    /// What the refusal of one round says of the whole call: the rounds before a retry have reached the server, so nobody
    /// knows that it did not run, but where the server itself has said so.
    pub fn of_whole_call(&self, refusal: Refusal) -> Refusal {
        if self.state.is_none() || refusal.reason == Reason::Declined {
            return refusal;
        }
        Refusal {
            executed: Executed::Unknown,
            ..refusal
        }
    }
}

fn unknown(what: &str, name: &str) -> Refusal {
    let shown: String = name.chars().take(200).collect();
    Refusal::new(Reason::InvalidParams, format!("unknown {what}: {shown}"))
}

fn missing(field: &'static str) -> Refusal {
    Refusal::new(Reason::InvalidParams, format!("`params.{field}` is required, a string"))
}

/// Finds the server of a call. `keys` open what the client holds for the server; without them it is the server's own.
pub fn destination(
    view: &ViewState,
    call: &Call,
    caller: &Caller,
    keys: Option<&KeyRing>,
    now: u64,
) -> Result<Destination, Refusal> {
    let to = |server: usize, name: Option<Arc<str>>| Destination {
        server,
        tool: None,
        name,
        round: 1,
        owner: None,
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
            match keys {
                Some(keys) => {
                    let (server, owner, original) = open_task(view, &id, caller, keys)?;
                    Destination {
                        owner,
                        ..to(server, Some(original))
                    }
                }
                None => to(0, Some(Arc::from(&*id))),
            }
        }
        // What nobody here knows can only be passed on where there is no question of whom it is for.
        _ if !view.view.is_merged() && !view.servers.is_empty() => to(0, None),
        _ => return Err(method_not_found(&call.method_name())),
    };
    if let Some(keys) = keys.filter(|_| call.method.row().rounds)
        && let Some(later) = open_state(view, call, &destination, caller, keys, now)?
    {
        destination.round = later.round;
        destination.owner = later.owner;
        destination.state = Some(later.inner);
    }
    Ok(destination)
}

/// The refusal of a method that is not served.
pub fn method_not_found(name: &str) -> Refusal {
    let shown: String = name.chars().take(200).collect();
    Refusal::new(Reason::MethodNotFound, cannot::NO_SUCH_METHOD.say(&[&shown]))
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
        round: 1,
        owner: None,
        state: None,
    })
}
