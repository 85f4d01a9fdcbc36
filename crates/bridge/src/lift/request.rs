//! Modern requests, as the session's revision understands them.
//!
//! A modern request carries its version, its client and its capabilities in `_meta`; a legacy server settled those in
//! the handshake and must not see them. Everything else stays where it is, byte for byte.

use meshgate_mcp::{Member, Message, Method, Object, Splice, Value, again, codes, meta};

use super::{Answers, Filter, Level, Session, Unlifted};
use crate::Capabilities;
use crate::eras::cannot;

/// What to do with a modern request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The session itself knows the answer: [`Session::discover`].
    Discover,
    /// Join the session's subscriptions.
    Listen(Filter),
    /// Send this to the server.
    Forward(Forward),
    /// Go on with a call that the server was sent in an earlier round.
    Resume(Resume),
}

/// The next round of a call that is parked.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Which call: what [`super::Parking`] made of it.
    pub state: Box<str>,
    /// What the client answers.
    pub answers: Answers,
    /// The call as it would be sent, for a server that has said that it did not run.
    pub forward: Forward,
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
    /// What the client can be asked.
    pub can: Capabilities,
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
        let request = again(src, true)
            .ok_or_else(|| Unlifted::new(codes::INVALID_REQUEST, "the request is no message".to_owned()))?;
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
            _ => Err(Unlifted::listed(&cannot::NO_SUCH_METHOD, &[method.as_str()])),
        }
    }

    fn offers(&self, method: Method) -> Result<(), Unlifted> {
        match method.row().capability {
            Some(capability) if !self.offered.has(capability) => {
                Err(Unlifted::listed(&cannot::NO_CAPABILITY, &[method.as_str(), capability]))
            }
            _ => Ok(()),
        }
    }

    fn forward(&self, src: &[u8], request: &Message, method: Method) -> Result<Plan, Unlifted> {
        let level = log_level(src, request)?;
        let mut pending = Pending {
            method,
            uri: None,
            can: Capabilities::NONE,
        };
        let Some(params) = &request.body else {
            return Ok(Plan::Forward(Forward {
                body: src.to_vec(),
                level,
                pending,
            }));
        };
        let declared = request.meta_value(src, meta::CLIENT_CAPABILITIES);
        // What the server's revision has no word for was never declared to it: a question of that kind goes no further.
        pending.can = declared.map_or(Capabilities::NONE, |declared| {
            Capabilities::read(src, declared.span).known_to(self.revision)
        });
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
        let answers = match method.row().rounds {
            true => later_round(src, params, &mut splice)?,
            false => None,
        };
        let forward = Forward {
            body: splice.finish(),
            level,
            pending,
        };
        Ok(match answers {
            Some((state, answers)) => Plan::Resume(Resume {
                state,
                answers,
                forward,
            }),
            None => Plan::Forward(forward),
        })
    }
}

fn log_level(src: &[u8], request: &Message) -> Result<Option<Level>, Unlifted> {
    let Some(asked) = request.meta_value(src, meta::LOG_LEVEL) else {
        return Ok(None);
    };
    match asked.str(src).and_then(|name| Level::parse(&name)) {
        Some(level) => Ok(Some(level)),
        None => Err(Unlifted::listed(&cannot::LOG_LEVEL, &[meta::LOG_LEVEL])),
    }
}

/// What a retry brings for a parked call. It has no place in what a legacy server is sent.
fn later_round(src: &[u8], params: &Object, splice: &mut Splice<'_>) -> Result<Option<(Box<str>, Answers)>, Unlifted> {
    let (state, answers) = (params.get(src, "requestState"), params.get(src, "inputResponses"));
    if state.is_none() && answers.is_none() {
        return Ok(None);
    }
    let Some(state) = text(src, state) else {
        let name = if answers.is_some() {
            "inputResponses"
        } else {
            "requestState"
        };
        return Err(Unlifted::listed(&cannot::NOT_ASKED, &[name]));
    };
    let answers = Answers::read(src, answers)?;
    splice.remove_named(params, "requestState");
    splice.remove_named(params, "inputResponses");
    Ok(Some((state, answers)))
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
