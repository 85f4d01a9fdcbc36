//! A request of a legacy session, made self-contained.
//!
//! Modern requests carry their protocol version, the client's capabilities and its name; a legacy session said them once.
//! Whatever the client put under those keys itself is replaced: a session cannot claim more than it opened with. Members
//! that mean something in the other era only (`task` of 2025-11-25; `inputResponses` and `requestState`, which a legacy
//! client never holds) are taken out, so that nothing acquires a meaning by crossing.

use std::borrow::Cow;

use meshgate_mcp::{Message, Method, Object, Splice, again, json, meta};

/// What a session adds to each of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The modern `clientCapabilities` object.
    pub capabilities: &'a [u8],
    /// The `clientInfo` object.
    pub client_info: Option<&'a [u8]>,
    /// The level of the last `logging/setLevel`.
    pub log_level: Option<&'a str>,
}

/// `src` as a modern request. The id and every member that is not named above stay byte for byte.
pub fn stamp(src: &[u8], msg: &Message, method: Method, with: &Stamp<'_>) -> Vec<u8> {
    let mut splice = Splice::new(src);
    let Some(params) = &msg.body else {
        splice.insert(
            &msg.root,
            "params",
            [br#"{"_meta":"#.as_slice(), &with.meta(), b"}"].concat(),
        );
        return splice.finish();
    };
    remove(params, dropped(method), &mut splice);
    match (&msg.meta, params.get(src, "_meta")) {
        (Some(meta), _) => {
            remove(meta, OWN_KEYS, &mut splice);
            for (key, value) in with.members() {
                splice.insert(meta, key, value);
            }
        }
        (None, Some(value)) => splice.replace(value.span, with.meta()),
        (None, None) => splice.insert(params, "_meta", with.meta()),
    }
    splice.finish()
}

/// `stamped` again, with the answers of one round and the state of the server that asked. Both are raw JSON.
pub(super) fn retry(stamped: &[u8], responses: Option<&[u8]>, state: Option<&[u8]>) -> Option<Vec<u8>> {
    let msg = again(stamped, true)?;
    let params = msg.body.as_ref()?;
    let mut splice = Splice::new(stamped);
    if let Some(responses) = responses {
        splice.insert(params, "inputResponses", responses.to_vec());
    }
    if let Some(state) = state {
        splice.insert(params, "requestState", state.to_vec());
    }
    Some(splice.finish())
}

const OWN_KEYS: &[&str] = &[
    meta::PROTOCOL_VERSION,
    meta::CLIENT_CAPABILITIES,
    meta::CLIENT_INFO,
    meta::LOG_LEVEL,
    meta::RELATED_TASK,
];

/// Members of `params` that do not cross for `method`.
fn dropped(method: Method) -> &'static [&'static str] {
    match method {
        Method::ToolsCall => &["task", "inputResponses", "requestState"],
        Method::PromptsGet | Method::ResourcesRead => &["inputResponses", "requestState"],
        _ => &[],
    }
}

fn remove(object: &Object, names: &[&str], splice: &mut Splice<'_>) {
    for name in names {
        splice.remove_named(object, name);
    }
}

impl<'a> Stamp<'a> {
    fn members(&self) -> impl Iterator<Item = (&'static str, Cow<'a, [u8]>)> {
        let version = json::quote(meshgate_mcp::MODERN.name);
        let level = self
            .log_level
            .map(|level| (meta::LOG_LEVEL, Cow::Owned(json::quote(level))));
        let info = self.client_info.map(|info| (meta::CLIENT_INFO, Cow::Borrowed(info)));
        [
            (meta::PROTOCOL_VERSION, Cow::Owned(version)),
            (meta::CLIENT_CAPABILITIES, Cow::Borrowed(self.capabilities)),
        ]
        .into_iter()
        .chain(info)
        .chain(level)
    }

    /// The whole `_meta` object.
    pub(super) fn meta(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        for (key, value) in self.members() {
            out.push(if out.is_empty() { b'{' } else { b',' });
            json::push_quoted(&mut out, key);
            out.push(b':');
            out.extend_from_slice(&value);
        }
        out.push(b'}');
        out
    }
}
