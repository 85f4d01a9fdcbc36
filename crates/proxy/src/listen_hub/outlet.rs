//! One client's stream, as far as it has not been read.
//!
//! A listener that reads slowly must cost little and hold up nobody. So nothing is queued that can be said later and
//! still be true: a changed list is a bit, and of several updates of one resource the last one counts. What is kept are
//! references to the server's own bytes; they become the client's words when the client takes them. Where that still
//! grows over the limit the stream ends in order, which tells the client to listen again and to read everything anew.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::words::{self, Lists};
use crate::call::Told;

/// What an update costs beyond its bytes.
const UPDATE_BYTES: usize = 64;

/// An update of a resource on its way to a client.
#[derive(Clone, Debug)]
pub(super) struct Update {
    /// The server's number, so that equal URIs of two servers stay two.
    pub(super) server: u64,
    /// The resource in its server's words.
    pub(super) uri: Arc<str>,
    /// The server's notification.
    pub(super) body: Bytes,
    /// The server's alias where the client's view is merged.
    pub(super) alias: Option<Arc<str>>,
}

/// See the module.
pub(super) struct Outlet {
    /// The client's JSON-RPC id, raw.
    id: Bytes,
    /// The lists it asked for.
    lists: Lists,
    bytes_max: usize,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    lists: Lists,
    /// Nothing for most listeners, most of the time.
    updates: Option<Box<Updates>>,
    ended: bool,
    finished: bool,
    waker: Option<Waker>,
}

type Key = (u64, Arc<str>);

#[derive(Default)]
struct Updates {
    order: VecDeque<Key>,
    latest: HashMap<Key, Update>,
    bytes: usize,
}

impl Updates {
    fn put(&mut self, update: Update) {
        let key = (update.server, update.uri.clone());
        self.bytes += cost(&update);
        match self.latest.insert(key.clone(), update) {
            Some(before) => self.bytes -= cost(&before),
            None => self.order.push_back(key),
        }
    }

    fn take(&mut self) -> Option<Update> {
        let update = self.latest.remove(&self.order.pop_front()?)?;
        self.bytes -= cost(&update);
        Some(update)
    }
}

fn cost(update: &Update) -> usize {
    UPDATE_BYTES + update.uri.len() + update.body.len()
}

impl Outlet {
    pub(super) fn new(id: Bytes, lists: Lists, bytes_max: usize) -> Self {
        Self {
            id,
            lists,
            bytes_max,
            pending: Mutex::default(),
        }
    }

    /// The lists its client asked for.
    pub(super) fn lists(&self) -> Lists {
        self.lists
    }

    /// Lists have changed.
    pub(super) fn changed(&self, lists: Lists) {
        let lists = lists.and(self.lists);
        if !lists.is_empty() {
            self.with(|pending| pending.lists = pending.lists.or(lists));
        }
    }

    /// A resource has changed.
    pub(super) fn updated(&self, update: Update) {
        self.with(|pending| {
            if pending.ended {
                return;
            }
            let updates = pending.updates.get_or_insert_default();
            updates.put(update);
            if updates.bytes > self.bytes_max {
                tracing::info!("a listener reads too slowly; its stream ends");
                pending.updates = None;
                pending.ended = true;
            }
        });
    }

    /// Ends the stream in order, after what is already on its way.
    pub(super) fn end(&self) {
        self.with(|pending| pending.ended = true);
    }

    /// Ends the stream at once: what is on its way is not for this reader any more.
    pub(super) fn cut(&self) {
        self.with(|pending| {
            pending.lists = Lists::default();
            pending.updates = None;
            pending.ended = true;
        });
    }

    fn with(&self, change: impl FnOnce(&mut Pending)) {
        let waker = {
            let mut pending = self.pending.lock();
            change(&mut pending);
            pending.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next message for the client; none after the result that ends the stream.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        let mut pending = self.pending.lock();
        if let Some(list) = pending.lists.take_one() {
            drop(pending);
            return Poll::Ready(Some(Told::Notice(words::list_changed(&self.id, list))));
        }
        while let Some(updates) = &mut pending.updates {
            let Some(update) = updates.take() else {
                pending.updates = None;
                break;
            };
            if let Some(said) = words::update(&update.body, &self.id, update.alias.as_deref()) {
                return Poll::Ready(Some(Told::Notice(said)));
            }
        }
        if !pending.ended {
            if !pending.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                pending.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if std::mem::replace(&mut pending.finished, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Told::Result(words::last(&self.id))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn update(server: u64, uri: &str, text: &str) -> Update {
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}","text":"{text}"}}}}"#
        );
        Update {
            server,
            uri: Arc::from(uri),
            body: Bytes::from(body),
            alias: None,
        }
    }

    fn outlet(bytes_max: usize) -> Outlet {
        Outlet::new(Bytes::from_static(b"7"), Lists::ALL, bytes_max)
    }

    /// Everything that can be read now.
    fn read(outlet: &Outlet) -> Vec<Told> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(told)) = outlet.poll_next(&mut cx) {
            all.push(told);
        }
        all
    }

    fn texts(told: &[Told]) -> Vec<String> {
        let text = |told: &Told| String::from_utf8(told.clone().into_bytes().to_vec()).unwrap();
        told.iter().map(text).collect()
    }

    #[test]
    fn a_list_that_changed_many_times_is_told_once_and_the_last_word_on_a_resource_counts() {
        let outlet = outlet(10_000);
        for n in 0..1_000 {
            outlet.changed(Lists::of(crate::catalogue::ListKind::Templates));
            outlet.updated(update(1, "x:a", &n.to_string()));
        }
        outlet.updated(update(1, "x:b", "b"));
        outlet.updated(update(2, "x:a", "of another server"));
        let said = texts(&read(&outlet));
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].contains("notifications/resources/list_changed"));
        assert!(
            said[1].contains(r#""text":"999""#) && said[1].contains(r#"subscriptionId":7"#),
            "{said:?}"
        );
        assert!(said[3].contains("of another server"));
        assert!(
            outlet.pending.lock().updates.is_none(),
            "nothing is kept for one that reads"
        );
    }

    #[test]
    fn d45_a_listener_holds_its_limit_and_over_it_its_stream_ends_in_order() {
        let (one, two) = (update(1, "x:a", "a"), update(1, "x:b", "b"));
        let both = cost(&one) + cost(&two);
        for (limit, fits) in [(both + 1, true), (both, true), (both - 1, false)] {
            let outlet = outlet(limit);
            outlet.updated(one.clone());
            outlet.updated(two.clone());
            let said = read(&outlet);
            assert_eq!(said.len(), if fits { 2 } else { 1 }, "{limit}");
            if !fits {
                let last = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#;
                assert_eq!(said, [Told::Result(Bytes::from(last))]);
                outlet.updated(one.clone());
                assert!(read(&outlet).is_empty() && outlet.pending.lock().updates.is_none());
            }
        }
    }

    #[test]
    fn what_is_on_its_way_is_told_before_the_end() {
        let outlet = outlet(10_000);
        outlet.updated(update(1, "x:a", "a"));
        outlet.end();
        let said = read(&outlet);
        assert!(
            matches!(said.as_slice(), [Told::Notice(_), Told::Result(_)]),
            "{said:?}"
        );
    }
}
