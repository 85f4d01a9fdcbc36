//! Whether a running mesh is healthy: what its control plane says, held against rules that know no mercy.
//!
//! An operator asks this when something is wrong, and, better, before. So a finding is about what will happen and not
//! only what has: a certificate that ought to have been renewed is found two thirds into its life, not after its end.
//! Looking ([`Facts`]) and judging ([`judge`]) are apart: what is judged has no socket and no clock, so each rule is
//! shown at its edge.

pub(crate) mod codes;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::codes::Code;
use crate::status::ago;

/// How far a clock may be off, in seconds, before it is said. Contexts tolerate 30 s.
const CLOCK_SECONDS_MAX: u64 = 5;
/// How long a proxy may take to serve the newest revision, in seconds; pushes wait half a second at most.
const BEHIND_SECONDS_MAX: u64 = 10;
/// Life that a root should have left, in seconds: 60 days, so that a rotation needs no hurry.
const ROOT_SECONDS_MIN: u64 = 60 * 86_400;

/// Everything that is judged. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// This machine's clock.
    pub(crate) now: u64,
    /// The control plane's.
    pub(crate) control_now: u64,
    /// Its version (`1.2.3`).
    pub(crate) control_version: String,
    /// The revision that everybody should have.
    pub(crate) revision: u64,
    /// Seconds since that revision was made.
    pub(crate) revision_seconds: u64,
    /// Whether what was known of endpoints before the last start is complete again.
    pub(crate) settled: bool,
    /// When the root that signs ends.
    pub(crate) root_ends: u64,
    /// How long a certificate of a proxy is valid.
    pub(crate) certificate_life: u64,
    /// What the change of roots waits for, while one is under way.
    pub(crate) rotation_waits: Option<String>,
    /// What the control plane has raised itself.
    pub(crate) alarms: Vec<(&'static Code, String)>,
    /// The proxies.
    pub(crate) parts: Vec<Part>,
    /// The servers that the configuration names.
    pub(crate) servers: Vec<Server>,
}

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its SPIFFE ID.
    pub(crate) identity: String,
    /// `gateway` or `server`.
    pub(crate) kind: String,
    /// The gateway's or the server's name.
    pub(crate) name: String,
    /// Of a server.
    pub(crate) version: Option<String>,
    /// The version of its program.
    pub(crate) program: Option<String>,
    /// Where others reach it, and what came of trying.
    pub(crate) address: Option<(String, Option<String>)>,
    /// Whether it is connected to the control plane.
    pub(crate) is_connected: bool,
    /// The revision it serves.
    pub(crate) revision: u64,
    /// Whether it has all that is for it.
    pub(crate) is_current: bool,
    /// What it refuses, and why.
    pub(crate) nack: Option<String>,
    /// When its certificate ends.
    pub(crate) certificate_ends: Option<u64>,
    /// Why it does not reach its server, if it does not.
    pub(crate) away: Option<String>,
}

/// A server that the configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its name.
    pub(crate) name: String,
    /// The version that gets the calls; `None` when gateways reach it by themselves.
    pub(crate) version: Option<String>,
    /// Whether a view shows it.
    pub(crate) is_shown: bool,
}

/// One thing that is wrong, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Which kind.
    pub(crate) code: &'static Code,
    /// What is wrong here, in lower case without a full stop.
    pub(crate) message: String,
}

/// Everything that is wrong, in the order of the codes.
pub(crate) fn judge(facts: &Facts) -> Vec<Found> {
    let mut found = Vec::new();
    clock(facts, &mut found);
    authority(facts, &mut found);
    for part in &facts.parts {
        certificate(facts, part, &mut found);
        served(facts, part, &mut found);
        reached(part, &mut found);
    }
    servers(facts, &mut found);
    found.sort_by_key(|found| found.code.code);
    found
}

fn say(found: &mut Vec<Found>, code: &'static Code, message: String) {
    found.push(Found { code, message });
}

fn clock(facts: &Facts, found: &mut Vec<Found>) {
    let apart = facts.now.abs_diff(facts.control_now);
    if apart > CLOCK_SECONDS_MAX {
        let which = if facts.now > facts.control_now {
            "ahead of"
        } else {
            "behind"
        };
        let message = format!("this machine's clock is {} {which} the control plane's", ago(apart));
        say(found, codes::CLOCK, message);
    }
    if !facts.settled {
        let message =
            "the control plane started less than a minute ago: proxies may be on their way back to it".to_owned();
        say(found, codes::UNSETTLED, message);
    }
}

fn authority(facts: &Facts, found: &mut Vec<Found>) {
    let left = facts.root_ends.saturating_sub(facts.control_now);
    if left < ROOT_SECONDS_MIN {
        say(found, codes::ROOT_ENDS, format!("the root ends in {}", ago(left)));
    }
    if let Some(waits) = &facts.rotation_waits {
        say(found, codes::ROTATION_OPEN, format!("it waits for {waits}"));
    }
    for (code, message) in &facts.alarms {
        say(found, code, message.clone());
    }
}

fn certificate(facts: &Facts, part: &Part, found: &mut Vec<Found>) {
    let Some(ends) = part.certificate_ends else { return };
    let identity = &part.identity;
    let left = ends.saturating_sub(facts.control_now);
    if left == 0 {
        let since = facts.control_now.saturating_sub(ends);
        say(
            found,
            codes::EXPIRED,
            format!("that of `{identity}`, {} ago", ago(since)),
        );
    } else if part.is_connected && left.saturating_mul(3) < facts.certificate_life {
        say(
            found,
            codes::RENEWAL_LATE,
            format!("that of `{identity}` ends in {}", ago(left)),
        );
    } else if is_missed(facts, part) {
        let message = format!("`{identity}`");
        // Several starts of it may have gone.
        if !found
            .iter()
            .any(|found| found.code == codes::GONE && found.message == message)
        {
            say(found, codes::GONE, message);
        }
    }
}

/// Whether nobody of this identity is there, although the configuration has it.
fn is_missed(facts: &Facts, part: &Part) -> bool {
    let is_there = facts
        .parts
        .iter()
        .any(|other| other.identity == part.identity && other.is_connected);
    let is_wanted = part.kind != "server" || facts.servers.iter().any(|server| server.name == part.name);
    !is_there && is_wanted
}

fn served(facts: &Facts, part: &Part, found: &mut Vec<Found>) {
    let identity = &part.identity;
    if let Some(why) = &part.nack {
        say(found, codes::NACK, format!("`{identity}` refuses {why}"));
    } else if part.is_connected && !part.is_current && facts.revision_seconds > BEHIND_SECONDS_MAX {
        let (has, newest) = (part.revision, facts.revision);
        say(
            found,
            codes::BEHIND,
            format!("`{identity}` serves revision {has}, the newest is {newest}"),
        );
    }
    let Some(program) = &part.program else { return };
    if let (Some(ours), Some(theirs)) = (minor(&facts.control_version), minor(program))
        && (ours.0 != theirs.0 || ours.1.abs_diff(theirs.1) > 1)
    {
        let message = format!(
            "`{identity}` runs {program}, the control plane {}",
            facts.control_version
        );
        say(found, codes::VERSIONS, message);
    }
}

/// The first two numbers of a version.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn reached(part: &Part, found: &mut Vec<Found>) {
    let identity = &part.identity;
    if let Some((address, Some(why))) = part.address.as_ref().filter(|_| part.is_connected) {
        let message = format!("{address} of `{identity}` cannot be reached from here: {why}");
        say(found, codes::PORT, message);
    }
    if let Some(why) = part.away.as_ref().filter(|_| part.is_connected) {
        say(found, codes::AWAY, format!("`{identity}`: {why}"));
    }
}

fn servers(facts: &Facts, found: &mut Vec<Found>) {
    let mut others: BTreeSet<&str> = BTreeSet::new();
    for server in &facts.servers {
        let name = &server.name;
        if !server.is_shown {
            say(found, codes::HIDDEN, format!("server `{name}`"));
        }
        let Some(version) = &server.version else { continue };
        let here = |part: &&Part| part.kind == "server" && part.name == *name && part.is_connected;
        let (right, wrong): (Vec<_>, Vec<_>) = facts
            .parts
            .iter()
            .filter(here)
            .partition(|part| part.version.as_ref() == Some(version));
        if right.is_empty() {
            let message = format!("no sidecar of server `{name}`, version `{version}`, is connected");
            say(found, codes::UNREACHED, message);
        }
        others.extend(wrong.iter().map(|part| part.identity.as_str()));
    }
    for identity in others {
        say(found, codes::OTHER_VERSION, format!("`{identity}`"));
    }
    if !facts
        .parts
        .iter()
        .any(|part| part.kind == "gateway" && part.is_connected)
    {
        say(
            found,
            codes::NO_GATEWAY,
            "no gateway follows this control plane".to_owned(),
        );
    }
}
