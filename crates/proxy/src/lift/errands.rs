//! What the gateway asks a legacy server on its own account: log level, subscriptions, cancellations.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use meshgate_bridge::lift::{self, Arrival, Level, sort, split};
use meshgate_mcp::{Envelope, Method, Rules, json, message, scan};
use tokio::sync::OwnedSemaphorePermit;

use super::channel::{self, Fault};
use super::handshake;
use super::limits::{ERRAND_MAX, SUBSCRIBING_MAX};
use super::shared::{Live, Shared, now, own_id, soon};

/// Answers a question of the server, unless it asks faster than it listens.
pub(super) fn answer(shared: &Arc<Shared>, live: &Live, reply: Vec<u8>) {
    match shared.room_for_answer() {
        Some(room) => post(shared, live, reply, Some(room)),
        None => tracing::debug!("server asks faster than it listens: a question stays without an answer"),
    }
}

/// Sends the answers of a client, in their order.
pub(super) fn answer_all(shared: &Arc<Shared>, live: &Live, answers: Vec<Vec<u8>>) {
    if answers.is_empty() {
        return;
    }
    let (owned, headers) = (Arc::clone(shared), live.headers.clone());
    shared.errand(ERRAND_MAX, async move {
        say_all(&owned, &headers, answers).await;
    });
}

/// Says one thing after the other; what the server makes of one does not hold up the next.
pub(super) async fn say_all(shared: &Shared, headers: &HeaderMap, messages: Vec<Vec<u8>>) {
    for message in messages {
        let deadline = now() + ERRAND_MAX;
        if let Err(refusal) = channel::notify(&shared.link, headers.clone(), message.into(), deadline).await {
            tracing::debug!(why = %refusal, "an answer to a question of the server did not reach it");
        }
    }
}

/// Sends a notification that nobody waits for.
pub(super) fn tell(shared: &Arc<Shared>, live: &Live, notification: Vec<u8>) {
    post(shared, live, notification, None);
}

fn post(shared: &Arc<Shared>, live: &Live, message: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
    let (owned, headers) = (Arc::clone(shared), live.headers.clone());
    shared.errand(ERRAND_MAX, async move {
        let _room = room;
        let deadline = now() + ERRAND_MAX;
        let _ = channel::notify(&owned.link, headers, message.into(), deadline).await;
    });
}

/// Sets the log level of the session. When the server will not have it, the next request that wants logs tries again.
pub(super) async fn set_level(shared: &Arc<Shared>, level: Level, deadline: Instant) {
    let id = own_id();
    if !ask(shared, id, lift::set_level(id, level), deadline).await {
        shared.level_unknown();
    }
}

/// Subscribes resources; answers those that the server refused.
pub(super) async fn subscribe(shared: &Arc<Shared>, uris: Vec<String>, deadline: Instant) -> Vec<String> {
    let asked = futures_util::stream::iter(uris).map(|uri| async move {
        let id = own_id();
        let granted = ask(shared, id, lift::subscribe(id, &uri), deadline).await;
        (!granted).then_some(uri)
    });
    asked
        .buffer_unordered(SUBSCRIBING_MAX)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Unsubscribes resources that nobody watches any more. Whoever began to watch one meanwhile keeps it.
pub(super) fn unsubscribe(shared: &Arc<Shared>, uris: Vec<String>) {
    if uris.is_empty() || shared.gone.is_cancelled() {
        return;
    }
    let owned = Arc::clone(shared);
    shared.errand(ERRAND_MAX * 2, async move {
        let _one_at_a_time = owned.subscribing.lock().await;
        let watched = owned.watched();
        for uri in uris.into_iter().filter(|uri| !watched.contains(uri)) {
            let id = own_id();
            ask(&owned, id, lift::unsubscribe(id, &uri), now() + ERRAND_MAX).await;
        }
    });
}

/// A new session knows nothing of what the old one watched, and nobody knows what was missed in between: so each
/// resource counts as updated.
pub(super) fn resubscribe(shared: &Arc<Shared>) {
    let uris = shared.watched();
    if uris.is_empty() {
        return;
    }
    let owned = Arc::clone(shared);
    shared.errand(ERRAND_MAX * 2, async move {
        let _one_at_a_time = owned.subscribing.lock().await;
        let refused = subscribe(&owned, uris.clone(), now() + ERRAND_MAX).await;
        for uri in uris.iter().filter(|uri| !refused.contains(uri)) {
            let params = [b"{\"uri\":".as_slice(), &json::quote(uri), b"}"].concat();
            let updated = message::notification(Method::ResourceUpdated.as_str(), Some(&params));
            if let Ok(changed) = scan(&updated, &Rules::SERVER) {
                owned.publish(&updated, &changed);
            }
        }
    });
}

/// Asks one request; whether the server granted it.
async fn ask(shared: &Arc<Shared>, id: u64, body: Vec<u8>, deadline: Instant) -> bool {
    let deadline = soon(deadline, ERRAND_MAX);
    let body = Bytes::from(body);
    let mut live = shared.live();
    let asked = async {
        match granted(shared, &live, id, body.clone(), deadline).await {
            Err(Fault::SessionLost) => {
                live = Box::pin(handshake::renew(shared, &live, deadline)).await?;
                granted(shared, &live, id, body, deadline).await
            }
            other => other,
        }
    };
    matches!(tokio::time::timeout_at(deadline.into(), asked).await, Ok(Ok(true)))
}

async fn granted(shared: &Arc<Shared>, live: &Live, id: u64, body: Bytes, deadline: Instant) -> Result<bool, Fault> {
    let (mut source, _) =
        channel::request(&shared.link, live.headers.clone(), live.named, (id, body), deadline).await?;
    while let Some(frame) = source.next().await {
        let frame = frame?;
        for part in split(&frame) {
            let part = frame.slice(part);
            let Ok(message) = scan(&part, &Rules::SERVER) else {
                continue;
            };
            match sort(&part, &message) {
                Arrival::Response(_) => {
                    source.finish();
                    return Ok(message.envelope == Envelope::Result);
                }
                Arrival::Question(reply) => answer(shared, live, reply),
                Arrival::Changed => shared.publish(&part, &message),
                Arrival::Progress(_)
                | Arrival::Log(_)
                | Arrival::Withdrawn
                | Arrival::Completed
                | Arrival::Unknown
                | Arrival::Dropped => {}
            }
        }
    }
    Ok(false)
}
