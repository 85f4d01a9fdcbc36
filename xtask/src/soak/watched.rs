//! A gateway as the soak sees it: through its admin socket, and as a process.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::files::VIEW;
use crate::{
    Failure,
    command::{self, Running},
    http,
    place::Place,
};

const START_MAX: Duration = Duration::from_secs(60);

pub(super) struct Watched {
    running: Running,
    socket: PathBuf,
    token: String,
    pid: u64,
}

/// What became of the file.
pub(super) struct Counted {
    pub(super) applied: u64,
    pub(super) refused: u64,
}

/// What a process holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) descriptors: usize,
    pub(super) threads: usize,
    /// Every process below it.
    pub(super) children: usize,
    pub(super) kib: usize,
}

impl Watched {
    pub(super) fn start(place: &Place, file: &Path, state: &Path, authority: &str) -> Result<Self, Failure> {
        let mut command = command::program(place, place.newest_program("meshgate")?);
        command.arg("up").arg(file).arg("--state").arg(state);
        let mut running = Running::start(&mut command, place.log("soak-reload"))?;
        let token_file = state.join("token");
        let token = || fs::read_to_string(&token_file).map_or(String::new(), |text| text.trim().to_owned());
        let listed = || http::list_tools(authority, VIEW, Some(&token())).contains("append");
        running.wait_until("the ledger's tool", START_MAX, listed)?;
        let mut watched = Self {
            running,
            socket: state.join("admin.sock"),
            token: token(),
            pid: 0,
        };
        watched.pid = watched.status()?.get("pid").and_then(Value::as_u64).unwrap_or_default();
        Ok(watched)
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Counted) -> bool,
    ) -> Result<(), Failure> {
        let socket = self.socket.clone();
        let is_so = || ask(&socket).is_ok_and(|status| holds(&counted(&status)));
        self.running.wait_until(what, limit, is_so)
    }

    pub(super) fn held(&self) -> Result<Held, Failure> {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        let count = |name: &str| fs::read_dir(process.join(name)).map_or(0, Iterator::count);
        let status = fs::read_to_string(process.join("status")).map_err(|e| format!("the gateway is gone: {e}"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        Ok(Held {
            descriptors: count("fd"),
            threads: count("task"),
            children: descendants(self.pid),
            kib: kib.unwrap_or_default(),
        })
    }

    fn status(&self) -> Result<Value, Failure> {
        ask(&self.socket)
    }
}

fn counted(status: &Value) -> Counted {
    let configuration = status.get("configuration");
    let number = |name: &str| configuration.and_then(|c| c.get(name)?.as_u64()).unwrap_or_default();
    Counted {
        applied: number("reloads"),
        refused: number("refused"),
    }
}

fn ask(socket: &Path) -> Result<Value, Failure> {
    let failure = |e: std::io::Error| format!("the admin socket does not answer: {e}");
    let mut stream = UnixStream::connect(socket).map_err(failure)?;
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .map_err(failure)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failure)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|e| format!("the status cannot be read: {e}"))
}

/// Processes that have this one above them.
fn descendants(pid: u64) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u64, u64)> = entries
        .filter_map(|entry| {
            let child = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold anything, also blanks.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((child, parent))
        })
        .collect();
    let mut below = vec![pid];
    let mut seen = 0;
    while let Some(parent) = below.get(seen).copied() {
        below.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        seen += 1;
    }
    below.len() - 1
}
