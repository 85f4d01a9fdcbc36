//! What really ran, and what callers were told, when somebody is killed in the middle of it.
//!
//! Two sidecars stand beside two instances of a server that writes down each execution before it answers, each into a
//! book of its own; so it can be seen from both ends who was lost with whom. Nothing may run twice, and nobody may be told
//! more than anybody can know.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use super::{
    Found,
    scene::{Scene, Stage, TOKEN, mesh_of_one},
};
use crate::{
    Failure,
    e2e::{
        UNKNOWN, arguments_with,
        asked::{ASK_THEN_RUN, GONE, Question, RUN_THEN_ASK},
    },
    http,
};

const VIEW: &str = "/mcp";
const SIDECARS: [&str; 2] = ["l1", "l2"];
const GATEWAYS: [&str; 2] = ["g1", "g2"];
/// Calls at once. No more can be lost with an instance than one of each caller.
const CALLERS: usize = 8;
/// How long an instance holds a call after it ran, so that a kill finds some: in its arguments.
const HELD: &str = "slow:40";
const RESTART_MAX: Duration = Duration::from_secs(30);

/// The mesh of these drills.
struct Ledgers<'a> {
    scene: Scene<'a>,
    gateways: [String; 2],
}

impl<'a> Ledgers<'a> {
    fn open(stage: &'a Stage<'a>, era: &str) -> Result<Self, Failure> {
        let mut scene = Scene::new(stage)?;
        scene.control()?;
        scene.apply(&mesh_of_one("ledger"))?;
        for name in SIDECARS {
            let book = scene.folder.join(format!("{name}.book")).display().to_string();
            let arguments = ["--era", era, "--ledger", &book];
            scene.sidecar_with(name, "ledger", "fixture-ledger", &arguments)?;
        }
        for name in GATEWAYS {
            scene.gateway(name)?;
            scene.ready_with(name, &["append"])?;
        }
        scene.all_up(SIDECARS.len() + GATEWAYS.len())?;
        let gateways = [scene.authority("g1")?, scene.authority("g2")?];
        Ok(Self { scene, gateways })
    }

    fn book(&self, sidecar: &str) -> PathBuf {
        self.scene.folder.join(format!("{sidecar}.book"))
    }

    /// What an instance has run, by its keys.
    fn ran(&self, sidecar: &str) -> Vec<String> {
        let text = fs::read_to_string(self.book(sidecar)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ran_in_all(&self) -> usize {
        SIDECARS.iter().map(|sidecar| self.ran(sidecar).len()).sum()
    }

    /// Kills an instance of the server itself, and not who supervises it.
    fn kill_instance(&self, sidecar: &str) -> Result<(), Failure> {
        let found = arguments_with(&self.book(sidecar)).into_iter();
        let own: Vec<u32> = found
            .filter(|(_, arguments)| {
                arguments
                    .split('\0')
                    .next()
                    .is_some_and(|program| program.ends_with("fixture-ledger"))
            })
            .map(|(id, _)| id)
            .collect();
        let [id] = own.as_slice() else {
            return Err(format!("{} processes of the instance beside {sidecar}", own.len()));
        };
        let killed = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        killed.map(drop).map_err(|e| format!("cannot start kill: {e}"))
    }

    fn expect_ran(&self, count: usize) -> Result<(), Failure> {
        let ran = self.ran_in_all();
        if ran == count {
            Ok(())
        } else {
            Err(format!("{ran} executions in the books instead of {count}"))
        }
    }
}

/// A call, its answer, and the part of the drill in which it was answered.
struct Called {
    key: String,
    answer: String,
    part: usize,
}

/// Callers that append without a pause, each with a key of its own for each call.
struct Appending {
    part: Arc<AtomicUsize>,
    calls: Receiver<Called>,
    callers: Vec<JoinHandle<()>>,
}

const OVER: usize = usize::MAX;

impl Appending {
    fn start(gateways: &[String; 2]) -> Self {
        let (made, calls) = channel();
        let mut load = Self {
            part: Arc::default(),
            calls,
            callers: Vec::new(),
        };
        for caller in 0..CALLERS {
            let (part, made) = (load.part.clone(), made.clone());
            let gateways = gateways.clone();
            load.callers.push(std::thread::spawn(move || {
                for (number, gateway) in gateways.iter().cycle().skip(caller % 2).enumerate() {
                    let key = format!("{caller}-{number}");
                    let arguments = format!(r#"{{"key":"{key}","mode":"{HELD}"}}"#);
                    let answer = http::call_tool(gateway, VIEW, Some(TOKEN), "append", &arguments);
                    let part = part.load(Ordering::SeqCst);
                    if made.send(Called { key, answer, part }).is_err() || part == OVER {
                        break;
                    }
                }
            }));
        }
        load
    }

    /// The next part begins.
    fn next(&self) {
        self.part.fetch_add(1, Ordering::SeqCst);
    }

    fn end(mut self) -> Result<Vec<Called>, Failure> {
        let last = self.part.swap(OVER, Ordering::SeqCst);
        for caller in self.callers.drain(..) {
            caller.join().map_err(|_| "a caller has panicked")?;
        }
        let mut calls: Vec<Called> = self.calls.try_iter().collect();
        for call in calls.iter_mut().filter(|call| call.part == OVER) {
            call.part = last;
        }
        Ok(calls)
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        self.part.store(OVER, Ordering::SeqCst);
    }
}

/// One instance of two is killed under load, and then the sidecar of it: what was there is lost and nothing else.
pub(super) fn killed_instance(stage: &Stage<'_>) -> Found {
    let mut ledgers = Ledgers::open(stage, "both")?;
    let load = Appending::start(&ledgers.gateways);
    sleep(stage.under_load / 6);
    load.next();
    ledgers.kill_instance("l1")?;
    sleep(stage.under_load / 6);
    let before = ledgers.ran("l1").len();
    ledgers
        .scene
        .wait("the instance that was started again", RESTART_MAX, |scene| {
            fs::read_to_string(scene.folder.join("l1.book")).is_ok_and(|text| text.lines().count() > before)
        })?;
    load.next();
    ledgers.scene.kill("l1")?;
    sleep(stage.under_load / 6);
    let calls = load.end()?;
    let lost = [1, 2].map(|part| lost_in(&ledgers, &calls, part));
    let [instance, sidecar] = lost;
    let (instance, sidecar) = (instance?, sidecar?);
    if let Some(early) = calls.iter().find(|call| call.part == 0 && !is_appended(call)) {
        return Err(format!("a call failed before anybody was killed: {}", early.answer));
    }
    Ok(format!(
        "{} calls of {CALLERS} callers: {instance} lost with the instance, {sidecar} with the sidecar, each told `executed: unknown`; \
         every other call ran once, and none ran twice",
        calls.len()
    ))
}

fn is_appended(call: &Called) -> bool {
    call.answer.starts_with("HTTP/1.1 200") && call.answer.contains(&format!("appended {}", call.key))
}

/// How many calls were lost in one part, when all of it is as it must be.
fn lost_in(ledgers: &Ledgers<'_>, calls: &[Called], part: usize) -> Result<usize, Failure> {
    let (killed, other) = (ledgers.ran("l1"), ledgers.ran("l2"));
    let mut lost = 0;
    for call in calls.iter().filter(|call| call.part == part) {
        let times = |book: &[String]| book.iter().filter(|key| **key == call.key).count();
        let (here, there) = (times(&killed), times(&other));
        match is_appended(call) {
            true if here + there == 1 => {}
            // Whoever was not on the one that was killed has nothing to be told but its result.
            false if there == 0 && here <= 1 && call.answer.contains(UNKNOWN) => lost += 1,
            _ => {
                return Err(format!(
                    "call {} ran {here} times where one was killed and {there} times beside it, and was told: {}",
                    call.key, call.answer
                ));
            }
        }
    }
    match lost {
        0 => Err("nothing was in flight on the one that was killed, so nothing is shown".to_owned()),
        1..=CALLERS => Ok(lost),
        more => Err(format!(
            "{more} calls were lost, and only {CALLERS} can have been in flight"
        )),
    }
}

/// A gateway is killed between a question and its answer, then whoever holds the call.
pub(super) fn killed_between(stage: &Stage<'_>) -> Found {
    let mut ledgers = Ledgers::open(stage, "legacy")?;
    let [first, second] = ledgers.gateways.clone();
    let question = Question::ask(&first, TOKEN, ASK_THEN_RUN)?;
    ledgers.expect_ran(0)?;
    ledgers.scene.kill("g1")?;
    let answer = question.answer(&second, TOKEN);
    if !answer.contains("appended ask-then-run") {
        return Err(format!(
            "the call was not completed through the other gateway: {answer}"
        ));
    }
    ledgers.expect_ran(1)?;
    ledgers.scene.gateway("g1")?;
    ledgers.scene.ready_with("g1", &["append"])?;

    let before = SIDECARS.map(|sidecar| ledgers.ran(sidecar).len());
    let question = Question::ask(&second, TOKEN, RUN_THEN_ASK)?;
    let grew = |(sidecar, before): (&&'static str, usize)| (ledgers.ran(sidecar).len() > before).then_some(*sidecar);
    let owner = SIDECARS
        .iter()
        .zip(before)
        .find_map(grew)
        .ok_or("no book shows the call")?;
    ledgers.scene.kill(owner)?;
    for gateway in [&second, &first, &second] {
        told_gone(&question.answer(gateway, TOKEN))?;
    }
    ledgers.expect_ran(2)?;

    // The one that is left holds the next, which has not run when it dies.
    let question = Question::ask(&first, TOKEN, ASK_THEN_RUN)?;
    for sidecar in SIDECARS.iter().filter(|sidecar| **sidecar != owner) {
        ledgers.scene.kill(sidecar)?;
    }
    for gateway in [&first, &second] {
        // That there is nobody left at all may be what it is told.
        let answer = question.answer(gateway, TOKEN);
        if !answer.contains(UNKNOWN) {
            return Err(format!(
                "nobody can know whether it ran, and the retry is told: {answer}"
            ));
        }
    }
    ledgers.expect_ran(2)?;
    Ok(
        "a gateway killed: completed through the other, run once; the owner killed after the execution: the retry is told that it is \
         gone and unknown, run once; the owner killed before: told unknown, not run"
            .to_owned(),
    )
}

fn told_gone(answer: &str) -> Result<(), Failure> {
    if answer.contains(GONE) && answer.contains(UNKNOWN) {
        Ok(())
    } else {
        Err(format!("the retry is not told that its call is gone: {answer}"))
    }
}

/// One legacy session of a client, called through both replicas; then its home is killed.
pub(super) fn one_session(stage: &Stage<'_>) -> Found {
    let mut ledgers = Ledgers::open(stage, "both")?;
    let [home, other] = ledgers.gateways.clone();
    let session = initialize(&home)?;
    let mut made = 0;
    for (number, gateway) in [&home, &other].into_iter().cycle().take(40).enumerate() {
        append(gateway, &session, number)?;
        made += 1;
    }
    ledgers.expect_ran(made)?;
    ledgers.scene.kill("g1")?;
    let began = Instant::now();
    let answer = call(&other, &session, made);
    if !answer.starts_with("HTTP/1.1 404") {
        return Err(format!("a session without a home is not told to begin anew: {answer}"));
    }
    let took = began.elapsed();
    ledgers.expect_ran(made)?;
    let session = initialize(&other)?;
    append(&other, &session, made)?;
    ledgers.expect_ran(made + 1)?;
    Ok(format!(
        "{made} calls of one session through two gateways by turns, each run once; its home killed: told to begin anew after {} ms \
         (404, not run), and a new session goes on",
        took.as_millis()
    ))
}

/// Begins a session at a gateway; its id.
fn initialize(gateway: &str) -> Result<String, Failure> {
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"drill","version":"1"}}}"#;
    let answer = http::legacy(gateway, VIEW, TOKEN, None, body);
    let id = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("mcp-session-id")
            .then(|| value.trim().to_owned())
    });
    let id = id.ok_or(format!("no session began: {answer}"))?;
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = http::legacy(gateway, VIEW, TOKEN, Some(&id), body);
    if answer.starts_with("HTTP/1.1 202") {
        Ok(id)
    } else {
        Err(format!("`initialized` was not taken: {answer}"))
    }
}

fn call(gateway: &str, session: &str, number: usize) -> String {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"append","arguments":{{"key":"s{number}"}}}}}}"#,
        number + 1
    );
    http::legacy(gateway, VIEW, TOKEN, Some(session), &body)
}

fn append(gateway: &str, session: &str, number: usize) -> Result<(), Failure> {
    let answer = call(gateway, session, number);
    if answer.contains(&format!("appended s{number}")) {
        Ok(())
    } else {
        Err(format!("call {number} through {gateway}: {answer}"))
    }
}
