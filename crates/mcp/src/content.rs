//! Where URIs occur in messages, and how to replace them.
//!
//! In a view of several servers each resource URI is wrapped, so that two servers may have the same one. That only
//! works if no place is forgotten in either direction, so the places are a table (`content/table.rs`) and one walker
//! reads it. Text is never touched: not tool descriptions, not text blocks, not arguments.

mod table;

#[cfg(test)]
mod tests;

use crate::json;
use crate::limits::CONTENT_DEPTH_MAX;
use crate::method::Method;
use crate::read::elements;
use crate::scan::{Envelope, Message};
use crate::splice::Splice;
use crate::value::{Kind, Object, Value};

use table::Place;

/// Which way a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a server to a client: URIs are wrapped.
    ToClient,
    /// From a client to a server: URIs are unwrapped.
    ToServer,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UriKind {
    /// The URI of a resource.
    Resource,
    /// An RFC 6570 template, or a reference that may be one.
    Template,
    /// The URI of a tool's user interface.
    Ui,
}

/// Offers every URI of a message to `map` and notes what it returns in `out`. `None` leaves a URI as it is.
///
/// `method` is the method of the message itself, or of the request that a response answers.
pub fn map_uris(
    src: &[u8],
    msg: &Message,
    method: Method,
    dir: Direction,
    map: &mut dyn FnMut(&str, UriKind) -> Option<String>,
    out: &mut Splice<'_>,
) {
    let Some(body) = &msg.body else { return };
    let place = match msg.envelope {
        Envelope::Request | Envelope::Notification => table::params(method, dir),
        Envelope::Result => table::result(method, dir),
        Envelope::Error => table::error(dir),
    };
    let whole = Value {
        span: body.span,
        kind: Kind::Object,
        escaped: false,
    };
    walk(src, whole, place, map, out);
}

/// Replaces the URIs of one value that stands alone, such as a task's result or one entry of a catalogue.
pub fn map_result_uris(
    src: &[u8],
    result: Value,
    method: Method,
    dir: Direction,
    map: &mut dyn FnMut(&str, UriKind) -> Option<String>,
    out: &mut Splice<'_>,
) {
    walk(src, result, table::result(method, dir), map, out);
}

/// A value that is still to be visited, what stands there, and how many content blocks lie around it.
type Open = (Value, &'static Place, usize);

fn walk(
    src: &[u8],
    value: Value,
    place: &'static Place,
    map: &mut dyn FnMut(&str, UriKind) -> Option<String>,
    out: &mut Splice<'_>,
) {
    let mut open: Vec<Open> = vec![(value, place, 0)];
    while let Some((value, place, depth)) = open.pop() {
        match place {
            Place::Nothing => {}
            Place::Uri(kind) => {
                if let Some(uri) = value.str(src)
                    && let Some(mapped) = map(&uri, *kind)
                {
                    out.replace(value.span, json::quote(&mapped));
                }
            }
            Place::Members(members) => visit_members(src, value, members, depth, &mut open),
            Place::Each(place) => {
                if value.kind == Kind::Array {
                    open.extend(elements(src, value.span).map(|element| (element, *place, depth)));
                }
            }
            Place::Values(place) => {
                if let Some(object) = read(src, value) {
                    open.extend(object.members.iter().map(|member| (member.value, *place, depth)));
                }
            }
            Place::Switch(key, cases) => {
                if let Some(object) = read(src, value)
                    && let Some(text) = object.get(src, key).and_then(|value| value.str(src))
                    && let Some((_, place)) = cases.iter().find(|(case, _)| *case == text)
                {
                    open.push((value, place, depth));
                }
            }
            Place::Blocks if depth < CONTENT_DEPTH_MAX => match value.kind {
                Kind::Array => {
                    open.extend(elements(src, value.span).map(|element| (element, &table::BLOCK, depth + 1)));
                }
                _ => open.push((value, &table::BLOCK, depth + 1)),
            },
            Place::Blocks => {}
        }
    }
}

fn visit_members(
    src: &[u8],
    value: Value,
    members: &'static [(&'static str, Place)],
    depth: usize,
    open: &mut Vec<Open>,
) {
    let Some(object) = read(src, value) else { return };
    for (name, place) in members {
        if let Some(member) = object.get(src, name) {
            open.push((*member, place, depth));
        }
    }
}

fn read(src: &[u8], value: Value) -> Option<Object> {
    if value.kind == Kind::Object {
        Object::read(src, value.span)
    } else {
        None
    }
}
