//! What a server shows to single callers.
//!
//! Most servers show everybody the same, and their lists are read once, in a session that declares nothing. Some look at
//! what their client can be asked and leave out of their lists what needs more; for those the operator says
//! `catalogue: perCaller`, and the lists are read once more in the session that the caller's own calls go to. The view is
//! then built as any other, from those lists, so that what is shown and what may be called stay the same.
//!
//! A list of a caller's own is read when the caller first needs it. It holds until the shared view is built anew, which a
//! change that the server announces to everybody leads to, and no longer than a catalogue is kept without being read again.
//! Where it cannot be read the shared one takes its place for this one request.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use meshgate_bridge::Capabilities;
use meshgate_model::Server;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::build::view_state;
use super::read::{self, Reader};
use super::sync::now;
use super::{ServerInView, ViewState};
use crate::call::Caller;

/// Views of single callers that are kept at most; the oldest makes room.
const OWN_VIEWS_MAX: usize = 256;
/// How long a request waits for the lists of its caller.
const READ_MAX: Duration = Duration::from_secs(10);

/// Whose view it is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: Arc<str>,
    caller: Arc<Caller>,
    can: Capabilities,
}

/// The views of single callers.
#[derive(Default)]
pub(super) struct OwnViews {
    kept: Mutex<HashMap<Key, Arc<OwnView>>>,
}

struct OwnView {
    /// The shared view that it was made from.
    shared: Weak<ViewState>,
    since: Instant,
    made: OnceCell<Arc<ViewState>>,
}

impl OwnViews {
    /// The view as this caller is shown it. Of requests that come at once, one reads.
    pub(super) async fn of(
        &self,
        shared: &Arc<ViewState>,
        reader: &Reader,
        next_id: &(dyn Fn() -> u64 + Sync),
        items_max: usize,
    ) -> Arc<ViewState> {
        // A caller of the session that all share is shown what was read in it.
        let own = own_lists(shared).any(|server| server.server.per_caller || !reader.can.is_empty());
        let Some(caller) = reader.caller.as_ref().filter(|_| own) else {
            return shared.clone();
        };
        let own = self.kept(shared, caller, reader.can);
        let read = own.made.get_or_try_init(|| async {
            let (made, whole) = read_all(shared, reader, next_id, items_max).await;
            if whole { Ok(made) } else { Err(made) }
        });
        read.await.map_or_else(|made| made, Arc::clone)
    }

    fn kept(&self, shared: &Arc<ViewState>, caller: &Arc<Caller>, can: Capabilities) -> Arc<OwnView> {
        let key = Key {
            path: shared.view.path.clone(),
            caller: caller.clone(),
            can,
        };
        let life = own_lists(shared).map(|server| server.server.catalogue_refresh).min();
        let mut kept = self.kept.lock();
        if let Some(found) = kept.get(&key)
            && std::ptr::eq(found.shared.as_ptr(), Arc::as_ptr(shared))
            && life.is_some_and(|life| found.since.elapsed() < life)
        {
            return found.clone();
        }
        kept.retain(|_, own| own.shared.strong_count() > 0);
        make_room(&mut kept, OWN_VIEWS_MAX);
        let own = Arc::new(OwnView {
            shared: Arc::downgrade(shared),
            since: Instant::now(),
            made: OnceCell::new(),
        });
        kept.insert(key, own.clone());
        own
    }
}

/// Forgets the oldest view where one more would be too many.
fn make_room(kept: &mut HashMap<Key, Arc<OwnView>>, max: usize) {
    let oldest = kept.iter().min_by_key(|(_, own)| own.since).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest.filter(|_| kept.len() >= max) {
        kept.remove(&oldest);
    }
}

fn own_lists(view: &ViewState) -> impl Iterator<Item = &ServerInView> {
    view.servers.iter().filter(|server| server.server.catalogue_per_caller)
}

/// The view with the lists of this caller, and whether all of them could be read.
async fn read_all(
    shared: &ViewState,
    reader: &Reader,
    next_id: &(dyn Fn() -> u64 + Sync),
    items_max: usize,
) -> (Arc<ViewState>, bool) {
    let read = join_all(shared.servers.iter().map(|server| async {
        let mut own = server.clone();
        let reader = Reader {
            caller: reader.caller.clone(),
            view: reader.view.clone(),
            can: asked_by(&server.server, reader.can),
        };
        let shares = reader.can.is_empty() && !server.server.per_caller;
        if server.away || !server.server.catalogue_per_caller || shares {
            return (own, true);
        }
        let reading = read::catalogue(&server.upstream, &server.server, &reader, next_id, &now);
        let why = match tokio::time::timeout(READ_MAX, reading).await {
            Ok(Ok(catalogue)) => {
                own.catalogue = Some(Arc::new(catalogue));
                return (own, true);
            }
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => "the server took too long".to_owned(),
        };
        tracing::warn!(server = %server.server.name, %why, "the lists of a caller could not be read; the shared ones are shown");
        (own, false)
    }));
    let (servers, read): (Vec<_>, Vec<_>) = read.await.into_iter().unzip();
    let made = view_state(&shared.view, servers, items_max);
    (Arc::new(made), read.into_iter().all(|whole| whole))
}

/// What of it this server may ask, as its calls say it too.
fn asked_by(server: &Server, can: Capabilities) -> Capabilities {
    let may = &server.questions;
    let kinds = [
        (may.elicitation, Capabilities::ELICITATION_FORM),
        (may.pages(), Capabilities::ELICITATION_URL),
        (may.sampling, Capabilities::SAMPLING),
        (may.sampling, Capabilities::SAMPLING_TOOLS),
        (may.sampling, Capabilities::SAMPLING_CONTEXT),
        (may.roots, Capabilities::ROOTS),
    ];
    let left = kinds.into_iter().filter(|(may, kind)| *may && can.contains(*kind));
    left.fold(Capabilities::NONE, |all, (_, kind)| all.with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_view_makes_room_for_one_more() {
        let key = |number: usize| Key {
            path: Arc::from(number.to_string()),
            caller: Arc::new(Caller::anonymous()),
            can: Capabilities::ROOTS,
        };
        let mut kept = HashMap::new();
        for number in 0..=OWN_VIEWS_MAX {
            make_room(&mut kept, OWN_VIEWS_MAX);
            let own = OwnView {
                shared: Weak::new(),
                since: Instant::now(),
                made: OnceCell::new(),
            };
            kept.insert(key(number), Arc::new(own));
            assert_eq!(kept.len(), (number + 1).min(OWN_VIEWS_MAX));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(!kept.contains_key(&key(0)) && kept.contains_key(&key(1)));
    }
}
