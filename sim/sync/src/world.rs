//! Lets it happen: one event after another, in the order of their times.

mod judge;
mod streams;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use meshgate_sync::Key;
use meshgate_sync::client::{Due, Heard};
use meshgate_sync::message::{Report, State};
use meshgate_sync::proto::{FromControl, FromProxy};
use meshgate_sync::resource::Digest;
use meshgate_sync::server::SessionId;
use prost::Message as _;

use crate::book::Book;
use crate::chance::Chance;
use crate::plan::{Plan, Plant, Step};
use crate::plane::Plane;
use crate::proxy::Proxy;
use crate::wire::{self, Machine};

/// A proxy, by its number.
type Who = usize;

enum Event {
    /// A proxy looks at what is due.
    Wake(Who),
    /// Its stream arrives.
    Arrive(Who, u64),
    Down(Who, u64, FromControl),
    Up(Who, u64, FromProxy),
    /// It notices that its stream is gone.
    Lost(Who, u64),
    /// The control plane looks at its stream.
    Poll(Who, u64),
    Compiled(Who, u64),
    Tick,
    Step(Step),
    /// Streams break.
    Break,
}

struct Timed(Duration, u64, Event);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A change that is being measured.
struct Issued {
    at: Duration,
    digest: Digest,
}

struct World {
    plan: Plan,
    now: Duration,
    chance: Chance,
    events: BinaryHeap<Reverse<Timed>>,
    count: u64,
    plane: Plane,
    machine: Machine,
    proxies: Vec<Proxy>,
    by_session: HashMap<SessionId, Who>,
    wakes: Vec<Duration>,
    polls: Vec<Duration>,
    issued: HashMap<Key, Issued>,
    faults: bool,
    /// Who has been taken away for good.
    left: Vec<bool>,
    book: Book,
}

/// The proxy that a planted fault is in: it has a document that changes for everybody.
const VICTIM: Who = 3;
const NEVER: Duration = Duration::MAX;
/// While there are faults: how often something breaks, and how many streams of ten thousand each time.
const BREAK_EVERY: Duration = Duration::from_millis(100);
const BREAK_OF_TEN_THOUSAND: usize = 10;
/// A denial is in force everywhere within this (`docs/operations`).
const DENIED_WITHIN: Duration = Duration::from_secs(5);

/// Plays a plan; `None` when it cannot be begun.
pub fn run(plan: &Plan) -> Option<Book> {
    let began = Instant::now();
    let mut world = World::new(plan)?;
    while let Some(Reverse(Timed(at, _, event))) = world.events.pop() {
        world.now = at;
        world.book.events += 1;
        if !world.happen(event) {
            break;
        }
    }
    let mut book = world.book;
    book.spent = world.plane.spent;
    book.pushes = world.plane.pushes;
    book.seconds = world.now.as_secs();
    book.took = began.elapsed();
    book.processor = processor();
    Some(book)
}

/// What this process has had of processors, from `/proc/self/stat`, which counts hundredths of a second (proc(5)).
fn processor() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
}

impl World {
    fn new(plan: &Plan) -> Option<Self> {
        let plane = Plane::new(plan.servers)?;
        let mut chance = Chance::new(plan.seed);
        let mut proxies = Vec::with_capacity(plan.proxies);
        for number in 0..plan.proxies {
            let server = number
                .checked_sub(plan.gateways)
                .map(|sidecar| sidecar % plan.servers.max(1));
            let latency = chance.between(wire::LATENCY.0, wire::LATENCY.1);
            proxies.push(Proxy::new(number, server, latency, plane.key())?);
        }
        let mut world = Self {
            plan: plan.clone(),
            now: Duration::ZERO,
            chance,
            events: BinaryHeap::new(),
            count: 0,
            plane,
            machine: Machine::default(),
            by_session: HashMap::new(),
            wakes: vec![NEVER; proxies.len()],
            polls: vec![NEVER; proxies.len()],
            left: vec![false; proxies.len()],
            proxies,
            issued: HashMap::new(),
            faults: false,
            book: Book::default(),
        };
        for (at, step) in plan.steps() {
            world.at(at, Event::Step(step));
        }
        for who in 0..world.proxies.len() {
            world.wake(who, Duration::from_micros(1));
        }
        Some(world)
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.count += 1;
        self.events.push(Reverse(Timed(at, self.count, event)));
    }

    fn wake(&mut self, who: Who, at: Duration) {
        if at < self.wakes[who] || self.wakes[who] <= self.now {
            self.wakes[who] = at;
            self.at(at, Event::Wake(who));
        }
    }

    fn poll(&mut self, who: Who, at: Duration) {
        if at < self.polls[who] || self.polls[who] <= self.now {
            self.polls[who] = at;
            self.at(at, Event::Poll(who, self.proxies[who].stream));
        }
    }

    /// Whether there is more.
    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Wake(who) => {
                if self.wakes[who] == self.now && !self.left[who] {
                    self.wakes[who] = NEVER;
                    self.drive(who);
                }
            }
            Event::Arrive(who, stream) => self.arrive(who, stream),
            Event::Down(who, stream, message) => self.down(who, stream, message),
            Event::Up(who, stream, message) => self.up(who, stream, &message),
            Event::Lost(who, stream) => {
                if self.proxies[who].stream == stream {
                    self.lose(who);
                }
            }
            Event::Poll(who, stream) => {
                if self.polls[who] == self.now && self.proxies[who].stream == stream {
                    self.polls[who] = NEVER;
                    self.next(who);
                }
            }
            Event::Compiled(who, stream) => self.compiled(who, stream),
            Event::Tick => self.tick(),
            Event::Break => self.break_some(),
            Event::Step(step) => return self.step(step),
        }
        true
    }

    /// The driver of a proxy.
    fn drive(&mut self, who: Who) {
        loop {
            match self.proxies[who].client.due(self.now) {
                Due::Connect => {
                    let proxy = &mut self.proxies[who];
                    proxy.stream += 1;
                    proxy.unanswered = 0;
                    let (stream, arrives) = (proxy.stream, self.now + proxy.latency);
                    self.at(arrives, Event::Arrive(who, stream));
                }
                Due::Report => {
                    let report = Report {
                        state: State::Up,
                        tools: 12,
                        ..Report::default()
                    };
                    let message = self.proxies[who].client.report(self.now, &report);
                    self.say(who, message);
                }
                Due::Cut(_) => {
                    self.hang_up(who);
                    let random = self.chance.next();
                    self.proxies[who].client.lost(self.now, random);
                }
                Due::Wait(until) => return self.wake(who, until),
            }
        }
    }

    /// The stream of a proxy ends at its own end; the control plane notices.
    fn hang_up(&mut self, who: Who) {
        self.proxies[who].stream += 1;
        self.proxies[who].unanswered = 0;
        self.close(who);
    }

    /// The stream of a proxy is gone, and it notices.
    fn lose(&mut self, who: Who) {
        self.hang_up(who);
        if self.left[who] {
            return;
        }
        let random = self.chance.next();
        self.proxies[who].client.lost(self.now, random);
        self.drive(who);
    }

    fn say(&mut self, who: Who, message: FromProxy) {
        self.book.phase().bytes_up += size(message.encoded_len());
        let proxy = &self.proxies[who];
        let (stream, arrives) = (proxy.stream, self.now + proxy.latency);
        self.at(arrives, Event::Up(who, stream, message));
    }

    fn down(&mut self, who: Who, stream: u64, message: FromControl) {
        if self.proxies[who].stream != stream || self.left[who] {
            return;
        }
        let random = self.chance.next();
        match self.proxies[who].client.received(self.now, message, random) {
            Heard::Nothing | Heard::Renew(_) => {}
            Heard::Send(answer) => self.say(who, answer),
            Heard::Cut(_) => return self.lose(who),
            Heard::Offer(offer) => {
                let (least, most) = if self.proxies[who].slow {
                    wire::COMPILE_SLOWLY
                } else {
                    wire::COMPILE
                };
                let takes = self.chance.between(least, most);
                self.proxies[who].offer = Some(offer);
                self.at(self.now + takes, Event::Compiled(who, stream));
            }
        }
        self.drive(who);
    }

    fn compiled(&mut self, who: Who, stream: u64) {
        if self.proxies[who].stream != stream {
            // The stream was lost while it compiled; what was offered is not taken.
            self.proxies[who].offer = None;
            return;
        }
        let Some(offer) = self.proxies[who].offer.take() else {
            return;
        };
        let result = self.proxies[who].compile(&offer);
        self.book.tell(self.now, 2 + u64::from(result.is_err()), who);
        if result.is_ok() {
            let before = self.proxies[who].client.held().map(|held| held.position());
            let half = self.plan.plant == Some(Plant::Half) && who == VICTIM && before.is_some();
            self.proxies[who].put_in_force(&offer, half);
            self.judge_change(
                who,
                &offer.changed,
                offer.snapshot.position().revision,
                before.map(|at| at.revision),
            );
        }
        if let Some(answer) = self.proxies[who].client.settled(self.now, &offer, result) {
            self.say(who, answer);
        }
        self.drive(who);
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
