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
use crate::read::Reader;
use crate::scan::{Envelope, Message};
use crate::splice::Splice;
use crate::value::{Kind, Value};

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
    let Some(body) = msg.body.as_ref().filter(|_| msg.uris) else {
        return;
    };
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

/// What is still to be visited, and how many content blocks lie around it. Arrays and maps are kept as a place inside
/// of them, so that a message of very many small values costs no memory.
enum Open<'a> {
    Value(Value, &'static Place, usize),
    Elements(Reader<'a>, &'static Place, usize),
    Values(Reader<'a>, &'static Place, usize),
}

fn walk(
    src: &[u8],
    value: Value,
    place: &'static Place,
    map: &mut dyn FnMut(&str, UriKind) -> Option<String>,
    out: &mut Splice<'_>,
) {
    let mut open = vec![Open::Value(value, place, 0)];
    while let Some(next) = open.pop() {
        let (value, place, depth) = match next {
            Open::Value(value, place, depth) => (value, place, depth),
            Open::Elements(mut reader, place, depth) => {
                let Some(element) = reader.element() else { continue };
                open.push(Open::Elements(reader, place, depth));
                (element, place, depth)
            }
            Open::Values(mut reader, place, depth) => {
                let Some(member) = reader.member() else { continue };
                open.push(Open::Values(reader, place, depth));
                (member.value, place, depth)
            }
        };
        if let Place::Uri(kind) = place {
            if let Some(uri) = value.str(src)
                && let Some(mapped) = map(&uri, *kind)
            {
                out.replace(value.span, json::quote(&mapped));
            }
        } else {
            descend(src, value, place, depth, &mut open);
        }
    }
}

/// Opens what lies below a value.
fn descend<'a>(src: &'a [u8], value: Value, place: &'static Place, depth: usize, open: &mut Vec<Open<'a>>) {
    let Some(reader) = Reader::enter(src, &value) else {
        return;
    };
    match (place, value.kind) {
        (Place::Members(members), Kind::Object) => {
            for (name, place) in *members {
                if let Some(member) = last(src, reader, name) {
                    open.push(Open::Value(member, place, depth));
                }
            }
        }
        (Place::Switch(key, cases), Kind::Object) => {
            if let Some(case) = last(src, reader, key).and_then(|value| value.str(src))
                && let Some((_, place)) = cases.iter().find(|(name, _)| *name == case)
            {
                open.push(Open::Value(value, place, depth));
            }
        }
        (Place::Each(place), Kind::Array) => open.push(Open::Elements(reader, place, depth)),
        (Place::Values(place), Kind::Object) => open.push(Open::Values(reader, place, depth)),
        (Place::Blocks, _) if depth >= CONTENT_DEPTH_MAX => {}
        (Place::Blocks, Kind::Array) => open.push(Open::Elements(reader, &table::BLOCK, depth + 1)),
        (Place::Blocks, _) => open.push(Open::Value(value, &table::BLOCK, depth + 1)),
        _ => {}
    }
}

/// The last member of that name, as everywhere.
fn last(src: &[u8], mut reader: Reader<'_>, name: &str) -> Option<Value> {
    std::iter::from_fn(|| reader.member())
        .filter(|member| member.is(src, name))
        .last()
        .map(|member| member.value)
}
