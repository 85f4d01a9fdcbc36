//! One call of a legacy client while it runs.
//!
//! A legacy client that disconnects has not cancelled: the call goes on, and its stream waits on the shelf. Whether the response becomes one JSON body or a stream is decided as late as possible: by
//! the first thing that has to be said.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt;
use meshgate_bridge::lower::{Ending, Question, Rounds, Step, read_inside};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::errors::error_message;
use super::outbox::{Outbox, Reader};
use super::session::{CallId, ClientAnswer, Fate, Session};
use super::{Dispatch, Ids, Inner, Inward};
use crate::call::{Answered, Told};
use crate::observe::CallRecord;
use crate::refusal::{Executed, Reason, Refusal};
use crate::respond::caught;

/// The first thing a call has to say decides the form of its response.
pub(super) enum First {
    /// The answer, and nothing before it.
    Answer(Bytes),
    /// It was refused.
    Refused(Refusal),
    /// Something before the answer: the stream is open, with its reader.
    Stream(Option<Reader>),
    /// Nothing for long.
    Silence,
}

/// Where a call speaks before its answer. Most have no need to, so it is opened by the first who has.
pub(super) struct Line {
    inner: Arc<Inner>,
    outbox: OnceLock<Arc<Outbox>>,
}

impl Line {
    /// A line of its own, or one that a batch shares.
    pub(super) fn new(inner: &Arc<Inner>, shared: Option<&Arc<Outbox>>) -> Self {
        let outbox = OnceLock::new();
        if let Some(shared) = shared {
            shared.join();
            outbox.get_or_init(|| Arc::clone(shared));
        }
        Self {
            inner: Arc::clone(inner),
            outbox,
        }
    }

    pub(super) fn open(&self, session: &Session) -> Arc<Outbox> {
        let new = || self.inner.new_stream(session.next_stream(), session.revision);
        Arc::clone(self.outbox.get_or_init(new))
    }
}

/// A call and what it needs to run.
pub(super) struct Running {
    pub(super) registered: Registered,
    pub(super) session: Arc<Session>,
    pub(super) raw_id: Vec<u8>,
    pub(super) method: meshgate_mcp::Method,
    pub(super) dispatch: Dispatch,
    pub(super) line: Arc<Line>,
    /// Whether the client reads streams; one that does not gets the answer alone.
    pub(super) streams: bool,
    /// Whether the client's request holds a name that a URI can stand under.
    pub(super) uris: bool,
    pub(super) first: Option<oneshot::Sender<First>>,
    pub(super) fate: Arc<Fate>,
    /// The record of a call in a batch: the stream is not its own, so it counts what it says itself.
    pub(super) record: Option<CallRecord>,
}

/// How a call ended.
struct Finished {
    before: Vec<Vec<u8>>,
    answer: Bytes,
}

/// How a round ended.
enum Turn {
    /// With something to do.
    Step(Step),
    /// With the answer, in the client's words.
    Answer(Bytes),
}

impl Running {
    /// Runs the call to its end.
    pub(super) async fn run(mut self, mut rounds: Rounds) {
        let fate = Arc::clone(&self.fate);
        let driven = caught(async {
            tokio::select! {
                biased;
                () = fate.sealed() => Ok(None),
                driven = self.drive(&mut rounds) => driven.map(Some),
            }
        });
        let ended = match driven.await {
            Ok(Some(finished)) => Ok(finished),
            Ok(None) => finished(rounds.end(self.fate.why())),
            Err(refusal) => Err(refusal),
        };
        // Before the answer is out: a client may reuse the id as soon as it reads it.
        self.registered.end();
        match ended {
            Ok(finished) => self.finish(finished).await,
            Err(refusal) => self.refuse(refusal).await,
        }
        if let Some(outbox) = self.line.outbox.get() {
            outbox.done();
            self.session
                .finished_stream(self.line.inner.limits.finished_streams_max);
        }
    }

    /// Round by round, until there is an answer.
    async fn drive(&mut self, rounds: &mut Rounds) -> Result<Finished, Refusal> {
        let mut request = rounds.request();
        loop {
            let turn = self.round(rounds, request).await.map_err(|refusal| Refusal {
                // Whatever is refused now, the rounds before have reached the server.
                executed: if rounds.round() > 1 {
                    Executed::Unknown
                } else {
                    refusal.executed
                },
                ..refusal
            })?;
            let step = match turn {
                Turn::Step(Step::Ask(questions)) => self.ask(rounds, questions).await,
                Turn::Step(step) => step,
                Turn::Answer(answer) => {
                    let before = rounds.before_answer();
                    return Ok(Finished { before, answer });
                }
            };
            match step {
                Step::Retry(next) => request = next.into(),
                Step::Done { before, answer } => {
                    let answer = answer.into();
                    return Ok(Finished { before, answer });
                }
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
    async fn round(&mut self, rounds: &mut Rounds, request: Bytes) -> Result<Turn, Refusal> {
        let inward = Inward {
            body: request,
            revision: self.session.revision,
            // Answers of the client may be in it from the second round on.
            uris: self.uris || rounds.round() > 1,
        };
        match (self.dispatch)(inward).await? {
            Answered::One(told) => match self.read(rounds, told)? {
                Turn::Step(Step::Pass(_) | Step::Quiet) => Err(broken("the server's answer is not a response")),
                turn => Ok(turn),
            },
            Answered::Stream(mut telling) => {
                while let Some(told) = telling.next().await {
                    match self.read(rounds, told?)? {
                        Turn::Step(Step::Pass(notice)) => self.say(&notice).await,
                        Turn::Step(Step::Quiet) => {}
                        turn => return Ok(turn),
                    }
                }
                Err(broken("the server's answer broke off before its response"))
            }
        }
    }

    fn read(&mut self, rounds: &mut Rounds, told: Told) -> Result<Turn, Refusal> {
        if matches!(told, Told::Lowered(_)) {
            return Ok(Turn::Answer(told.into_bytes()));
        }
        let bytes = told.into_bytes();
        let msg = read_inside(&bytes).ok_or_else(|| broken("the server's answer is not a JSON-RPC message"))?;
        let step = rounds.message(&bytes, &msg, &mut Ids(Arc::clone(&self.line.inner)));
        Ok(Turn::Step(step))
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
        let Some(outbox) = self.line.outbox.get().filter(|_| self.streams) else {
            // Gone before it heard anything, so it will never know what to come back to.
            return rounds.end(Ending::Away);
        };
        let limits = &self.line.inner.limits;
        let until = Instant::now() + limits.answer_max;
        loop {
            let step = tokio::select! {
                biased;
                answer = answered.recv() => match answer {
                    Some(answer) => rounds.answered(&answer.id, &answer.body, &answer.message),
                    None => return rounds.end(Ending::Away),
                },
                () = outbox.abandoned(limits.reattach_max) => return rounds.end(Ending::Away),
                () = tokio::time::sleep_until(until) => return rounds.end(Ending::Unanswered),
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
            let opened = self.line.outbox.get().is_some();
            // Attached before anything is said, so that a burst of notifications finds a reader to wait for.
            let reader = self.line.open(&self.session).attach();
            if first.send(First::Stream(reader)).is_err() && !opened {
                self.streams = false;
                return;
            }
        }
        self.push(message).await;
    }

    async fn push(&self, message: &[u8]) {
        let Some(outbox) = self.line.outbox.get().filter(|_| self.streams) else {
            return;
        };
        if let Some(record) = &self.record {
            record.leaves(message.len());
        }
        outbox.push(message).await;
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
        self.push(&answer).await;
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
        self.push(&error).await;
    }
}

fn finished(step: Step) -> Result<Finished, Refusal> {
    match step {
        Step::Done { before, answer } => Ok(Finished {
            before,
            answer: answer.into(),
        }),
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

/// A call's id in its session; free again when the call ends, however it ends, or it could never be used again.
pub(super) struct Registered(Option<(Arc<Session>, CallId)>);

impl Registered {
    pub(super) fn new(session: &Arc<Session>, id: CallId) -> Self {
        Self(Some((Arc::clone(session), id)))
    }

    fn end(&mut self) {
        if let Some((session, id)) = self.0.take() {
            session.end_call(&id);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.end();
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
