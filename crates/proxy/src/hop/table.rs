//! Which endpoints there are, as the control plane says it.
//!
//! The table is written from outside and read by whoever calls. A group that is not settled only grows: a control plane
//! that has just started does not know yet who will come back, and nobody loses an endpoint for that.

use std::collections::HashMap;
use std::sync::Arc;

use meshgate_model::SpiffeId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// One instance of a part of the mesh that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its own number, made when it started; no two are alike.
    pub instance: u64,
    /// The version of the server that it stands beside; empty for a gateway.
    pub version: Arc<str>,
    /// Host and port of its mesh port.
    pub address: Arc<str>,
    /// What its certificate must say.
    pub spiffe_id: SpiffeId,
}

/// The endpoints of a group, sorted by instance.
pub type Known = Arc<[Endpoint]>;

/// All endpoints that this part of the mesh knows, by group (`server/<name>`, `gateway/<name>`).
#[derive(Debug, Default)]
pub struct Endpoints {
    groups: Mutex<HashMap<Arc<str>, watch::Sender<Known>>>,
}

/// The group of a server's sidecars.
pub fn server_group(server: &str) -> Arc<str> {
    format!("server/{server}").into()
}

/// The group of a gateway's replicas.
pub fn gateway_group(gateway: &str) -> Arc<str> {
    format!("gateway/{gateway}").into()
}

impl Endpoints {
    /// Takes over what is said of a group. While it is not `settled`, endpoints are added and none is taken away.
    pub fn set(&self, group: &str, settled: bool, endpoints: Vec<Endpoint>) {
        let mut groups = self.groups.lock();
        let known = groups.entry(group.into()).or_insert_with(empty);
        let next = merged(&known.borrow(), settled, endpoints);
        known.send_if_modified(|known| {
            let changed = *known != next;
            *known = next;
            changed
        });
    }

    /// Empties the groups that nobody speaks of any more.
    pub fn keep_only(&self, stays: impl Fn(&str) -> bool) {
        for (group, known) in &*self.groups.lock() {
            if !stays(group) {
                known.send_if_modified(|known| !std::mem::take(known).is_empty());
            }
        }
    }

    /// What is known of a group, now and from now on.
    pub fn watch(&self, group: &str) -> watch::Receiver<Known> {
        self.groups.lock().entry(group.into()).or_insert_with(empty).subscribe()
    }
}

fn empty() -> watch::Sender<Known> {
    watch::Sender::new(Known::default())
}

fn merged(before: &Known, settled: bool, said: Vec<Endpoint>) -> Known {
    let mut next = said;
    if !settled {
        next.extend(before.iter().cloned());
    }
    // Stable, so of two with one number what was said last counts.
    next.sort_by_key(|endpoint| endpoint.instance);
    next.dedup_by_key(|endpoint| endpoint.instance);
    next.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn endpoint(instance: u64, port: u16) -> Endpoint {
        Endpoint {
            instance,
            version: "v1".into(),
            address: format!("127.0.0.1:{port}").into(),
            spiffe_id: "spiffe://corp.mesh/server/documents/v1".parse().unwrap(),
        }
    }

    #[test]
    fn an_unsettled_group_only_grows_and_a_settled_one_is_what_is_said() {
        let endpoints = Endpoints::default();
        let known = endpoints.watch("server/documents");
        endpoints.set("server/documents", true, vec![endpoint(2, 2), endpoint(1, 1)]);
        endpoints.set("server/documents", false, vec![endpoint(3, 3), endpoint(1, 9)]);
        let now = known.borrow().clone();
        assert_eq!(now.iter().map(|e| e.instance).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(&*now[0].address, "127.0.0.1:9", "what is said last counts");
        endpoints.set("server/documents", true, vec![endpoint(3, 3)]);
        assert_eq!(known.borrow().len(), 1);
    }

    #[test]
    fn what_does_not_change_wakes_nobody() {
        let endpoints = Endpoints::default();
        let mut known = endpoints.watch("server/documents");
        endpoints.set("server/documents", true, vec![endpoint(1, 1)]);
        assert!(known.has_changed().unwrap());
        known.mark_unchanged();
        endpoints.set("server/documents", true, vec![endpoint(1, 1)]);
        assert!(!known.has_changed().unwrap());
    }

    #[test]
    fn a_group_that_nobody_speaks_of_is_empty() {
        let endpoints = Endpoints::default();
        let (gone, stays) = (endpoints.watch("server/a"), endpoints.watch("server/b"));
        endpoints.set("server/a", true, vec![endpoint(1, 1)]);
        endpoints.set("server/b", true, vec![endpoint(2, 2)]);
        endpoints.keep_only(|group| group == "server/b");
        assert_eq!((gone.borrow().len(), stays.borrow().len()), (0, 1));
    }
}
