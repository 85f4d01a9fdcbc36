//! What the hub says: to clients in their own words and under their own subscription, to servers as one listener.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use meshgate_mcp::content::{self, Direction, UriKind};
use meshgate_mcp::{Method, Object, Rules, Splice, elements, json, message, meta, scan};

use crate::catalogue::{ListKind, wrapped};

/// The lists that a client asked for, or that have changed, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists(u8);

/// A row of [`Lists`]: its bit, the member of a filter, and the notification.
struct Row(u8, &'static str, Method);

const ROWS: [Row; 3] = [
    Row(1, "toolsListChanged", Method::ToolsChanged),
    Row(2, "promptsListChanged", Method::PromptsChanged),
    Row(4, "resourcesListChanged", Method::ResourcesChanged),
];

impl Lists {
    /// All of them.
    pub(super) const ALL: Self = Self(7);

    /// The list that a kind belongs to; templates are announced with the resources.
    pub(super) fn of(kind: ListKind) -> Self {
        match kind {
            ListKind::Tools => Self(1),
            ListKind::Prompts => Self(2),
            ListKind::Resources | ListKind::Templates => Self(4),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Takes one out, as the notification that announces it.
    pub(super) fn take_one(&mut self) -> Option<Method> {
        let row = ROWS.iter().find(|row| self.0 & row.0 != 0)?;
        self.0 &= !row.0;
        Some(row.2)
    }

    fn members(self) -> impl Iterator<Item = Vec<u8>> {
        let on = ROWS.iter().filter(move |row| self.0 & row.0 != 0);
        on.map(|row| [b"\"", row.1.as_bytes(), b"\":true"].concat())
    }
}

/// The first message of a client's stream. `uris` are the granted ones as the client knows them; `None` where it asked
/// for none.
pub(super) fn acknowledgement(id: &[u8], lists: Lists, uris: Option<&[String]>) -> Bytes {
    let mut granted: Vec<Vec<u8>> = lists.members().collect();
    if let Some(uris) = uris {
        granted.push(subscriptions(uris.iter().map(String::as_str)));
    }
    let params = [b"\"notifications\":{".as_slice(), &granted.join(&b','), b"}"].concat();
    notification(Method::SubscriptionAck, id, &params)
}

/// The parameters of our own listen at a server.
pub(super) fn listen_params<'a>(uris: impl Iterator<Item = &'a str>) -> Vec<u8> {
    [b"\"notifications\":{".as_slice(), &subscriptions(uris), b"}"].concat()
}

fn subscriptions<'a>(uris: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = uris.map(json::quote).collect();
    [b"\"resourceSubscriptions\":[".as_slice(), &quoted.join(&b','), b"]"].concat()
}

/// The announcement of a changed list.
pub(super) fn list_changed(id: &[u8], list: Method) -> Bytes {
    notification(list, id, b"")
}

/// The update of a resource that its server did not send: what happened while nobody listened is not known. It has
/// the form of a server's own, so that it takes the same way to the client.
pub(super) fn made_up_update(uri: &str) -> Bytes {
    let member = [b"\"uri\":".as_slice(), &json::quote(uri)].concat();
    notification(Method::ResourceUpdated, b"0", &member)
}

/// A notification of a subscription; `members` go into `params` beside `_meta`.
fn notification(method: Method, id: &[u8], members: &[u8]) -> Bytes {
    let mut params = tag(id);
    if !members.is_empty() {
        params.push(b',');
        params.extend_from_slice(members);
    }
    params.push(b'}');
    Bytes::from(message::notification(method.as_str(), Some(&params)))
}

/// The result that ends a subscription in order.
pub(super) fn last(id: &[u8]) -> Bytes {
    let mut fields = b"{\"resultType\":\"complete\",\"_meta\":".to_vec();
    fields.extend(subscription(id));
    fields.push(b'}');
    Bytes::from(message::result(id, &fields))
}

/// The beginning of parameters whose first member names the subscription.
fn tag(id: &[u8]) -> Vec<u8> {
    [b"{\"_meta\":".as_slice(), &subscription(id)].concat()
}

fn subscription(id: &[u8]) -> Vec<u8> {
    let mut fields = b"{".to_vec();
    json::push_quoted(&mut fields, meta::SUBSCRIPTION_ID);
    fields.push(b':');
    fields.extend_from_slice(id);
    fields.push(b'}');
    fields
}

/// A server's update in the words of one client: its subscription, its URIs, every other byte as it came. `alias` is
/// the server's in a merged view.
pub(super) fn update(body: &[u8], id: &[u8], alias: Option<&str>) -> Option<Bytes> {
    let message = scan(body, &Rules::SERVER).ok()?;
    let mut splice = Splice::new(body);
    match (&message.meta, &message.body) {
        (Some(fields), _) => splice.set(fields, meta::SUBSCRIPTION_ID, id.to_vec()),
        (None, Some(params)) => splice.set(params, "_meta", subscription(id)),
        (None, None) => return None,
    }
    if let Some(alias) = alias {
        let mut wrap = |uri: &str, kind: UriKind| Some(wrapped(alias, uri, kind));
        let (method, way) = (Method::ResourceUpdated, Direction::ToClient);
        content::map_uris(body, &message, method, way, &mut wrap, &mut splice);
    }
    Some(Bytes::from(splice.finish()))
}

/// What a server says on our subscription.
pub(super) enum Heard {
    /// A resource has changed.
    Updated(Arc<str>),
    /// The subscription is over.
    Ended,
    /// Nothing that was asked for.
    Other,
}

pub(super) fn heard(body: &[u8]) -> Heard {
    let Ok(message) = scan(body, &Rules::SERVER) else {
        return Heard::Other;
    };
    let Some(method) = &message.method else {
        return Heard::Ended;
    };
    if method.str(body).map(|method| Method::parse(&method)) != Some(Method::ResourceUpdated) {
        return Heard::Other;
    }
    let uri = message
        .body
        .as_ref()
        .and_then(|params| params.get(body, "uri")?.str(body));
    uri.map_or(Heard::Other, |uri| Heard::Updated(Arc::from(&*uri)))
}

/// The resources that a server's acknowledgement grants; `None` when the message is none.
pub(super) fn granted(body: &[u8]) -> Option<HashSet<Arc<str>>> {
    let message = scan(body, &Rules::SERVER).ok()?;
    let method = Method::parse(&message.method?.str(body)?);
    if method != Method::SubscriptionAck {
        return None;
    }
    let filter = message.body.as_ref()?.get(body, "notifications");
    let filter = filter.and_then(|value| Object::read(body, value.span));
    let uris = filter
        .as_ref()
        .and_then(|filter| filter.get(body, "resourceSubscriptions"));
    let uris = uris.into_iter().flat_map(|uris| elements(body, uris.span));
    Some(uris.filter_map(|uri| Some(Arc::from(&*uri.str(body)?))).collect())
}
