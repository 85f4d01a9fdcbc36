//! A server that misbehaves, and what the calls to the others notice of it.
//!
//! The last of the ten servers is replaced. One generator calls it all the time, and a second one measures the latency of
//! calls to the first server at a constant rate. That is compared with the same two generators while the last server is
//! as good as the others, in the same round.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Failure,
    fill::http_reach,
    measure::{Bench, Sample},
    requests::{Peer, Workload},
    running::Running,
    upstream::Ports,
};

/// How the calls to the bad server get under way before anything is measured.
const SETTLE: Duration = Duration::from_millis(300);
/// The server that is replaced.
const LAST: u8 = 9;
/// Calls a second to it.
const RATE: u32 = 100;

/// The name of a figure and how the last server is reached; the first is the good one.
fn kinds(ports: &Ports, ourselves: &str) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("good", None),
        ("hung", Some(http_reach(ports.hung))),
        ("flooding", Some(http_reach(ports.flooding))),
        ("cutting", Some(http_reach(ports.cutting))),
        (
            "crashing",
            Some(format!(
                "{{stdio: {{command: \"{ourselves}\", args: [child, --crash]}}}}"
            )),
        ),
    ]
}

impl Bench<'_> {
    /// Measures beside each kind of neighbour, and leaves the target's files as they were.
    pub(crate) fn neighbours(&self, sample: &mut Sample) -> Result<(), Failure> {
        let measured = self.beside_each(sample);
        self.prepare().and(measured)
    }

    fn beside_each(&self, sample: &mut Sample) -> Result<(), Failure> {
        let mut good = None;
        for (name, reach) in kinds(self.ports, &self.ourselves.to_string_lossy()) {
            match self.beside(reach) {
                Ok(p99) => {
                    let good = *good.get_or_insert(p99);
                    sample.insert(format!("beside_{name}_p99_us"), p99);
                    sample.insert(format!("beside_{name}"), p99 / good.max(1.0));
                }
                // Without the first there is nothing to compare with. What was measured before counts in any case.
                Err(failure) if good.is_none() => return Err(failure),
                Err(failure) => eprintln!("beside a {name} server: {failure}"),
            }
        }
        Ok(())
    }

    /// The p99 of calls to the first server; each of them must be answered rightly.
    fn beside(&self, reach: Option<String>) -> Result<f64, Failure> {
        let mut words = self.words.clone();
        words.neighbour = reach;
        self.prepare_with(&words)?;
        let (_running, peer, _) = self.start()?;
        let _caller = self.caller(&peer)?;
        std::thread::sleep(SETTLE);
        let outcome = self.load(&peer, Workload::Echo, self.plan.seconds, Some(self.plan.rate))?;
        Ok(outcome.p99)
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
