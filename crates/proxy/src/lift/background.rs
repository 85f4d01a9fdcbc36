//! What a legacy server says when nobody has asked: on a pipe between the answers, over HTTP on a stream of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode};
use meshgate_bridge::lift::{Arrival, sort, split};
use meshgate_mcp::{Rules, scan};
use tokio::sync::broadcast;

use super::channel::LAST_EVENT_ID;
use super::handshake::Strays;
use super::limits::{
    FOLLOW_LONG, FOLLOW_MAX, FOLLOW_PAUSE_MAX, NOTICE_BYTES_MAX, RESUME_PAUSE, RESUME_PAUSE_MAX, RESUME_PAUSE_MIN,
    UNREACHABLE_MAX,
};
use super::shared::{Live, Shared, now};
use super::{Link, errands, handshake};
use crate::refusal::Executed;
use crate::upstream::http::{Events, HttpAnswer, HttpLink};
use crate::upstream::stdio::StdioLink;

/// Begins to listen, for as long as the owner holds on. `strays` is what a pipe has said since the handshake.
pub(super) fn start(shared: &Arc<Shared>, strays: Option<Strays>) {
    match (&shared.link, strays) {
        (Link::Stdio(link), Some(strays)) => shared.keep(read_pipe(Arc::clone(shared), Arc::clone(link), strays)),
        (Link::Http(link), _) => shared.keep(follow(Arc::clone(shared), Arc::clone(link))),
        (Link::Stdio(_), None) => {}
    }
}

async fn read_pipe(shared: Arc<Shared>, link: Arc<StdioLink>, mut strays: Strays) {
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
            Arrival::Question(_) | Arrival::Withdrawn | Arrival::Completed if shared.hand_over(&part) => {}
            Arrival::Question(reply) => errands::answer(shared, live, reply),
            Arrival::Changed => shared.publish(&part, &message),
            // Nobody hears it when nobody has asked.
            Arrival::Log(_) if pass_logs && part.len() <= NOTICE_BYTES_MAX => drop(shared.logs.send(part)),
            Arrival::Response(_)
            | Arrival::Progress(_)
            | Arrival::Log(_)
            | Arrival::Withdrawn
            | Arrival::Completed
            | Arrival::Unknown
            | Arrival::Dropped => {}
        }
    }
}

/// What is remembered of the standalone stream of one session.
#[derive(Default)]
struct Followed {
    /// Whether the server has ever opened it.
    opened: bool,
    last_id: Option<HeaderValue>,
    /// Streams in a row that ended at once or were not opened.
    short: u32,
    /// Attempts in a row that did not reach the server.
    unreachable: u32,
}

/// Keeps the standalone stream of each session open.
async fn follow(shared: Arc<Shared>, link: Arc<HttpLink>) {
    let mut epochs = shared.epoch.subscribe();
    while !shared.gone.is_cancelled() {
        let epoch = *epochs.borrow_and_update();
        let live = shared.live();
        tokio::select! {
            () = follow_session(&shared, &link, &live), if live.epoch == epoch => {}
            _ = epochs.changed() => {}
        }
    }
}

/// Keeps the standalone stream of one session open; ends when the session was lost, and never when it has no such
/// stream.
async fn follow_session(shared: &Arc<Shared>, link: &HttpLink, live: &Live) {
    let mut followed = Followed::default();
    loop {
        let mut headers = live.headers.clone();
        if let Some(last_id) = followed.last_id.clone() {
            headers.insert(LAST_EVENT_ID, last_id);
        }
        let deadline = now() + FOLLOW_MAX;
        let answer = link.get(headers, deadline).await;
        shared.followed.send_replace(true);
        let unreached = matches!(&answer, Err(refusal) if refusal.executed == Executed::No);
        followed.unreachable = if unreached { followed.unreachable + 1 } else { 0 };
        let pause = match answer {
            Ok(HttpAnswer::Stream { status, events, .. }) if status.is_success() => {
                read_stream(shared, live, events, &mut followed).await
            }
            // Some servers answer so where they have no such stream; only one that had it has lost the session.
            Ok(answer) if forgotten(answer.head().0) && live.named && followed.opened => {
                // Or it cannot go on from where the last stream ended.
                if followed.last_id.take().is_none() {
                    let _ = Box::pin(handshake::renew(shared, live, deadline)).await;
                    return;
                }
                followed.short += 1;
                None
            }
            Ok(answer) if !answer.head().0.is_server_error() => std::future::pending().await,
            Err(_) if followed.unreachable >= UNREACHABLE_MAX => return shared.lose(),
            Ok(_) | Err(_) => {
                followed.short += 1;
                None
            }
        };
        tokio::time::sleep(pause.unwrap_or_else(|| backoff(followed.short))).await;
    }
}

/// Reads the stream to its end; answers the pause that the server wished.
async fn read_stream(
    shared: &Arc<Shared>,
    live: &Live,
    mut events: Events,
    followed: &mut Followed,
) -> Option<Duration> {
    let opened = tokio::time::Instant::now();
    let mut pause = None;
    followed.opened = true;
    while let Some(Ok(event)) = events.next().await {
        if let Some(id) = event.id.and_then(|id| HeaderValue::from_str(&id).ok()) {
            followed.last_id = Some(id);
        }
        if let Some(retry_ms) = event.retry {
            pause = Some(Duration::from_millis(retry_ms).clamp(RESUME_PAUSE_MIN, RESUME_PAUSE_MAX));
        }
        if !event.data.is_empty() && event.event.is_none_or(|kind| kind == "message") {
            receive(shared, live, &event.data.into(), true);
        }
    }
    // A stream that lived was a good one; one that ends at once is not asked for in a loop.
    followed.short = if opened.elapsed() > FOLLOW_LONG {
        0
    } else {
        followed.short + 1
    };
    pause
}

fn forgotten(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)
}

fn backoff(failures: u32) -> Duration {
    let doubled = RESUME_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(5));
    doubled.min(FOLLOW_PAUSE_MAX)
}
