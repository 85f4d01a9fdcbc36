//! `subscriptions/listen` on a server that has none: a row in the session's subscriptions and a queue.

use std::sync::Arc;

use bytes::Bytes;
use meshgate_bridge::lift::{Filter, Subscriptions};
use tokio::sync::mpsc;

use super::errands;
use super::limits::{ERRAND_MAX, LISTEN_RESOURCES_MAX};
use super::shared::{Shared, now};
use crate::call::Reply;
use crate::refusal::{Executed, Reason, Refusal};

/// Opens a listen: the acknowledgement first, then what changes, until one side ends it.
pub(super) async fn open(shared: &Arc<Shared>, id: u64, mut filter: Filter) -> Reply {
    while filter.uris.len() > LISTEN_RESOURCES_MAX {
        filter.uris.pop_last();
    }
    let one_at_a_time = shared.subscribing.lock().await;
    let (messages, fresh) = shared.open_listen(id, filter);
    let row = Row {
        shared: Arc::clone(shared),
        id,
    };
    for refused in errands::subscribe(shared, fresh, now() + ERRAND_MAX).await {
        shared.refuse_resource(id, &refused);
    }
    drop(one_at_a_time);
    let listen = Listen {
        acknowledgement: Some(shared.acknowledge(id)),
        messages: Some(messages),
        row,
    };
    Reply::Stream(Box::pin(futures_util::stream::unfold(
        listen,
        |mut listen| async move { listen.next().await.map(|message| (message, listen)) },
    )))
}

struct Listen {
    acknowledgement: Option<Bytes>,
    /// Nothing once the end has been told.
    messages: Option<mpsc::Receiver<Bytes>>,
    row: Row,
}

impl Listen {
    async fn next(&mut self) -> Option<Result<Bytes, Refusal>> {
        if let Some(acknowledgement) = self.acknowledgement.take() {
            return Some(Ok(acknowledgement));
        }
        if let Some(message) = self.messages.as_mut()?.recv().await {
            return Some(Ok(message));
        }
        self.messages = None;
        if self.row.shared.is_lost() {
            return Some(Err(Refusal::server(
                Reason::ServerAway,
                Executed::Unknown,
                "server is away: it has ended",
            )));
        }
        Some(Ok(Subscriptions::finished(self.row.id).into()))
    }
}

/// A row in the session's subscriptions, for as long as somebody holds the stream.
struct Row {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Row {
    fn drop(&mut self) {
        let unwatched = self.shared.close_listen(self.id);
        errands::unsubscribe(&self.shared, unwatched);
    }
}
