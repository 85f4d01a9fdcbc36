//! A call that asks in the middle, and whoever holds it dies between the question and the answer.
//!
//! The one promise is that the ledger never shows two executions, and that the caller hears that it cannot be known
//! whether there was one. What is lost is told, and not made up for.

use std::{process::Command, time::Duration};

use super::{Scene, UNKNOWN, VIEW, arguments_with, processes_with, wait_until};
use crate::{Failure, http, place::Place};

type Case = fn(&Place, &str, &mut Scene) -> Result<(), Failure>;

pub(super) const CASES: &[(&str, Case)] = &[
    ("a call that asks runs once, when it is answered", answered),
    (
        "a gateway killed between execution and answer: run once, the retry is told that it is unknown",
        killed_after_the_execution,
    ),
    (
        "a gateway killed between question and execution: not run, the retry is told that it is unknown",
        killed_before_the_execution,
    ),
    (
        "a gateway told to stop between question and execution: the server hears a no, and it does not run",
        stopped_before_the_execution,
    ),
    (
        "a server killed between execution and answer: run once, the retry is told that it is unknown",
        server_killed,
    ),
];

pub(crate) const RUN_THEN_ASK: &str = "run-then-ask";
pub(crate) const ASK_THEN_RUN: &str = "ask-then-run";
pub(crate) const GONE: &str = r#""reason":"parked_call_gone""#;
const END_MAX: Duration = Duration::from_secs(10);

/// What a client holds while it is asked.
pub(crate) struct Question {
    arguments: String,
    key: String,
    state: String,
}

impl Question {
    /// Makes a call that asks, under a key of this name.
    pub(crate) fn ask(authority: &str, token: &str, mode: &str) -> Result<Self, Failure> {
        let arguments = format!(r#""arguments":{{"key":"{mode}","mode":"{mode}"}}"#);
        let answer = http::call_tool_asked(authority, VIEW, token, "append", &arguments);
        let text = |before: &str| -> Result<String, Failure> {
            let found = answer.split_once(before).and_then(|(_, rest)| rest.split_once('"'));
            let (text, _) = found.ok_or_else(|| format!("no {before} in the answer: {answer}"))?;
            Ok(text.to_owned())
        };
        if !answer.contains(r#""resultType":"input_required""#) {
            return Err(format!("the call was not asked about: {answer}"));
        }
        Ok(Self {
            key: text(r#""inputRequests":{""#)?,
            state: text(r#""requestState":""#)?,
            arguments,
        })
    }

    /// Comes back with a yes.
    pub(crate) fn answer(&self, authority: &str, token: &str) -> String {
        let Self { arguments, key, state } = self;
        let answers = format!(r#""inputResponses":{{"{key}":{{"action":"accept","content":{{}}}}}}"#);
        let params = format!(r#"{arguments},{answers},"requestState":"{state}""#);
        http::call_tool_asked(authority, VIEW, token, "append", &params)
    }
}

impl Scene {
    /// Makes a call that asks.
    fn ask(&self, mode: &str) -> Result<Question, Failure> {
        Question::ask(self.gateway.authority(), &self.token, mode)
    }

    /// Comes back with a yes.
    fn answer(&self, question: &Question) -> String {
        question.answer(self.gateway.authority(), &self.token)
    }

    /// The retry is refused as of a call that is gone, twice, and has run as often as said.
    fn expect_gone(&self, question: &Question, ran: usize) -> Result<(), Failure> {
        for _ in 0..2 {
            let answer = self.answer(question);
            self.expect(&answer, ran, &[UNKNOWN])?;
            self.expect(&answer, ran, &[GONE])?;
        }
        Ok(())
    }

    fn come_back(&mut self, place: &Place, name: &str) -> Result<(), Failure> {
        wait_until("the end of every descendant", END_MAX, || {
            processes_with(&self.ledger) == 0
        })?;
        self.gateway.start_again(place, name)?;
        self.gateway.wait_for_tools(VIEW, Some(&self.token), &["append"])
    }
}

fn answered(_: &Place, _: &str, scene: &mut Scene) -> Result<(), Failure> {
    let question = scene.ask(ASK_THEN_RUN)?;
    if scene.ran() != 0 {
        return Err("the call ran before it was answered".to_owned());
    }
    let answer = scene.answer(&question);
    scene.expect(&answer, 1, &["appended ask-then-run"])?;
    scene.expect_gone(&question, 1)?;
    let question = scene.ask(RUN_THEN_ASK)?;
    let answer = scene.answer(&question);
    scene.expect(&answer, 2, &["appended run-then-ask"])
}

fn killed_after_the_execution(place: &Place, name: &str, scene: &mut Scene) -> Result<(), Failure> {
    let question = scene.ask(RUN_THEN_ASK)?;
    scene.gateway.end("-KILL")?;
    scene.come_back(place, name)?;
    scene.expect_gone(&question, 1)?;
    // The one that took its place works as any.
    let question = scene.ask(ASK_THEN_RUN)?;
    let answer = scene.answer(&question);
    scene.expect(&answer, 2, &["appended ask-then-run"])
}

fn killed_before_the_execution(place: &Place, name: &str, scene: &mut Scene) -> Result<(), Failure> {
    let question = scene.ask(ASK_THEN_RUN)?;
    scene.gateway.end("-KILL")?;
    scene.come_back(place, name)?;
    scene.expect_gone(&question, 0)
}

fn stopped_before_the_execution(place: &Place, name: &str, scene: &mut Scene) -> Result<(), Failure> {
    let question = scene.ask(ASK_THEN_RUN)?;
    let status = scene.gateway.end("-TERM")?;
    if !status.success() {
        return Err(format!("the gateway ended with {status}"));
    }
    scene.come_back(place, name)?;
    scene.expect_gone(&question, 0)
}

fn server_killed(_: &Place, _: &str, scene: &mut Scene) -> Result<(), Failure> {
    let question = scene.ask(RUN_THEN_ASK)?;
    // The server's own processes, and not those that supervise them.
    let servers: Vec<u32> = arguments_with(&scene.ledger)
        .into_iter()
        .filter(|(_, arguments)| arguments.starts_with("fixture-ledger") || arguments.contains("/fixture-ledger\0--"))
        .filter(|(_, arguments)| !arguments.contains("supervise-child"))
        .map(|(id, _)| id)
        .collect();
    if servers.is_empty() {
        return Err("no process of the server is found".to_owned());
    }
    for id in &servers {
        let killed = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        killed.map_err(|e| format!("cannot start kill: {e}"))?;
    }
    let gone = |id: &u32| !arguments_with(&scene.ledger).iter().any(|(running, _)| running == id);
    wait_until("the end of the server's processes", END_MAX, || {
        servers.iter().all(gone)
    })?;
    let answer = scene.answer(&question);
    scene.expect(&answer, 1, &[UNKNOWN])?;
    scene.expect_gone(&question, 1)?;
    scene.gateway.wait_for_tools(VIEW, Some(&scene.token), &["append"])
}
