//! What a legacy client declared it can do: the few bits that decide, and the JSON that travels inside.
//!
//! Declared once for a session, sent with every request of it. It is only ever narrowed: what the client's revision does
//! not define is not declared for it, and neither is what cannot be carried (tasks hosted by the client).

use meshgate_mcp::{Kind, Object, Revision, Splice, Value};

pub use crate::capabilities::Capabilities;

/// Capability JSON longer than this is reduced to the capabilities that we understand.
const CAPABILITIES_BYTES_MAX: usize = 8 * 1024;

pub(super) const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A client's capabilities as they go inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// What decides.
    pub set: Capabilities,
    /// The modern `clientCapabilities` object.
    pub json: Vec<u8>,
}

impl Declared {
    /// Nothing declared.
    pub fn nothing() -> Self {
        Self {
            set: Capabilities::NONE,
            json: b"{}".to_vec(),
        }
    }

    /// Reads the `capabilities` object of an `initialize` request, as `revision` defines it.
    pub fn read(src: &[u8], capabilities: &Object, revision: &Revision) -> Self {
        let set = read_set(src, capabilities, revision);
        let json = narrow(src, capabilities, revision, set);
        if json.len() > CAPABILITIES_BYTES_MAX {
            return Self {
                set,
                json: minimal(set),
            };
        }
        Self { set, json }
    }
}

fn object(src: &[u8], of: &Object, name: &str) -> Option<Object> {
    of.get(src, name)
        .filter(|v| v.kind == Kind::Object)
        .and_then(|v| Object::read(src, v.span))
}

fn read_set(src: &[u8], capabilities: &Object, revision: &Revision) -> Capabilities {
    let mut set = Capabilities::NONE;
    if object(src, capabilities, "roots").is_some() {
        set = set.with(Capabilities::ROOTS);
    }
    if let Some(sampling) = object(src, capabilities, "sampling") {
        set = set.with(Capabilities::SAMPLING);
        if revision.sampling_tools && object(src, &sampling, "tools").is_some() {
            set = set.with(Capabilities::SAMPLING_TOOLS);
        }
        if revision.sampling_tools && object(src, &sampling, "context").is_some() {
            set = set.with(Capabilities::SAMPLING_CONTEXT);
        }
    }
    if let Some(elicitation) = object(src, capabilities, "elicitation").filter(|_| revision.elicitation_form) {
        let url = revision.elicitation_url && object(src, &elicitation, "url").is_some();
        let form = object(src, &elicitation, "form").is_some() || !url;
        if url {
            set = set.with(Capabilities::ELICITATION_URL);
        }
        if form {
            set = set.with(Capabilities::ELICITATION_FORM);
        }
    }
    set
}

/// The client's own object, with what does not travel taken out of it.
fn narrow(src: &[u8], capabilities: &Object, revision: &Revision, set: Capabilities) -> Vec<u8> {
    let mut splice = Splice::new(src);
    for (index, member) in capabilities.members.iter().enumerate() {
        let is_object = member.value.kind == Kind::Object;
        match &*member.name(src) {
            "experimental" if is_object => {}
            "roots" if is_object => splice.replace(member.value.span, b"{}".as_slice()),
            "sampling" if is_object && revision.sampling_tools => {}
            "sampling" if is_object => splice.replace(member.value.span, b"{}".as_slice()),
            "elicitation" if is_object && revision.elicitation_form => {
                splice.replace(member.value.span, elicitation(set));
            }
            "extensions" if is_object => drop_tasks(src, &member.value, &mut splice),
            name if is_known(name) => splice.remove(capabilities, index),
            _ => {}
        }
    }
    let edited = splice.finish();
    // The splice covers the whole message; the capabilities end at the same distance from its end as before.
    let tail = src.len().saturating_sub(capabilities.span.end as usize);
    let start = capabilities.span.start as usize;
    edited
        .get(start..edited.len().saturating_sub(tail))
        .map_or_else(|| minimal(set), <[u8]>::to_vec)
}

fn is_known(name: &str) -> bool {
    matches!(
        name,
        "experimental" | "roots" | "sampling" | "elicitation" | "extensions" | "tasks"
    )
}

fn drop_tasks(src: &[u8], extensions: &Value, splice: &mut Splice<'_>) {
    let Some(extensions) = Object::read(src, extensions.span) else {
        return;
    };
    if let Some(index) = extensions.find(src, TASKS_EXTENSION) {
        splice.remove(&extensions, index);
    }
}

fn elicitation(set: Capabilities) -> &'static [u8] {
    match (
        set.contains(Capabilities::ELICITATION_FORM),
        set.contains(Capabilities::ELICITATION_URL),
    ) {
        (true, true) => br#"{"form":{},"url":{}}"#,
        (false, true) => br#"{"url":{}}"#,
        _ => br#"{"form":{}}"#,
    }
}

fn sampling(set: Capabilities) -> &'static [u8] {
    match (
        set.contains(Capabilities::SAMPLING_TOOLS),
        set.contains(Capabilities::SAMPLING_CONTEXT),
    ) {
        (true, true) => br#""sampling":{"tools":{},"context":{}}"#,
        (true, false) => br#""sampling":{"tools":{}}"#,
        (false, true) => br#""sampling":{"context":{}}"#,
        (false, false) => br#""sampling":{}"#,
    }
}

fn minimal(set: Capabilities) -> Vec<u8> {
    let mut members: Vec<&[u8]> = Vec::new();
    if set.contains(Capabilities::ROOTS) {
        members.push(br#""roots":{}"#);
    }
    if set.contains(Capabilities::SAMPLING) {
        members.push(sampling(set));
    }
    let asks = elicitation(set);
    let elicitation = [br#""elicitation":"#, asks].concat();
    if set.contains(Capabilities::ELICITATION_FORM) || set.contains(Capabilities::ELICITATION_URL) {
        members.push(&elicitation);
    }
    [b"{".as_slice(), &members.join(b",".as_slice()), b"}"].concat()
}
