//! A program under measurement: pinned to its core, its output in a log, ended by its id and never left behind.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;

const END_MAX: Duration = Duration::from_secs(10);
const LOG_TAIL_BYTES: usize = 2000;

/// Which core a program runs on, and how it is scheduled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    /// None where the machine has one core only.
    pub(crate) number: Option<usize>,
    pub(crate) realtime: bool,
}

impl Core {
    /// This program on this core; it ends when we do.
    pub(crate) fn command(self, program: &Path, arguments: &[String]) -> Command {
        let policy: &[&str] = if self.realtime { &["chrt", "-r", "10"] } else { &[] };
        self.scheduled(policy, program, arguments)
    }

    /// The same, but only while nobody else wants this core.
    pub(crate) fn behind(self, program: &Path, arguments: &[String]) -> Command {
        self.scheduled(&["chrt", "-i", "0"], program, arguments)
    }

    fn scheduled(self, policy: &[&str], program: &Path, arguments: &[String]) -> Command {
        let mut words: Vec<String> = policy.iter().map(|word| (*word).to_owned()).collect();
        if let Some(number) = self.number {
            words.extend(["taskset".to_owned(), "-c".to_owned(), number.to_string()]);
        }
        words.extend(["setpriv", "--pdeathsig", "TERM"].map(str::to_owned));
        words.push(program.to_string_lossy().into_owned());
        words.extend_from_slice(arguments);
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        command
    }
}

/// A running program. It ends with this value.
pub(crate) struct Running {
    pub(crate) child: Child,
    name: String,
}

impl Running {
    /// Starts it with its output in a log.
    pub(crate) fn logged(mut command: Command, name: &str, log: &Path) -> Result<Self, Failure> {
        let out = File::create(log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        let err = out
            .try_clone()
            .map_err(|e| format!("cannot write {}: {e}", log.display()))?;
        command.stdout(out).stderr(err);
        Self::start(command, name)
    }

    /// Starts it as the command says.
    pub(crate) fn start(mut command: Command, name: &str) -> Result<Self, Failure> {
        let child = command.spawn().map_err(|e| {
            format!(
                "cannot start {name} with {}: {e}",
                command.get_program().to_string_lossy()
            )
        })?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Puts it before everything else on its core from now on, all its threads, but nothing that it starts from now on.
    pub(crate) fn prefer(&self) -> Result<(), Failure> {
        let id = self.id().to_string();
        let status = Command::new("chrt")
            .args(["--all-tasks", "--reset-on-fork", "--rr", "--pid", "10", &id])
            .status()
            .map_err(|e| format!("cannot start chrt: {e}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} could not be put before the rest of the machine", self.name))
        }
    }

    /// An error when it has ended by itself.
    pub(crate) fn is_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended with {status}", self.name)),
            Err(error) => Err(format!("{} is out of sight: {error}", self.name)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever listens on standard input hears the end first.
        drop(self.child.stdin.take());
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(id), Ok(None)) = (id, self.child.try_wait()) {
            let _ = kill_process(id, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < END_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log, for a person who must find out why.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let skip = text.chars().count().saturating_sub(LOG_TAIL_BYTES);
    text.chars().skip(skip).collect()
}
