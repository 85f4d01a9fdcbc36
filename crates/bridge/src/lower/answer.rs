//! A modern answer, in the words of an older revision.
//!
//! Only what a client of that revision would misread or refuse is changed: modern bookkeeping goes, content kinds it
//! cannot parse become text, structured content it cannot validate is dropped (its text stays), and error codes get the
//! meaning they had. Unknown members, unknown content types and titles or icons of a later revision are tolerated by
//! every revision and arrive as they were.

use meshgate_mcp::{Kind, Message, Method, Object, Revision, Splice, Value, codes, elements, json, message, meta};

use crate::eras::cannot;

/// Lowers the response to a request of `method`. `msg` is the scan of `src`.
pub fn lower_answer(src: &[u8], msg: &Message, method: Method, revision: &Revision) -> Vec<u8> {
    let Some(body) = &msg.body else { return src.to_vec() };
    let mut splice = Splice::new(src);
    match msg.envelope {
        meshgate_mcp::Envelope::Error => lower_error(src, body, method, revision, &mut splice),
        meshgate_mcp::Envelope::Result => {
            if let Some(unknown) = unknown_result_type(src, body) {
                return not_carried(src, msg, &unknown);
            }
            lower_result(src, msg, body, method, revision, &mut splice);
        }
        _ => {}
    }
    splice.finish()
}

/// The result type, when a legacy client could only misread it.
fn unknown_result_type(src: &[u8], body: &Object) -> Option<String> {
    let kind = body.get(src, "resultType")?.str(src)?;
    (kind != "complete").then(|| kind.into_owned())
}

fn not_carried(src: &[u8], msg: &Message, kind: &str) -> Vec<u8> {
    let text = cannot::NO_RESULT_TYPE.say(&[kind]);
    let id = msg.id.as_ref().map(|id| id.raw(src));
    message::error(id, cannot::NO_RESULT_TYPE.code(), &text, None)
}

/// Puts what [`lower_answer`] would change of a complete result into a splice with other changes. `false` for a revision
/// or a result whose changes could meet those others; then nothing is put in.
pub fn lower_with(src: &[u8], msg: &Message, method: Method, revision: &Revision, out: &mut Splice<'_>) -> bool {
    let Some(body) = &msg.body else { return false };
    let own = msg.meta_value(src, meta::SERVER_INFO).is_some();
    // Whole blocks that become text could hold URIs that are being mapped.
    if own || !(revision.resource_link && revision.audio) || unknown_result_type(src, body).is_some() {
        return false;
    }
    lower_result(src, msg, body, method, revision, out);
    true
}

fn lower_result(src: &[u8], msg: &Message, body: &Object, method: Method, revision: &Revision, out: &mut Splice<'_>) {
    let bookkeeping: &[&str] = if method.row().cacheable {
        &["resultType", "ttlMs", "cacheScope"]
    } else {
        &["resultType"]
    };
    for name in bookkeeping {
        out.remove_named(body, name);
    }
    remove_meta(src, msg, body, &[meta::SERVER_INFO, meta::SUBSCRIPTION_ID], out);
    match method {
        Method::ToolsList => lower_tools(src, body, revision, out),
        Method::ToolsCall => lower_call(src, body, revision, out),
        Method::PromptsGet => lower_prompt(src, body, revision, out),
        _ => {}
    }
}

/// Removes `keys` from `_meta`, and `_meta` itself when nothing else was in it.
pub(super) fn remove_meta(src: &[u8], msg: &Message, body: &Object, keys: &[&str], out: &mut Splice<'_>) {
    let Some(meta) = &msg.meta else { return };
    let found: Vec<usize> = keys.iter().filter_map(|key| meta.find(src, key)).collect();
    if found.is_empty() {
        return;
    }
    if found.len() == meta.members.len() {
        if let Some(index) = body.find(src, "_meta") {
            out.remove(body, index);
        }
        return;
    }
    for index in found {
        out.remove(meta, index);
    }
}

fn array<'a>(src: &'a [u8], body: &Object, name: &str) -> impl Iterator<Item = Value> + use<'a> {
    let value = body.get(src, name).filter(|v| v.kind == Kind::Array).copied();
    value.into_iter().flat_map(move |v| elements(src, v.span))
}

/// Output schemas: none before 2025-06-18, objects only until 2025-11-25.
fn lower_tools(src: &[u8], body: &Object, revision: &Revision, out: &mut Splice<'_>) {
    for tool in array(src, body, "tools").filter_map(|v| Object::read(src, v.span)) {
        let Some(index) = tool.find(src, "outputSchema") else {
            continue;
        };
        let describes_object = tool
            .get(src, "outputSchema")
            .and_then(|v| meshgate_mcp::lookup(src, v.span, &["type"]))
            .is_some_and(|kind| kind.str(src).as_deref() == Some("object"));
        if !(revision.structured_any || revision.structured_content && describes_object) {
            out.remove(&tool, index);
        }
    }
}

fn lower_call(src: &[u8], body: &Object, revision: &Revision, out: &mut Splice<'_>) {
    let mut blocks = 0_usize;
    for block in array(src, body, "content") {
        blocks += 1;
        lower_block(src, &block, revision, out);
    }
    let Some(index) = body.find(src, "structuredContent") else {
        return;
    };
    let Some(structured) = body.get(src, "structuredContent") else {
        return;
    };
    if revision.structured_any || revision.structured_content && structured.kind == Kind::Object {
        return;
    }
    out.remove(body, index);
    // A server should repeat structured content as text; where it did not, dropping it must not lose the answer.
    if blocks == 0 {
        let text = [
            b"[".as_slice(),
            &text_block(&String::from_utf8_lossy(structured.raw(src)), ""),
            b"]",
        ]
        .concat();
        match body.get(src, "content") {
            Some(content) => out.replace(content.span, text),
            None => out.insert(body, "content", text),
        }
    }
}

fn lower_prompt(src: &[u8], body: &Object, revision: &Revision, out: &mut Splice<'_>) {
    for prompt in array(src, body, "messages").filter_map(|v| Object::read(src, v.span)) {
        if let Some(content) = prompt.get(src, "content") {
            lower_block(src, content, revision, out);
        }
    }
}

/// One content block: a kind that the revision does not have becomes text that says the same to a model.
fn lower_block(src: &[u8], block: &Value, revision: &Revision, out: &mut Splice<'_>) {
    if let Some(text) = lowered_block(src, block, revision) {
        out.replace(block.span, text);
    }
}

/// The text in place of a content block of a kind that the revision does not have; `None` where it has the kind.
pub(super) fn lowered_block(src: &[u8], block: &Value, revision: &Revision) -> Option<Vec<u8>> {
    if revision.resource_link && revision.audio {
        return None;
    }
    let object = Object::read(src, block.span).filter(|_| block.kind == Kind::Object)?;
    let text = |name: &str| object.get(src, name).and_then(|v| v.str(src)).unwrap_or_default();
    let said = match &*text("type") {
        "resource_link" if !revision.resource_link => {
            let title = text("title");
            let name = if title.is_empty() { text("name") } else { title };
            let description = text("description");
            let tail = if description.is_empty() {
                String::new()
            } else {
                format!("\n{description}")
            };
            format!("{name}: {}{tail}", text("uri"))
        }
        "audio" if !revision.audio => {
            format!(
                "[audio, {}; this client's protocol revision cannot carry it]",
                text("mimeType")
            )
        }
        _ => return None,
    };
    Some(text_block(&said, &kept_members(src, &object)))
}

/// `annotations` and `_meta` of a block, which mean the same on text.
fn kept_members(src: &[u8], object: &Object) -> String {
    let kept = ["annotations", "_meta"].into_iter().filter_map(|name| {
        let value = object.get(src, name)?;
        Some(format!(",\"{name}\":{}", String::from_utf8_lossy(value.raw(src))))
    });
    kept.collect()
}

fn text_block(text: &str, more: &str) -> Vec<u8> {
    let mut out = br#"{"type":"text","text":"#.to_vec();
    json::push_quoted(&mut out, text);
    out.extend_from_slice(more.as_bytes());
    out.push(b'}');
    out
}

/// Error codes that legacy does not know, or knows under another number. Message and data stay.
fn lower_error(src: &[u8], body: &Object, method: Method, revision: &Revision, out: &mut Splice<'_>) {
    let Some(code) = body.get(src, "code") else { return };
    let lowered = match code.i64(src) {
        Some(codes::INVALID_PARAMS) if method == Method::ResourcesRead && is_about_the_resource(src, body) => {
            revision.resource_not_found
        }
        Some(codes::HEADER_MISMATCH | codes::UNSUPPORTED_VERSION) => codes::INTERNAL_ERROR,
        Some(codes::MISSING_CAPABILITY) => codes::INVALID_PARAMS,
        _ => return,
    };
    out.replace(code.span, lowered.to_string().into_bytes());
}

/// Whether wrong parameters of a read mean that there is no such resource. What the gateway refuses for another reason
/// carries its refusal and names no resource.
fn is_about_the_resource(src: &[u8], error: &Object) -> bool {
    let Some(data) = error.get(src, "data").and_then(|data| Object::read(src, data.span)) else {
        return true;
    };
    data.get(src, meta::VENDOR_REFUSAL).is_none() || data.get(src, "uri").is_some()
}
