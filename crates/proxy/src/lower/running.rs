//! One call of a legacy client while it runs.
//!
//! It runs as a task of its own because a legacy client that disconnects has not cancelled: the call goes on, and its
//! stream waits on the shelf. Whether the response becomes one JSON body or a stream is decided as late as possible: by
//! the first thing that has to be said.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use meshgate_bridge::lower::{Ending, Mint, Question, Rounds, Step, read_inside};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Dispatch;
use super::errors::error_message;
use super::limits::SessionLimits;
use super::outbox::Outbox;
use super::session::{CallId, ClientAnswer, Session};
use crate::call::Reply;
use crate::refusal::{Executed, Reason, Refusal};
use crate::respond::caught;

/// The first thing a call has to say decides the form of its response.
pub(super) enum First {
    /// The answer, and nothing before it.
    Answer(Vec<u8>),
    /// It was refused.
    Refused(Refusal),
    /// Something before the answer: the stream is open.
    Stream,
}

/// A call and what it needs to run.
pub(super) struct Running {
    pub(super) session: Arc<Session>,
    pub(super) id: CallId,
    pub(super) raw_id: Vec<u8>,
    pub(super) method: meshgate_mcp::Method,
    pub(super) dispatch: Dispatch,
    pub(super) outbox: Arc<Outbox>,
    /// Whether the client reads streams; one that does not gets the answer alone.
    pub(super) streams: bool,
    pub(super) first: Option<oneshot::Sender<First>>,
    pub(super) cancelled: CancellationToken,
    pub(super) limits: Arc<SessionLimits>,
    pub(super) mint: Box<dyn Mint + Send>,
}

/// How a call ended.
struct Finished {
    before: Vec<Vec<u8>>,
    answer: Vec<u8>,
}

impl Running {
    /// Runs the call to its end.
    pub(super) async fn run(mut self, mut rounds: Rounds) {
        let registered = Registered {
            session: Arc::clone(&self.session),
            id: self.id.clone(),
        };
        let deadline = Instant::now() + self.limits.call_max;
        let cancelled = self.cancelled.clone();
        let driven = caught(async {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => None,
                driven = self.drive(&mut rounds) => Some(driven),
                () = tokio::time::sleep_until(deadline) => Some(finished(rounds.end(Ending::Deadline))),
            }
            .transpose()
        });
        let ended = match driven.await {
            Ok(Some(finished)) => Ok(finished),
            Ok(None) => finished(rounds.end(Ending::Cancelled)),
            Err(refusal) => Err(refusal),
        };
        // Before the answer is out: a client may reuse the id as soon as it reads it.
        drop(registered);
        match ended {
            Ok(finished) => self.finish(finished).await,
            Err(refusal) => self.refuse(refusal).await,
        }
        self.outbox.close();
    }

    /// Round by round, until there is an answer.
    async fn drive(&mut self, rounds: &mut Rounds) -> Result<Finished, Refusal> {
        let mut request = rounds.request();
        loop {
            let mut step = self.round(rounds, request).await?;
            if let Step::Ask(questions) = step {
                step = self.ask(rounds, questions).await;
            }
            match step {
                Step::Retry(next) => request = next.into(),
                Step::Done { before, answer } => return Ok(Finished { before, answer }),
                Step::Pass(_) | Step::Quiet | Step::Ask(_) => {
                    return Err(Refusal::server(
                        Reason::Internal,
                        Executed::Unknown,
                        "the call lost its way",
                    ));
                }
            }
        }
    }

    /// Sends the request of one round inside and reads what comes back, up to its response.
    async fn round(&mut self, rounds: &mut Rounds, request: Bytes) -> Result<Step, Refusal> {
        match (self.dispatch)(request).await? {
            Reply::One(message) => match self.read(rounds, &message)? {
                Step::Pass(_) | Step::Quiet => Err(broken("the server's answer is not a response")),
                step => Ok(step),
            },
            Reply::Stream(mut messages) => {
                while let Some(item) = messages.next().await {
                    match self.read(rounds, &item?)? {
                        Step::Pass(notice) => self.say(&notice).await,
                        Step::Quiet => {}
                        step => return Ok(step),
                    }
                }
                Err(broken("the server's answer broke off before its response"))
            }
        }
    }

    fn read(&mut self, rounds: &mut Rounds, bytes: &[u8]) -> Result<Step, Refusal> {
        let msg = read_inside(bytes).ok_or_else(|| broken("the server's answer is not a JSON-RPC message"))?;
        Ok(rounds.message(bytes, &msg, &mut *self.mint))
    }

    /// Asks the client, and waits until all is answered or the client stays away.
    async fn ask(&mut self, rounds: &mut Rounds, questions: Vec<Question>) -> Step {
        let (answers, mut answered) = mpsc::channel::<ClientAnswer>(questions.len().max(1));
        let asked = Asked {
            session: Arc::clone(&self.session),
            ids: questions.iter().map(|q| q.id.clone()).collect(),
        };
        for id in &asked.ids {
            self.session.ask(id, answers.clone());
        }
        drop(answers);
        for question in &questions {
            self.say(&question.message).await;
        }
        loop {
            let answer = tokio::select! {
                biased;
                answer = answered.recv() => answer,
                () = self.outbox.abandoned(self.limits.reattach_max) => None,
            };
            let step = match answer {
                Some(answer) => rounds.answered(&answer.id, &answer.body, &answer.message),
                None => return rounds.end(Ending::Away),
            };
            if step != Step::Quiet {
                return step;
            }
        }
    }

    /// Says something before the answer, which makes the response a stream.
    async fn say(&mut self, message: &[u8]) {
        if !self.streams {
            return;
        }
        if let Some(first) = self.first.take() {
            // Nobody there to hear it: the stream is open already, or the client is gone and may come back.
            let _gone = first.send(First::Stream);
        }
        self.outbox.push(message).await;
    }

    async fn finish(&mut self, finished: Finished) {
        if self.streams {
            for notice in &finished.before {
                self.say(notice).await;
            }
        }
        let mut answer = finished.answer;
        if let Some(first) = self.first.take() {
            match first.send(First::Answer(answer)) {
                Err(First::Answer(unsent)) => answer = unsent,
                _ => return,
            }
        }
        self.outbox.push(&answer).await;
    }

    async fn refuse(&mut self, refusal: Refusal) {
        let mut refusal = refusal;
        if let Some(first) = self.first.take() {
            match first.send(First::Refused(refusal)) {
                Err(First::Refused(unsent)) => refusal = unsent,
                _ => return,
            }
        }
        let error = error_message(&self.raw_id, &refusal, self.method, self.session.revision);
        self.outbox.push(&error).await;
    }
}

fn finished(step: Step) -> Result<Finished, Refusal> {
    match step {
        Step::Done { before, answer } => Ok(Finished { before, answer }),
        _ => Err(Refusal::server(
            Reason::Internal,
            Executed::Unknown,
            "the call lost its way",
        )),
    }
}

fn broken(what: &'static str) -> Refusal {
    Refusal::server(Reason::ServerBroken, Executed::Unknown, what)
}

/// A call's id in its session; dropped with the call, however it ends, or the id could never be used again.
struct Registered {
    session: Arc<Session>,
    id: CallId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.session.end_call(&self.id);
    }
}

/// Open questions; dropped with the call, however it ends.
struct Asked {
    session: Arc<Session>,
    ids: Vec<String>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.session.forget_questions(&self.ids);
    }
}
