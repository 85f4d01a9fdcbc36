//! What a question says, in the words of an older revision.
//!
//! A modern server asks in modern words. Older clients check what they are asked against the schema of their own
//! revision, and one strange member costs the whole question. So what an older revision says differently is said its
//! way, what it leaves to the client is left out, and what it has no words for is not asked at all: the call ends with
//! an error that names it, instead of a form that comes back empty.

use meshgate_mcp::{Kind, Object, Revision, Span, Splice, Value, elements, json};

use super::Capabilities;
use super::answer::lowered_block;

/// What the client's revision has no words for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unspellable(pub(super) String);

fn whole(raw: &[u8]) -> Option<Object> {
    let end = u32::try_from(raw.len()).unwrap_or(u32::MAX);
    Object::read(raw, Span { start: 0, end })
}

/// The parameters of a URL elicitation, under an id of ours.
pub(super) fn url(raw: &[u8], elicitation_id: &str) -> Vec<u8> {
    let mut splice = Splice::new(raw);
    if let Some(object) = whole(raw) {
        splice.set(&object, "elicitationId", json::quote(elicitation_id));
    }
    splice.finish()
}

/// The parameters of an elicitation by form.
pub(super) fn form(raw: &[u8], revision: &Revision) -> Result<Vec<u8>, Unspellable> {
    let mut splice = Splice::new(raw);
    if let Some(object) = whole(raw) {
        // Before URL mode existed there was one mode, and no member to name it.
        if !revision.elicitation_url {
            splice.remove_named(&object, "mode");
        }
        if !revision.elicitation_choices {
            fields(raw, &object, &mut splice)?;
        }
    }
    Ok(splice.finish())
}

/// The fields of a form for a revision that has plain ones only: choices of one value, under names in a list of their
/// own.
fn fields(raw: &[u8], params: &Object, splice: &mut Splice<'_>) -> Result<(), Unspellable> {
    let properties = params
        .get(raw, "requestedSchema")
        .and_then(|schema| Object::read(raw, schema.span))
        .and_then(|schema| Object::read(raw, schema.get(raw, "properties")?.span));
    for member in properties.iter().flat_map(|properties| &properties.members) {
        let Some(field) = Object::read(raw, member.value.span) else {
            continue;
        };
        if field.get(raw, "type").is_some_and(|kind| kind.is(raw, "array")) {
            let name = member.name(raw);
            return Err(Unspellable(format!(
                "a form whose field `{name}` takes several choices"
            )));
        }
        titled(raw, &field, splice);
    }
    Ok(())
}

/// `oneOf` of constants with titles, as `enum` and `enumNames`.
fn titled(raw: &[u8], field: &Object, splice: &mut Splice<'_>) {
    let Some(index) = field.find(raw, "oneOf") else { return };
    let options = field.get(raw, "oneOf").filter(|of| of.kind == Kind::Array);
    let (mut values, mut names) = (Vec::new(), Vec::new());
    for option in options.into_iter().flat_map(|of| elements(raw, of.span)) {
        let Some(option) = Object::read(raw, option.span) else {
            return;
        };
        let text = |name: &str| option.get(raw, name).filter(|v| v.kind == Kind::String).copied();
        let Some(value) = text("const") else { return };
        values.push(value.raw(raw));
        names.push(text("title").unwrap_or(value).raw(raw));
    }
    let list = |of: &[&[u8]]| [b"[".as_slice(), &of.join(b",".as_slice()), b"]"].concat();
    splice.remove(field, index);
    splice.insert(field, "enum", list(&values));
    splice.insert(field, "enumNames", list(&names));
}

/// Whether a sampling request speaks of tools, which a client must have declared.
pub(super) fn speaks_of_tools(src: &[u8], params: &Object) -> bool {
    let blocks = messages(src, params).flat_map(|(_, message)| {
        let content = message.get(src, "content").copied();
        content.into_iter().flat_map(|content| blocks(src, content))
    });
    let of_tools = |block: Value| {
        let kind = Object::read(src, block.span).and_then(|block| block.get(src, "type").copied());
        kind.is_some_and(|kind| kind.is(src, "tool_use") || kind.is(src, "tool_result"))
    };
    params.get(src, "tools").is_some() || params.get(src, "toolChoice").is_some() || blocks.into_iter().any(of_tools)
}

/// The parameters of a sampling request.
pub(super) fn sampling(raw: &[u8], revision: &Revision, can: Capabilities) -> Vec<u8> {
    let mut splice = Splice::new(raw);
    let Some(params) = whole(raw) else { return raw.to_vec() };
    // What other servers of the client say is context that only a client that offers it shares; leaving it out means
    // `none`.
    if !can.contains(Capabilities::SAMPLING_CONTEXT) {
        splice.remove_named(&params, "includeContext");
    }
    if revision.sampling_tools && revision.audio {
        return splice.finish();
    }
    for (span, message) in messages(raw, &params) {
        let Some(content) = message.get(raw, "content") else {
            continue;
        };
        if content.kind == Kind::Array && !revision.sampling_tools {
            splice.replace(span, one_by_one(raw, span, content, revision));
        } else {
            for block in blocks(raw, *content) {
                if let Some(lowered) = lowered_block(raw, &block, revision) {
                    splice.replace(block.span, lowered);
                }
            }
        }
    }
    splice.finish()
}

/// A message of several blocks as several messages of one: the same role says one after the other.
fn one_by_one(raw: &[u8], message: Span, content: &Value, revision: &Revision) -> Vec<u8> {
    let piece = |start: u32, end: u32| Span { start, end }.of(raw);
    let (before, behind) = (
        piece(message.start, content.span.start),
        piece(content.span.end, message.end),
    );
    let mut said = Vec::new();
    let mut say = |block: &[u8]| {
        if !said.is_empty() {
            said.push(b',');
        }
        for part in [before, block, behind] {
            said.extend_from_slice(part);
        }
    };
    let mut is_empty = true;
    for block in elements(raw, content.span) {
        is_empty = false;
        match lowered_block(raw, &block, revision) {
            Some(lowered) => say(&lowered),
            None => say(block.raw(raw)),
        }
    }
    if is_empty {
        say(br#"{"type":"text","text":""}"#);
    }
    said
}

/// The messages of a sampling request, each with its place.
fn messages<'a>(src: &'a [u8], params: &Object) -> impl Iterator<Item = (Span, Object)> + use<'a> {
    let list = params.get(src, "messages").filter(|v| v.kind == Kind::Array).copied();
    let each = list.into_iter().flat_map(move |list| elements(src, list.span));
    each.filter_map(move |message| Some((message.span, Object::read(src, message.span)?)))
}

/// The blocks of a content that is one block, or a list of them.
fn blocks(src: &[u8], content: Value) -> Vec<Value> {
    if content.kind == Kind::Array {
        elements(src, content.span).collect()
    } else {
        vec![content]
    }
}
