//! The load generator: one thread, one epoll, as little work per call as possible, because it shares its core.
//!
//! Closed loop, each connection sends its next call when the last one is answered: that finds the most calls a second.
//! Open loop, calls are due at a constant rate whether the target keeps up or not, and a latency counts from the moment
//! the call was *due*: so a target that stalls cannot hide the calls it kept from being sent.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

use crate::{
    Failure,
    connection::{Connection, Progress, connect, exchange, room},
    process,
    requests::{FIRST_ID, Peer, Protocol, Workload},
    stats,
};

const EVENTS_MAX: usize = 256;
/// The mark of the timer among the events; connections are counted from zero.
const TIMER: u64 = u64::MAX;
/// How long answers are waited for when no more calls are sent.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// After so many wrong answers the rest is of no interest.
const ERRORS_MAX: u64 = 100;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    peer: Peer,
    /// What to call
    #[arg(long, value_enum, default_value = "echo")]
    workload: Workload,
    /// Open connections
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long calls are sent
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Go on whatever the target does: for targets that are known to answer wrongly
    #[arg(long)]
    undeterred: bool,
    /// Give every latency too, so that runs can be put together
    #[arg(long)]
    latencies: bool,
    /// Seconds at the beginning whose latencies do not count: the connections are opened then
    #[arg(long, default_value_t = 0.0)]
    warm: f64,
    /// Calls due per second; without it each connection sends as fast as it is answered
    #[arg(long)]
    rate: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) calls_per_second: f64,
    /// Latencies in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Processor time of the generator, in seconds.
    pub(crate) cpu: f64,
    /// Every latency in nanoseconds, sorted, where that was asked for.
    pub(crate) latencies: Vec<u64>,
}

/// Runs a load and prints its outcome as one line of JSON.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut load = Load::prepare(options)?;
    load.work()?;
    let mut outcome = load.outcome()?;
    if options.latencies {
        outcome.latencies = load.latencies;
    }
    let line = serde_json::to_string(&outcome).map_err(|e| format!("cannot write the outcome: {e}"))?;
    println!("{line}");
    Ok(())
}

struct Load {
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// Calls that are due and wait for a connection.
    late: VecDeque<Instant>,
    epoll: OwnedFd,
    timer: Option<Timer>,
    expected: Finder<'static>,
    start: Instant,
    warm: Duration,
    length: Duration,
    end: Instant,
    next_id: u64,
    latencies: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
    ticks: u32,
    undeterred: bool,
}

impl Load {
    fn prepare(options: &Options) -> Result<Self, Failure> {
        let session = match options.peer.protocol {
            Protocol::Modern => None,
            Protocol::Session => Some(session(&options.peer)?),
        };
        let request = options.peer.request(options.workload, session.as_deref())?;
        let io = |e: rustix::io::Errno| format!("cannot wait for events: {e}");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io)?;
        let mut connections = Vec::new();
        for (index, _) in (0..options.connections.max(1)).enumerate() {
            let connection = Connection::open(options.peer.address, request.clone())?;
            let mark = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &connection.socket, mark, epoll::EventFlags::IN).map_err(io)?;
            connections.push(connection);
        }
        let timer = match options.rate {
            Some(rate) => Some(Timer::new(&epoll, rate).map_err(io)?),
            None => None,
        };
        let start = Instant::now();
        let length = Duration::from_secs_f64(options.seconds.clamp(0.1, 600.0));
        Ok(Self {
            idle: (0..connections.len()).collect(),
            connections,
            late: VecDeque::new(),
            epoll,
            timer,
            expected: Finder::new(options.workload.expected().as_bytes()).into_owned(),
            start,
            warm: Duration::from_secs_f64(options.warm.clamp(0.0, 600.0)),
            length,
            end: start + length,
            next_id: FIRST_ID,
            latencies: Vec::new(),
            errors: 0,
            first_error: None,
            ticks: 0,
            undeterred: options.undeterred,
        })
    }

    fn work(&mut self) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut room = room();
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        self.start = Instant::now();
        self.end = self.start + self.length;
        match &self.timer {
            Some(timer) => timer.begin()?,
            None => self.fill(),
        }
        while !self.is_over() {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(format!("cannot wait for events: {error}")),
            }
            for event in &events {
                match event.data.u64() {
                    TIMER => self.tick()?,
                    mark => self.receive(usize::try_from(mark).unwrap_or_default(), &mut room),
                }
            }
        }
        Ok(())
    }

    /// Over when time is up and every call is answered, or when waiting is of no use.
    fn is_over(&self) -> bool {
        let now = Instant::now();
        let answered = self.idle.len() == self.connections.len() && self.late.is_empty();
        (now >= self.end && answered) || now >= self.end + DRAIN_MAX || self.errors >= ERRORS_MAX
    }

    /// Closed loop: every idle connection gets a call.
    fn fill(&mut self) {
        while let Some(index) = self.idle.pop() {
            self.send(index, Instant::now());
        }
    }

    /// Open loop: calls have become due.
    fn tick(&mut self) -> Result<(), Failure> {
        let Some(timer) = &self.timer else {
            return Ok(());
        };
        let mut count = [0; 8];
        rustix::io::read(&timer.clock, &mut count).map_err(|e| format!("cannot read the timer: {e}"))?;
        let now = Instant::now();
        // Which calls are due is told by the clock, not by how often the timer woke us.
        loop {
            let due = self.start + timer.every * (self.ticks + 1);
            if due > now || due >= self.end {
                break;
            }
            self.late.push_back(due);
            self.ticks += 1;
        }
        self.catch_up();
        Ok(())
    }

    fn catch_up(&mut self) {
        while let (Some(index), false) = (self.idle.last().copied(), self.late.is_empty()) {
            self.idle.pop();
            if let Some(due) = self.late.pop_front() {
                self.send(index, due);
            }
        }
    }

    fn send(&mut self, index: usize, due: Instant) {
        self.next_id += 1;
        let id = self.next_id;
        let sent = self
            .connections
            .get_mut(index)
            .map(|connection| connection.send(id, due));
        if let Some(Err(failure)) = sent {
            self.fail(failure);
        }
    }

    fn receive(&mut self, index: usize, room: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let progress = connection.receive(room, &self.expected);
        let now = Instant::now();
        match progress {
            Ok(Progress::Waiting) => {}
            Ok(Progress::Done(due)) => {
                if due >= self.start + self.warm {
                    self.latencies
                        .push(u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX));
                }
                if self.timer.is_none() && now < self.end {
                    self.send(index, now);
                } else {
                    self.idle.push(index);
                    self.catch_up();
                }
            }
            Err(failure) => {
                // What the target does on this connection after a wrong answer says nothing any more.
                let _ = epoll::delete(&self.epoll, &connection.socket);
                if self.undeterred {
                    return self.begin_again(index);
                }
                self.fail(failure);
            }
        }
    }

    /// A connection in place of one that was answered wrongly.
    fn begin_again(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let mark = epoll::EventData::new_u64(index as u64);
        match connection.again() {
            Ok(()) if epoll::add(&self.epoll, &connection.socket, mark, epoll::EventFlags::IN).is_ok() => {
                self.idle.push(index);
            }
            Ok(()) => {}
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.errors += 1;
        self.first_error.get_or_insert(failure);
    }

    fn outcome(&mut self) -> Result<Outcome, Failure> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let unanswered = self
            .connections
            .iter()
            .filter(|connection| !connection.is_idle())
            .count()
            + self.late.len();
        self.errors = self.errors.max(unanswered as u64);
        if unanswered > 0 {
            self.first_error
                .get_or_insert_with(|| format!("{unanswered} calls were not answered"));
        }
        self.latencies.sort_unstable();
        let at = |share: f64| stats::quantile(&self.latencies, share) / 1000.0;
        Ok(Outcome {
            calls: self.latencies.len() as u64,
            errors: self.errors,
            first_error: self.first_error.clone(),
            calls_per_second: self.latencies.len() as f64 / elapsed.max(1e-9),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            cpu: process::Usage::of(std::process::id())?.cpu,
            latencies: Vec::new(),
        })
    }
}

/// Wakes the generator at a constant rate.
struct Timer {
    clock: OwnedFd,
    every: Duration,
}

impl Timer {
    fn new(epoll: &OwnedFd, rate: u32) -> rustix::io::Result<Self> {
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        epoll::add(epoll, &clock, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let every = Duration::from_secs(1) / rate.max(1);
        Ok(Self { clock, every })
    }

    /// To be called at the very start: then each call is due at the moment the timer fires, not half a period before.
    fn begin(&self) -> Result<(), Failure> {
        let interval = Timespec {
            tv_sec: i64::try_from(self.every.as_secs()).unwrap_or(1),
            tv_nsec: self.every.subsec_nanos().into(),
        };
        let setting = Itimerspec {
            it_interval: interval,
            it_value: interval,
        };
        timerfd_settime(&self.clock, TimerfdTimerFlags::empty(), &setting)
            .map(drop)
            .map_err(|e| format!("cannot set the timer: {e}"))
    }
}

/// Opens a session and answers its id.
pub(crate) fn session(peer: &Peer) -> Result<String, Failure> {
    let mut socket = connect(peer.address)?;
    let (head, body) = exchange(&mut socket, &peer.initialize())?;
    let session = head
        .session
        .ok_or_else(|| format!("no session: {}", String::from_utf8_lossy(&body)))?;
    exchange(&mut socket, &peer.initialized(&session))?;
    Ok(session)
}
