//! What a server sent, checked and put into the caller's words.
//!
//! A call that has run is never refused for taste: only framing, envelope and size are checked, and everything else is
//! passed on with the mapped spans spliced. On the way the outcome is read off in two layers, protocol and tool; the
//! third, transport, is known where the answer leaves.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use meshgate_bridge::lift::Level;
use meshgate_bridge::lower::lower_with;
use meshgate_identity::KeyRing;
use meshgate_mcp::content::{self, Direction};
use meshgate_mcp::{
    Envelope, Kind, Message, Method, Object, Revision, Rules, Splice, Target, Value, codes, json, lookup, meta, scan,
};

use crate::call::Caller;
use crate::catalogue::{ViewState, gateway_identity};
use crate::refusal::{Executed, Reason, Refusal};
use crate::resolve::{Call, Destination, seal_task};
use crate::upstream::Owner;

mod questions;

/// The extension whose clients follow tasks.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A result of so many bytes goes out in pieces that share the bytes it came in.
pub const LONG_BYTES_MIN: usize = 8 << 10;

/// How a call ended in the layers of protocol and tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A complete result.
    Done,
    /// A result that says `isError: true`.
    ToolError,
    /// The server asks for input.
    InputRequired,
    /// A JSON-RPC error with this code.
    Error(i64),
}

/// What one message of a server becomes.
#[derive(Debug)]
pub enum Shaped {
    /// A notification for the caller.
    Notification(Bytes),
    /// The response, and how the call ended.
    Response(Bytes, Outcome),
    /// The response in pieces, when it is long.
    Long(Vec<Bytes>, Outcome),
    /// The response in the words of a legacy client's revision.
    Lowered(Vec<Bytes>, Outcome),
    /// Nothing: not for this caller, or against the protocol.
    Dropped(&'static str),
}

/// Everything that is needed to put a server's messages into the words of one caller.
pub struct Reshape {
    /// The view.
    pub view: Arc<ViewState>,
    /// The call as the client made it.
    pub call: Call,
    /// Where it went.
    pub destination: Destination,
    /// Who called.
    pub caller: Arc<Caller>,
    /// Seals states and task ids for a client. `None` where the answer goes to another part of the mesh: it stays under the
    /// server's own name and with the server's own states, and that part does the rest.
    pub keys: Option<Arc<KeyRing>>,
    /// Who holds what the call may be gone on with.
    pub owner: Owner,
    /// The id of the call on the hop to the server.
    pub hop_id: u64,
    /// Tells Unix seconds: the life of a state begins when its question is asked, however long the call took until then.
    pub now: fn() -> u64,
    /// The largest message that is taken, in bytes.
    pub bytes_max: usize,
    /// The last progress given on, so that it can only increase.
    pub progress: Option<f64>,
    /// The revision of a legacy client's session. A page that such a client cannot open is not refused: its face asks or,
    /// where the session has no such mode, tells the person in words.
    pub lowered: Option<&'static Revision>,
}

impl Reshape {
    /// Puts one message into the caller's words.
    pub fn shape(&mut self, body: &Bytes) -> Result<Shaped, Refusal> {
        let rules = Rules {
            bytes_max: self.bytes_max,
            ..Rules::SERVER
        };
        let message = scan(body, &rules).map_err(|e| {
            Refusal::server(
                Reason::ServerBroken,
                Executed::Unknown,
                format!("the server's answer is not sound: {e}"),
            )
        })?;
        match message.envelope {
            Envelope::Notification => Ok(self.notification(body, &message)),
            Envelope::Request => Ok(Shaped::Dropped("server_request")),
            Envelope::Result if self.is_ours(body, &message) => self.result(body, &message),
            Envelope::Error if self.is_ours(body, &message) => Ok(self.error(body, &message)),
            Envelope::Result | Envelope::Error => Ok(Shaped::Dropped("foreign_id")),
        }
    }

    /// An error without an id answers the only call there is on its stream.
    fn is_ours(&self, body: &[u8], message: &Message) -> bool {
        match message.id {
            Some(id) => {
                id.u64(body) == Some(self.hop_id) || message.envelope == Envelope::Error && id.raw(body) == b"null"
            }
            None => message.envelope == Envelope::Error,
        }
    }

    fn notification(&mut self, body: &Bytes, message: &Message) -> Shaped {
        let method = message.method.as_ref().and_then(|m| m.str(body)).unwrap_or_default();
        let params = message.body.as_ref();
        let mut splice = Splice::new(body);
        match Method::parse(&method) {
            Method::Progress => {
                let Some(token) = self.call.progress_token() else {
                    return Shaped::Dropped("progress_unasked");
                };
                let ours = params.and_then(|p| p.get(body, meta::PROGRESS_TOKEN));
                let Some(ours) = ours.filter(|t| t.u64(body) == Some(self.hop_id)) else {
                    return Shaped::Dropped("foreign_progress");
                };
                let text = params.and_then(|p| p.get(body, "progress")).map(|p| p.raw(body));
                let value = text
                    .and_then(|t| std::str::from_utf8(t).ok())
                    .and_then(|t| t.parse::<f64>().ok());
                if let (Some(value), Some(last)) = (value, self.progress)
                    && value <= last
                {
                    return Shaped::Dropped("progress_not_increasing");
                }
                self.progress = value.or(self.progress);
                splice.replace(ours.span, token.to_vec());
            }
            Method::LogMessage => {
                let asked = self.call.message.meta.as_ref();
                let asked = asked.and_then(|m| m.get(&self.call.body, meta::LOG_LEVEL));
                let Some(asked) = asked else {
                    return Shaped::Dropped("log_unasked");
                };
                // A level that nobody knows is passed on: what it means is not for the gateway to say.
                let level = |value: Option<&Value>, src| Level::parse(&value?.str(src)?);
                let said = level(params.and_then(|p| p.get(body, "level")), body);
                if said
                    .zip(level(Some(asked), &self.call.body))
                    .is_some_and(|(said, asked)| said < asked)
                {
                    return Shaped::Dropped("log_below_level");
                }
            }
            // Nobody here knows what it means, and an extension may.
            Method::Other => {}
            // All others belong to subscriptions, to sessions, or to the other direction.
            _ => return Shaped::Dropped("notification_not_of_this_call"),
        }
        Shaped::Notification(if splice.is_empty() {
            body.clone()
        } else {
            Bytes::from(splice.finish())
        })
    }

    fn error(&self, body: &Bytes, message: &Message) -> Shaped {
        let said = message.body.as_ref().and_then(|e| e.get(body, "code"));
        let theirs = said.and_then(|c| c.i64(body)).unwrap_or(codes::INTERNAL_ERROR);
        let code = of_this_hop(theirs);
        let mut splice = Splice::new(body);
        if let Some(said) = said.filter(|_| code != theirs) {
            splice.replace(said.span, code.to_string().into_bytes());
        }
        match message.id {
            Some(id) => splice.replace(id.span, self.call.id().to_vec()),
            None => splice.insert(&message.root, "id", self.call.id().to_vec()),
        }
        // What a part of the mesh says of its refusal is believed, so a server must not say it.
        let added = message.body.as_ref().and_then(|error| error.get(body, "data"));
        if let Some(added) = added.and_then(|data| Object::read(body, data.span)) {
            splice.remove_named(&added, meta::VENDOR_REFUSAL);
        }
        self.wrap_uris(body, message, &mut splice);
        Shaped::Response(Bytes::from(splice.finish()), Outcome::Error(code))
    }

    fn result(&self, body: &Bytes, message: &Message) -> Result<Shaped, Refusal> {
        let mut splice = Splice::new(body);
        if let Some(id) = message.id {
            splice.replace(id.span, self.call.id().to_vec());
        }
        let Some(result) = &message.body else {
            return Err(Refusal::server(
                Reason::ServerBroken,
                Executed::Unknown,
                "the server's `result` is not an object",
            ));
        };
        let kind = result.get(body, "resultType").and_then(|v| v.str(body));
        if kind.as_deref() == Some("task")
            && self.call.method == Method::ToolsCall
            && !self.declared(&["extensions", TASKS])
        {
            let message = "the server answered with a task, which this client has not declared it can follow";
            return Err(Refusal::server(Reason::ServerBroken, Executed::Unknown, message));
        }
        let outcome = match kind.as_deref() {
            Some("input_required") if self.call.method.row().rounds => {
                self.questions(body, result, &mut splice)?;
                Outcome::InputRequired
            }
            _ if result.get(body, "isError").and_then(|v| v.bool(body)) == Some(true) => Outcome::ToolError,
            _ => Outcome::Done,
        };
        if kind.as_deref() == Some("task") || self.call.method.row().target == Target::TaskId {
            self.seal_task_id(body, result, &mut splice);
        }
        if outcome == Outcome::Done {
            self.check_structured(body, result);
        }
        // A complete result is put into the words of a legacy client in the same go, where that is possible.
        let is_lowered = outcome != Outcome::InputRequired
            && self
                .lowered
                .is_some_and(|revision| lower_with(body, message, self.call.method, revision, &mut splice));
        if self.keys.is_some() && !is_lowered {
            if self.call.method.row().cacheable && outcome == Outcome::Done {
                cache_hints(body, result, &mut splice);
            }
            self.identify(body, message, result, &mut splice);
        }
        self.wrap_uris(body, message, &mut splice);
        if is_lowered {
            return Ok(Shaped::Lowered(splice.finish_shared(body), outcome));
        }
        Ok(if body.len() < LONG_BYTES_MIN {
            Shaped::Response(Bytes::from(splice.finish()), outcome)
        } else {
            Shaped::Long(splice.finish_shared(body), outcome)
        })
    }

    /// Whether the client has declared this capability on this request.
    fn declared(&self, path: &[&str]) -> bool {
        let call = &self.call;
        let all = call.message.meta_value(&call.body, meta::CLIENT_CAPABILITIES);
        let found = all.and_then(|all| lookup(&call.body, all.span, path));
        found.is_some_and(|value| value.kind != Kind::Null)
    }

    fn seal_task_id(&self, body: &Bytes, result: &Object, splice: &mut Splice<'_>) {
        let (Some(keys), Some(task)) = (&self.keys, result.get(body, "taskId")) else {
            return;
        };
        let Some(id) = task.str(body) else { return };
        // A client looks for the id it asked about, and each sealing looks different.
        let of_task = self.call.method.row().target == Target::TaskId && self.destination.name.as_deref() == Some(&*id);
        let asked = self.call.param("taskId").filter(|_| of_task);
        if let Some(asked) = asked {
            splice.replace(task.span, asked.raw(&self.call.body).to_vec());
        } else if let Some(sealed) = seal_task(
            &self.view,
            (self.destination.server, self.owner),
            &self.caller,
            keys,
            &id,
        ) {
            splice.replace(task.span, json::quote(&sealed));
        }
    }

    /// The gateway answers under its own name; the server's is kept beside it.
    fn identify(&self, body: &Bytes, message: &Message, result: &Object, splice: &mut Splice<'_>) {
        match &message.meta {
            Some(fields) => match fields.get(body, meta::SERVER_INFO) {
                Some(theirs) => {
                    splice.replace(theirs.span, gateway_identity());
                    if fields.get(body, meta::VENDOR_SERVER_INFO).is_none() {
                        splice.insert(fields, meta::VENDOR_SERVER_INFO, theirs.raw(body).to_vec());
                    }
                }
                None => splice.insert_member(fields, identity_member()),
            },
            None if result.get(body, "_meta").is_none() => {
                splice.insert_member(result, identity_meta());
            }
            None => {}
        }
    }

    fn wrap_uris(&self, body: &Bytes, message: &Message, splice: &mut Splice<'_>) {
        if !self.view.view.is_merged() {
            return;
        }
        let Some(server) = self.view.servers.get(self.destination.server) else {
            return;
        };
        let mut wrap = |uri: &str, kind| Some(crate::catalogue::wrapped(&server.server.alias, uri, kind));
        content::map_uris(body, message, self.call.method, Direction::ToClient, &mut wrap, splice);
    }

    /// Whether a structured result keeps its promise; for the log only, the call has run.
    fn check_structured(&self, body: &Bytes, result: &Object) {
        let Some(tool) = &self.destination.tool else { return };
        let published = tool.facts.output.as_ref();
        let Some((published, structured)) = published.zip(result.get(body, "structuredContent")) else {
            return;
        };
        let Some(validator) = published.validator() else { return };
        if let Err(violation) = validator.check(structured.raw(body)) {
            tracing::warn!(tool = &*tool.original, %violation, "the structured result does not match its schema");
        }
    }
}

/// The gateway's identity as a member of `_meta`.
fn identity_member() -> &'static [u8] {
    let meta = identity_meta();
    meta.get(b"\"_meta\":{".len()..meta.len() - 1).unwrap_or_default()
}

/// The gateway's identity as a `_meta` member that holds nothing else, spelled once.
fn identity_meta() -> &'static [u8] {
    static META: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut member = b"\"_meta\":{".to_vec();
        json::push_quoted(&mut member, meta::SERVER_INFO);
        member.push(b':');
        member.extend_from_slice(gateway_identity());
        member.push(b'}');
        member
    });
    &META
}

/// The code of a server's error at this hop. What was wrong between the gateway and the server says nothing about the
/// client's own headers and version, and codes of older revisions are not sent any more.
fn of_this_hop(code: i64) -> i64 {
    match code {
        codes::RESOURCE_NOT_FOUND_LEGACY => codes::INVALID_PARAMS,
        codes::HEADER_MISMATCH | codes::UNSUPPORTED_VERSION | codes::URL_ELICITATION_REQUIRED => codes::INTERNAL_ERROR,
        code => code,
    }
}

/// Hints that a shared cache can trust: never more than the server said, and never `public` on its own word.
fn cache_hints(body: &Bytes, result: &Object, splice: &mut Splice<'_>) {
    match result.get(body, "cacheScope") {
        Some(scope) if scope.raw(body) != b"\"private\"" => splice.replace(scope.span, b"\"private\"".to_vec()),
        Some(_) => {}
        None => splice.insert(result, "cacheScope", b"\"private\"".to_vec()),
    }
    match result.get(body, "ttlMs") {
        Some(ttl) if ttl.u64(body).is_none_or(|ms| ms > TTL_MS_MAX) => {
            let kept = if ttl.u64(body).is_some() { TTL_MS_MAX } else { 0 };
            splice.replace(ttl.span, kept.to_string().into_bytes());
        }
        Some(_) => {}
        None => splice.insert(result, "ttlMs", b"0".to_vec()),
    }
}

/// The longest a client is told to keep anything: an hour, so that a revoked right ends.
const TTL_MS_MAX: u64 = 3_600_000;
