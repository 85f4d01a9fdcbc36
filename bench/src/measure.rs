//! One round of one target: started, looked at idle, warmed, loaded, filled with sessions and streams, ended.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Failure,
    fill::Words,
    load::Outcome,
    process::{self, Usage},
    requests::{Peer, Protocol, Workload},
    running::{Core, Running, tail},
    stats::Figure,
    target::Target,
    upstream::Ports,
    verify::verify,
};

const READY_MAX: Duration = Duration::from_secs(60);
const READY_PAUSE: Duration = Duration::from_millis(1);
/// What is freed late is not held for the sessions.
const SETTLE: Duration = Duration::from_millis(500);
const KIB: f64 = 1024.0;
/// Turns with and without a target that one figure of what it adds is the median of.
const ADDED_TURNS: u32 = 5;
/// What of a turn does not count: connections are opened and accepted then.
const OPENING_SECONDS: f64 = 0.1;
/// Of what a target can do, the most that the one rate for all may be.
const PACE_MOST: f64 = 0.8;

/// The figures of one round by name; see `report` for what they mean.
pub(crate) type Sample = BTreeMap<String, f64>;

/// How long and how much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) seconds: f64,
    pub(crate) warm_seconds: f64,
    pub(crate) connections: usize,
    pub(crate) rate: u32,
    pub(crate) sessions: usize,
    pub(crate) streams: usize,
    /// Turns of each gateway with a bad server and of those without.
    pub(crate) turns: u32,
    /// Whether it is also measured at half of what it can do.
    pub(crate) half: bool,
}

/// A target with everything it needs to be started again and again.
pub(crate) struct Bench<'a> {
    pub(crate) target: &'a Target,
    pub(crate) program: PathBuf,
    pub(crate) ourselves: PathBuf,
    pub(crate) words: Words,
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    pub(crate) plan: &'a Plan,
    pub(crate) upstream: u32,
    pub(crate) ports: &'a Ports,
    pub(crate) target_core: Core,
    pub(crate) other_core: Core,
}

impl Bench<'_> {
    /// Writes the target's files.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        self.prepare_with(&self.words)
    }

    /// Writes them with other words.
    pub(crate) fn prepare_with(&self, words: &Words) -> Result<(), Failure> {
        for (name, text) in &self.target.files {
            let path = self.directory.join(name);
            fs::write(&path, words.fill(text)?).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        Ok(())
    }

    /// Starts the target once and reads one answer of each workload in full.
    pub(crate) fn rehearse(&self) -> Result<(), Failure> {
        let (_running, peer, _) = self.start()?;
        for workload in &self.target.workloads {
            verify(&peer, *workload)?;
        }
        Ok(())
    }

    /// Calls a second at its best, found out once.
    pub(crate) fn capacity(&self) -> Result<f64, Failure> {
        let (_running, peer, _) = self.start()?;
        self.load(&peer, Workload::Echo, self.plan.warm_seconds, None)?;
        let outcome = self.load(&peer, Workload::Echo, self.plan.seconds, None)?;
        Ok(outcome.calls_per_second)
    }

    /// One round. `pace` is the one rate at which all are measured.
    pub(crate) fn round(&self, pace: Option<u32>) -> Result<Sample, Failure> {
        let mut sample = Sample::new();
        let (mut running, peer, cold) = self.start()?;
        sample.insert("cold_ms".to_owned(), cold.as_secs_f64() * 1000.0);
        std::thread::sleep(SETTLE);
        sample.insert("idle_mib".to_owned(), Usage::of(running.id())?.rss as f64 / KIB / KIB);
        self.load(&peer, Workload::Echo, self.plan.warm_seconds, None)?;
        for workload in Workload::ALL {
            if self.target.workloads.contains(&workload) {
                self.saturate(&peer, &running, workload, &mut sample)?;
            }
        }
        let steady = self.load(&peer, Workload::Echo, self.plan.seconds, Some(self.plan.rate))?;
        sample.insert("p50_us".to_owned(), steady.p50);
        sample.insert("p99_us".to_owned(), steady.p99);
        sample.insert("p999_us".to_owned(), steady.p999);
        let most = sample.get("echo_calls").copied().unwrap_or_default();
        if self.plan.half {
            self.added(&peer, ((most / 2.0) as u32).max(1), "added", &mut sample)?;
        }
        // One that hardly keeps up, or not at all, says nothing of what it adds.
        if let Some(rate) = pace.filter(|rate| f64::from(*rate) <= most * PACE_MOST) {
            self.added(&peer, rate, "paced", &mut sample)?;
        }
        running.is_alive()?;
        drop(running);
        if self.target.pipes {
            sample.insert("pipe_calls".to_owned(), self.pipe(1)?);
            sample.insert("pipe_full_calls".to_owned(), self.pipe(self.plan.connections)?);
        }
        if self.target.sessions && self.plan.sessions > 0 {
            self.hold(&mut sample)?;
        }
        for name in &self.target.discard {
            let _ = fs::remove_file(self.directory.join(name));
        }
        Ok(sample)
    }

    /// What the target adds to calls at this rate, over the same calls to its server alone: in short turns, one of each by
    /// one, so that whatever else the machine does meets both.
    fn added(&self, peer: &Peer, rate: u32, name: &str, sample: &mut Sample) -> Result<(), Failure> {
        let alone = Peer {
            address: ([127, 0, 0, 1], self.ports.wide).into(),
            path: "/mcp".to_owned(),
            token: None,
            ..peer.clone()
        };
        let seconds = self.plan.seconds / f64::from(ADDED_TURNS) + OPENING_SECONDS;
        let turn = |peer: &Peer| {
            let mut arguments = self.load_arguments(peer, Workload::Echo, seconds, Some(rate));
            arguments.push(format!("--warm={OPENING_SECONDS}"));
            self.outcome(Workload::Echo, &arguments)
        };
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..ADDED_TURNS {
            let (without, with) = (turn(&alone)?, turn(peer)?);
            p50.push(with.p50 - without.p50);
            p99.push(with.p99 - without.p99);
        }
        for (share, values) in [("p50", p50), ("p99", p99)] {
            let median = Figure::of(values).ok_or("no turns")?.median;
            sample.insert(format!("{name}_{share}_us"), median);
        }
        Ok(())
    }

    /// Starts the target and waits for its first right answer.
    pub(crate) fn start(&self) -> Result<(Running, Peer, Duration), Failure> {
        let arguments = self.target.command.iter().skip(1).map(|word| self.words.fill(word));
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let log = self.directory.join("log");
        let mut command = self.target_core.command(&self.program, &arguments);
        command.current_dir(&self.directory);
        let start = Instant::now();
        let mut running = Running::logged(command, &self.target.name, &log)?;
        let mut last = String::new();
        while start.elapsed() < READY_MAX {
            running.is_alive().map_err(|e| format!("{e}\n{}", tail(&log)))?;
            match self.peer().and_then(|peer| verify(&peer, Workload::Echo).map(|_| peer)) {
                Ok(peer) => return Ok((running, peer, start.elapsed())),
                Err(failure) => last = failure,
            }
            std::thread::sleep(READY_PAUSE);
        }
        Err(format!("{} is not ready: {last}\n{}", self.target.name, tail(&log)))
    }

    fn peer(&self) -> Result<Peer, Failure> {
        let token = match &self.target.token {
            None => None,
            Some(file) => {
                let path = self.directory.join(file);
                let text = fs::read_to_string(&path).map_err(|e| format!("no token in {}: {e}", path.display()))?;
                Some(text.trim().to_owned())
            }
        };
        Ok(Peer {
            address: ([127, 0, 0, 1], self.port).into(),
            path: self.target.path.clone(),
            token,
            protocol: self.target.protocol,
            server: 0,
        })
    }

    /// The most calls a second, and what one of them costs.
    fn saturate(&self, peer: &Peer, running: &Running, workload: Workload, sample: &mut Sample) -> Result<(), Failure> {
        process::forget_peak(running.id())?;
        let (target, upstream) = (Usage::of(running.id())?, Usage::of(self.upstream)?);
        let start = Instant::now();
        let outcome = self.load(peer, workload, self.plan.seconds, None)?;
        let elapsed = start.elapsed().as_secs_f64();
        let (target_after, upstream_after) = (Usage::of(running.id())?, Usage::of(self.upstream)?);
        let name = workload.name();
        if workload == Workload::Huge {
            let peak = process::peak(running.id())?;
            sample.insert("huge_peak_mib".to_owned(), peak as f64 / KIB / KIB);
        }
        let cpu = target_after.cpu - target.cpu;
        let others = upstream_after.cpu - upstream.cpu + outcome.cpu;
        sample.insert(format!("{name}_calls"), outcome.calls_per_second);
        sample.insert(format!("{name}_cpu_us"), cpu * 1e6 / (outcome.calls as f64).max(1.0));
        sample.insert(format!("{name}_target_busy"), cpu / elapsed);
        sample.insert(format!("{name}_others_busy"), others / elapsed);
        Ok(())
    }

    /// One run of the load generator; a wrong or missing answer is a failure of the target.
    pub(crate) fn load(
        &self,
        peer: &Peer,
        workload: Workload,
        seconds: f64,
        rate: Option<u32>,
    ) -> Result<Outcome, Failure> {
        self.outcome(workload, &self.load_arguments(peer, workload, seconds, rate))
    }

    /// The same with these arguments.
    pub(crate) fn outcome(&self, workload: Workload, arguments: &[String]) -> Result<Outcome, Failure> {
        let output = self
            .other_core
            .command(&self.ourselves, arguments)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot start the load generator: {e}"))?;
        let outcome: Outcome = serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("the load generator ended with {} and no outcome: {e}", output.status))?;
        match &outcome.first_error {
            Some(error) => Err(format!(
                "{} errors in {}; the first: {error}",
                outcome.errors,
                workload.name()
            )),
            None => Ok(outcome),
        }
    }

    pub(crate) fn load_arguments(
        &self,
        peer: &Peer,
        workload: Workload,
        seconds: f64,
        rate: Option<u32>,
    ) -> Vec<String> {
        let connections = workload.connections(self.plan.connections);
        let mut arguments = vec!["load".to_owned()];
        arguments.extend(peer_arguments(peer));
        arguments.extend(["--workload".to_owned(), workload.name().to_owned()]);
        arguments.extend(["--connections".to_owned(), connections.to_string()]);
        arguments.extend(["--seconds".to_owned(), seconds.to_string()]);
        if let Some(rate) = rate {
            arguments.extend([format!("--rate={rate}"), "--latencies".to_owned()]);
        }
        arguments
    }

    /// Calls a second over bare pipes, loop and child on the target's core.
    fn pipe(&self, outstanding: usize) -> Result<f64, Failure> {
        let arguments = [
            "pipes".to_owned(),
            format!("--outstanding={outstanding}"),
            format!("--seconds={}", self.plan.seconds),
        ];
        let output = self
            .target_core
            .command(&self.ourselves, &arguments)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot start the loop over pipes: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim()
            .parse()
            .map_err(|e| format!("the loop over pipes said `{}`: {e}", text.trim()))
    }

    /// What sessions and streams weigh, in a process of its own so that no load has left its traces.
    fn hold(&self, sample: &mut Sample) -> Result<(), Failure> {
        let (running, peer, _) = self.start()?;
        std::thread::sleep(SETTLE);
        let peer = Peer {
            protocol: Protocol::Session,
            ..peer
        };
        let streams = if self.target.streams { self.plan.streams } else { 0 };
        let mut arguments = vec!["hold".to_owned()];
        arguments.extend(peer_arguments(&peer));
        arguments.extend(["--sessions".to_owned(), self.plan.sessions.to_string()]);
        arguments.extend(["--streams".to_owned(), streams.to_string()]);
        let mut command = self.other_core.command(&self.ourselves, &arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let before = Usage::of(running.id())?.rss as f64;
        let mut holding = Running::start(command, "the holder of sessions")?;
        let mut turns = Turns::of(&mut holding)?;
        turns.wait(&format!("sessions {}", self.plan.sessions))?;
        std::thread::sleep(SETTLE);
        let with_sessions = Usage::of(running.id())?.rss as f64;
        sample.insert(
            "session_kib".to_owned(),
            (with_sessions - before).max(0.0) / KIB / self.plan.sessions as f64,
        );
        if streams > 0 {
            turns.go()?;
            turns.wait(&format!("streams {streams}"))?;
            std::thread::sleep(SETTLE);
            let with_streams = Usage::of(running.id())?.rss as f64;
            sample.insert(
                "stream_kib".to_owned(),
                (with_streams - with_sessions).max(0.0) / KIB / streams as f64,
            );
        }
        Ok(())
    }
}

/// The two sides of the conversation with the holder of sessions.
struct Turns {
    output: BufReader<ChildStdout>,
    input: ChildStdin,
}

impl Turns {
    fn of(holding: &mut Running) -> Result<Self, Failure> {
        let output = holding.child.stdout.take().ok_or("no output to read")?;
        let input = holding.child.stdin.take().ok_or("no input to write")?;
        Ok(Self {
            output: BufReader::new(output),
            input,
        })
    }

    fn wait(&mut self, wanted: &str) -> Result<(), Failure> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        match read {
            Ok(_) if line.trim() == wanted => Ok(()),
            Ok(_) => Err(format!("wanted `{wanted}`, got `{}`", line.trim())),
            Err(error) => Err(format!("cannot read: {error}")),
        }
    }

    fn go(&mut self) -> Result<(), Failure> {
        self.input.write_all(b"\n").map_err(|e| format!("cannot write: {e}"))
    }
}

fn peer_arguments(peer: &Peer) -> Vec<String> {
    let protocol = match peer.protocol {
        Protocol::Modern => "modern",
        Protocol::Session => "session",
    };
    let mut arguments = vec![
        format!("--address={}", peer.address),
        format!("--path={}", peer.path),
        format!("--protocol={protocol}"),
        format!("--server={}", peer.server),
    ];
    arguments.extend(peer.token.as_ref().map(|token| format!("--token={token}")));
    arguments
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| format!("cannot find a free port: {e}"))
}

/// Reads one line of JSON that a part prints when it is ready.
pub(crate) fn first_line(running: &mut Running) -> Result<String, Failure> {
    let output = running.child.stdout.take().ok_or("no output to read")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .map_err(|e| format!("cannot read: {e}"))?;
    Ok(line)
}

/// An empty directory.
pub(crate) fn empty(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(|e| format!("cannot empty {}: {e}", path.display()))?;
    }
    fs::create_dir_all(path).map_err(|e| format!("cannot create {}: {e}", path.display()))
}
