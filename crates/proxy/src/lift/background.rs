//! What a legacy server says when nobody has asked: on a pipe between the answers, over HTTP on a stream of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode};
use meshgate_bridge::lift::{Arrival, sort, split};
use meshgate_mcp::{Rules, scan};
use tokio::sync::broadcast;

use super::channel::LAST_EVENT_ID;
use super::limits::{FOLLOW_MAX, FOLLOW_PAUSE_MAX, RESUME_PAUSE, RESUME_PAUSE_MAX};
use super::shared::{Live, Shared};
use super::{Link, errands, handshake};
use crate::upstream::http::{Events, HttpAnswer, HttpLink};
use crate::upstream::stdio::StdioLink;

/// Begins to listen, for as long as the owner holds on.
pub(super) fn start(shared: &Arc<Shared>) {
    match &shared.link {
        Link::Stdio(link) => {
            let (strays, link) = (link.unsolicited(), Arc::clone(link));
            shared.keep(read_pipe(Arc::clone(shared), link, strays));
        }
        Link::Http(link) => shared.keep(follow(Arc::clone(shared), Arc::clone(link))),
    }
}

async fn read_pipe(shared: Arc<Shared>, link: Arc<StdioLink>, mut strays: broadcast::Receiver<Bytes>) {
    loop {
        let line = tokio::select! {
            line = strays.recv() => line,
            () = link.closed() => break,
        };
        match line {
            // Log messages are read by the call that asked for them.
            Ok(line) => receive(&shared, &shared.live(), &line, false),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => break,
        }
    }
    shared.lose();
}

fn receive(shared: &Arc<Shared>, live: &Live, frame: &Bytes, pass_logs: bool) {
    for part in split(frame) {
        let part = frame.slice(part);
        let Ok(message) = scan(&part, &Rules::SERVER) else {
            continue;
        };
        match sort(&part, &message) {
            Arrival::Question(reply) => errands::tell(shared, live, reply),
            Arrival::Changed => shared.publish(&part, &message),
            // Nobody hears it when nobody has asked.
            Arrival::Log(_) if pass_logs => drop(shared.logs.send(part)),
            Arrival::Response(_) | Arrival::Progress(_) | Arrival::Log(_) | Arrival::Unknown | Arrival::Dropped => {}
        }
    }
}

/// Where a standalone stream goes on after it has ended.
enum Next {
    /// At the same session, after a pause.
    Again(Duration),
    /// When there is another session: this one has no such stream.
    NextSession,
}

/// Keeps the standalone stream of the session open.
async fn follow(shared: Arc<Shared>, link: Arc<HttpLink>) {
    let mut epochs = shared.epoch.subscribe();
    let mut last_id = None;
    let mut failures = 0;
    loop {
        let live = shared.live();
        epochs.mark_unchanged();
        if *epochs.borrow() != live.epoch {
            epochs.mark_changed();
        }
        let next = tokio::select! {
            next = follow_once(&shared, &link, &live, &mut last_id, &mut failures) => next,
            _ = epochs.changed() => {
                (last_id, failures) = (None, 0);
                continue;
            }
        };
        let pause = async {
            match next {
                Some(Next::Again(pause)) => tokio::time::sleep(pause).await,
                Some(Next::NextSession) => std::future::pending().await,
                None => {}
            }
        };
        tokio::select! {
            () = pause => {}
            _ = epochs.changed() => (last_id, failures) = (None, 0),
        }
        if shared.gone.is_cancelled() {
            return;
        }
    }
}

/// Opens the standalone stream and reads it to its end. Nothing: the session was made anew meanwhile.
async fn follow_once(
    shared: &Arc<Shared>,
    link: &HttpLink,
    live: &Live,
    last_id: &mut Option<HeaderValue>,
    failures: &mut u32,
) -> Option<Next> {
    let mut headers = live.headers.clone();
    if let Some(last_id) = last_id.clone() {
        headers.insert(LAST_EVENT_ID, last_id);
    }
    let deadline = Instant::now() + FOLLOW_MAX;
    match link.get(headers, deadline).await {
        Ok(HttpAnswer::Stream { status, events, .. }) if status.is_success() => {
            let opened = Instant::now();
            let pause = read_stream(shared, live, events, last_id).await;
            // A stream that lived was a good one; one that ends at once is not asked for in a loop.
            *failures = if opened.elapsed() > FOLLOW_MAX {
                0
            } else {
                *failures + 1
            };
            Some(Next::Again(pause.unwrap_or_else(|| backoff(*failures))))
        }
        Ok(answer) if answer.head().0 == StatusCode::NOT_FOUND && live.named => {
            match Box::pin(handshake::renew(shared, live, deadline)).await {
                Ok(_) => None,
                Err(_) => Some(Next::NextSession),
            }
        }
        Ok(answer) if !answer.head().0.is_server_error() => Some(Next::NextSession),
        Ok(_) | Err(_) => {
            *failures += 1;
            Some(Next::Again(backoff(*failures)))
        }
    }
}

/// Reads the stream to its end; answers the pause that the server wished.
async fn read_stream(
    shared: &Arc<Shared>,
    live: &Live,
    mut events: Events,
    last_id: &mut Option<HeaderValue>,
) -> Option<Duration> {
    let mut pause = None;
    while let Some(Ok(event)) = events.next().await {
        if let Some(id) = event.id.and_then(|id| HeaderValue::from_str(&id).ok()) {
            *last_id = Some(id);
        }
        if let Some(retry_ms) = event.retry {
            pause = Some(Duration::from_millis(retry_ms).min(RESUME_PAUSE_MAX));
        }
        if !event.data.is_empty() && event.event.is_none_or(|kind| kind == "message") {
            receive(shared, live, &event.data.into(), true);
        }
    }
    pause
}

fn backoff(failures: u32) -> Duration {
    let doubled = RESUME_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(5));
    doubled.min(FOLLOW_PAUSE_MAX)
}
