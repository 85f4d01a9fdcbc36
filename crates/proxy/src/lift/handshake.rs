//! Opening a session, and opening it again when the server has lost it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use meshgate_bridge::lift::{Arrival, Handshake, HandshakeError, INITIALIZED, Session, Settled, sort, split};
use meshgate_mcp::{Method, Rules, message, scan};
use tokio::sync::broadcast;

use super::channel::{self, Fault, PROTOCOL_VERSION, SESSION_ID, Source};
use super::limits::HANDSHAKE_MAX;
use super::shared::{Live, Shared, own_id, soon};
use super::{Link, errands};
use crate::refusal::{Executed, Reason, Refusal};

/// What a server on a pipe says between the answers.
pub(super) type Strays = broadcast::Receiver<Bytes>;

/// Leads the handshake to its end.
pub(super) async fn open(
    link: &Link,
    strays: &mut Option<Strays>,
    (mut handshake, epoch): (Handshake, u64),
    deadline: Instant,
) -> Result<Live, Refusal> {
    let deadline = soon(deadline, HANDSHAKE_MAX);
    loop {
        let id = own_id();
        let (answer, headers) = ask(link, strays, (id, handshake.request(id).into()), deadline).await?;
        match handshake.settle(&answer).map_err(|error| refusal(&error))? {
            Settled::Again => {}
            Settled::Session(session) => {
                let live = settled(*session, &headers, epoch);
                let initialized = Bytes::from_static(INITIALIZED);
                let told = channel::notify(link, live.headers.clone(), initialized, deadline).await;
                told.map_err(|refusal| no_session(refusal.into()))?;
                return Ok(live);
            }
        }
    }
}

/// Makes the session anew that `lost` was, unless somebody else has done so already.
pub(super) async fn renew(shared: &Arc<Shared>, lost: &Live, deadline: Instant) -> Result<Arc<Live>, Refusal> {
    let _one_at_a_time = shared.renewing.lock().await;
    let now = shared.live();
    if now.epoch != lost.epoch {
        return Ok(now);
    }
    if shared.gone.is_cancelled() {
        return Err(Refusal::server(
            Reason::ServerAway,
            Executed::No,
            "server is away: it opened no session",
        ));
    }
    match open(&shared.link, &mut None, (shared.greeting, lost.epoch + 1), deadline).await {
        Ok(live) => {
            let live = shared.replace(live);
            tracing::info!(epoch = live.epoch, "legacy session was lost and opened again");
            errands::resubscribe(shared);
            lists_may_have_changed(shared);
            Ok(live)
        }
        Err(refusal) => {
            shared.lose();
            Err(refusal)
        }
    }
}

fn settled(session: Session, answered: &HeaderMap, epoch: u64) -> Live {
    let mut headers = HeaderMap::new();
    if let Some(id) = answered.get(SESSION_ID) {
        headers.insert(SESSION_ID, id.clone());
    }
    if session.revision.version_header {
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(session.revision.name));
    }
    Live {
        named: headers.contains_key(SESSION_ID),
        session,
        headers,
        epoch,
    }
}

/// Asks one request before there is a session. The server may ping meanwhile.
async fn ask(
    link: &Link,
    strays: &mut Option<Strays>,
    (id, body): (u64, Bytes),
    deadline: Instant,
) -> Result<(Bytes, HeaderMap), Refusal> {
    let answered = async {
        let (mut source, headers) = channel::request(link, HeaderMap::new(), false, (id, body), deadline)
            .await
            .map_err(no_session)?;
        if let Source::Pipe(call) = source {
            source = Source::Pipe(call.silent());
        }
        let mut questions = std::pin::pin!(answer_questions(link, strays, deadline));
        loop {
            let frame = tokio::select! {
                frame = source.next() => frame.unwrap_or_else(|| Err(channel::cut_off().into())).map_err(no_session)?,
                () = &mut questions => continue,
            };
            for part in split(&frame) {
                let part = frame.slice(part);
                if scan(&part, &Rules::SERVER).is_ok_and(|message| message.is_response()) {
                    source.finish();
                    return Ok((part, headers));
                }
            }
        }
    };
    let timed = tokio::time::timeout_at(deadline.into(), answered).await;
    timed.unwrap_or_else(|_| {
        Err(Refusal::server(
            Reason::ServerAway,
            Executed::No,
            "server did not answer initialize in time",
        ))
    })
}

async fn answer_questions(link: &Link, strays: &mut Option<Strays>, deadline: Instant) {
    let Some(strays) = strays else {
        return std::future::pending().await;
    };
    loop {
        match strays.recv().await {
            Ok(line) => {
                let arrival = scan(&line, &Rules::SERVER).map(|message| sort(&line, &message));
                if let Ok(Arrival::Question(reply)) = arrival {
                    let _ = channel::notify(link, HeaderMap::new(), reply.into(), deadline).await;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn no_session(fault: Fault) -> Refusal {
    let refusal = match fault {
        Fault::Refused(refusal) | Fault::Status(refusal) => refusal,
        Fault::SessionLost => Refusal::server(Reason::ServerAway, Executed::No, "server refused to open a session"),
    };
    // No call was part of the handshake.
    Refusal {
        executed: Executed::No,
        ..refusal
    }
}

fn refusal(error: &HandshakeError) -> Refusal {
    Refusal::server(Reason::ServerBroken, Executed::No, error.to_string())
}

/// A server that lost its session may have been started anew with other tools: whoever listens reads the lists again.
fn lists_may_have_changed(shared: &Shared) {
    for method in [Method::ToolsChanged, Method::PromptsChanged, Method::ResourcesChanged] {
        let notice = message::notification(method.as_str(), None);
        if let Ok(changed) = scan(&notice, &Rules::SERVER) {
            shared.publish(&notice, &changed);
        }
    }
}
