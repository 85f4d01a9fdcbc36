//! Subscriptions: session-wide in legacy, one long request each in modern.
//!
//! Every `subscriptions/listen` that is open on the server is a row here. A resource is subscribed at the server when
//! the first row wants it and unsubscribed when the last one has gone. A notification of the server is copied to each row
//! that asked for its kind, tagged with that row's id, and to no other. The order a client may rely on is kept: nothing
//! reaches a row before its acknowledgement.

use std::collections::{BTreeMap, BTreeSet};

use meshgate_mcp::{Message, Method, Splice, elements, json, lookup, message, meta};

use super::Offered;

/// What a `subscriptions/listen` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `toolsListChanged`.
    pub tools: bool,
    /// `promptsListChanged`.
    pub prompts: bool,
    /// `resourcesListChanged`.
    pub resources: bool,
    /// `resourceSubscriptions`, each once.
    pub uris: BTreeSet<String>,
}

impl Filter {
    /// Reads `params.notifications` of a listen request.
    pub fn read(src: &[u8], request: &Message) -> Self {
        let at = |name: &str| lookup(src, request.root.span, &["params", "notifications", name]);
        let flag = |name: &str| at(name).and_then(|value| value.bool(src)).unwrap_or(false);
        let uris = at("resourceSubscriptions")
            .into_iter()
            .flat_map(|list| elements(src, list.span));
        Self {
            tools: flag("toolsListChanged"),
            prompts: flag("promptsListChanged"),
            resources: flag("resourcesListChanged"),
            uris: uris.filter_map(|uri| Some(uri.str(src)?.into_owned())).collect(),
        }
    }

    fn narrowed(self, offered: &Offered) -> Self {
        Self {
            tools: self.tools && offered.tools_changed,
            prompts: self.prompts && offered.prompts_changed,
            resources: self.resources && offered.resources_changed,
            uris: if offered.subscribe { self.uris } else { BTreeSet::new() },
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let flags = [
            (self.tools, "toolsListChanged"),
            (self.prompts, "promptsListChanged"),
            (self.resources, "resourcesListChanged"),
        ];
        let mut members: Vec<Vec<u8>> = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| format!("\"{name}\":true").into_bytes())
            .collect();
        if !self.uris.is_empty() {
            let uris: Vec<Vec<u8>> = self.uris.iter().map(|uri| json::quote(uri)).collect();
            members.push([b"\"resourceSubscriptions\":[", uris.join(&b',').as_slice(), b"]"].concat());
        }
        [b"{", members.join(&b',').as_slice(), b"}"].concat()
    }
}

#[derive(Debug)]
struct Row {
    filter: Filter,
    acknowledged: bool,
}

/// The listens that are open on one server.
#[derive(Debug, Default)]
pub struct Subscriptions {
    rows: BTreeMap<u64, Row>,
}

impl Subscriptions {
    /// Opens a listen. Answers the resources that have to be subscribed at the server before it is acknowledged.
    pub fn open(&mut self, id: u64, filter: Filter, offered: &Offered) -> Vec<String> {
        let filter = filter.narrowed(offered);
        let held = self.uris();
        let fresh = filter.uris.difference(&held).cloned().collect();
        self.rows.insert(
            id,
            Row {
                filter,
                acknowledged: false,
            },
        );
        fresh
    }

    /// The server would not subscribe `uri` for this listen: it will be missing from the acknowledgement.
    pub fn refuse(&mut self, id: u64, uri: &str) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.filter.uris.remove(uri);
        }
    }

    /// The first message of a listen: what of it is honoured. From here on [`Subscriptions::publish`] serves it.
    pub fn acknowledge(&mut self, id: u64) -> Vec<u8> {
        let honoured = match self.rows.get_mut(&id) {
            Some(row) => {
                row.acknowledged = true;
                row.filter.to_json()
            }
            None => b"{}".to_vec(),
        };
        let params = [tag(id).as_slice(), b",\"notifications\":", honoured.as_slice(), b"}"].concat();
        message::notification(Method::SubscriptionAck.as_str(), Some(&params))
    }

    /// Copies a notification of the server to every listen that asked for it, as (listen, message).
    pub fn publish(&self, src: &[u8], changed: &Message) -> Vec<(u64, Vec<u8>)> {
        let chosen: Vec<u64> = match changed.method_kind(src) {
            Method::ToolsChanged => self.who(|filter| filter.tools),
            Method::PromptsChanged => self.who(|filter| filter.prompts),
            Method::ResourcesChanged => self.who(|filter| filter.resources),
            Method::ResourceUpdated => {
                let uri = changed.body_value(src, "uri");
                uri.and_then(|uri| uri.str(src))
                    .map(|uri| self.watching(&uri))
                    .unwrap_or_default()
            }
            _ => Vec::new(),
        };
        chosen.into_iter().map(|id| (id, tagged(src, changed, id))).collect()
    }

    /// A listen has ended. Answers the resources that nobody watches any more.
    pub fn close(&mut self, id: u64) -> Vec<String> {
        let Some(row) = self.rows.remove(&id) else {
            return Vec::new();
        };
        row.filter.uris.difference(&self.uris()).cloned().collect()
    }

    /// Every resource that somebody watches: what a session made anew has to subscribe again.
    pub fn uris(&self) -> BTreeSet<String> {
        self.rows
            .values()
            .flat_map(|row| row.filter.uris.iter().cloned())
            .collect()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The last message of a listen that ends in good order.
    pub fn finished(id: u64) -> Vec<u8> {
        let result = [tag(id).as_slice(), b",\"resultType\":\"complete\"}"].concat();
        message::result(id.to_string().as_bytes(), &result)
    }

    fn who(&self, wants: impl Fn(&Filter) -> bool) -> Vec<u64> {
        self.rows
            .iter()
            .filter(|(_, row)| row.acknowledged && wants(&row.filter))
            .map(|(id, _)| *id)
            .collect()
    }

    /// An update may name a part of the resource that was subscribed. When no subscription explains it, it goes to every
    /// listen that watches resources: all listens of a session are the gateway's own.
    fn watching(&self, uri: &str) -> Vec<u64> {
        let exact_or_part = self.who(|filter| filter.uris.iter().any(|watched| is_part(uri, watched)));
        if !exact_or_part.is_empty() {
            return exact_or_part;
        }
        self.who(|filter| !filter.uris.is_empty())
    }
}

fn is_part(uri: &str, watched: &str) -> bool {
    uri.strip_prefix(watched)
        .is_some_and(|rest| rest.is_empty() || watched.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

/// The beginning of an object whose first member is the `_meta` that names the listen.
fn tag(id: u64) -> Vec<u8> {
    format!("{{\"_meta\":{{\"{}\":{id}}}", meta::SUBSCRIPTION_ID).into_bytes()
}

fn tagged(src: &[u8], changed: &Message, id: u64) -> Vec<u8> {
    let mut splice = Splice::new(src);
    let id = id.to_string().into_bytes();
    let fresh = |id: &[u8]| [b"{\"", meta::SUBSCRIPTION_ID.as_bytes(), b"\":", id, b"}"].concat();
    match (&changed.body, &changed.meta) {
        (Some(_), Some(meta)) => splice.set(meta, meta::SUBSCRIPTION_ID, id),
        (Some(params), None) => splice.set(params, "_meta", fresh(&id)),
        (None, _) => {
            let params = [b"{\"_meta\":", fresh(&id).as_slice(), b"}"].concat();
            splice.set(&changed.root, "params", params);
        }
    }
    splice.finish()
}
