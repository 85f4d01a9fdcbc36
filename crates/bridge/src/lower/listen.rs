//! A session's subscriptions as one modern `subscriptions/listen`.
//!
//! Legacy subscribes to one URI at a time and hears of changed lists without asking. Modern asks once for all of it, so
//! every change of the set is a new listen. What the server really took on is in its acknowledgement, and a URI it left
//! out is one that the client must hear a refusal for.

use std::collections::BTreeSet;

use meshgate_mcp::{Kind, Message, Method, elements, json, lookup, message};

use super::Stamp;

/// What a session wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether somebody is there to hear of changed lists.
    pub lists: bool,
    /// The subscribed resources.
    pub uris: BTreeSet<String>,
}

impl Wanted {
    /// Whether there is nothing to listen for.
    pub fn is_empty(&self) -> bool {
        !self.lists && self.uris.is_empty()
    }

    /// The whole modern request, under `id` (raw JSON).
    pub fn request(&self, id: &[u8], stamp: &Stamp<'_>) -> Vec<u8> {
        let mut params = br#"{"notifications":{"#.to_vec();
        if self.lists {
            params
                .extend_from_slice(br#""toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true"#);
        }
        if !self.uris.is_empty() {
            params.extend_from_slice(if self.lists {
                br#","resourceSubscriptions":["#
            } else {
                br#""resourceSubscriptions":["#
            });
            for (nth, uri) in self.uris.iter().enumerate() {
                if nth > 0 {
                    params.push(b',');
                }
                json::push_quoted(&mut params, uri);
            }
            params.push(b']');
        }
        params.extend_from_slice(br#"},"_meta":"#);
        params.extend_from_slice(&stamp.meta());
        params.push(b'}');
        message::request(id, Method::Listen.as_str(), &params)
    }
}

/// What a server took on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The lists whose changes will be told, as the notifications that tell them.
    pub lists: Vec<Method>,
    /// The resources whose updates will be told.
    pub uris: BTreeSet<String>,
}

impl Acknowledged {
    /// Reads `notifications/subscriptions/acknowledged`; `None` for any other message.
    pub fn read(src: &[u8], msg: &Message) -> Option<Self> {
        let method = msg.method.and_then(|m| m.str(src))?;
        if Method::parse(&method) != Method::SubscriptionAck {
            return None;
        }
        let body = msg.body.as_ref()?;
        let honoured = |name: &str| lookup(src, body.span, &["notifications", name]);
        let lists = [
            ("toolsListChanged", Method::ToolsChanged),
            ("promptsListChanged", Method::PromptsChanged),
            ("resourcesListChanged", Method::ResourcesChanged),
        ];
        let lists = lists
            .into_iter()
            .filter(|(name, _)| honoured(name).is_some_and(|v| v.kind == Kind::True));
        let uris = honoured("resourceSubscriptions").filter(|v| v.kind == Kind::Array);
        let uris = uris.into_iter().flat_map(|v| elements(src, v.span));
        Some(Self {
            lists: lists.map(|(_, method)| method).collect(),
            uris: uris
                .filter_map(|v| v.str(src).map(std::borrow::Cow::into_owned))
                .collect(),
        })
    }
}
