//! The input loop of one call: a legacy client sees one request and one answer, the server behind sees rounds.
//!
//! A modern server that needs something answers `input_required` and forgets the call; a legacy client expects a
//! question while its request is open. [`Rounds`] stands between: it is fed every message that comes back for the call
//! and every answer the client gives, and says what to do next. It never runs a call twice by itself: a retry is made
//! only of a round that the server ended with `input_required`, with exactly the state that the server gave.

use bytes::Bytes;
use meshgate_mcp::{Envelope, Kind, Message, Method, Object, Revision, again, codes, json, message, meta};

use super::questions::{self, Ask, Mint, Open, Unaskable};
use super::stamp::retry;
use super::{ANSWERS_BYTES_MAX, Capabilities, Progress, ROUNDS_MAX, lower_answer, lower_notice};
use crate::eras::cannot;

/// A question for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its JSON-RPC id, by which the client's answer is recognised.
    pub id: String,
    /// The whole request.
    pub message: Vec<u8>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this notification to the client.
    Pass(Vec<u8>),
    /// Nothing.
    Quiet,
    /// Send these requests to the client and wait for all their answers.
    Ask(Vec<Question>),
    /// Send this request inside; a new round begins.
    Retry(Vec<u8>),
    /// Send these notifications and then the answer; the call is over.
    Done {
        /// What the client should hear before the answer.
        before: Vec<Vec<u8>>,
        /// The answer.
        answer: Vec<u8>,
    },
}

/// Why a call ends although nobody answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client cancelled it, or its session is over.
    Cancelled,
    /// Its time is over.
    Deadline,
    /// A question waits for a client that has gone away.
    Away,
    /// A question has waited for as long as the server's state is good for.
    Unanswered,
}

impl Ending {
    const fn said(self) -> (i64, &'static str, &'static str) {
        match self {
            Self::Cancelled => (
                codes::INTERNAL_ERROR,
                "cancelled",
                "the call was cancelled by the client",
            ),
            Self::Deadline => (
                codes::INTERNAL_ERROR,
                "deadline",
                "the call was not answered before the deadline",
            ),
            Self::Away => (
                codes::INTERNAL_ERROR,
                "unbridgeable",
                "the client went away while the server waited for its answer",
            ),
            Self::Unanswered => (
                codes::INTERNAL_ERROR,
                "deadline",
                "the client did not answer the server's question in time; call again",
            ),
        }
    }
}

/// One call of a legacy client.
#[derive(Debug)]
pub struct Rounds {
    method: Method,
    revision: &'static Revision,
    can: Capabilities,
    /// The request as it went inside in the first round.
    stamped: Bytes,
    /// The client's id, raw.
    id: Vec<u8>,
    round: u32,
    progress: Progress,
    open: Vec<Open>,
    /// What the answers of this round take.
    answers_bytes: usize,
    /// The server's state for the next round, raw.
    state: Option<Vec<u8>>,
    /// URL elicitations that the client accepted.
    accepted: Vec<String>,
}

impl Rounds {
    /// A call whose modern form is `stamped`, with the client's `id` as raw JSON.
    pub fn new(method: Method, revision: &'static Revision, can: Capabilities, id: Vec<u8>, stamped: Vec<u8>) -> Self {
        Self {
            method,
            revision,
            can,
            stamped: stamped.into(),
            id,
            round: 1,
            progress: Progress::default(),
            open: Vec::new(),
            answers_bytes: 0,
            state: None,
            accepted: Vec::new(),
        }
    }

    /// The request of the first round.
    pub fn request(&self) -> Bytes {
        self.stamped.clone()
    }

    /// The round that runs, from 1.
    pub const fn round(&self) -> u32 {
        self.round
    }

    /// A message that came back for this call.
    pub fn message(&mut self, src: &[u8], msg: &Message, mint: &mut dyn Mint) -> Step {
        match msg.envelope {
            Envelope::Notification => self.notice(src, msg),
            // A modern server has no requests to make; one that does gets no answer and the client never sees it.
            Envelope::Request => Step::Quiet,
            Envelope::Error => {
                // Nobody knows what became of the pages that were opened.
                self.accepted.clear();
                self.done(lower_answer(src, msg, self.method, self.revision))
            }
            Envelope::Result => match msg.body.as_ref().filter(|body| wants_input(src, body)) {
                Some(body) => self.input_required(src, body, mint),
                None => self.done(lower_answer(src, msg, self.method, self.revision)),
            },
        }
    }

    fn notice(&mut self, src: &[u8], msg: &Message) -> Step {
        let is_progress = msg
            .method
            .and_then(|m| m.str(src))
            .is_some_and(|m| Method::parse(&m) == Method::Progress);
        let lowered = if is_progress {
            self.progress.renumber(src, msg)
        } else {
            lower_notice(src, msg)
        };
        lowered.map_or(Step::Quiet, Step::Pass)
    }

    fn input_required(&mut self, src: &[u8], body: &Object, mint: &mut dyn Mint) -> Step {
        if !self.method.row().rounds {
            return self.fail(cannot::UNPLACED.words);
        }
        if self.round >= ROUNDS_MAX {
            return self.fail(&format!("the server asked for input in more than {ROUNDS_MAX} rounds"));
        }
        self.state = body
            .get(src, "requestState")
            .filter(|v| v.kind == Kind::String)
            .map(|v| v.raw(src).to_vec());
        let requests = body
            .get(src, "inputRequests")
            .filter(|v| v.kind == Kind::Object)
            .and_then(|v| Object::read(src, v.span))
            .filter(|requests| !requests.members.is_empty());
        match requests {
            None if self.state.is_none() => self.fail("the server asked for input without saying which"),
            None => self.next_round(None),
            Some(requests) => match questions::read(src, &requests, self.revision, self.can, mint) {
                Ok(open) => {
                    let asked = |q: &Open| Question {
                        id: q.id.clone(),
                        message: q.message.clone(),
                    };
                    let questions = open.iter().map(asked).collect();
                    self.open = open;
                    Step::Ask(questions)
                }
                Err(why) => self.unaskable(why),
            },
        }
    }

    fn unaskable(&mut self, why: Unaskable) -> Step {
        match why {
            Unaskable::Undeclared(what) => self.undeclared(what),
            Unaskable::Unspellable(what) => self.fail(&cannot::UNSPELLABLE.say(&[&what, self.revision.name])),
            Unaskable::Malformed(what) => self.fail(&format!("the server {what}")),
            Unaskable::Url { url, message } => {
                let text = cannot::URL_IN_WORDS.say(&[&message, &url]);
                if self.method == Method::ToolsCall {
                    self.tool_error(&text)
                } else {
                    self.fail(&text)
                }
            }
        }
    }

    /// What the client should hear before an answer that is in its own words already; the call is over.
    pub fn before_answer(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.accepted)
            .iter()
            .map(|id| complete(id))
            .collect()
    }

    /// The client's answer to the question `id`. An answer nobody waits for changes nothing.
    pub fn answered(&mut self, id: &str, src: &[u8], msg: &Message) -> Step {
        let Some(question) = self.open.iter_mut().find(|q| q.id == id && q.answer.is_none()) else {
            return Step::Quiet;
        };
        let result = msg
            .root
            .get(src, "result")
            .filter(|v| v.kind == Kind::Object)
            .map(|v| v.raw(src).to_vec());
        // Whatever it says, this question has been answered and is not taken back any more.
        question.answer = Some(Vec::new());
        self.answers_bytes += result.as_ref().map_or(0, Vec::len);
        if self.answers_bytes > ANSWERS_BYTES_MAX {
            let text = format!("the client's answers of one round are longer than {ANSWERS_BYTES_MAX} bytes together");
            return self.fail(&text);
        }
        match (result, question.ask) {
            (Some(result), ask) => {
                if ask == Ask::Url && accepts(&result) {
                    self.accepted.extend(question.elicitation.clone());
                }
                question.answer = Some(result);
            }
            (None, Ask::Form | Ask::Url) => question.answer = Some(br#"{"action":"cancel"}"#.to_vec()),
            (None, ask) => {
                let said = msg
                    .body
                    .as_ref()
                    .and_then(|b| b.get(src, "message"))
                    .and_then(|m| m.str(src));
                let what = if ask == Ask::Sampling {
                    "sampling"
                } else {
                    "listing roots"
                };
                return self.fail(&format!(
                    "the client refused {what}: {}",
                    said.as_deref().unwrap_or("no reason given")
                ));
            }
        }
        if self.open.iter().any(|q| q.answer.is_none()) {
            return Step::Quiet;
        }
        let responses = responses(&self.open);
        self.next_round(Some(responses))
    }

    /// Ends the call from outside.
    pub fn end(&mut self, why: Ending) -> Step {
        self.fail_with(why.said(), None)
    }

    fn next_round(&mut self, responses: Option<Vec<u8>>) -> Step {
        self.open.clear();
        self.answers_bytes = 0;
        self.round += 1;
        self.progress.next_round();
        let state = self.state.take();
        match retry(&self.stamped, responses.as_deref(), state.as_deref()) {
            Some(request) => Step::Retry(request),
            None => self.fail("the next round of the call could not be built"),
        }
    }

    fn done(&mut self, answer: Vec<u8>) -> Step {
        Step::Done {
            before: self.before_answer(),
            answer,
        }
    }

    fn fail(&mut self, why: &str) -> Step {
        self.fail_with((codes::INTERNAL_ERROR, "unbridgeable", why), None)
    }

    /// Legacy has no code of its own for this; what a modern client would be told is kept beside it.
    fn undeclared(&mut self, what: Capabilities) -> Step {
        let name = what.name();
        let why = cannot::UNDECLARED.say(&[name]);
        let inner = name
            .rsplit('.')
            .fold("{}".to_owned(), |inner, name| format!("{{\"{name}\":{inner}}}"));
        let member = format!("\"requiredCapabilities\":{inner}");
        self.fail_with(
            (codes::INVALID_PARAMS, "missing_capability", &why),
            Some(member.as_bytes()),
        )
    }

    /// An error of our own. Questions that are still open are taken back first.
    fn fail_with(&mut self, (code, reason, why): (i64, &str, &str), member: Option<&[u8]>) -> Step {
        let unanswered = self.open.drain(..).filter(|q| q.answer.is_none());
        let before = unanswered.map(|q| taken_back(&q.id)).collect();
        self.accepted.clear();
        let mut data = b"{".to_vec();
        if let Some(member) = member {
            data.extend_from_slice(member);
            data.push(b',');
        }
        json::push_quoted(&mut data, meta::VENDOR_REFUSAL);
        data.extend_from_slice(br#":{"by":"gateway","reason":"#);
        json::push_quoted(&mut data, reason);
        data.extend_from_slice(br#","executed":"unknown"}}"#);
        Step::Done {
            before,
            answer: message::error(Some(&self.id), code, why, Some(&data)),
        }
    }

    /// A failure that the model should read and act on.
    fn tool_error(&mut self, text: &str) -> Step {
        let mut result = br#"{"content":[{"type":"text","text":"#.to_vec();
        json::push_quoted(&mut result, text);
        result.extend_from_slice(br#"}],"isError":true}"#);
        let answer = message::result(&self.id, &result);
        self.done(answer)
    }
}

/// A page that was opened has served its purpose.
fn complete(id: &str) -> Vec<u8> {
    let mut params = br#"{"elicitationId":"#.to_vec();
    json::push_quoted(&mut params, id);
    params.push(b'}');
    message::notification(Method::ElicitationComplete.as_str(), Some(&params))
}

fn taken_back(id: &str) -> Vec<u8> {
    let mut params = br#"{"requestId":"#.to_vec();
    json::push_quoted(&mut params, id);
    params.extend_from_slice(br#","reason":"the call that asked is over"}"#);
    message::notification(Method::Cancelled.as_str(), Some(&params))
}

fn wants_input(src: &[u8], body: &Object) -> bool {
    body.get(src, "resultType").and_then(|v| v.str(src)).as_deref() == Some("input_required")
}

fn accepts(result: &[u8]) -> bool {
    let end = u32::try_from(result.len()).unwrap_or(u32::MAX);
    let action = meshgate_mcp::lookup(result, meshgate_mcp::Span { start: 0, end }, &["action"]);
    action.and_then(|v| v.str(result)).as_deref() == Some("accept")
}

fn responses(open: &[Open]) -> Vec<u8> {
    let mut out = Vec::new();
    for question in open {
        out.push(if out.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(&question.key);
        out.push(b':');
        out.extend_from_slice(question.answer.as_deref().unwrap_or(b"{}"));
    }
    out.push(b'}');
    out
}

/// The id of a client's answer, when it is one of the strings we give.
pub fn answer_id(src: &[u8], msg: &Message) -> Option<String> {
    msg.id
        .filter(|id| id.kind == Kind::String)
        .and_then(|id| id.str(src))
        .map(std::borrow::Cow::into_owned)
}

/// Reads a message from inside, where everything has been scanned; a message that is not one is worth nothing to a client.
pub fn read_inside(src: &[u8]) -> Option<Box<Message>> {
    again(src, true)
}
