//! What a modern server asks in `inputRequests`, as requests that a legacy client can be sent.
//!
//! Each question is checked against what the client declared before anything is sent: a round is asked whole or not at
//! all, so that a call never hangs on a half that nobody can answer.

use meshgate_mcp::{Kind, Method, Object, Revision, Span, json, message};

use super::spelling::{self, Unspellable};
use super::{Capabilities, QUESTIONS_MAX};

/// Gives ids of our own. Driven from outside because ids need randomness and name the session's home.
pub trait Mint {
    /// The JSON-RPC id of a question.
    fn question(&mut self) -> String;
    /// The `elicitationId` of a URL elicitation.
    fn elicitation(&mut self) -> String;
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Form,
    Url,
    Sampling,
    Roots,
}

/// A question that was sent and waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The server's key, raw with its quotes.
    pub(super) key: Vec<u8>,
    pub(super) ask: Ask,
    /// Our JSON-RPC id.
    pub(super) id: String,
    /// The synthesised `elicitationId`.
    pub(super) elicitation: Option<String>,
    /// The whole request.
    pub(super) message: Vec<u8>,
    /// The client's answer, raw JSON, once it is there.
    pub(super) answer: Option<Vec<u8>>,
}

/// Why a round cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unaskable {
    /// The client did not declare this.
    Undeclared(Capabilities),
    /// The client has no URL mode; this is what a person would have been shown.
    Url { url: String, message: String },
    /// The client's revision has no words for this.
    Unspellable(String),
    /// The server broke the protocol.
    Malformed(&'static str),
}

impl From<Unspellable> for Unaskable {
    fn from(Unspellable(what): Unspellable) -> Self {
        Self::Unspellable(what)
    }
}

/// Reads `inputRequests` into questions for a client of `revision` that declared `can`.
pub(super) fn read(
    src: &[u8],
    requests: &Object,
    revision: &Revision,
    can: Capabilities,
    mint: &mut dyn Mint,
) -> Result<Vec<Open>, Unaskable> {
    if requests.members.len() > QUESTIONS_MAX {
        return Err(Unaskable::Malformed("asked too many questions at once"));
    }
    let mut open = Vec::with_capacity(requests.members.len());
    for member in &requests.members {
        let request = Object::read(src, member.value.span)
            .filter(|_| member.value.kind == Kind::Object)
            .ok_or(Unaskable::Malformed("asked a question that is not an object"))?;
        let method = request.get(src, "method").and_then(|v| v.str(src)).unwrap_or_default();
        let params = request
            .get(src, "params")
            .filter(|v| v.kind == Kind::Object)
            .map(|v| v.span);
        let ask = classify(src, Method::parse(&method), params)?;
        permitted(src, ask, params, can)?;
        let id = mint.question();
        let elicitation = (ask == Ask::Url).then(|| mint.elicitation());
        let raw = params.map_or(&b"{}"[..], |span| span.of(src));
        let params = match ask {
            Ask::Form => spelling::form(raw, revision)?,
            Ask::Url => spelling::url(raw, elicitation.as_deref().unwrap_or_default()),
            Ask::Sampling => spelling::sampling(raw, revision, can),
            Ask::Roots => raw.to_vec(),
        };
        open.push(Open {
            key: [b"\"", member.key.of(src), b"\""].concat(),
            ask,
            message: message::request(&json::quote(&id), &method, &params),
            id,
            elicitation,
            answer: None,
        });
    }
    Ok(open)
}

fn classify(src: &[u8], method: Method, params: Option<Span>) -> Result<Ask, Unaskable> {
    match method {
        Method::RootsList => Ok(Ask::Roots),
        Method::SamplingCreate if params.is_some() => Ok(Ask::Sampling),
        Method::ElicitationCreate if params.is_some() => {
            let mode = params.and_then(|p| meshgate_mcp::lookup(src, p, &["mode"]));
            match mode.and_then(|m| m.str(src)).as_deref() {
                None | Some("form") => Ok(Ask::Form),
                Some("url") => Ok(Ask::Url),
                Some(_) => Err(Unaskable::Malformed("asked for an elicitation of an unknown mode")),
            }
        }
        Method::SamplingCreate | Method::ElicitationCreate => {
            Err(Unaskable::Malformed("asked a question without parameters"))
        }
        _ => Err(Unaskable::Malformed(
            "asked a question that is not an elicitation, sampling or roots request",
        )),
    }
}

fn permitted(src: &[u8], ask: Ask, params: Option<Span>, can: Capabilities) -> Result<(), Unaskable> {
    let member = |name: &str| params.and_then(|p| meshgate_mcp::lookup(src, p, &[name]));
    let needs = match ask {
        Ask::Form => Capabilities::ELICITATION_FORM,
        Ask::Roots => Capabilities::ROOTS,
        Ask::Url if can.contains(Capabilities::ELICITATION_URL) => return Ok(()),
        Ask::Url => {
            let text = |name: &str| {
                member(name)
                    .and_then(|v| v.str(src).map(String::from))
                    .unwrap_or_default()
            };
            let (url, message) = (text("url"), text("message"));
            return Err(if is_page(&url) {
                Unaskable::Url { url, message }
            } else {
                Unaskable::Malformed("asked to open an address that is no http or https page")
            });
        }
        Ask::Sampling if !can.contains(Capabilities::SAMPLING) => Capabilities::SAMPLING,
        Ask::Sampling => {
            let params = params.and_then(|params| Object::read(src, params));
            if params.is_some_and(|params| spelling::speaks_of_tools(src, &params)) {
                Capabilities::SAMPLING_TOOLS
            } else {
                Capabilities::SAMPLING
            }
        }
    };
    if can.contains(needs) {
        Ok(())
    } else {
        Err(Unaskable::Undeclared(needs))
    }
}

/// Whether a person may be told in words to open it: nothing that a browser would run.
fn is_page(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http"))
}
