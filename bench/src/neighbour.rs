//! A server that misbehaves, and what the calls to the others notice of it.
//!
//! Two gateways run side by side that differ in the last of their ten servers: in one it is as good as the others, in the
//! other it misbehaves. They are measured in turns of some seconds, each time with the same two generators: one calls the
//! last server all the time, the other measures the latency of calls to the first one at a constant rate. So whatever
//! else the machine does meets both alike, and the figure is the ratio of the p99 of all turns of one and of the other.
//!
//! None of it is scheduled in real time: children of a gateway would be it too, and would each hold the core until they
//! have started, which is nothing that happens where people run it.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Failure,
    fill::http_reach,
    measure::{Bench, Sample, empty, free_port},
    requests::{Peer, Workload},
    running::{Core, Running},
    stats,
    upstream::Ports,
};

/// How the calls to the bad server get under way before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// The server that is replaced.
const LAST: u8 = 9;
/// Calls a second to it.
const RATE: u32 = 100;

/// The name of a figure and how the last server is reached.
fn kinds(ports: &Ports, ourselves: &str) -> [(&'static str, String); 4] {
    let crashing = format!("{{stdio: {{command: \"{ourselves}\", args: [child, --crash]}}}}");
    [
        ("hung", http_reach(ports.hung)),
        ("flooding", http_reach(ports.flooding)),
        ("cutting", http_reach(ports.cutting)),
        ("crashing", crashing),
    ]
}

/// One of the two gateways, and the latencies of all its turns in nanoseconds.
struct Side<'a> {
    bench: Bench<'a>,
    _running: Running,
    peer: Peer,
    latencies: Vec<u64>,
}

impl<'a> Bench<'a> {
    /// Measures beside each kind of neighbour.
    pub(crate) fn neighbours(&self, sample: &mut Sample) -> Result<(), Failure> {
        let mut good = self.side("good", None)?;
        for (name, reach) in kinds(self.ports, &self.ourselves.to_string_lossy()) {
            good.latencies.clear();
            match self.beside(&mut good, name, reach) {
                Ok((without, with)) => {
                    sample.insert(format!("beside_{name}_p99_us"), with);
                    sample.insert(format!("beside_{name}"), with / without.max(1.0));
                    sample.insert("beside_good_p99_us".to_owned(), without);
                }
                // What was measured before counts in any case.
                Err(failure) => eprintln!("beside a {name} server: {failure}"),
            }
        }
        Ok(())
    }

    /// The p99 of calls to the first server, without and with the bad one; each call must be answered rightly.
    fn beside(&self, good: &mut Side<'_>, name: &str, reach: String) -> Result<(f64, f64), Failure> {
        let mut bad = self.side(name, Some(reach))?;
        for turn in 0..self.plan.turns {
            // Not always the same first: whoever is second finds the machine warm.
            if turn % 2 == 0 {
                good.measure()?;
                bad.measure()?;
            } else {
                bad.measure()?;
                good.measure()?;
            }
        }
        Ok((good.p99(), bad.p99()))
    }

    /// A gateway of its own, in a directory of its own.
    fn side(&self, name: &str, reach: Option<String>) -> Result<Side<'a>, Failure> {
        let directory = self.directory.join(name);
        empty(&directory)?;
        let port = free_port()?;
        let mut words = self.words.clone();
        words.neighbour = reach;
        words.words.insert("port", port.to_string());
        words
            .words
            .insert("directory", directory.to_string_lossy().into_owned());
        let calm = |core: Core| Core {
            realtime: false,
            ..core
        };
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
            other_core: calm(self.other_core),
        };
        bench.prepare()?;
        let (running, peer, _) = bench.start()?;
        Ok(Side {
            bench,
            _running: running,
            peer,
            latencies: Vec::new(),
        })
    }

    /// Calls the last server until it is dropped, whatever comes of it.
    fn caller(&self, peer: &Peer) -> Result<Running, Failure> {
        let bad = Peer {
            server: LAST,
            ..peer.clone()
        };
        let seconds = self.plan.seconds + 30.0;
        let arguments = self.load_arguments(&bad, Workload::Echo, seconds, Some(RATE));
        let mut command: Command = self.other_core.command(&self.ourselves, &arguments);
        command.arg("--undeterred").stdout(Stdio::null()).stderr(Stdio::null());
        Running::start(command, "the caller of the bad server")
    }
}

impl Side<'_> {
    /// One turn.
    fn measure(&mut self) -> Result<(), Failure> {
        let plan = self.bench.plan;
        let _caller = self.bench.caller(&self.peer)?;
        std::thread::sleep(SETTLE);
        let outcome = self
            .bench
            .load(&self.peer, Workload::Echo, plan.seconds, Some(plan.rate))?;
        self.latencies.extend(outcome.latencies);
        Ok(())
    }

    /// In microseconds.
    fn p99(&mut self) -> f64 {
        self.latencies.sort_unstable();
        stats::quantile(&self.latencies, 0.99) / 1000.0
    }
}
