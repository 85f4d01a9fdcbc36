//! One world from its beginning to its end: the real gateway on paused time, with everything around it played.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, token_digest};
use meshgate_model::Snapshot;
use meshgate_proxy::drain::{Drain, Drainer, drain};
use meshgate_proxy::gateway::{Gateway, GatewayParts};
use meshgate_proxy::simulated::{self, Outside};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_telemetry::{Metrics, Records};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::book::Book;
use crate::chance::Chance;
use crate::client::{Client, Scene, token};
use crate::legacy::Legacy;
use crate::plan::{CALLERS, Plan, Plant, ServerPlan};
use crate::server::Server;
use crate::wire::Wire;
use crate::{pipes, web};

/// Longer than any client can be at it.
const CLIENTS_MAX: Duration = Duration::from_secs(6 * 3600);
/// When everything that clients have left behind must have ended: the longest call of a legacy session.
const AFTERWARDS: Duration = Duration::from_secs(40 * 60);
/// How long the gateway has to end when nothing is under way.
const END_MAX: Duration = Duration::from_secs(60);

/// What came of a world.
pub struct Outcome {
    /// What must not have been.
    pub findings: Vec<String>,
    /// What happened, line by line.
    pub story: Vec<String>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// Equal for equal stories. Who of two comes first within one millisecond is no part of a story, because times are whole
    /// milliseconds to the runtime; so the numbers of sessions, which are given as they are opened, are none either.
    pub fn hash(&self) -> u64 {
        let unnumbered = |line: &String| {
            let words: Vec<_> = line.split_whitespace().collect();
            let line = words.join(" ");
            let mut parts = line.split('/');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |line, part| {
                line + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
            })
        };
        let mut lines: Vec<String> = self.story.iter().map(unnumbered).collect();
        lines.sort_unstable();
        let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Lets the world of a seed happen, with a fault in it if one is planted.
///
/// # Errors
/// When the world cannot be begun at all.
pub fn run(seed: u64, plant: Option<Plant>) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    let book = Book::default();
    let chance = Chance::new(seed);
    let plan = Plan::of(seed);
    let servers: BTreeMap<_, _> = plan
        .servers
        .iter()
        .map(|server| {
            let own = chance.of(&server.name);
            (
                server.name.clone(),
                Server::new(server.clone(), book.clone(), plant, own),
            )
        })
        .collect();
    let _entered = runtime.enter();
    let outside = Rc::new(Played {
        servers: servers.clone(),
        chance: chance.of("outside"),
        began: Instant::now(),
        drawn: Mutex::new((Instant::now(), 0)),
    });
    let _simulated = simulated::enter(outside);
    let world = World {
        book: book.clone(),
        chance,
        plan,
        servers,
        plant,
    };
    runtime.block_on(world.happen())?;
    Ok(Outcome {
        findings: book.findings(),
        story: book.story(),
        counts: book.counts(),
    })
}

/// The outside of a gateway in a world.
struct Played {
    servers: BTreeMap<String, Arc<Server>>,
    chance: Chance,
    began: Instant,
    /// The last moment at which a number was drawn, and how many were.
    drawn: Mutex<(Instant, u64)>,
}

impl Outside for Played {
    fn child(&self, server: &str) -> Option<DuplexStream> {
        self.servers.get(server).map(pipes::start)
    }

    fn dial(&self, host: &str) -> Option<DuplexStream> {
        let name = host.strip_suffix(".sim")?;
        self.servers.get(name).map(web::accept)
    }

    fn number(&self) -> u64 {
        // By the time and not by what came before: some numbers are drawn once in the life of a process, not of a world.
        let now = Instant::now();
        let mut drawn = self.drawn.lock();
        *drawn = if drawn.0 == now { (now, drawn.1 + 1) } else { (now, 0) };
        let since = now.duration_since(self.began).as_millis();
        self.chance.of(&format!("{since} {}", drawn.1)).next()
    }
}

struct World {
    book: Book,
    chance: Chance,
    plan: Plan,
    servers: BTreeMap<String, Arc<Server>>,
    plant: Option<Plant>,
}

impl World {
    async fn happen(self) -> Result<(), String> {
        let (drainer, drain) = drain();
        let gateway = self.gateway(drain)?;
        let door = gateway.door().ok_or("the gateway has no listener")?;
        let host = gateway.addresses().first().map(ToString::to_string).unwrap_or_default();
        let catalogues = gateway.catalogues();
        let sight = gateway.sight();
        let mut serving = JoinSet::new();
        serving.spawn(gateway.serve());
        catalogues.asked_all(Duration::from_secs(30)).await;
        self.book.begin();
        let scene = Scene {
            wire: Wire {
                door: Arc::new(door),
                host,
            },
            book: self.book.clone(),
            plant: self.plant,
            merged: self.plan.servers.len() > 1,
            denied: Arc::new(
                self.plan
                    .servers
                    .iter()
                    .map(|server| (server.name.clone(), server.denied.clone()))
                    .collect(),
            ),
            loot: Arc::default(),
            asked: Arc::default(),
        };
        let mut drainer = Some(drainer);
        let losses = self.losses();
        let mut clients = self.clients(&scene);
        let mut stopped = false;
        let everybody = async { while clients.join_next().await.is_some() {} };
        let stop = async {
            match self.plan.stop_ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
            self.book.note("gateway", "is told to end");
            if let Some(drainer) = drainer.take() {
                drainer.drain(Duration::from_secs(30)).await;
            }
            self.book.note("gateway", "has drained");
            stopped = true;
            std::future::pending::<()>().await;
        };
        let over = timeout(CLIENTS_MAX, async {
            tokio::select! {
                biased;
                () = everybody => {}
                () = stop => {}
            }
        });
        if over.await.is_err() {
            self.book.wrong("clients never came to an end");
        }
        drop(losses);
        if !stopped {
            tokio::time::sleep(AFTERWARDS).await;
        }
        self.book.judge();
        for left in sight.left_over() {
            if !stopped {
                self.book.wrong(format!("left over: {left}"));
            }
        }
        self.end(drainer, serving).await;
        Ok(())
    }

    fn gateway(&self, drain: Drain) -> Result<Gateway, String> {
        let mut chance = self.chance.of("keys");
        let keys = KeyRing::generate(&mut |bytes| bytes.fill_with(|| chance.next().to_le_bytes()[0]));
        let parts = GatewayParts {
            mesh: None,
            keys: Arc::new(keys),
            records: Arc::new(Records::default()),
            metrics: Arc::new(Metrics::new()),
            supervisor: SupervisorProgram::default(),
            tls: Vec::new(),
            entropy: [7; 16],
            drain,
        };
        Gateway::bind(self.snapshot()?, parts).map_err(|e| e.to_string())
    }

    /// Ends the gateway, and sees that it leaves nothing behind.
    async fn end(&self, drainer: Option<Drainer>, mut serving: JoinSet<()>) {
        if let Some(drainer) = drainer {
            let drained = drainer.drain(Duration::from_secs(30)).await;
            if drained.forced > 0 {
                self.book
                    .wrong(format!("{} pieces of work had to be broken off", drained.forced));
            }
        }
        if timeout(END_MAX, serving.join_next()).await.is_err() {
            self.book.wrong("the gateway did not end");
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.book.judge_sessions();
    }

    fn losses(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for server in self.servers.values() {
            for ms in server.plan.losses_ms.clone() {
                let server = Arc::clone(server);
                tasks.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    let what = if server.plan.http {
                        "forgets its sessions"
                    } else {
                        "dies"
                    };
                    server.book.note(&server.plan.name, what);
                    server.book.count("losses");
                    server.lose_everything();
                });
            }
        }
        tasks
    }

    fn clients(&self, scene: &Scene) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for plan in &self.plan.clients {
            let (scene, plan, chance) = (scene.clone(), plan.clone(), self.chance.of(&plan.name));
            match plan.revision {
                None => clients.spawn(Client { scene, plan, chance }.run()),
                Some(revision) => clients.spawn(Legacy::new(scene, plan, chance, revision).run()),
            };
        }
        clients
    }

    fn snapshot(&self) -> Result<Snapshot, String> {
        let mut yaml = document("Gateway", "main", "{listeners: [{address: '127.0.0.1:0'}]}");
        for server in &self.plan.servers {
            yaml.push_str(&document("Server", &server.name, &spec(server)));
        }
        let names: Vec<_> = self
            .plan
            .servers
            .iter()
            .map(|s| format!("{{name: {}}}", s.name))
            .collect();
        let view = format!("{{servers: [{}], liftLimits: true}}", names.join(", "));
        yaml.push_str(&document("View", "default", &view));
        for caller in CALLERS {
            let spec = format!(
                "{{views: [default], tokens: [{{environment: TOKEN_OF_{}}}]}}",
                caller.to_uppercase()
            );
            yaml.push_str(&document("Application", caller, &spec));
        }
        let config = meshgate_model::parse("sim.yaml", &yaml).map_err(|found| format!("{found:?}"))?;
        let (mut snapshot, _) = config.compile().map_err(|found| format!("{found:?}"))?;
        for caller in CALLERS {
            if !snapshot.add_token(caller, token_digest(&token(caller))) {
                return Err(format!("no application {caller}"));
            }
        }
        Ok(snapshot)
    }
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "---\napiVersion: meshgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    text
}

fn spec(server: &ServerPlan) -> String {
    let way = if server.http {
        format!("http: {{url: 'http://{}.sim/mcp'}}", server.name)
    } else {
        "stdio: {command: simulated}".to_owned()
    };
    let era = if server.era_known { ", era: legacy" } else { "" };
    let lists = if server.own_lists { ", catalogue: perCaller" } else { "" };
    let sharing = if server.per_caller { ", sharing: perCaller" } else { "" };
    let may = |kind: &&str| if server.denied.contains(kind) { "deny" } else { "allow" };
    let questions: Vec<_> = ["elicitation", "sampling", "roots"]
        .iter()
        .map(|kind| format!("{kind}: {}", may(kind)))
        .collect();
    let questions = questions.join(", ");
    format!("{{{way}{era}{lists}{sharing}, deadline: 60s, hardDeadline: 5m, questions: {{{questions}}}}}")
}
