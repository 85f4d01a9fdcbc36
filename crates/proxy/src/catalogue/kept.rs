//! The set of servers, as the configuration has them and as they have shown themselves.
//!
//! Nothing here waits or runs: it says what a change of the configuration does to each server, and what becomes of what
//! a follower has found. [`super::sync`] holds it under its lock and starts what is to run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Instant;

use meshgate_model::{Server, Snapshot};
use tokio::task::AbortHandle;

use super::follow::Follower;
use super::leaving::Leaving;
use super::sync::{Catalogues, ServerState, now};
use super::{Routing, ServerCatalogue, ServerInView};
use crate::upstream::{State, Upstream};

/// The configuration and its servers.
pub(super) struct Kept {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) servers: Servers,
    /// Ways to servers that are being left.
    leaving: Vec<Arc<Upstream>>,
    /// Routings that a call may still hold.
    made: Vec<Weak<Routing>>,
}

/// What a new configuration did to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Servers that were not there before.
    pub added: Vec<Arc<str>>,
    /// Servers that are there no longer.
    pub removed: Vec<Arc<str>>,
    /// Servers that are connected to anew.
    pub renewed: Vec<Arc<str>>,
}

/// What is to be done about it.
pub(super) struct Replaced {
    pub(super) applied: Applied,
    pub(super) left: Vec<Arc<Upstream>>,
    /// Followers to be started, each with whether it follows a way that is yet to take over.
    pub(super) followers: Vec<(Follower, bool)>,
}

/// What a follower's words have changed.
pub(super) struct Published {
    /// Whether nothing was known of the server before.
    pub(super) first: bool,
    /// The way that was used until now.
    pub(super) left: Option<Arc<Upstream>>,
}

/// The servers by name.
#[derive(Default)]
pub(super) struct Servers {
    all: BTreeMap<Arc<str>, Entry>,
    numbers: u64,
}

struct Entry {
    way: Way,
    /// The way that takes over once it has answered.
    next: Option<Way>,
    catalogue: Option<Arc<ServerCatalogue>>,
    away: Option<(String, Instant)>,
    asked: bool,
}

/// One way to a server, and who follows it.
struct Way {
    server: Arc<Server>,
    upstream: Arc<Upstream>,
    number: u64,
    follower: Option<AbortHandle>,
}

impl Way {
    /// Whether it can serve a definition as it is.
    fn serves(&self, server: &Server) -> bool {
        self.server.is_reached_as(server)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

impl Kept {
    pub(super) fn new(snapshot: Arc<Snapshot>, mut start: impl FnMut(&Arc<Server>) -> Arc<Upstream>) -> Self {
        let mut servers = Servers::default();
        for server in snapshot.servers.values() {
            servers.add(server, &mut start);
        }
        Self {
            snapshot,
            servers,
            leaving: Vec::new(),
            made: Vec::new(),
        }
    }

    /// Notes a routing for as long as somebody holds it.
    pub(super) fn remember(&mut self, routing: Weak<Routing>) {
        self.made.retain(|made| made.strong_count() > 0);
        self.made.push(routing);
    }

    /// These ways are to be closed. The newest routing does not lead to them any more.
    pub(super) fn leave(&mut self, left: Vec<Arc<Upstream>>) -> Vec<Leaving> {
        let older = self.made.split_last().map_or(Vec::new(), |(_, older)| older.to_vec());
        self.leaving.extend(left.iter().cloned());
        left.into_iter()
            .map(|upstream| Leaving::new(upstream, older.clone()))
            .collect()
    }

    /// This way is closed.
    pub(super) fn gone(&mut self, upstream: &Arc<Upstream>) {
        self.leaving.retain(|leaving| !Arc::ptr_eq(leaving, upstream));
    }

    /// How many ways are being left.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Every way there is, also those that are yet to take over and those that are being left.
    pub(super) fn every_upstream(&self) -> Vec<Arc<Upstream>> {
        let entries = self.servers.all.values();
        let ways = entries.flat_map(|entry| std::iter::once(&entry.way).chain(&entry.next));
        ways.map(|way| way.upstream.clone())
            .chain(self.leaving.iter().cloned())
            .collect()
    }
}

impl Servers {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn way(&mut self, server: &Arc<Server>, upstream: Arc<Upstream>) -> Way {
        Way {
            server: server.clone(),
            upstream,
            number: self.number(),
            follower: None,
        }
    }

    fn add(&mut self, server: &Arc<Server>, start: &mut impl FnMut(&Arc<Server>) -> Arc<Upstream>) {
        let upstream = start(server);
        let entry = Entry {
            way: self.way(server, upstream),
            next: None,
            catalogue: None,
            away: None,
            asked: false,
        };
        self.all.insert(server.name.clone(), entry);
    }

    pub(super) fn upstreams(&self) -> Vec<(Arc<str>, Arc<Upstream>)> {
        let all = self.all.iter();
        all.map(|(name, entry)| (name.clone(), entry.way.upstream.clone()))
            .collect()
    }

    pub(super) fn state(&self, name: &str) -> ServerState {
        let entry = self.all.get(name);
        entry.map(|e| (e.catalogue.clone(), e.away.clone())).unwrap_or_default()
    }

    pub(super) fn all_asked(&self) -> bool {
        self.all.values().all(|entry| entry.asked)
    }

    /// A server as a view sees it, under the definition that the view knows.
    pub(super) fn in_view(&self, server: &Arc<Server>) -> Option<ServerInView> {
        let entry = self.all.get(&server.name)?;
        Some(ServerInView {
            server: server.clone(),
            upstream: entry.way.upstream.clone(),
            catalogue: entry.catalogue.clone(),
            away: entry.away.is_some() || entry.catalogue.is_none(),
        })
    }

    /// Followers of every server, none of which runs yet.
    pub(super) fn follow_all(&self, all: &Arc<Catalogues>) -> Vec<Follower> {
        let ways = self.all.values().flat_map(|e| std::iter::once(&e.way).chain(&e.next));
        ways.map(|way| follower(all, way)).collect()
    }

    /// Notes the task that follows a server, which ends with the way that it follows.
    pub(super) fn followed_by(&mut self, name: &str, number: u64, task: AbortHandle) {
        let entry = self.all.get_mut(name);
        let way = entry.and_then(|e| {
            std::iter::once(&mut e.way)
                .chain(&mut e.next)
                .find(|w| w.number == number)
        });
        match way {
            Some(way) => way.follower = Some(task),
            None => task.abort(),
        }
    }

    /// Makes the set that of `snapshot`.
    pub(super) fn replace(
        &mut self,
        all: &Arc<Catalogues>,
        snapshot: &Snapshot,
        touched: &BTreeSet<Arc<str>>,
        mut start: impl FnMut(&Arc<Server>) -> Arc<Upstream>,
    ) -> Replaced {
        let mut done = Replaced {
            applied: Applied::default(),
            left: Vec::new(),
            followers: Vec::new(),
        };
        let removed: Vec<Arc<str>> = self
            .all
            .keys()
            .filter(|name| !snapshot.servers.contains_key(*name))
            .cloned()
            .collect();
        for name in removed {
            if let Some(entry) = self.all.remove(&name) {
                done.left.push(entry.way.upstream.clone());
                done.left.extend(entry.next.as_ref().map(|next| next.upstream.clone()));
            }
            done.applied.removed.push(name);
        }
        for (name, server) in &snapshot.servers {
            if !self.all.contains_key(name) {
                self.add(server, &mut start);
                done.applied.added.push(name.clone());
                let entry = self.all.get(name);
                done.followers
                    .extend(entry.map(|entry| (follower(all, &entry.way), false)));
            } else if let Some(mut entry) = self.all.remove(name) {
                let renewed = self.change(&mut entry, server, touched.contains(name), &mut start, &mut done.left);
                match renewed {
                    Change::None => {}
                    Change::Read => done
                        .followers
                        .push((follower(all, entry.newest()), entry.next.is_some())),
                    Change::Renewed => {
                        done.applied.renewed.push(name.clone());
                        done.followers
                            .push((follower(all, entry.newest()), entry.next.is_some()));
                    }
                }
                self.all.insert(name.clone(), entry);
            }
        }
        done
    }

    fn change(
        &mut self,
        entry: &mut Entry,
        server: &Arc<Server>,
        touched: bool,
        start: &mut impl FnMut(&Arc<Server>) -> Arc<Upstream>,
        left: &mut Vec<Arc<Upstream>>,
    ) -> Change {
        if !touched && entry.newest().serves(server) {
            if *entry.newest().server == **server {
                return Change::None;
            }
            let upstream = entry.newest().upstream.clone();
            *entry.newest_mut() = self.way(server, upstream);
            return Change::Read;
        }
        if let Some(next) = entry.next.take() {
            left.push(next.upstream.clone());
        }
        if !touched && entry.way.serves(server) {
            // The change was taken back before it took over.
            let upstream = entry.way.upstream.clone();
            entry.way = self.way(server, upstream);
            return Change::Read;
        }
        let way = self.way(server, start(server));
        if entry.catalogue.is_some() && entry.away.is_none() {
            entry.next = Some(way);
        } else {
            left.push(entry.way.upstream.clone());
            entry.way = way;
        }
        Change::Renewed
    }

    /// Takes what a follower has found; `None` when it changes nothing.
    pub(super) fn publish(
        &mut self,
        name: &str,
        number: u64,
        outcome: Result<ServerCatalogue, String>,
    ) -> Option<Published> {
        let entry = self.all.get_mut(name)?;
        let mut left = None;
        if entry.next.as_ref().is_some_and(|next| next.number == number) {
            // One that does not answer gets more time; what serves until then goes on.
            outcome.as_ref().ok()?;
            left = entry.take_over();
        } else if entry.way.number != number {
            return None;
        }
        match outcome {
            Ok(catalogue) => {
                entry.away = None;
                entry.catalogue = Some(Arc::new(catalogue));
            }
            Err(why) => {
                if entry.away.is_none() {
                    // That a connection has failed is said where it failed.
                    if entry.way.upstream.status().state == State::Up {
                        tracing::warn!(server = %name, %why, "the server answers, but its catalogue cannot be read");
                    }
                    entry.away = Some((why, now()));
                }
            }
        }
        let first = !std::mem::replace(&mut entry.asked, true);
        Some(Published { first, left })
    }

    /// Lets a way take over that has not answered; gives the one that it replaces.
    pub(super) fn take_over(&mut self, name: &str, number: u64) -> Option<Arc<Upstream>> {
        let entry = self.all.get_mut(name)?;
        if entry.next.as_ref()?.number != number {
            return None;
        }
        entry.take_over()
    }
}

enum Change {
    None,
    /// Its catalogue is read anew on the way there is.
    Read,
    /// There is a new way to it.
    Renewed,
}

impl Entry {
    fn newest(&self) -> &Way {
        self.next.as_ref().unwrap_or(&self.way)
    }

    fn newest_mut(&mut self) -> &mut Way {
        self.next.as_mut().unwrap_or(&mut self.way)
    }

    fn take_over(&mut self) -> Option<Arc<Upstream>> {
        let next = self.next.take()?;
        Some(std::mem::replace(&mut self.way, next).upstream.clone())
    }
}

fn follower(all: &Arc<Catalogues>, way: &Way) -> Follower {
    Follower {
        all: all.clone(),
        server: way.server.clone(),
        upstream: way.upstream.clone(),
        number: way.number,
    }
}
