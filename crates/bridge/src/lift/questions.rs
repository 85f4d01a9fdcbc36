//! What a legacy server asks in the middle of a call, as a modern client is asked it.
//!
//! A legacy server sends a request and waits; a modern client gets a result that asks, and answers with its next request.
//! In between the questions of a call are kept here: each under a fresh key, so that the answer to one can never be taken
//! for the answer to another, with the id under which the server waits.
//!
//! An answer goes to the server as the client wrote it. It is looked at only as far as the server would read it as
//! something else than an answer: then the client hears which key is wrong, and the server waits on.

use meshgate_mcp::{Envelope, Kind, Message, Method, Object, Revision, Span, Splice, codes, elements, json, lookup};
use meshgate_mcp::{message, meta};

use super::Unlifted;
use crate::Capabilities;
use crate::eras::cannot;

/// Questions of one call that may be open at once.
const QUESTIONS_MAX: usize = 32;
/// Bytes of the questions of one call that may be open at once.
const QUESTION_BYTES_MAX: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    Form,
    Url,
    Sampling,
    Roots,
}

/// One question of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The server's id, raw; `None` where it waits for no answer, only for the call to come again.
    id: Option<Box<[u8]>>,
    kind: Kinds,
    /// `{"method":…,"params":…}`.
    request: Vec<u8>,
    elicitation: Option<Box<str>>,
}

impl Question {
    /// Reads a request of the server; `None` when it is no question, or one that this client cannot be asked.
    pub fn read(src: &[u8], request: &Message, can: Capabilities) -> Option<Self> {
        let id = request.id.filter(|_| request.envelope == Envelope::Request)?;
        let params = request.body.as_ref().map(|params| params.span);
        Self::of(src, request.method_kind(src), params, can).map(|question| Self {
            id: Some(id.raw(src).into()),
            ..question
        })
    }

    /// Reads the pages that an error -32042 wants opened first; none when it is another error, or the client cannot be
    /// asked to open them.
    pub fn pages(src: &[u8], response: &Message, can: Capabilities) -> Vec<Self> {
        if response.error_code(src) != Some(codes::URL_ELICITATION_REQUIRED) {
            return Vec::new();
        }
        let error = response.body.as_ref();
        let list = error.and_then(|error| lookup(src, error.span, &["data", "elicitations"]));
        let pages = list.into_iter().flat_map(|list| elements(src, list.span));
        pages
            .filter_map(|page| Self::of(src, Method::ElicitationCreate, Some(page.span), can))
            .filter(|page| page.kind == Kinds::Url)
            .take(QUESTIONS_MAX)
            .collect()
    }

    fn of(src: &[u8], method: Method, params: Option<Span>, can: Capabilities) -> Option<Self> {
        let member = |name: &str| params.and_then(|params| lookup(src, params, &[name]));
        let text = |name: &str| member(name).and_then(|value| value.str(src));
        let (kind, needs) = match method {
            Method::RootsList => (Kinds::Roots, Capabilities::ROOTS),
            Method::SamplingCreate if params.is_none() => return None,
            Method::SamplingCreate if member("tools").or_else(|| member("toolChoice")).is_some() => {
                (Kinds::Sampling, Capabilities::SAMPLING_TOOLS)
            }
            Method::SamplingCreate => (Kinds::Sampling, Capabilities::SAMPLING),
            Method::ElicitationCreate if params.is_some() => match text("mode").as_deref() {
                None | Some("form") => (Kinds::Form, Capabilities::ELICITATION_FORM),
                Some("url") => (Kinds::Url, Capabilities::ELICITATION_URL),
                Some(_) => return None,
            },
            _ => return None,
        };
        if !can.contains(needs) {
            return None;
        }
        let elicitation = text("elicitationId").filter(|_| kind == Kinds::Url);
        Some(Self {
            id: None,
            kind,
            request: modern(src, method, params),
            elicitation: elicitation.map(|id| id.into()),
        })
    }

    /// What the server hears when nobody will answer any more.
    fn given_up(&self) -> Option<Vec<u8>> {
        let id = self.id.as_deref()?;
        Some(match self.kind {
            Kinds::Form | Kinds::Url => message::result(id, br#"{"action":"cancel"}"#),
            Kinds::Sampling | Kinds::Roots => {
                message::error(Some(id), cannot::GIVEN_UP.code(), cannot::GIVEN_UP.words, None)
            }
        })
    }

    /// The response for the server.
    fn answered(&self, value: &[u8], revision: &Revision) -> Option<Vec<u8>> {
        let id = self.id.as_deref()?;
        let Some(answer) = whole(value) else {
            return self.given_up();
        };
        let mut splice = Splice::new(value);
        splice.remove_named(&answer, "resultType");
        let content = answer
            .get(value, "content")
            .filter(|content| content.kind == Kind::Array);
        if let (Kinds::Sampling, false, Some(content)) = (self.kind, revision.sampling_tools, content) {
            let mut blocks = elements(value, content.span);
            let (Some(only), None) = (blocks.next(), blocks.next()) else {
                let why = cannot::SEVERAL_BLOCKS;
                return Some(message::error(Some(id), why.code(), why.words, None));
            };
            splice.replace(content.span, only.raw(value).to_vec());
        }
        Some(message::result(id, &splice.finish()))
    }

    /// Why `value` is no answer to this question.
    fn unusable(&self, value: &[u8]) -> Option<&'static str> {
        let Some(answer) = whole(value) else {
            return Some("must be an object");
        };
        let has = |name: &str, kinds: &[Kind]| {
            let member = answer.get(value, name);
            member.is_some_and(|member| kinds.contains(&member.kind))
        };
        match self.kind {
            Kinds::Form | Kinds::Url => {
                let action = answer.get(value, "action").and_then(|action| action.str(value));
                let known = matches!(action.as_deref(), Some("accept" | "decline" | "cancel"));
                (!known).then_some("must have `action`, one of accept, decline and cancel")
            }
            Kinds::Sampling if !has("role", &[Kind::String]) || !has("model", &[Kind::String]) => {
                Some("must have `role` and `model`, both strings")
            }
            Kinds::Sampling if !has("content", &[Kind::Object, Kind::Array]) => {
                Some("must have `content`, an object or an array")
            }
            Kinds::Roots if !has("roots", &[Kind::Array]) => Some("must have `roots`, an array"),
            Kinds::Sampling | Kinds::Roots => None,
        }
    }
}

/// The request as it stands in `inputRequests`: without what belongs to a session, to tasks of the client or to progress
/// that nobody will report.
fn modern(src: &[u8], method: Method, params: Option<Span>) -> Vec<u8> {
    let mut request = format!("{{\"method\":\"{}\"", method.as_str()).into_bytes();
    let raw = params.map(|params| params.of(src));
    if let Some((raw, object)) = raw.and_then(|raw| Some((raw, whole(raw)?))) {
        let mut splice = Splice::new(raw);
        splice.remove_named(&object, "elicitationId");
        splice.remove_named(&object, "task");
        if let Some(fields) = object
            .get(raw, "_meta")
            .and_then(|fields| Object::read(raw, fields.span))
        {
            splice.remove_named(&fields, meta::RELATED_TASK);
            splice.remove_named(&fields, meta::PROGRESS_TOKEN);
        }
        request.extend_from_slice(b",\"params\":");
        request.extend_from_slice(&splice.finish());
    }
    request.push(b'}');
    request
}

fn whole(src: &[u8]) -> Option<Object> {
    let end = u32::try_from(src.len()).ok()?;
    (src.first() == Some(&b'{')).then(|| Object::read(src, Span { start: 0, end }))?
}

/// What a client answers in one request: `inputResponses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<(Box<str>, Box<[u8]>)>);

impl Answers {
    pub(super) fn read(src: &[u8], answers: Option<&meshgate_mcp::Value>) -> Result<Self, Unlifted> {
        let Some(answers) = answers else {
            return Ok(Self::default());
        };
        let object = Object::read(src, answers.span).filter(|_| answers.kind == Kind::Object);
        let object = object.ok_or_else(|| {
            Unlifted::new(
                codes::INVALID_PARAMS,
                "`inputResponses` must be an object with an answer for each key",
            )
        })?;
        let members = object.members.iter();
        Ok(Self(
            members
                .map(|member| (member.name(src).into(), member.value.raw(src).into()))
                .collect(),
        ))
    }

    fn to(&self, key: &str) -> Option<&[u8]> {
        self.0
            .iter()
            .find(|(name, _)| **name == *key)
            .map(|(_, value)| &**value)
    }
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`inputResponses.{key}` {why}")]
pub struct Unusable {
    /// The key of the question.
    pub key: Box<str>,
    /// What an answer to it must be.
    pub why: &'static str,
}

/// The open questions of one call.
#[derive(Debug, Default)]
pub struct Asked {
    open: Vec<(Box<str>, Question)>,
    bytes: usize,
}

impl Asked {
    /// Adds a question under a key made of `entropy`. One that is over the limits comes back, as what the server hears.
    ///
    /// # Errors
    /// When as many questions are open as may be, or as many bytes of them.
    pub fn add(&mut self, question: Question, entropy: u64) -> Result<(), Vec<u8>> {
        let bytes = self.bytes.saturating_add(question.request.len());
        if self.open.len() >= QUESTIONS_MAX || bytes > QUESTION_BYTES_MAX {
            let why = "too many questions are open in this call: wait for their answers";
            let id = question.id.as_deref().unwrap_or(b"null");
            return Err(message::error(Some(id), codes::INTERNAL_ERROR, why, None));
        }
        let mut key = format!("q-{entropy:016x}");
        while self.open.iter().any(|(other, _)| **other == *key) {
            key.push('-');
        }
        self.bytes = bytes;
        self.open.push((key.into(), question));
        Ok(())
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Questions that are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// A `notifications/cancelled` of the server: it does not want that answer any more.
    pub fn withdraw(&mut self, src: &[u8], notice: &Message) {
        let Some(id) = notice.body_value(src, "requestId") else {
            return;
        };
        self.remove(|question| question.id.as_deref() == Some(id.raw(src)));
    }

    /// A `notifications/elicitation/complete` of the server: the person has done what the page was for, so the server
    /// need not wait for the client to say so. Answers what the server is told.
    pub fn complete(&mut self, src: &[u8], notice: &Message) -> Option<Vec<u8>> {
        let id = notice.body_value(src, "elicitationId")?.str(src)?;
        let done = self.remove(|question| question.id.is_some() && question.elicitation.as_deref() == Some(&*id))?;
        Some(message::result(done.id.as_deref()?, br#"{"action":"accept"}"#))
    }

    fn remove(&mut self, which: impl Fn(&Question) -> bool) -> Option<Question> {
        let at = self.open.iter().position(|(_, question)| which(question))?;
        let (_, question) = self.open.remove(at);
        self.bytes = self.bytes.saturating_sub(question.request.len());
        Some(question)
    }

    /// The response that asks the client: one key for each open question, and the state that finds the call again.
    pub fn result(&self, id: u64, state: &str) -> Vec<u8> {
        let mut result = br#"{"resultType":"input_required","inputRequests":{"#.to_vec();
        for (index, (key, question)) in self.open.iter().enumerate() {
            if index > 0 {
                result.push(b',');
            }
            json::push_quoted(&mut result, key);
            result.push(b':');
            result.extend_from_slice(&question.request);
        }
        result.extend_from_slice(br#"},"requestState":"#);
        json::push_quoted(&mut result, state);
        result.push(b'}');
        message::result(id.to_string().as_bytes(), &result)
    }

    /// Looks at the answers before any is used.
    ///
    /// # Errors
    /// When one of them is no answer to its question. Answers to what is not asked do not matter.
    pub fn check(&self, answers: &Answers) -> Result<(), Unusable> {
        for (key, question) in &self.open {
            if let Some(why) = answers.to(key).and_then(|value| question.unusable(value)) {
                return Err(Unusable { key: key.clone(), why });
            }
        }
        Ok(())
    }

    /// Takes the questions that are answered out; gives the responses for the server. What was not answered stays open.
    pub fn answer(&mut self, answers: &Answers, revision: &Revision) -> Vec<Vec<u8>> {
        let mut responses = Vec::new();
        self.open.retain(|(key, question)| match answers.to(key) {
            None => true,
            Some(value) => {
                responses.extend(question.answered(value, revision));
                false
            }
        });
        self.bytes = self.open.iter().map(|(_, question)| question.request.len()).sum();
        responses
    }

    /// Whether every page was agreed to that an error -32042 wanted opened; `None` while answers are missing.
    pub fn agreed(&self, answers: &Answers) -> Option<bool> {
        let mut all = true;
        for (key, _) in &self.open {
            let value = answers.to(key)?;
            let action = whole(value)?.get(value, "action").and_then(|action| action.str(value));
            all &= action.as_deref() == Some("accept");
        }
        Some(all)
    }

    /// Nobody will answer any more: what the server is told.
    pub fn give_up(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        let open = std::mem::take(&mut self.open);
        open.iter().filter_map(|(_, question)| question.given_up()).collect()
    }
}
