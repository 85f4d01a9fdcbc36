//! Modern requests, as the session's revision understands them.
//!
//! A modern request carries its version, its client and its capabilities in `_meta`; a legacy server settled those in
//! the handshake and must not see them. Everything else stays where it is, byte for byte.

use meshgate_mcp::{Member, Message, Method, Object, Rules, Splice, Value, codes, lookup, meta, scan};

use super::{Filter, Level, Session, Unlifted};

/// What to do with a modern request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The session itself knows the answer: [`Session::discover`].
    Discover,
    /// Join the session's subscriptions.
    Listen(Filter),
    /// Send this to the server.
    Forward(Forward),
}

/// A request for the server, and what its answer will need.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The legacy request, with the id of the modern one.
    pub body: Vec<u8>,
    /// The log level the caller asked for. Common servers log without declaring it, so it counts in any case; whether
    /// it can be set is said by [`super::Offered::logging`].
    pub level: Option<Level>,
    /// What [`Session::answer`] has to know.
    pub pending: Pending,
}

/// What is remembered of a request until its answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The request's method.
    pub method: Method,
    /// The resource that was read.
    pub uri: Option<Box<str>>,
    /// Whether the client can show its user a URL.
    pub url_elicitation: bool,
}

/// Members of `_meta` that only modern requests have.
const MODERN_META: [&str; 4] = [
    meta::PROTOCOL_VERSION,
    meta::CLIENT_CAPABILITIES,
    meta::CLIENT_INFO,
    meta::LOG_LEVEL,
];

impl Session {
    /// Decides how a modern request reaches this server.
    pub fn plan(&self, src: &[u8], method: Method) -> Result<Plan, Unlifted> {
        let request =
            scan(src, &Rules::SERVER).map_err(|error| Unlifted::new(codes::INVALID_REQUEST, error.to_string()))?;
        match method {
            Method::Discover => Ok(Plan::Discover),
            Method::Listen => Ok(Plan::Listen(Filter::read(src, &request))),
            Method::ToolsList
            | Method::ToolsCall
            | Method::ResourcesList
            | Method::TemplatesList
            | Method::ResourcesRead
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete => {
                self.offers(method)?;
                self.forward(src, &request, method)
            }
            Method::Other => self.forward(src, &request, method),
            _ => Err(Unlifted::new(
                codes::METHOD_NOT_FOUND,
                format!("method `{}` does not exist for this server", method.as_str()),
            )),
        }
    }

    fn offers(&self, method: Method) -> Result<(), Unlifted> {
        match method.row().capability {
            Some(capability) if !self.offered.has(capability) => Err(Unlifted::new(
                codes::METHOD_NOT_FOUND,
                format!(
                    "method `{}` needs the capability `{capability}`, which this server does not offer",
                    method.as_str()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn forward(&self, src: &[u8], request: &Message, method: Method) -> Result<Plan, Unlifted> {
        let level = log_level(src, request)?;
        let mut pending = Pending {
            method,
            uri: None,
            url_elicitation: false,
        };
        let Some(params) = &request.body else {
            return Ok(Plan::Forward(Forward {
                body: src.to_vec(),
                level,
                pending,
            }));
        };
        if method.row().rounds {
            refuse_second_round(src, params)?;
        }
        pending.url_elicitation = lookup(
            src,
            params.span,
            &["_meta", meta::CLIENT_CAPABILITIES, "elicitation", "url"],
        )
        .is_some();
        if method == Method::ResourcesRead {
            pending.uri = text(src, params.get(src, "uri"));
        }
        let mut splice = Splice::new(src);
        if let Some(meta) = &request.meta {
            strip_meta(src, params, meta, &mut splice);
        }
        let unknown_there = match method {
            Method::Complete if !self.revision.completion_context => "context",
            // A modern server ignores it; a server of 2025-11-25 would answer with a task that nobody can follow.
            Method::ToolsCall if self.revision.core_tasks => "task",
            _ => "",
        };
        if !unknown_there.is_empty() {
            splice.remove_named(params, unknown_there);
        }
        Ok(Plan::Forward(Forward {
            body: splice.finish(),
            level,
            pending,
        }))
    }
}

fn log_level(src: &[u8], request: &Message) -> Result<Option<Level>, Unlifted> {
    let Some(asked) = request.meta_value(src, meta::LOG_LEVEL) else {
        return Ok(None);
    };
    match asked.str(src).and_then(|name| Level::parse(&name)) {
        Some(level) => Ok(Some(level)),
        None => Err(Unlifted::new(
            codes::INVALID_PARAMS,
            format!(
                "_meta `{}` must be one of debug, info, notice, warning, error, critical, alert, emergency",
                meta::LOG_LEVEL
            ),
        )),
    }
}

/// No question of this server was ever carried to a client, so there is none that could be answered.
fn refuse_second_round(src: &[u8], params: &Object) -> Result<(), Unlifted> {
    match ["inputResponses", "requestState"]
        .into_iter()
        .find(|name| params.find(src, name).is_some())
    {
        None => Ok(()),
        Some(name) => Err(Unlifted::new(
            codes::INVALID_PARAMS,
            format!("`{name}` answers a question that this server did not ask: call again without it"),
        )),
    }
}

/// Takes the modern members out of `_meta`, and `_meta` itself when nothing else was in it.
fn strip_meta(src: &[u8], params: &Object, meta: &Object, splice: &mut Splice<'_>) {
    let modern = |member: &Member| MODERN_META.iter().any(|name| member.is(src, name));
    if !meta.members.is_empty() && meta.members.iter().all(modern) {
        splice.remove_named(params, "_meta");
        return;
    }
    for name in MODERN_META {
        splice.remove_named(meta, name);
    }
}

fn text(src: &[u8], value: Option<&Value>) -> Option<Box<str>> {
    Some(value?.str(src)?.into())
}
