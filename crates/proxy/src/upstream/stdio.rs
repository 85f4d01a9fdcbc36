//! The way to a server that runs as our child: one pipe, many calls.
//!
//! The child is started through the supervisor, so nothing of it outlives us. Calls are told apart by the ids we give
//! them ([`routes`]), a slow reader holds up nobody ([`inbox`]), and a child that stops speaking the protocol is given
//! up, with every open call told that it may have run. Starting it again is left to the owner of the link.

mod environment;
mod events;
mod inbox;
mod routes;
mod stderr;
mod writer;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use meshgate_mcp::LineDecoder;
use meshgate_model::EnvValue;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream};
use tokio::process::{Child, Command};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::environment::Environment;
pub(crate) use self::environment::read_value;
pub(crate) use self::inbox::Received;
use self::inbox::{Inbox, Wants};
use self::routes::Routes;
pub use self::routes::Strays;
use self::writer::write;
use super::limits::{ORPHANS_MAX, WireLimits};
use crate::call::Messages;
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;
use crate::supervise::{CANNOT_START, SupervisorProgram, orphans};

/// How long a child may take to end once its input is closed; the supervisor kills it before that.
const END_MAX: Duration = Duration::from_secs(12);
/// How long the exit status may follow the end of the output.
const STATUS_MAX: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Clone, Debug)]
pub struct StdioCommand {
    /// The server's name, for the log.
    pub server: Arc<str>,
    /// The program, found through the child's `PATH`.
    pub program: String,
    /// Its arguments, passed as they are.
    pub args: Vec<String>,
    /// Its environment beside what every child inherits.
    pub env: Vec<(String, EnvValue)>,
    /// Its working directory.
    pub cwd: Option<PathBuf>,
}

/// One running child. Dropping it ends the child and everything the child has started.
pub struct StdioLink {
    routes: Arc<Routes>,
    tail: stderr::Tail,
    pid: Option<u32>,
    /// Fires to close the child's input, which asks it to end.
    finish: CancellationToken,
    /// Reading, writing, standard error and waiting for the end; they end with this link.
    tasks: Mutex<JoinSet<()>>,
}

impl StdioLink {
    /// Starts a child. Says nothing about whether it will answer.
    pub async fn spawn(
        command: &StdioCommand,
        supervisor: &SupervisorProgram,
        limits: WireLimits,
    ) -> Result<Arc<Self>, Refusal> {
        if let Some(outside) = simulated::outside() {
            let away = || Refusal::server(Reason::ServerAway, Executed::No, "server process cannot be started");
            return Ok(Self::over_pipe(
                outside.child(&command.server).ok_or_else(away)?,
                limits,
            ));
        }
        let environment = Environment::build(&command.server, &command.env)?;
        let ready = prepare(command, supervisor, &environment);
        // Until the new process runs our program, the thread that starts it stands still; calls are on the others.
        let started = tokio::task::spawn_blocking(move || start(ready)).await;
        let mut child = started.map_err(std::io::Error::from).flatten().map_err(|error| {
            let message = format!("server is away: its process cannot be started: {}", error.kind());
            Refusal::server(Reason::ServerAway, Executed::No, message)
        })?;
        let (routes, outbox) = Routes::new(limits.line_bytes_max, limits.stream_buffer_bytes_max);
        let link = Self {
            routes: Arc::new(routes),
            tail: stderr::Tail::default(),
            pid: child.id(),
            finish: CancellationToken::new(),
            tasks: Mutex::default(),
        };
        let mut tasks = link.tasks.lock();
        if let Some(from) = child.stderr.take() {
            let drained = stderr::drain(
                from,
                Arc::clone(&command.server),
                environment.secrets,
                link.tail.clone(),
            );
            tasks.spawn(until_gone(Arc::clone(&link.routes), drained));
        }
        if let Some(from) = child.stdout.take() {
            let decoder = LineDecoder::new(limits.line_bytes_max);
            tasks.spawn(until_gone(
                Arc::clone(&link.routes),
                read(Arc::clone(&link.routes), from, decoder),
            ));
        }
        if let Some(to) = child.stdin.take() {
            let written = write(Arc::clone(&link.routes), to, outbox, link.finish.clone());
            tasks.spawn(until_gone(Arc::clone(&link.routes), written));
        }
        tasks.spawn(wait(Arc::clone(&link.routes), child, link.tail.clone()));
        drop(tasks);
        Ok(Arc::new(link))
    }

    /// A link to a child that is no process, in a simulation.
    fn over_pipe(pipe: DuplexStream, limits: WireLimits) -> Arc<Self> {
        let (routes, outbox) = Routes::new(limits.line_bytes_max, limits.stream_buffer_bytes_max);
        let link = Self {
            routes: Arc::new(routes),
            tail: stderr::Tail::default(),
            pid: None,
            finish: CancellationToken::new(),
            tasks: Mutex::default(),
        };
        let (from, to) = tokio::io::split(pipe);
        let mut tasks = link.tasks.lock();
        let routes = || Arc::clone(&link.routes);
        let decoder = LineDecoder::new(limits.line_bytes_max);
        tasks.spawn(until_gone(routes(), read(routes(), from, decoder)));
        tasks.spawn(until_gone(routes(), write(routes(), to, outbox, link.finish.clone())));
        drop(tasks);
        Arc::new(link)
    }

    /// Sends a request and yields what belongs to it: notifications, then the response. Dropping the messages before the
    /// response tells the server to cancel.
    pub async fn open(self: &Arc<Self>, id: u64, line: Bytes) -> Result<Messages, Refusal> {
        Ok(Box::pin(Plain(self.call(id, line).await?)))
    }

    /// Like [`Self::open`], for callers that want to know which message is the response.
    pub(crate) async fn call(self: &Arc<Self>, id: u64, line: Bytes) -> Result<PipeCall, Refusal> {
        self.call_logging(id, line, false).await
    }

    /// Like [`Self::call`]; a call that `wants_logs` is also handed log messages, as long as it is the only one that
    /// does, because they name no call.
    pub(crate) async fn call_logging(
        self: &Arc<Self>,
        id: u64,
        line: Bytes,
        wants_logs: bool,
    ) -> Result<PipeCall, Refusal> {
        let wants = if wants_logs { Wants::Logs } else { Wants::Own };
        self.call_wanting(id, line, wants).await
    }

    /// Like [`Self::call`], where no other call is made meanwhile: everything that carries no sign of its call belongs to
    /// this one, requests of the server too.
    pub(crate) async fn call_alone(self: &Arc<Self>, id: u64, line: Bytes) -> Result<PipeCall, Refusal> {
        self.call_wanting(id, line, Wants::Everything).await
    }

    async fn call_wanting(self: &Arc<Self>, id: u64, line: Bytes, wants: Wants) -> Result<PipeCall, Refusal> {
        let inbox = self.routes.open(id, one_line(line), wants).await?;
        Ok(PipeCall {
            link: Arc::clone(self),
            inbox,
            id,
            over: false,
            tell: AtomicBool::new(true),
        })
    }

    /// Sends a notification, or the answer to a request of the server.
    pub async fn send(&self, line: Bytes) -> Result<(), Refusal> {
        self.routes.send(one_line(line)).await
    }

    /// Requests of the server, and notifications that belong to no open call.
    pub fn unsolicited(&self) -> broadcast::Receiver<Bytes> {
        self.routes.unsolicited()
    }

    /// Waits until the child is gone.
    pub async fn closed(&self) {
        self.routes.gone.cancelled().await;
    }

    /// Whether the child is gone.
    pub fn is_closed(&self) -> bool {
        self.routes.gone.is_cancelled()
    }

    /// Why the child is gone.
    pub fn close_reason(&self) -> Option<Arc<str>> {
        self.routes.reason()
    }

    /// Open calls.
    pub fn in_flight(&self) -> usize {
        self.routes.in_flight()
    }

    /// The process id of the child's supervisor.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The last lines of its standard error.
    pub fn stderr_tail(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// What the child said that led nowhere.
    pub fn strays(&self) -> &Strays {
        &self.routes.strays
    }

    /// Closes the child's input and waits until the child has ended, or has been ended.
    pub async fn close(&self) {
        self.finish.cancel();
        if tokio::time::timeout(END_MAX, self.closed()).await.is_err() {
            self.routes.close("server did not end when it was asked to");
        }
    }
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        // The tasks end with the set; the pipes close with the tasks; the supervisor sees that and ends the child.
        self.routes.close("server is being stopped");
    }
}

impl std::fmt::Debug for StdioLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StdioLink")
            .field("pid", &self.pid)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// One open call on the pipe.
pub(crate) struct PipeCall {
    link: Arc<StdioLink>,
    inbox: Arc<Inbox>,
    id: u64,
    over: bool,
    tell: AtomicBool,
}

impl PipeCall {
    /// Does not send a cancellation when dropped: for requests that may not be cancelled.
    pub(crate) fn silent(self) -> Self {
        self.tell.store(false, Ordering::Relaxed);
        self
    }
}

impl Stream for PipeCall {
    type Item = Result<Received, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.inbox.poll_next(cx));
        self.over = !matches!(next, Some(Ok(Received::Notice(_))));
        Poll::Ready(next)
    }
}

impl Drop for PipeCall {
    fn drop(&mut self) {
        if !self.over {
            self.link
                .routes
                .abandon(self.id, &self.inbox, self.tell.load(Ordering::Relaxed));
        }
    }
}

/// The same messages without the mark on the response.
struct Plain(PipeCall);

impl Stream for Plain {
    type Item = Result<Bytes, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(next.map(|item| {
            item.map(|received| match received {
                Received::Notice(message) | Received::Response(message) => message,
            })
        }))
    }
}

fn prepare(command: &StdioCommand, supervisor: &SupervisorProgram, environment: &Environment) -> Command {
    let args: Vec<OsString> = command.args.iter().map(OsString::from).collect();
    let mut child = Command::new(&supervisor.path);
    child
        .args(supervisor.arguments(OsStr::new(&command.program), &args))
        .env_clear()
        .envs(environment.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(cwd) = &command.cwd {
        child.current_dir(cwd);
    }
    child
}

fn start(mut ready: Command) -> std::io::Result<Child> {
    orphans::start(|| ready.spawn(), Child::id)
}

/// A message may be spread over lines; on a pipe it must be one. Line ends inside of strings are always escaped, so
/// those that are there are white space.
fn one_line(line: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &line).is_none() {
        return line;
    }
    let spaced = line
        .iter()
        .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte });
    spaced.collect::<Vec<u8>>().into()
}

async fn until_gone(routes: Arc<Routes>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = routes.gone.cancelled() => {}
        () = work => {}
    }
}

async fn read(routes: Arc<Routes>, mut from: impl AsyncRead + Unpin, mut decoder: LineDecoder) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        decoder.push(buffer.get(..count).unwrap_or_default());
        loop {
            let received = match decoder.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => routes.receive(line),
                Err(_too_long) => routes.noise(),
            };
            if let Err(why) = received {
                return routes.close(why);
            }
        }
    }
    // The status says more than the end of the output, and is about to come.
    tokio::time::sleep(STATUS_MAX).await;
    routes.close("server closed its standard output");
}

async fn wait(routes: Arc<Routes>, mut child: Child, tail: stderr::Tail) {
    let pid = child.id();
    let status = child.wait().await;
    if let (Some(pid), Ok(status)) = (pid, &status)
        && status.signal().is_some()
    {
        // Somebody has killed the supervisor, which would have left nothing behind.
        let _ = tokio::task::spawn_blocking(move || orphans::end(pid, ORPHANS_MAX)).await;
    }
    // What the child said last is read before its end is told.
    tokio::time::sleep(Duration::from_millis(20)).await;
    routes.close(&ended(status.ok(), tail.last()));
}

fn ended(status: Option<ExitStatus>, last: Option<String>) -> String {
    let how = match status.and_then(|status| status.code()) {
        Some(0) => "server process ended".to_owned(),
        Some(code) if code == i32::from(CANNOT_START) => "server process cannot be started".to_owned(),
        Some(code @ 129..) => format!("server process was killed by signal {}", code - 128),
        Some(code) => format!("server process ended with exit code {code}"),
        None => "server process was killed".to_owned(),
    };
    match last {
        Some(line) if status.is_none_or(|status| !status.success()) => format!("{how}: {line}"),
        _ => how,
    }
}
