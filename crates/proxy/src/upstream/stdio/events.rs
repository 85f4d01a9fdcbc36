//! The pipe of 2024-11-05 over HTTP: one event stream from the server, and a POST for each line to it.
//!
//! Beyond how bytes travel nothing is different from a child: many calls share one way back, told apart by our ids, and
//! the end of the stream is the end of every call on it. So this is a [`StdioLink`] without a process. The server says in
//! its first event where messages go; an address of another origin is refused, because the gateway's credentials would
//! follow it. This transport is deprecated, and spoken only with servers that are configured so.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderMap, Uri};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::inbox::Inbox;
use super::routes::{Outbox, Outgoing, Routes};
use super::{StdioLink, stderr, until_gone};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::http::{Events, HttpAnswer, HttpLink};
use crate::upstream::limits::{ENDPOINT_MAX, POST_MAX, POSTS_MAX, SWEEP_EVERY, WireLimits};

impl StdioLink {
    /// Opens the event stream at `url` and waits for the address of messages. Says nothing about what the server will answer.
    ///
    /// # Errors
    /// When there is no such stream, or the address of messages is not the server's own. Nothing was called.
    pub async fn over_events(
        url: &str,
        headers: HeaderMap,
        limits: WireLimits,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Arc<Self>, Refusal> {
        let deadline = Instant::now() + ENDPOINT_MAX;
        let stream = HttpLink::new(url, headers.clone(), limits, tls.clone())?;
        let mut events = match stream.get(HeaderMap::new(), deadline.into_std()).await? {
            HttpAnswer::Stream { status, events, .. } if status.is_success() => events,
            other => {
                let status = other.head().0;
                return Err(away(format!(
                    "server opened no event stream (http {})",
                    status.as_u16()
                )));
            }
        };
        let said = timeout_at(deadline, endpoint(&mut events)).await;
        let said = said.unwrap_or_else(|_| Err(away("server did not say in time where messages go")))?;
        let posts = HttpLink::new(&address(url, &said)?, headers, limits, tls)?;
        let (routes, outbox) = Routes::new(limits.event_bytes_max, limits.stream_buffer_bytes_max);
        let link = Self {
            routes: Arc::new(routes),
            tail: stderr::Tail::default(),
            pid: None,
            finish: tokio_util::sync::CancellationToken::new(),
            tasks: parking_lot::Mutex::default(),
        };
        let mut tasks = link.tasks.lock();
        let routes = || Arc::clone(&link.routes);
        tasks.spawn(until_gone(routes(), receive(routes(), events)));
        tasks.spawn(until_gone(routes(), send(routes(), posts, outbox, link.finish.clone())));
        drop(tasks);
        Ok(Arc::new(link))
    }
}

/// The first thing that the server says.
async fn endpoint(events: &mut Events) -> Result<String, Refusal> {
    while let Some(event) = events.next().await {
        let event = event?;
        if event.data.is_empty() {
            continue;
        }
        if event.event.as_deref() == Some("endpoint") {
            return String::from_utf8(event.data).map_err(|_| away("server's address of messages is not text"));
        }
        return Err(away(
            "server did not begin its event stream with the address of messages",
        ));
    }
    Err(away("server closed its event stream before it said where messages go"))
}

/// The address of messages, which must be of the origin of the event stream.
fn address(stream: &str, said: &str) -> Result<String, Refusal> {
    let refuse = || away("server's address of messages is not one of its own origin");
    let base: Uri = stream.parse().map_err(|_| refuse())?;
    let (scheme, authority) = (base.scheme_str(), base.authority());
    let (Some(scheme), Some(authority)) = (scheme, authority) else {
        return Err(refuse());
    };
    let said = said.trim();
    if said.is_empty() || said.starts_with("//") || said.contains(['#', '\\']) || said.contains(char::is_control) {
        return Err(refuse());
    }
    let before_path = said.split(['/', '?']).next().unwrap_or_default();
    let path = if said.starts_with('/') {
        said.to_owned()
    } else if said.starts_with('?') {
        format!("{}{said}", base.path())
    } else if before_path.contains(':') {
        let absolute: Uri = said.parse().map_err(|_| refuse())?;
        let same = absolute.scheme_str() == Some(scheme)
            && absolute.authority().is_some_and(|other| {
                !other.as_str().contains('@')
                    && other.host().eq_ignore_ascii_case(authority.host())
                    && port(other, scheme) == port(authority, scheme)
            });
        if !same {
            return Err(refuse());
        }
        absolute.path_and_query().map_or("/", |path| path.as_str()).to_owned()
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{said}")
    };
    let whole = format!("{scheme}://{authority}{path}");
    match whole.parse::<Uri>() {
        Ok(uri) if uri.authority() == Some(authority) => Ok(whole),
        Ok(_) | Err(_) => Err(refuse()),
    }
}

fn port(authority: &http::uri::Authority, scheme: &str) -> u16 {
    let standard = if scheme == "https" { 443 } else { 80 };
    authority.port_u16().unwrap_or(standard)
}

/// Reads the stream to its end. Events that are no messages mean nothing, a second address least of all.
async fn receive(routes: Arc<Routes>, mut events: Events) {
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(refusal) => return routes.close(&refusal.message),
        };
        let is_message = event.event.is_none_or(|kind| kind == "message");
        if is_message && let Err(why) = routes.receive(event.data.into()) {
            return routes.close(why);
        }
    }
    routes.close("server closed its event stream");
}

/// What became of one POST.
struct Posted {
    call: Option<Arc<Inbox>>,
    /// Whether others wait for it, because it is no call and must not be overtaken.
    in_order: bool,
    outcome: Result<(), Refusal>,
}

/// Posts every line. Calls go side by side; what is no call goes in order, before everything behind it.
async fn send(routes: Arc<Routes>, posts: HttpLink, mut outbox: Outbox, finish: tokio_util::sync::CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    let mut blocked = false;
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        let room = under_way.len() < POSTS_MAX;
        tokio::select! {
            biased;
            () = finish.cancelled() => return routes.close("server is being stopped"),
            Some(posted) = under_way.next(), if !under_way.is_empty() => {
                let posted: Posted = posted;
                blocked &= !posted.in_order;
                settle(&routes, posted);
            }
            Some(line) = outbox.cancels.recv(), if room => under_way.push(post(&posts, line, None, false)),
            Some(Outgoing { line, call }) = outbox.lines.recv(), if room && !blocked => {
                if call.as_ref().is_none_or(|call| call.begin_write()) {
                    blocked = call.is_none();
                    under_way.push(post(&posts, line, call, blocked));
                }
            }
            _ = sweep.tick() => posts.sweep(),
            else => return,
        }
    }
}

async fn post(posts: &HttpLink, line: Bytes, call: Option<Arc<Inbox>>, in_order: bool) -> Posted {
    let deadline = (Instant::now() + POST_MAX).into_std();
    let outcome = match posts.post(HeaderMap::new(), line, deadline).await {
        Ok(answer) if answer.head().0.is_success() => Ok(()),
        Ok(answer) => {
            let code = answer.head().0.as_u16();
            // These say that the server knows neither the address nor what is behind it: nothing ran.
            let executed = if matches!(code, 401 | 403 | 404 | 405 | 413 | 415) {
                Executed::No
            } else {
                Executed::Unknown
            };
            let message = format!("server did not accept the message (http {code})");
            Err(Refusal::server(Reason::ServerBroken, executed, message).rule(format!("upstream/http-{code}")))
        }
        Err(refusal) => Err(refusal),
    };
    Posted {
        call,
        in_order,
        outcome,
    }
}

fn settle(routes: &Routes, posted: Posted) {
    let Err(refusal) = posted.outcome else { return };
    let forgotten = refusal.rule.as_deref() == Some("upstream/http-404");
    if let Some(call) = &posted.call {
        routes.refuse(call, refusal);
    }
    if forgotten {
        // The stream belongs to a session that the server has lost: a new one makes everything well.
        routes.close("server has forgotten the session of its event stream");
    }
}

fn away(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::server(Reason::ServerAway, Executed::No, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::address;

    #[test]
    fn the_address_of_messages_is_found_in_every_form_that_servers_write() {
        for (said, found) in [
            ("/messages/?session_id=1", "http://host:9000/messages/?session_id=1"),
            ("http://HOST:9000/m?x=1", "http://host:9000/m?x=1"),
            ("?session=1", "http://host:9000/mcp/sse?session=1"),
            ("messages?x", "http://host:9000/mcp/messages?x"),
            (" /padded ", "http://host:9000/padded"),
        ] {
            assert_eq!(address("http://host:9000/mcp/sse", said).unwrap(), found, "{said}");
        }
        assert_eq!(
            address("https://host/sse", "https://host:443/m").unwrap(),
            "https://host/m"
        );
    }

    #[test]
    fn an_address_of_another_origin_is_refused() {
        for said in [
            "http://evil/m",
            "https://host:9000/m",
            "http://host:9001/m",
            "http://host/m",
            "http://user@host:9000/m",
            "http://host:9000@evil/m",
            "//evil/m",
            "/\\evil/m",
            "/m#fragment",
            "/m\r\nhost: evil",
            "javascript://host:9000/m",
            "file:///etc/passwd",
            "",
            "  ",
        ] {
            assert!(address("http://host:9000/sse", said).is_err(), "{said}");
        }
    }
}
