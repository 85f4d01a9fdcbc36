//! `listens`: very many open listens, some of which stop reading, in front of one server that changes.
//!
//! What is asked: what an open listen costs in memory, whether everybody who reads hears of every change once, whether
//! callers who have nothing to do with it notice, and whether the memory comes back. The listens are of as many
//! applications as the limit of streams per caller asks for; no limit but that of all connections is lifted.

mod client;
mod report;
mod server;

use std::{
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, task::JoinSet};

use self::client::{Heard, Listener, Probe, Role};
use self::report::{Memory, Report};
use self::server::Source;
use crate::{
    Failure,
    machine::Machine,
    measure::free_port,
    process::{self, Usage},
    running::Running,
    serve,
};

/// Streams of one caller, the default.
const STREAMS_PER_CALLER: usize = 32;
/// Listens that are being opened at the same time.
const OPENING: usize = 64;
/// Listeners that read what is flooded too.
const FLOODED: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// The gateway closes a connection that is not read for this long, and a little.
const STALL: Duration = Duration::from_secs(33);
/// How long the gateway may take to give memory back that it does not need.
const SETTLE: Duration = Duration::from_secs(10);
const PROBE_PAUSE: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Open listens
    #[arg(long, default_value_t = 10_000)]
    listens: usize,
    /// Those of them that stop reading
    #[arg(long, default_value_t = 1_000)]
    stalled: usize,
    /// Changes that everybody must hear of
    #[arg(long, default_value_t = 20)]
    changes: u64,
    /// Messages of 2 KiB to those that have stopped reading
    #[arg(long, default_value_t = 1_500)]
    flood: u64,
    /// A tenth of everything, and no page: shows that it works
    #[arg(long)]
    short: bool,
    /// Where the page goes [default: bench/results]
    #[arg(long)]
    results: Option<PathBuf>,
    /// The gateway to measure [default: `meshgate` beside this program]
    #[arg(long)]
    meshgate: Option<PathBuf>,
}

/// Runs it all, prints the table, and fails where something was lost or cost too much.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let tenth = if options.short { 10 } else { 1 };
    let (listens, stalled) = (options.listens / tenth, options.stalled / tenth);
    raise_files()?;
    let tree = env::current_dir().map_err(|e| format!("no current directory: {e}"))?;
    let mut machine = Machine::look(&tree, false);
    let mut found = None;
    serve::on_this_thread(async {
        let mut run = Run::start(options, listens).await?;
        found = Some(run.through(listens, stalled, options.changes, options.flood).await?);
        Ok(())
    })?;
    let mut report = found.ok_or("nothing was measured")?;
    machine.look_again();
    report.machine = Some(machine);
    println!("{}", report.page());
    if !options.short {
        report.write(&options.results.clone().unwrap_or_else(|| tree.join("bench/results")))?;
    }
    report.verdict()
}

/// As many files as the system lets us have: each listen is one here and one at the gateway.
pub(crate) fn raise_files() -> Result<(), Failure> {
    let now = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    setrlimit(Resource::Nofile, all).map_err(|e| format!("cannot raise the limit of open files: {e}"))
}

struct Run {
    address: SocketAddr,
    source: Arc<Source>,
    gateway: Running,
    heard: Arc<Heard>,
    /// They end with this value.
    _servers: JoinSet<()>,
    listening: JoinSet<()>,
    open: Vec<Listener>,
}

impl Run {
    async fn start(options: &Options, listens: usize) -> Result<Self, Failure> {
        let source = Arc::new(Source::default());
        let mut servers = JoinSet::new();
        let mut urls = Vec::new();
        for source in [source.clone(), Arc::default()] {
            let (port, work) = server::start(source).await?;
            servers.spawn(work);
            urls.push(format!("http://127.0.0.1:{port}/mcp"));
        }
        let port = free_port()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let applications = listens.div_ceil(STREAMS_PER_CALLER) + 1;
        let directory = env::temp_dir().join(format!("meshgate-listens-{}", std::process::id()));
        let failure = |e: std::io::Error| format!("cannot write {}: {e}", directory.display());
        fs::create_dir_all(&directory).map_err(failure)?;
        fs::write(directory.join("mesh.yaml"), mesh(port, &urls, applications)).map_err(failure)?;
        let beside = env::current_exe()
            .map_err(|e| format!("cannot find this program: {e}"))?
            .with_file_name("meshgate");
        let mut command = Command::new(options.meshgate.clone().unwrap_or(beside));
        command
            .args(["up", "mesh.yaml", "--state", "state"])
            .current_dir(&directory)
            .stdin(Stdio::null());
        command.envs((0..applications).map(|n| (format!("TOKEN_{n}"), token(n))));
        let gateway = Running::logged(command, "meshgate", &directory.join("meshgate.log"))?;
        let mut run = Self {
            address,
            source,
            gateway,
            heard: Arc::default(),
            _servers: servers,
            listening: JoinSet::new(),
            open: Vec::new(),
        };
        run.ready().await?;
        Ok(run)
    }

    /// Waits until a call of one server is answered and a resource of the other granted.
    async fn ready(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            self.gateway.is_alive()?;
            let works = async {
                Probe::open(self.address, &token(0)).await?.call().await?;
                Listener::open(self.address, &token(0), Role::Moving).await
            };
            match works.await {
                Ok(_) => return Ok(()),
                Err(failure) if began.elapsed() > PATIENCE => return Err(failure),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn through(&mut self, listens: usize, stalled: usize, changes: u64, flood: u64) -> Result<Report, Failure> {
        let mut report = Report {
            listens,
            stalled,
            changes,
            flood,
            ..Report::default()
        };
        // What the first calls and listens leave behind for good is no cost of the later ones: each application has been
        // here once.
        let applications = listens.div_ceil(STREAMS_PER_CALLER);
        self.listen(applications, 0, 1).await?;
        self.change(applications as u64).await?;
        self.leave();
        tokio::time::sleep(Duration::from_secs(5)).await;
        report.memory.push(self.look("before")?);

        let quiet = Calls::begin(self.address);
        tokio::time::sleep(Duration::from_secs(5)).await;
        report.calls.push(("nothing open", quiet.end().await?));
        let began = Instant::now();
        self.listen(listens, stalled, STREAMS_PER_CALLER).await?;
        report.opening = began.elapsed();
        report.memory.push(self.look("all open")?);

        let moving = (listens - stalled) as u64;
        report
            .calls
            .push(("all open, changes", self.change_often(moving, changes).await?));
        report.memory.push(self.look("after the changes")?);
        let calls = Calls::begin(self.address);
        self.flood(flood).await?;
        report
            .calls
            .push(("a flood to those that do not read", calls.end().await?));
        report.memory.push(self.look("after the flood")?);
        report
            .calls
            .push(("changes after the flood", self.change_often(moving, changes).await?));
        if stalled > 0 {
            tokio::time::sleep(STALL).await;
        }
        report.memory.push(self.look("those that do not read are closed")?);
        report.subscriptions = self.source.subscriptions();
        self.heard.check()?;
        self.leave();
        // The allocator gives pages back bit by bit.
        tokio::time::sleep(SETTLE / 4).await;
        report.memory.push(self.look("just left")?);
        tokio::time::sleep(SETTLE * 3 / 4).await;
        report.memory.push(self.look("all left")?);
        // What it keeps is used again; what was lost is not.
        self.listen(listens, 0, STREAMS_PER_CALLER).await?;
        report.memory.push(self.look(report::AGAIN)?);
        self.leave();
        Ok(report)
    }

    /// One change after the other; each is heard by all before the next one comes.
    async fn change_often(&mut self, moving: u64, changes: u64) -> Result<Vec<u64>, Failure> {
        let calls = Calls::begin(self.address);
        for _ in 0..changes {
            self.change(moving).await?;
        }
        calls.end().await
    }

    /// One change, heard by everybody who reads: the list and the resource, each once.
    async fn change(&mut self, moving: u64) -> Result<(), Failure> {
        let announced = self.heard.announced.fetch_add(1, Ordering::SeqCst) + 1;
        self.source.change();
        let (began, heard) = (Instant::now(), &self.heard);
        let all = announced * moving;
        loop {
            let (lists, updates) = (heard.lists.load(Ordering::SeqCst), heard.updates.load(Ordering::SeqCst));
            heard.check()?;
            self.gateway.is_alive()?;
            if lists == all && updates == all {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!(
                    "of {all} changes {lists} of the list and {updates} of the resource were heard"
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Much for those that watch the flooded resource; the few of them that read hear all of it.
    async fn flood(&mut self, flood: u64) -> Result<(), Failure> {
        for number in 0..flood {
            self.source.flood(number);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (began, all) = (Instant::now(), flood * FLOODED as u64);
        loop {
            let heard = self.heard.flooded.load(Ordering::SeqCst);
            if heard == all {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!(
                    "of {all} flooded messages {heard} were heard by those who read"
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn look(&self, when: &'static str) -> Result<Memory, Failure> {
        let id = self.gateway.id();
        let files = fs::read_dir(format!("/proc/{id}/fd")).map_err(|e| format!("the gateway is gone: {e}"))?;
        Ok(Memory {
            when,
            rss: Usage::of(id)?.rss,
            code: process::mapped(id)?,
            files: files.count(),
        })
    }

    /// Opens listens, so many of each application; the last `stalled` of them do not read what comes after the first
    /// message.
    async fn listen(&mut self, listens: usize, stalled: usize, of_each: usize) -> Result<(), Failure> {
        let room = Arc::new(Semaphore::new(OPENING));
        let mut opening = JoinSet::new();
        for n in 0..listens {
            let permit = room.clone().acquire_owned().await.map_err(|e| e.to_string())?;
            let address = self.address;
            let role = match n {
                _ if n >= listens - stalled => Role::Stalled,
                _ if n < FLOODED => Role::Flooded,
                _ => Role::Moving,
            };
            opening.spawn(async move {
                let _permit = permit;
                let token = token(1 + n / of_each);
                Ok::<_, Failure>((role, Listener::open(address, &token, role).await?))
            });
        }
        while let Some(opened) = opening.join_next().await {
            let (role, listener) = opened.map_err(|e| format!("opening a listen failed: {e}"))??;
            if role == Role::Stalled {
                self.open.push(listener);
            } else {
                self.listening.spawn(listener.listen(self.heard.clone()));
            }
        }
        Ok(())
    }

    /// Everybody leaves, and what they have heard is forgotten.
    fn leave(&mut self) {
        self.listening = JoinSet::new();
        self.open.clear();
        let before = self.heard.before + self.heard.announced.load(Ordering::SeqCst);
        self.heard = Arc::new(Heard::after(before));
    }
}

/// Somebody else's calls, on a thread of their own: what the listeners cost this program is not to be measured.
struct Calls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u64>, Failure>>,
}

impl Calls {
    fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            serve::on_this_thread(async {
                let mut probe = Probe::open(address, &token(0)).await?;
                while !stopped.load(Ordering::SeqCst) {
                    let time = probe.call().await?;
                    times.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                    tokio::time::sleep(PROBE_PAUSE).await;
                }
                Ok(())
            })?;
            times.sort_unstable();
            Ok(times)
        });
        Self { stop, thread }
    }

    /// The times of all calls in microseconds, sorted; an error if one failed.
    async fn end(self) -> Result<Vec<u64>, Failure> {
        self.stop.store(true, Ordering::SeqCst);
        // The last call is answered by a server on this thread, which must not stand still meanwhile.
        while !self.thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.thread.join().map_err(|_| "the calls broke off")?
    }
}

fn token(application: usize) -> String {
    format!("mg_listens-{application:06}-of-the-bench")
}

/// One merged view of two servers, for many applications with the streams that every caller has.
fn mesh(port: u16, urls: &[String], applications: usize) -> String {
    let head = "---\napiVersion: meshgate.dev/v1alpha1\n";
    let mut yaml = format!(
        "{head}kind: Mesh\nmetadata: {{name: bench}}\nspec: {{limits: {{connections: 100000, drain: 1s}}}}\n{head}kind: Gateway\nmetadata: {{name: bench}}\nspec: {{listeners: [{{address: '127.0.0.1:{port}'}}]}}\n"
    );
    for (name, url) in ["alpha", "beta"].iter().zip(urls) {
        yaml.push_str(&format!(
            "{head}kind: Server\nmetadata: {{name: {name}}}\nspec: {{http: {{url: '{url}'}}}}\n"
        ));
    }
    yaml.push_str(&format!(
        "{head}kind: View\nmetadata: {{name: default}}\nspec: {{servers: [{{name: alpha}}, {{name: beta}}]}}\n"
    ));
    for n in 0..applications {
        yaml.push_str(&format!(
            "{head}kind: Application\nmetadata: {{name: a{n}}}\nspec: {{views: [default], tokens: [{{environment: TOKEN_{n}}}]}}\n"
        ));
    }
    yaml
}
