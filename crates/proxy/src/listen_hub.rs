//! `subscriptions/listen`: one stream of a client over the changes of all servers of its view.
//!
//! List changes come from the catalogues, which hear them from the servers anyway, so a hundred listeners cost a server
//! nothing. Subscribed resources are asked for at the server that has them. The first message says what was granted;
//! every message names the client's own subscription.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use meshgate_mcp::content::{self, Direction, UriKind};
use meshgate_mcp::{Kind, Method, Object, Rules, Splice, elements, json, meta, scan};
use meshgate_model::naming;
use tokio::sync::broadcast;

use crate::call::{Messages, Reply, Telling, Told};
use crate::catalogue::{ListEvent, ListKind, ServerInView, ViewState, internal_request, wrapped};
use crate::drain::Drain;
use crate::refusal::{Reason, Refusal};
use crate::resolve::Call;

/// How long a server may take to confirm a subscription before the client is told without it.
const ACK_PATIENCE: Duration = Duration::from_secs(2);
/// The pause before a lost subscription is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Resources one listen may name.
const SUBSCRIPTIONS_MAX: usize = 1_000;

/// What a client wants to hear of.
#[derive(Default)]
struct Filter {
    kinds: Vec<ListKind>,
    uris: Vec<String>,
}

/// Opens a client's stream.
pub async fn listen(
    view: Arc<ViewState>,
    call: &Call,
    events: broadcast::Receiver<ListEvent>,
    ids: Arc<AtomicU64>,
    drain: Drain,
) -> Result<Telling, Refusal> {
    let filter = filter(call, &view)?;
    let id = call.id();
    let mut granted = Vec::new();
    let mut streams: SelectAll<BoxStream<'static, Bytes>> = SelectAll::new();
    let sources = by_server(&view, &filter.uris).into_iter().filter_map(|(server, uris)| {
        Some(Source {
            server: view.servers.get(server)?.clone(),
            uris,
            id: id.clone(),
            merged: view.view.is_merged(),
            ids: ids.clone(),
        })
    });
    // All at once: the slowest server decides how long the client waits, not their number.
    let opened = futures_util::future::join_all(sources.map(|source| async { (source.open().await, source) })).await;
    for (opened, source) in opened {
        if let Some((messages, honoured)) = opened {
            granted.extend(honoured);
            streams.push(source.updates(messages));
        }
    }
    if !filter.kinds.is_empty() {
        streams.push(list_changes(
            view.view.path.clone(),
            filter.kinds.clone(),
            id.clone(),
            events,
        ));
    }
    let ack = acknowledgement(&id, &filter.kinds, &granted, !filter.uris.is_empty());
    Ok(stream(ack, streams, id, drain))
}

fn filter(call: &Call, view: &ViewState) -> Result<Filter, Refusal> {
    let body = &call.body;
    let wrong = || Refusal::new(Reason::InvalidParams, "`params.notifications` is required, an object");
    let wanted = call
        .param("notifications")
        .filter(|v| v.kind == Kind::Object)
        .ok_or_else(wrong)?;
    let wanted = Object::read(body, wanted.span).ok_or_else(wrong)?;
    let on = |name: &str| wanted.get(body, name).and_then(|v| v.bool(body)) == Some(true);
    let mut filter = Filter::default();
    if on("toolsListChanged") && view.capabilities.tools {
        filter.kinds.push(ListKind::Tools);
    }
    if on("promptsListChanged") && view.capabilities.prompts {
        filter.kinds.push(ListKind::Prompts);
    }
    if on("resourcesListChanged") && view.capabilities.resources {
        filter.kinds.push(ListKind::Resources);
    }
    if let Some(uris) = wanted
        .get(body, "resourceSubscriptions")
        .filter(|v| v.kind == Kind::Array)
    {
        filter.uris = elements(body, uris.span)
            .filter_map(|v| v.str(body).map(std::borrow::Cow::into_owned))
            .collect();
    }
    if filter.uris.len() > SUBSCRIPTIONS_MAX {
        let text =
            format!("`resourceSubscriptions` may name {SUBSCRIPTIONS_MAX} resources; open another stream for more");
        return Err(Refusal::new(Reason::InvalidParams, text).rule("limit/subscriptions"));
    }
    Ok(filter)
}

/// Subscribed resources by the server that has them, in its own words.
fn by_server(view: &ViewState, uris: &[String]) -> BTreeMap<usize, Vec<String>> {
    let mut grouped: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for uri in uris {
        let found = if view.view.is_merged() {
            naming::unwrap_uri(uri).and_then(|(alias, original)| Some((view.by_alias(&alias)?, original)))
        } else {
            Some((0, uri.clone()))
        };
        let Some((server, original)) = found else { continue };
        let offers = view
            .servers
            .get(server)
            .and_then(|s| s.catalogue.as_ref())
            .is_some_and(|c| c.capabilities.subscribe);
        if offers {
            grouped.entry(server).or_default().push(original);
        }
    }
    grouped
}

fn acknowledgement(id: &Bytes, kinds: &[ListKind], uris: &[String], subscribed: bool) -> Bytes {
    let mut granted: Vec<Vec<u8>> = kinds
        .iter()
        .map(|kind| match kind {
            ListKind::Tools => b"\"toolsListChanged\":true".to_vec(),
            ListKind::Prompts => b"\"promptsListChanged\":true".to_vec(),
            ListKind::Resources | ListKind::Templates => b"\"resourcesListChanged\":true".to_vec(),
        })
        .collect();
    if subscribed {
        let quoted: Vec<Vec<u8>> = uris.iter().map(|uri| json::quote(uri)).collect();
        granted.push([b"\"resourceSubscriptions\":[".as_slice(), &quoted.join(&b','), b"]"].concat());
    }
    let params = [b"\"notifications\":{".as_slice(), &granted.join(&b','), b"}"].concat();
    Bytes::from(notification("notifications/subscriptions/acknowledged", id, &params))
}

/// A notification of a subscription; `members` go into `params` beside `_meta`.
fn notification(method: &str, id: &Bytes, members: &[u8]) -> Vec<u8> {
    let mut params = b"{\"_meta\":{".to_vec();
    json::push_quoted(&mut params, meta::SUBSCRIPTION_ID);
    params.push(b':');
    params.extend_from_slice(id);
    params.push(b'}');
    if !members.is_empty() {
        params.push(b',');
        params.extend_from_slice(members);
    }
    params.push(b'}');
    meshgate_mcp::message::notification(method, Some(&params))
}

/// The list changes of a view that a client asked for.
fn list_changes(
    path: Arc<str>,
    kinds: Vec<ListKind>,
    id: Bytes,
    events: broadcast::Receiver<ListEvent>,
) -> BoxStream<'static, Bytes> {
    let changed = futures_util::stream::unfold(events, |mut events| async move {
        match events.recv().await {
            Ok(event) => Some((Some(event), events)),
            // A listener that fell behind is told of everything it may have missed.
            Err(broadcast::error::RecvError::Lagged(_)) => Some((None, events)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    });
    changed
        .flat_map(move |event| {
            let hit = |kind: &&ListKind| {
                event.as_ref().is_none_or(|e| {
                    let templates = **kind == ListKind::Resources && e.kinds.contains(&ListKind::Templates);
                    e.path == path && (e.kinds.contains(kind) || templates)
                })
            };
            let messages: Vec<Bytes> = kinds
                .iter()
                .filter(hit)
                .map(|kind| {
                    let method = match kind {
                        ListKind::Tools => "notifications/tools/list_changed",
                        ListKind::Prompts => "notifications/prompts/list_changed",
                        ListKind::Resources | ListKind::Templates => "notifications/resources/list_changed",
                    };
                    Bytes::from(notification(method, &id, b""))
                })
                .collect();
            futures_util::stream::iter(messages)
        })
        .boxed()
}

/// Half as long to half as long again, so that those who lost one server do not come back as one.
fn spread(pause: Duration) -> Duration {
    let random = getrandom::u64().unwrap_or(0) % 1000;
    pause / 2 + pause * u32::try_from(random).unwrap_or(0) / 1000
}

/// The subscriptions of one listen at one server.
struct Source {
    server: ServerInView,
    uris: Vec<String>,
    id: Bytes,
    merged: bool,
    ids: Arc<AtomicU64>,
}

impl Source {
    fn exposed(&self, uri: &str) -> String {
        if self.merged {
            wrapped(&self.server.server.alias, uri, UriKind::Resource)
        } else {
            uri.to_owned()
        }
    }

    /// Opens the subscription and reads what the server grants, in the client's words; `None` when it does not in time.
    async fn open(&self) -> Option<(Messages, Vec<String>)> {
        tokio::time::timeout(ACK_PATIENCE, self.ask()).await.ok()?
    }

    async fn ask(&self) -> Option<(Messages, Vec<String>)> {
        let quoted: Vec<Vec<u8>> = self.uris.iter().map(|uri| json::quote(uri)).collect();
        let params = [
            b"\"notifications\":{\"resourceSubscriptions\":[".as_slice(),
            &quoted.join(&b','),
            b"]}",
        ]
        .concat();
        let deadline = tokio::time::Instant::now().into_std() + Duration::from_secs(365 * 24 * 3600);
        let out = internal_request(
            self.ids.fetch_add(1, Ordering::Relaxed),
            Method::Listen,
            &params,
            deadline,
        );
        let Ok(Reply::Stream(mut messages)) = self.server.upstream.call(out).await else {
            return None;
        };
        let body = messages.next().await?.ok()?;
        let message = scan(&body, &Rules::SERVER).ok()?;
        if message.method?.str(&body).map(|m| Method::parse(&m)) != Some(Method::SubscriptionAck) {
            return None;
        }
        let granted = message
            .body
            .as_ref()?
            .get(&body, "notifications")
            .and_then(|n| Object::read(&body, n.span));
        let uris = granted
            .as_ref()
            .and_then(|g| g.get(&body, "resourceSubscriptions"))
            .map(|uris| {
                elements(&body, uris.span)
                    .filter_map(|v| v.str(&body).map(|uri| self.exposed(&uri)))
                    .collect()
            });
        Some((messages, uris.unwrap_or_default()))
    }

    /// The updates, for as long as the client listens. A lost subscription is opened again, and because nobody knows what
    /// was missed, each resource then counts as updated.
    fn updates(self, messages: Messages) -> BoxStream<'static, Bytes> {
        let state = (self, Some(messages), Vec::new());
        futures_util::stream::unfold(state, |(source, mut messages, mut missed)| async move {
            loop {
                if let Some(update) = missed.pop() {
                    return Some((update, (source, messages, missed)));
                }
                let Some(open) = &mut messages else {
                    tokio::time::sleep(spread(REOPEN_PAUSE)).await;
                    if let Some((opened, granted)) = source.open().await {
                        messages = Some(opened);
                        missed = granted.iter().map(|uri| source.updated(uri)).collect();
                    }
                    continue;
                };
                match open.next().await {
                    Some(Ok(body)) => {
                        if let Some(update) = source.update(&body) {
                            return Some((update, (source, messages, missed)));
                        }
                    }
                    Some(Err(_)) | None => messages = None,
                }
            }
        })
        .boxed()
    }

    /// The update of a resource that the server did not send.
    fn updated(&self, uri: &str) -> Bytes {
        let member = [b"\"uri\":".as_slice(), &json::quote(uri)].concat();
        Bytes::from(notification("notifications/resources/updated", &self.id, &member))
    }

    /// One update in the client's words; `None` for everything else.
    fn update(&self, body: &Bytes) -> Option<Bytes> {
        let message = scan(body, &Rules::SERVER).ok()?;
        let method = Method::parse(&message.method?.str(body)?);
        if method != Method::ResourceUpdated {
            return None;
        }
        let mut splice = Splice::new(body);
        match message.meta.as_ref().and_then(|m| m.get(body, meta::SUBSCRIPTION_ID)) {
            Some(theirs) => splice.replace(theirs.span, self.id.to_vec()),
            None => return None,
        }
        if self.merged {
            let alias = &self.server.server.alias;
            content::map_uris(
                body,
                &message,
                method,
                Direction::ToClient,
                &mut |uri, kind| Some(wrapped(alias, uri, kind)),
                &mut splice,
            );
        }
        Some(Bytes::from(splice.finish()))
    }
}

/// Acknowledgement, changes, and on drain the result that ends the subscription in order.
fn stream(ack: Bytes, changes: SelectAll<BoxStream<'static, Bytes>>, id: Bytes, drain: Drain) -> Telling {
    let mut fields = b"{\"resultType\":\"complete\",\"_meta\":{".to_vec();
    json::push_quoted(&mut fields, meta::SUBSCRIPTION_ID);
    fields.push(b':');
    fields.extend_from_slice(&id);
    fields.extend_from_slice(b"}}");
    let last = Bytes::from(meshgate_mcp::message::result(&id, &fields));
    // A client that asked for nothing that can change still has a subscription: it just stays silent.
    let changes = changes.chain(futures_util::stream::pending());
    let until = changes.take_until(async move { drain.asked().await });
    let tail = futures_util::stream::once(async move { Told::Result(last) });
    Box::pin(
        futures_util::stream::once(async move { ack })
            .chain(until)
            .map(Told::Notice)
            .chain(tail)
            .map(Ok),
    )
}
