//! What really happened, and what must not have.
//!
//! Every actor writes here, and nobody reads but the judge: servers write executions, questions and answers, clients what
//! they were told. What must never be is noted the moment it is seen; what must be in the end is asked at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// The longest that a question may wait for its answer: the life of a parked call, and some for the way. Nobody in a world
/// keeps a question open by coming back without its answer for longer than that.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(330);

/// A question that is cancelled with its call within this time needs no answer of its own.
const GATHER_MAX: Duration = Duration::from_secs(1);

/// Why a retry is turned away before anybody has looked for its call: the call may wait on.
const UNREAD: [&str; 5] = [
    "invalid_params",
    "not_found",
    "rate_limited",
    "overloaded",
    "unauthenticated",
];

/// What a client was told in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The result of its call.
    Done,
    /// A refusal of the first request, with what it says of the execution.
    Refused { executed: String, reason: String },
    /// A refusal of a retry.
    RetryRefused { executed: String, reason: String },
    /// The server's own error or `isError`.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Answered,
    /// The server is dead.
    Moot,
    /// The call was cancelled when the question had been open for this long.
    Cancelled(Duration),
}

struct Question {
    session: String,
    key: String,
    asked: Instant,
    standing: Standing,
}

#[derive(Default)]
struct Pages {
    began: Option<Instant>,
    executions: BTreeMap<String, Vec<String>>,
    questions: BTreeMap<String, Question>,
    told: BTreeMap<String, Vec<Told>>,
    open_exchanges: BTreeMap<String, usize>,
    open_sessions: BTreeMap<String, ()>,
    wrong: Vec<String>,
    trace: Vec<(u128, String, String)>,
    counts: BTreeMap<&'static str, u64>,
}

/// The book of one world.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Pages>>);

impl Book {
    /// Begins to count time.
    pub(crate) fn begin(&self) {
        self.0.lock().began = Some(Instant::now());
    }

    /// One line of the story.
    pub(crate) fn note(&self, who: &str, what: impl Into<String>) {
        let mut pages = self.0.lock();
        let at = pages.began.map_or(0, |began| began.elapsed().as_millis());
        pages.trace.push((at, who.to_owned(), what.into()));
    }

    /// Something that must not be.
    pub(crate) fn wrong(&self, what: impl Into<String>) {
        let what = what.into();
        self.note("WRONG", what.clone());
        self.0.lock().wrong.push(what);
    }

    /// Counts something, so that a campaign shows what it has seen.
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.lock().counts.entry(what).or_default() += 1;
    }

    /// A server runs a call.
    pub(crate) fn executed(&self, session: &str, key: &str) {
        self.note(session, format!("runs {key}"));
        self.count("executions");
        let times = {
            let mut pages = self.0.lock();
            let runs = pages.executions.entry(key.to_owned()).or_default();
            runs.push(session.to_owned());
            runs.len()
        };
        if times > 1 {
            self.wrong(format!("{key} ran {times} times"));
        }
    }

    /// A server asks.
    pub(crate) fn asked(&self, session: &str, id: &str, key: &str, kind: &str) {
        self.note(session, format!("asks {kind} for {key}"));
        self.count("questions");
        let question = Question {
            session: session.to_owned(),
            key: key.to_owned(),
            asked: Instant::now(),
            standing: Standing::Open,
        };
        self.0.lock().questions.insert(format!("{session} {id}"), question);
    }

    /// Something came back for a question. Whether the server still waits for it.
    pub(crate) fn answered(&self, session: &str, id: &str) -> bool {
        let (verdict, late) = {
            let mut pages = self.0.lock();
            match pages.questions.get_mut(&format!("{session} {id}")) {
                None => (
                    Err(format!(
                        "{session} got an answer to a question `{id}` that it never asked"
                    )),
                    None,
                ),
                Some(question) => {
                    let was = std::mem::replace(&mut question.standing, Standing::Answered);
                    let waited = question.asked.elapsed();
                    let late = (waited > ANSWER_MAX).then(|| format!("{session} waited {waited:?} for an answer"));
                    match was {
                        Standing::Open => (Ok(true), late),
                        Standing::Moot | Standing::Cancelled(_) => (Ok(false), None),
                        Standing::Answered => (Err(format!("{session} got a second answer to `{id}`")), None),
                    }
                }
            }
        };
        if let Some(late) = late {
            self.wrong(late);
        }
        verdict.unwrap_or_else(|what| {
            self.wrong(what);
            false
        })
    }

    /// Nobody waits any more for what this session has asked.
    pub(crate) fn moot(&self, session: &str) {
        self.put_off(session, None, |_| Standing::Moot);
    }

    /// The gateway has cancelled a call, which does not excuse it from answering what was asked in it.
    pub(crate) fn cancelled(&self, session: &str, key: &str) {
        self.put_off(session, Some(key), |question| {
            Standing::Cancelled(question.asked.elapsed())
        });
    }

    fn put_off(&self, session: &str, key: Option<&str>, to: impl Fn(&Question) -> Standing) {
        for question in self.0.lock().questions.values_mut() {
            let ours = question.session == session && key.is_none_or(|key| key == question.key);
            if ours && question.standing == Standing::Open {
                question.standing = to(question);
            }
        }
    }

    /// A session or process of a server begins.
    pub(crate) fn opened(&self, session: &str) {
        self.note(session, "opens");
        self.count("sessions");
        self.0.lock().open_sessions.insert(session.to_owned(), ());
    }

    /// A session or process of a server has ended.
    pub(crate) fn closed(&self, session: &str) {
        if self.0.lock().open_sessions.remove(session).is_some() {
            self.note(session, "ends");
        }
        self.moot(session);
    }

    /// An exchange of a client begins.
    pub(crate) fn exchange(&self, who: &str) -> OpenExchange {
        *self.0.lock().open_exchanges.entry(who.to_owned()).or_default() += 1;
        OpenExchange {
            book: self.clone(),
            who: who.to_owned(),
        }
    }

    /// What a client was told of a call.
    pub(crate) fn told(&self, who: &str, key: &str, told: Told) {
        self.note(who, format!("is told of {key}: {told:?}"));
        self.count(match &told {
            Told::Done => "results",
            Told::Failed(_) => "errors of servers",
            Told::Refused { .. } => "refusals",
            Told::RetryRefused { reason, .. } if reason == "parked_call_gone" => "retries of calls that are gone",
            Told::RetryRefused { .. } => "refused retries",
        });
        self.0.lock().told.entry(key.to_owned()).or_default().push(told);
    }

    /// What must hold when everything has ended. `alive` says that servers may still have sessions open.
    pub(crate) fn judge(&self) {
        let mut found = Vec::new();
        {
            let pages = self.0.lock();
            for (key, told) in &pages.told {
                let ran = pages.executions.get(key).map_or(0, Vec::len);
                let done = told.iter().filter(|told| **told == Told::Done).count();
                if done > 0 && ran == 0 {
                    found.push(format!("{key} has a result and never ran"));
                }
                if done > 1 {
                    found.push(format!("the result of {key} was handed out {done} times"));
                }
                let denied = told
                    .iter()
                    .any(|told| matches!(told, Told::Refused { executed, .. } if executed == "no"));
                if denied && ran > 0 {
                    found.push(format!("{key} ran, and its caller was told that it had not"));
                }
                // A retry may be turned away unread; what became of the call is another matter.
                let denied = told.iter().any(|told| match told {
                    Told::RetryRefused { executed, reason } => executed == "no" && !UNREAD.contains(&reason.as_str()),
                    _ => false,
                });
                if denied && ran > 0 {
                    found.push(format!("{key} ran, and its caller was told at a retry that it had not"));
                }
            }
            for (id, question) in &pages.questions {
                match question.standing {
                    Standing::Open => found.push(format!("question `{id}` for {} was never answered", question.key)),
                    Standing::Cancelled(waited) if waited > GATHER_MAX => {
                        let key = &question.key;
                        found.push(format!(
                            "{key} was cancelled after {waited:?} and `{id}` never answered"
                        ));
                    }
                    _ => {}
                }
            }
            for (who, count) in &pages.open_exchanges {
                if *count > 0 {
                    found.push(format!("{count} exchanges of {who} never ended"));
                }
            }
        }
        for what in found {
            self.wrong(what);
        }
    }

    /// When the gateway has ended, every process and session of servers must have.
    pub(crate) fn judge_sessions(&self) {
        let open: Vec<String> = self.0.lock().open_sessions.keys().cloned().collect();
        for session in open {
            self.wrong(format!("{session} was left behind"));
        }
    }

    /// What was wrong.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.0.lock().wrong.clone()
    }

    /// The story, in the order in which it was told.
    pub(crate) fn story(&self) -> Vec<String> {
        let trace = self.0.lock().trace.clone();
        trace
            .into_iter()
            .map(|(at, who, what)| format!("{:>9.3} s  {who:<12} {what}", at as f64 / 1000.0))
            .collect()
    }

    /// What happened how often.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().counts.clone()
    }
}

/// An exchange that has not ended.
pub(crate) struct OpenExchange {
    book: Book,
    who: String,
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        if let Some(count) = self.book.0.lock().open_exchanges.get_mut(&self.who) {
            *count = count.saturating_sub(1);
        }
    }
}
