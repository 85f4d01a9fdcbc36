//! Callers that call without a pause, and count every answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::scene::TOKEN;
use crate::{Failure, http};

/// Callers at once.
const CALLERS: usize = 4;
/// Between two calls of one caller: some hundred a second together, which leaves a small machine room for the drill.
const PAUSE: Duration = Duration::from_millis(5);
/// What is called, by turns: a modern server and a legacy one.
const CALLS: [(&str, &str); 2] = [
    ("documents__search_documents", r#"{"query":"titan"}"#),
    ("projects__list_projects", "{}"),
];

/// Callers that call until they are told to end.
pub(super) struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Receiver<String>,
    /// The gateway that the balancer has taken out, counted from 1; 0 is none.
    out: Arc<AtomicUsize>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Callers of these gateways. As a balancer in front of them would, a caller goes to the next gateway when one does not
    /// take its connection; nothing else is tried twice.
    pub(super) fn start(gateways: &[String]) -> Self {
        let (fails, failed): (Sender<String>, _) = channel();
        let mut load = Self {
            ends: Arc::default(),
            answered: Arc::default(),
            failed,
            out: Arc::default(),
            callers: Vec::new(),
        };
        for caller in 0..CALLERS {
            let (ends, answered, fails) = (load.ends.clone(), load.answered.clone(), fails.clone());
            let (gateways, out) = (gateways.to_vec(), load.out.clone());
            load.callers.push(std::thread::spawn(move || {
                let mut turn = caller;
                while !ends.load(Ordering::Relaxed) {
                    turn += 1;
                    let out = out.load(Ordering::Relaxed);
                    let asked: Vec<&String> = gateways
                        .iter()
                        .enumerate()
                        .filter(|(n, _)| n + 1 != out)
                        .map(|(_, g)| g)
                        .collect();
                    match call(&asked, turn) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        // Nobody counts any more once the drill has failed.
                        Err(why) => drop(fails.send(why)),
                    }
                    std::thread::sleep(PAUSE);
                }
            }));
        }
        load
    }

    /// Takes a gateway out, as whoever restarts one behind a balancer does first, or with 0 puts it in again. A connection that
    /// waits in the queue of a socket that closes is reset, and nobody could say then whether its request was read.
    pub(super) fn take_out(&self, number: usize) {
        self.out.store(number, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
    }

    /// How many calls have been answered.
    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the callers. How many calls were answered, when none failed.
    pub(super) fn end(mut self) -> Result<u64, Failure> {
        self.ends.store(true, Ordering::Relaxed);
        for caller in self.callers.drain(..) {
            caller.join().map_err(|_| "a caller has panicked")?;
        }
        let failed: Vec<String> = self.failed.try_iter().collect();
        let answered = self.answered();
        match failed.first() {
            None if answered > 0 => Ok(answered),
            None => Err("no call was made".into()),
            Some(first) => Err(format!(
                "{} of {} calls failed: {first}",
                failed.len(),
                failed.len() as u64 + answered
            )),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// One call, to the first gateway in turn that takes a connection.
fn call(gateways: &[&String], turn: usize) -> Result<(), String> {
    let Some((tool, arguments)) = CALLS.iter().cycle().nth(turn % CALLS.len()) else {
        return Ok(());
    };
    for gateway in gateways
        .iter()
        .cycle()
        .skip(turn % gateways.len().max(1))
        .take(gateways.len())
    {
        let Some(answer) = http::call_tool_if_taken(gateway, "/mcp", TOKEN, tool, arguments) else {
            continue;
        };
        let good =
            answer.starts_with("HTTP/1.1 200") && answer.contains("\"result\"") && !answer.contains("\"isError\":true");
        return if good {
            Ok(())
        } else {
            Err(format!("{gateway} {tool}: {answer:.600}"))
        };
    }
    Err("no gateway takes a connection".to_owned())
}
