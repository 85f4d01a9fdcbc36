//! What happens by plan, and whether everybody has what it should.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use meshgate_sync::resource::Digest;
use meshgate_sync::server::Member;
use meshgate_sync::{Key, Kind, limits};

use super::{BREAK_EVERY, BREAK_OF_TEN_THOUSAND, DENIED_WITHIN, Event, Issued, Timed, Who, World};
use crate::plan::Step;
use crate::wire::Machine;

impl World {
    pub(super) fn issue(&mut self, key: Key) {
        let versions = self.plane.wanted(&Member::Gateway("main".into()));
        if let Some(digest) = versions.get(&key).copied() {
            self.issued.insert(key, Issued { at: self.now, digest });
        }
    }

    /// Whether there is more.
    pub(super) fn step(&mut self, step: Step) -> bool {
        let now = self.now;
        let server = self.chance.below(self.plan.servers);
        let changed = match step {
            Step::Phase(name) => {
                self.issued.clear();
                self.book.begin(name, now);
                None
            }
            Step::ChangeOne => Some(self.plane.edit_server(now, server)),
            Step::ChangeAll => Some(self.plane.edit_mesh(now)),
            Step::Deny => Some(self.plane.deny(now)),
            Step::Spoil | Step::Mend => Some(self.plane.edit_view(now, 0, step == Step::Spoil)),
            Step::Endpoint => self.leave(server),
            Step::Kill => {
                self.kill();
                None
            }
            Step::Start => {
                self.machine = Machine::default();
                self.plane.start(now);
                None
            }
            Step::Faults | Step::Calm => {
                self.faults = step == Step::Faults;
                for who in 0..self.proxies.len() {
                    let slow = self.faults && self.chance.below(100) < 2;
                    self.proxies[who].slow = slow;
                }
                self.at(now, Event::Break);
                None
            }
            Step::Judge => {
                self.judge();
                None
            }
        };
        if let Some(key) = changed {
            self.issue(key);
        }
        self.settle_tick();
        self.events
            .iter()
            .any(|Reverse(Timed(_, _, event))| matches!(event, Event::Step(_)))
    }

    /// An instance of a server goes for good.
    pub(super) fn leave(&mut self, server: usize) -> Option<Key> {
        let instance = self.plane.an_instance(server)?;
        let who = self.proxies.iter().position(|proxy| proxy.instance == instance)?;
        self.left[who] = true;
        self.hang_up(who);
        Some(self.plane.place(self.now, server, instance, false))
    }

    pub(super) fn kill(&mut self) {
        self.plane.server = None;
        self.by_session.clear();
        for who in 0..self.proxies.len() {
            if self.proxies[who].session.take().is_some() {
                let (stream, noticed) = (self.proxies[who].stream, self.now + self.proxies[who].latency);
                self.at(noticed, Event::Lost(who, stream));
            }
        }
    }

    pub(super) fn break_some(&mut self) {
        if !self.faults {
            return;
        }
        let count = (self.proxies.len() * BREAK_OF_TEN_THOUSAND).div_ceil(10_000);
        for _ in 0..count {
            let who = self.chance.below(self.proxies.len());
            if self.proxies[who].session.is_some() {
                self.lose(who);
            }
        }
        self.at(self.now + BREAK_EVERY, Event::Break);
    }

    /// What is in force is of one revision, and how long it took to get there.
    pub(super) fn judge_change(&mut self, who: Who, changed: &[Key], revision: u64, before: Option<u64>) {
        let proxy = &self.proxies[who];
        let moved = before != Some(revision);
        let looked_at: Vec<&Key> = if moved {
            proxy.in_force.keys().collect()
        } else {
            changed.iter().collect()
        };
        let mut wrong = None;
        for key in looked_at {
            if proxy
                .holds(key)
                .is_some_and(|digest| !self.plane.was(key, digest, revision))
            {
                wrong = Some(format!("proxy {who} has half of revision {revision} in force: {key}"));
            }
        }
        let mut times = Vec::new();
        for key in changed {
            let Some(issued) = self.issued.get(key) else { continue };
            if proxy.holds(key) == Some(issued.digest) {
                times.push((key.kind, self.now - issued.at));
            }
        }
        if let Some(wrong) = wrong {
            self.book.find(self.now, wrong);
        }
        let calm = !self.faults;
        for (kind, time) in times {
            self.book.phase().in_force.add(time);
            if kind == Kind::Denied {
                self.book.phase().denied.add(time);
                if calm && time > DENIED_WITHIN {
                    self.book
                        .find(self.now, format!("a denial took {time:?} to proxy {who}"));
                }
            }
        }
    }

    /// Everybody must have everything.
    pub(super) fn judge(&mut self) {
        let mut wanted: HashMap<Member, BTreeMap<Key, Digest>> = HashMap::new();
        let mut wrong = Vec::new();
        for (who, proxy) in self.proxies.iter().enumerate().filter(|(who, _)| !self.left[*who]) {
            let wanted = wanted.entry(proxy.member.clone()).or_insert_with(|| {
                self.plane
                    .wanted(&proxy.member)
                    .into_iter()
                    .map(|(key, digest)| (key.clone(), digest))
                    .collect()
            });
            if proxy.in_force != *wanted {
                wrong.push(format!("proxy {who} does not have what is for it"));
            }
            if !proxy.agrees() {
                wrong.push(format!(
                    "proxy {who} says that it holds something else than is in force"
                ));
            }
        }
        if let Some(server) = &self.plane.server {
            let progress = server.progress(self.plane.revision);
            let behind = progress.waiting.len() + progress.refused.len();
            if behind > 0 {
                wrong.push(format!("the control plane thinks that {behind} proxies are behind"));
            }
        }
        let rate = u64::from(limits::ADMITTED_PER_SECOND + limits::ADMITTED_BURST);
        if self.book.phase().opened_in_a_second() > rate {
            wrong.push("more streams were admitted in a second than may be".to_owned());
        }
        for what in wrong {
            self.book.find(self.now, what);
        }
    }
}
