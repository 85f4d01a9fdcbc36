//! What will be tried in one world: drawn once from the seed, before anything runs.

use serde_json::{Value, json};

use crate::chance::Chance;

/// A fault that is put in on purpose, to show that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// A call reaches its server twice.
    Twice,
    /// Two answers reach each other's questions.
    Swap,
    /// An answer never reaches its question.
    Lose,
    /// A caller is told that nothing ran, whatever ran.
    Lie,
    /// A question reaches another call.
    Stray,
}

/// The revisions of servers and clients of the legacy era.
pub(crate) const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// Applications of a world.
pub(crate) const CALLERS: [&str; 3] = ["ada", "bob", "eve"];

/// One server.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    /// Its name and alias.
    pub(crate) name: String,
    /// Over HTTP, or on a pipe.
    pub(crate) http: bool,
    /// What it speaks.
    pub(crate) revision: &'static str,
    /// Whether the gateway is told its era.
    pub(crate) era_known: bool,
    /// Whether its lists are read for each caller who can be asked.
    pub(crate) own_lists: bool,
    /// Whether every caller has a process or session of its own, also one that cannot be asked.
    pub(crate) per_caller: bool,
    /// What its operator does not let it ask.
    pub(crate) denied: Vec<&'static str>,
    /// When it dies (a pipe) or forgets its sessions (HTTP), in milliseconds from the beginning.
    pub(crate) losses_ms: Vec<u64>,
}

/// One client.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    /// Its name in the story.
    pub(crate) name: String,
    /// The application it calls as.
    pub(crate) caller: &'static str,
    /// Its revision; `None` is modern.
    pub(crate) revision: Option<&'static str>,
    /// What it declares.
    pub(crate) capabilities: Value,
    /// Whether it tries what others own.
    pub(crate) hostile: bool,
    /// Its calls, one after the other.
    pub(crate) calls: Vec<CallPlan>,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct CallPlan {
    /// Unique in the world.
    pub(crate) key: String,
    /// Which server.
    pub(crate) server: String,
    /// How long the client waits before it.
    pub(crate) wait_ms: u64,
    /// What the server does, as it reads it from the arguments.
    pub(crate) steps: Value,
    /// What the client does when it is asked.
    pub(crate) habit: Habit,
}

/// What a client does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Answers all of it.
    Answers,
    /// Says no.
    Declines,
    /// Leaves some answers out at first, and puts others in that nobody asked for.
    Forgets,
    /// Never comes back.
    Leaves,
    /// Comes back when it is too late.
    Late,
    /// Comes back twice at once.
    Twice,
    /// Comes back with a state that it has changed, then with the right one.
    Tampers,
    /// Hangs up while its call runs.
    HangsUp,
}

const HABITS: [Habit; 14] = [
    Habit::Answers,
    Habit::Answers,
    Habit::Answers,
    Habit::Answers,
    Habit::Answers,
    Habit::Declines,
    Habit::Forgets,
    Habit::Forgets,
    Habit::Leaves,
    Habit::Late,
    Habit::Twice,
    Habit::Twice,
    Habit::Tampers,
    Habit::HangsUp,
];

/// A whole world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<ServerPlan>,
    pub(crate) clients: Vec<ClientPlan>,
    /// When the gateway is told to end while clients are at it, in milliseconds.
    pub(crate) stop_ms: Option<u64>,
}

impl Plan {
    /// The world of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed).of("plan");
        let servers: Vec<_> = (0..1 + chance.below(3)).map(|n| server(&mut chance, n)).collect();
        let clients = (0..2 + chance.below(4))
            .map(|n| client(&mut chance, n, &servers))
            .collect();
        let stop_ms = chance
            .percent(10)
            .then(|| u64::try_from(chance.below(20_000)).unwrap_or(0));
        Self {
            servers,
            clients,
            stop_ms,
        }
    }
}

fn server(chance: &mut Chance, number: usize) -> ServerPlan {
    let losses = if chance.percent(35) { 1 + chance.below(3) } else { 0 };
    ServerPlan {
        name: format!("s{number}"),
        http: chance.percent(50),
        revision: chance.pick(&REVISIONS).unwrap_or("2025-11-25"),
        era_known: chance.percent(50),
        own_lists: chance.percent(25),
        per_caller: chance.percent(25),
        denied: [("elicitation", 5), ("sampling", 20), ("roots", 20)]
            .into_iter()
            .filter_map(|(kind, percent)| chance.percent(percent).then_some(kind))
            .collect(),
        losses_ms: (0..losses)
            .map(|_| u64::try_from(500 + chance.below(30_000)).unwrap_or(0))
            .collect(),
    }
}

fn client(chance: &mut Chance, number: usize, servers: &[ServerPlan]) -> ClientPlan {
    let name = format!("c{number}");
    let mut capabilities = serde_json::Map::new();
    if chance.percent(80) {
        let modes = [json!({}), json!({"form": {}}), json!({"form": {}, "url": {}})];
        let modes = chance.pick(&modes).unwrap_or_default();
        capabilities.insert("elicitation".to_owned(), modes);
    }
    if chance.percent(50) {
        capabilities.insert("sampling".to_owned(), json!({}));
    }
    if chance.percent(50) {
        capabilities.insert("roots".to_owned(), json!({}));
    }
    let calls = (0..1 + chance.below(4))
        .map(|n| call(chance, &name, n, servers))
        .collect();
    ClientPlan {
        caller: chance.pick(&CALLERS).unwrap_or("ada"),
        revision: chance
            .percent(35)
            .then(|| chance.pick(&REVISIONS).unwrap_or("2025-11-25")),
        capabilities: Value::Object(capabilities),
        hostile: chance.percent(20),
        calls,
        name,
    }
}

fn call(chance: &mut Chance, client: &str, number: usize, servers: &[ServerPlan]) -> CallPlan {
    let key = format!("{client}k{number}");
    let server = chance
        .pick(servers)
        .map_or_else(|| "s0".to_owned(), |server| server.name);
    CallPlan {
        key,
        server,
        wait_ms: u64::try_from(chance.below(5_000)).unwrap_or(0),
        steps: Value::Array(steps(chance)),
        habit: chance.pick(&HABITS).unwrap_or(Habit::Answers),
    }
}

fn steps(chance: &mut Chance) -> Vec<Value> {
    let mut steps = Vec::new();
    if chance.percent(12) {
        steps.push(json!({"page": true}));
    }
    for _ in 0..chance.below(6) {
        steps.push(match chance.below(10) {
            0..=3 => json!({"wait": 1 + chance.below(2_000)}),
            4..=6 => {
                let kinds: Vec<_> = (0..1 + chance.below(3))
                    .filter_map(|_| chance.pick(&["elicitation", "elicitation", "url", "sampling", "roots"]))
                    .collect();
                json!({"ask": kinds, "apart": chance.below(120)})
            }
            7 => json!({"progress": 1 + chance.below(3)}),
            8 => json!({"aside": chance.pick(&["elicitation", "sampling"])}),
            _ => json!({"log": true}),
        });
    }
    if chance.percent(4) {
        steps.push(json!({"die": true}));
    }
    steps
}
