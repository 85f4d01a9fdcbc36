//! `e2e`: what a caller is told against what really ran, with whole processes that die at the worst moment.
//!
//! The ledger fixture writes one line for each execution before it answers. Whatever happens around that moment, a call
//! must not run twice, and an answer must not claim more than anybody can know.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Failure, gateway::Gateway, http, place::Place, steps::Steps};

pub(crate) mod asked;

const VIEW: &str = "/mcp";
/// What the committed file says, replaced by this run's.
const LEDGER: &str = "/srv/ledger.txt";
const FIRST_ARGUMENT: &str = r#"["--ledger""#;
const LEGACY_ARGUMENTS: &str = r#"["--era", "legacy", "--ledger""#;
const DESCENDANTS_END_MAX: Duration = Duration::from_secs(5);

type Case = fn(&mut Scene) -> Result<(), Failure>;

const CASES: &[(&str, Case)] = &[
    ("a call without a token is refused and does not run", without_token),
    ("a call runs once and says so", fast),
    (
        "a server that dies before the execution: not run, and the caller is told so or that it is unknown",
        crash_before,
    ),
    (
        "a server that dies after the execution: run once, and the caller is told that it is unknown",
        crash_after,
    ),
    ("a server that hangs: run once, given up at the deadline", hang),
    ("a server that babbles: run once, answered", babble),
    (
        "a server that writes garbage: run once, and the caller is told that it is unknown",
        garbage,
    ),
    ("a gateway told to stop finishes the call first", stop),
    ("a killed gateway leaves no descendant", kill),
];

/// A gateway in front of a fresh ledger.
struct Scene {
    gateway: Gateway,
    token: String,
    ledger: PathBuf,
}

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut steps = Steps::default();
    for (number, (name, case)) in CASES.iter().enumerate() {
        steps.run(name, || case(&mut Scene::open(place, &format!("e2e-{number}"))?));
    }
    for (number, (name, case)) in asked::CASES.iter().enumerate() {
        let label = format!("e2e-asked-{number}");
        steps.run(name, || case(place, &label, &mut Scene::open_legacy(place, &label)?));
    }
    steps.finish()
}

impl Scene {
    fn open(place: &Place, name: &str) -> Result<Self, Failure> {
        Self::open_with(place, name, &[])
    }

    /// In front of a ledger of the legacy era, which may ask.
    fn open_legacy(place: &Place, name: &str) -> Result<Self, Failure> {
        Self::open_with(place, name, &[(FIRST_ARGUMENT, LEGACY_ARGUMENTS)])
    }

    fn open_with(place: &Place, name: &str, more: &[(&str, &str)]) -> Result<Self, Failure> {
        let ledger = place.scratch(name)?.join("ledger.txt");
        let path = ledger.to_string_lossy().into_owned();
        let replaced = [&[(LEDGER, path.as_str())], more].concat();
        let mut gateway = Gateway::start(place, name, "tests/e2e/mesh.yaml", &replaced)?;
        let token = gateway.token()?;
        gateway.wait_for_tools(VIEW, Some(&token), &["append"])?;
        Ok(Self { gateway, token, ledger })
    }

    /// Calls the ledger's tool in one of its modes; what comes back is the whole HTTP answer.
    fn append(&self, mode: &str) -> String {
        let arguments = format!(r#"{{"key":"{mode}","mode":"{mode}"}}"#);
        http::call_tool(self.gateway.authority(), VIEW, Some(&self.token), "append", &arguments)
    }

    fn ran(&self) -> usize {
        fs::read_to_string(&self.ledger).map_or(0, |text| text.lines().count())
    }

    /// The call ran this often, and its answer has one of these texts.
    fn expect(&self, answer: &str, ran: usize, told: &[&str]) -> Result<(), Failure> {
        if self.ran() != ran {
            return Err(format!("ran {} times instead of {ran}; answer: {answer}", self.ran()));
        }
        let fits = told.iter().any(|told| answer.contains(told));
        if fits {
            Ok(())
        } else {
            Err(format!("expected one of {told:?} in the answer: {answer}"))
        }
    }
}

pub(crate) const UNKNOWN: &str = r#""executed":"unknown""#;
const NOT_RUN: &str = r#""executed":"no""#;

fn without_token(scene: &mut Scene) -> Result<(), Failure> {
    let answer = http::call_tool(scene.gateway.authority(), VIEW, None, "append", r#"{"key":"a"}"#);
    scene.expect(&answer, 0, &["HTTP/1.1 401 "])
}

fn fast(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("fast");
    scene.expect(&answer, 1, &["appended fast"])
}

fn crash_before(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("crash-before");
    scene.expect(&answer, 0, &[UNKNOWN, NOT_RUN])
}

fn crash_after(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("crash-after");
    scene.expect(&answer, 1, &[UNKNOWN])?;
    // The next call meets a new process, and the lost one is not made up for.
    scene.gateway.wait_for_tools(VIEW, Some(&scene.token), &["append"])?;
    let start = Instant::now();
    let mut answer = scene.append("fast");
    while !answer.contains("appended fast") && start.elapsed() < Duration::from_secs(20) {
        scene.expect(&answer, 1, &[NOT_RUN])?;
        std::thread::sleep(Duration::from_millis(200));
        answer = scene.append("fast");
    }
    scene.expect(&answer, 2, &["appended fast"])
}

fn hang(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("hang");
    scene.expect(&answer, 1, &[UNKNOWN])
}

fn babble(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("babble");
    scene.expect(&answer, 1, &["appended babble"])
}

fn garbage(scene: &mut Scene) -> Result<(), Failure> {
    let answer = scene.append("garbage");
    scene.expect(&answer, 1, &[UNKNOWN])
}

fn stop(scene: &mut Scene) -> Result<(), Failure> {
    let authority = scene.gateway.authority().to_owned();
    let token = scene.token.clone();
    let arguments = r#"{"key":"slow","mode":"slow:1500"}"#;
    let caller = std::thread::spawn(move || http::call_tool(&authority, VIEW, Some(&token), "append", arguments));
    wait_until("the execution", Duration::from_secs(5), || scene.ran() == 1)?;
    let status = scene.gateway.end("-TERM")?;
    let answer = caller.join().map_err(|_| "the caller's thread ended early")?;
    scene.expect(&answer, 1, &["appended slow"])?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the gateway ended with {status}"))
    }
}

fn kill(scene: &mut Scene) -> Result<(), Failure> {
    if processes_with(&scene.ledger) == 0 {
        return Err("the server does not run, so nothing can be shown".to_owned());
    }
    scene.gateway.end("-KILL")?;
    wait_until("the end of every descendant", DESCENDANTS_END_MAX, || {
        processes_with(&scene.ledger) == 0
    })
}

/// Processes that have this path among their arguments.
fn processes_with(path: &Path) -> usize {
    arguments_with(path).len()
}

/// The ids and arguments of processes that have this path among them.
pub(crate) fn arguments_with(path: &Path) -> Vec<(u32, String)> {
    let path = path.to_string_lossy();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let arguments = fs::read(entry.path().join("cmdline")).ok()?;
            Some((id, String::from_utf8_lossy(&arguments).into_owned()))
        })
        .filter(|(_, arguments)| arguments.contains(&*path))
        .collect()
}

fn wait_until(what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if holds() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("no sign of {what} within {} s", limit.as_secs()))
}
