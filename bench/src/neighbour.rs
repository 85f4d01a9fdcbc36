//! A server that misbehaves, and what the calls to the others notice of it.
//!
//! Six gateways run side by side that differ in the last of their ten servers: in two it is as good as the others, in
//! the other four it misbehaves, or in those of them that somebody wants to look into. They are measured in many short turns, each time with the same two generators: one calls
//! the last server all the time, the other measures the latency of calls to the first one at a constant rate. Each turn
//! is compared with that of the first gateway in the same rotation, so whatever else the machine does meets both. The
//! second good one is compared too: what it shows is noise, and no figure means more than that.
//!
//! What is asked is what a bad server costs *in the gateway*. So with `--realtime` gateway, good servers and the
//! generator that measures come before everything else on their core, and all that would be elsewhere does not: the bad
//! server, whoever calls it, and the children of the gateway.

mod page;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

pub(crate) use self::page::Page;
use crate::{
    Failure,
    fill::http_reach,
    measure::{Bench, empty, free_port},
    pairs::{Comparison, compare},
    requests::{Peer, Workload},
    running::{Core, Running},
    upstream::Ports,
};

/// How the calls to the last server get under way before anything is measured.
const SETTLE: Duration = Duration::from_millis(100);
/// Seconds at the begin of a turn that do not count: connections are opened and accepted then.
const WARM: f64 = 0.1;
/// The server that is replaced.
const LAST: u8 = 9;
/// Calls a second to it.
const RATE: u32 = 100;

/// What the last server may be that misbehaves.
pub(crate) const BAD: [&str; 4] = ["hung", "flooding", "cutting", "crashing"];
const GOOD: &str = "good";
/// Another good one.
pub(crate) const NULL: &str = "good again";

/// How the last server is reached, of those that run apart from the good ones.
fn reach(kind: &str, apart: &Ports, ourselves: &str) -> String {
    match kind {
        "hung" => http_reach(apart.hung),
        "flooding" => http_reach(apart.flooding),
        "cutting" => http_reach(apart.cutting),
        "crashing" => format!("{{stdio: {{command: \"{ourselves}\", args: [child, --crash]}}}}"),
        _ => http_reach(apart.servers.last().copied().unwrap_or_default()),
    }
}

/// Not before everything else.
fn calm(core: Core) -> Core {
    Core {
        realtime: false,
        ..core
    }
}

/// The latencies of each turn in nanoseconds, by what is beside the calls that are measured, over all rounds. The good one
/// comes first.
pub(crate) struct Turns(Vec<(&'static str, Vec<Vec<u64>>)>);

impl Turns {
    /// Those beside both good ones and beside these, or beside all where none is named.
    pub(crate) fn beside(named: &[String]) -> Self {
        let bad = BAD
            .into_iter()
            .filter(|kind| named.is_empty() || named.iter().any(|name| name == kind));
        Self(
            [GOOD, NULL]
                .into_iter()
                .chain(bad)
                .map(|kind| (kind, Vec::new()))
                .collect(),
        )
    }

    /// Each kind beside the good one.
    pub(crate) fn compared(&self) -> Vec<(&'static str, Comparison)> {
        let Some(((_, good), others)) = self.0.split_first() else {
            return Vec::new();
        };
        let found = others.iter();
        found
            .filter_map(|(kind, turns)| Some((*kind, compare(good, turns)?)))
            .collect()
    }
}

/// One of the gateways.
struct Side<'a> {
    bench: Bench<'a>,
    _running: Running,
    peer: Peer,
}

impl<'a> Bench<'a> {
    /// One round: the gateways are started anew and each has its turns. `apart` is where the last servers listen.
    pub(crate) fn neighbours(&self, apart: &Ports, turns: &mut Turns) -> Result<(), Failure> {
        let sides = turns.0.iter();
        let sides = sides
            .map(|(kind, _)| self.side(kind, apart))
            .collect::<Result<Vec<_>, _>>()?;
        // What is measured first is warm too.
        for side in &sides {
            side.turn()?;
        }
        for rotation in 0..self.plan.turns {
            let mut came: Vec<Vec<u64>> = vec![Vec::new(); sides.len()];
            let mut order: Vec<_> = sides.iter().zip(&mut came).collect();
            // Nobody is always behind the same one.
            if rotation % 2 == 1 {
                order.reverse();
            }
            for (side, came) in order {
                *came = side.turn()?;
            }
            for ((_, all), turn) in turns.0.iter_mut().zip(came) {
                all.push(turn);
            }
        }
        Ok(())
    }

    /// A gateway of its own, in a directory of its own.
    fn side(&self, kind: &str, apart: &Ports) -> Result<Side<'a>, Failure> {
        let directory = self.directory.join(kind.replace(' ', "-"));
        empty(&directory)?;
        let port = free_port()?;
        let mut words = self.words.clone();
        words.neighbour = Some(reach(kind, apart, &self.ourselves.to_string_lossy()));
        words.words.insert("port", port.to_string());
        words
            .words
            .insert("directory", directory.to_string_lossy().into_owned());
        let bench = Bench {
            target: self.target,
            program: self.program.clone(),
            ourselves: self.ourselves.clone(),
            words,
            directory,
            port,
            plan: self.plan,
            upstream: self.upstream,
            ports: self.ports,
            target_core: calm(self.target_core),
            other_core: self.other_core,
        };
        bench.prepare()?;
        let (running, peer, _) = bench.start()?;
        if self.target_core.realtime {
            running.prefer()?;
        }
        Ok(Side {
            bench,
            _running: running,
            peer,
        })
    }

    /// Calls the last server until it is dropped, whatever comes of it.
    fn caller(&self, peer: &Peer) -> Result<Running, Failure> {
        let last = Peer {
            server: LAST,
            ..peer.clone()
        };
        let seconds = self.plan.seconds + 30.0;
        let arguments = self.load_arguments(&last, Workload::Echo, seconds, Some(RATE));
        let mut command: Command = calm(self.other_core).command(&self.ourselves, &arguments);
        command.arg("--undeterred").stdout(Stdio::null()).stderr(Stdio::null());
        Running::start(command, "the caller of the last server")
    }
}

impl Side<'_> {
    /// One turn: the latencies of its calls, each answered rightly.
    fn turn(&self) -> Result<Vec<u64>, Failure> {
        let plan = self.bench.plan;
        let _caller = self.bench.caller(&self.peer)?;
        std::thread::sleep(SETTLE);
        let mut arguments = self
            .bench
            .load_arguments(&self.peer, Workload::Echo, plan.seconds + WARM, Some(plan.rate));
        arguments.push(format!("--warm={WARM}"));
        let outcome = self.bench.outcome(Workload::Echo, &arguments)?;
        Ok(outcome.latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::{BAD, Turns};

    #[test]
    fn both_good_ones_are_measured_whatever_is_asked_for_and_all_bad_ones_where_nothing_is() {
        let kinds = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            Turns::beside(&named)
                .0
                .into_iter()
                .map(|(kind, _)| kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(&["flooding"]), ["good", "good again", "flooding"]);
        assert_eq!(kinds(&["crashing", "hung"]), ["good", "good again", "hung", "crashing"]);
        assert_eq!(kinds(&[])[2..], BAD);
    }
}
