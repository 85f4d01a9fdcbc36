//! From the members of the envelope to a message, or to the rule that it breaks.

use super::fault::{Fault, ScanError};
use super::{Envelope, Message, Side, keys};
use crate::limits::{CLIENT_ID_CHARS_MAX, CLIENT_ID_MAX};
use crate::method::Method;
use crate::value::{Kind, Object, Span, Value};

/// Completes a message whose levels were recorded.
pub(super) fn message(mut found: Box<Message>, src: &[u8], side: Side) -> Result<Box<Message>, ScanError> {
    let seen = Seen::new(&found.root, src);
    let is_two = |value: Value| value.raw(src) == br#""2.0""# || value.str(src).as_deref() == Some("2.0");
    let version = seen.jsonrpc.is_some_and(is_two);
    if !version {
        return Err(Fault::Version.at(place(seen.jsonrpc)));
    }
    let envelope = match side {
        Side::Client => client(&seen, src)?,
        Side::Server => server(&seen)?,
    };
    if side == Side::Client {
        check_body(envelope, seen.carrier(envelope), found.body.as_ref(), src)?;
    }
    complete(&mut found, &seen, envelope, src);
    Ok(found)
}

/// A message that was one before: its levels as they were read, under the envelope that they have.
pub(super) fn again(src: &[u8], root: Object, inner: [Option<Object>; 2], uris: bool) -> Option<Box<Message>> {
    let seen = Seen::new(&root, src);
    let envelope = server(&seen).ok()?;
    let [body, meta] = inner;
    let mut found = Box::new(Message {
        root,
        body,
        meta,
        uris,
        ..Message::unread()
    });
    complete(&mut found, &seen, envelope, src);
    Some(found)
}

fn complete(found: &mut Message, seen: &Seen, envelope: Envelope, src: &[u8]) {
    found.envelope = envelope;
    found.id = seen.id;
    found.method = seen.method.filter(|method| method.kind == Kind::String);
    settle(found, seen.carrier(envelope), src);
}

/// The members of the envelope that the protocol knows.
#[derive(Default)]
struct Seen {
    jsonrpc: Option<Value>,
    id: Option<Value>,
    method: Option<Value>,
    params: Option<Value>,
    result: Option<Value>,
    error: Option<Value>,
}

impl Seen {
    /// Where a server repeats a member the last one counts.
    fn new(root: &Object, src: &[u8]) -> Self {
        let mut seen = Self::default();
        for member in &root.members {
            let place = match &*keys::decoded(src, member.key, member.key_escaped) {
                b"jsonrpc" => &mut seen.jsonrpc,
                b"id" => &mut seen.id,
                b"method" => &mut seen.method,
                b"params" => &mut seen.params,
                b"result" => &mut seen.result,
                b"error" => &mut seen.error,
                _ => continue,
            };
            *place = Some(member.value);
        }
        seen
    }
}

impl Seen {
    /// The member that an envelope carries its content in.
    fn carrier(&self, envelope: Envelope) -> Option<Value> {
        match envelope {
            Envelope::Request | Envelope::Notification => self.params,
            Envelope::Result => self.result,
            Envelope::Error => self.error,
        }
    }
}

/// Where a value stands; the start of the message when it is missing.
fn place(value: Option<Value>) -> usize {
    value.map_or(0, |value| value.span.start as usize)
}

fn client(seen: &Seen, src: &[u8]) -> Result<Envelope, ScanError> {
    match (seen.method, seen.result, seen.error) {
        (Some(method), None, None) => client_method(method, seen.id, src),
        (None, Some(_), None) => client_id(seen.id, src).map(|()| Envelope::Result),
        (None, None, Some(_)) => client_id(seen.id, src).map(|()| Envelope::Error),
        _ => Err(Fault::Shape.at(0)),
    }
}

fn client_method(method: Value, id: Option<Value>, src: &[u8]) -> Result<Envelope, ScanError> {
    let Some(name) = method.str(src).filter(|name| !name.is_empty()) else {
        return Err(Fault::Method.at(place(Some(method))));
    };
    if id.is_some() {
        return client_id(id, src).map(|()| Envelope::Request);
    }
    let kind = Method::parse(&name);
    if kind != Method::Other && !kind.row().notification {
        return Err(Fault::IdMissing.at(0));
    }
    Ok(Envelope::Notification)
}

/// An integer that every JSON library holds exactly, or a string of reasonable length.
fn client_id(id: Option<Value>, src: &[u8]) -> Result<(), ScanError> {
    let valid = id.is_some_and(|id| match id.kind {
        Kind::Number => id.raw(src) != b"-0" && id.i64(src).is_some_and(|id| id.unsigned_abs() <= CLIENT_ID_MAX),
        Kind::String => id.str(src).is_some_and(|id| {
            // A character has at least one byte, so a long text need not be counted.
            !id.is_empty() && id.len() <= CLIENT_ID_CHARS_MAX * 4 && id.chars().count() <= CLIENT_ID_CHARS_MAX
        }),
        _ => false,
    });
    if valid { Ok(()) } else { Err(Fault::Id.at(place(id))) }
}

/// A server's answer is read as kindly as it can be: some write `"error": null` beside a result.
fn server(seen: &Seen) -> Result<Envelope, ScanError> {
    if let Some(method) = seen.method {
        if method.kind != Kind::String {
            return Err(Fault::Method.at(place(Some(method))));
        }
        let named = seen.id.is_some_and(|id| id.kind != Kind::Null);
        return Ok(if named {
            Envelope::Request
        } else {
            Envelope::Notification
        });
    }
    let present = |value: Option<Value>| value.is_some_and(|value| value.kind != Kind::Null);
    match (seen.result, seen.error) {
        (_, Some(_)) if present(seen.error) => Ok(Envelope::Error),
        (Some(_), _) => Ok(Envelope::Result),
        _ => Err(Fault::Shape.at(0)),
    }
}

fn check_body(envelope: Envelope, carrier: Option<Value>, body: Option<&Object>, src: &[u8]) -> Result<(), ScanError> {
    let object = carrier.is_some_and(|value| value.kind == Kind::Object);
    let well_formed = match envelope {
        Envelope::Request | Envelope::Notification => {
            return if carrier.is_none() || object {
                Ok(())
            } else {
                Err(Fault::Params.at(place(carrier)))
            };
        }
        Envelope::Result => object,
        Envelope::Error => {
            object
                && body.is_some_and(|body| {
                    let code = body.get(src, "code").and_then(|code| code.i64(src));
                    let message = body
                        .get(src, "message")
                        .is_some_and(|message| message.kind == Kind::String);
                    code.is_some() && message
                })
        }
    };
    if well_formed {
        Ok(())
    } else {
        Err(Fault::Response.at(place(carrier)))
    }
}

/// Leaves the recorded body, if it is the one that counts. A server may have sent several; then the right one is read again.
fn settle(found: &mut Message, carrier: Option<Value>, src: &[u8]) {
    let carrier = carrier.filter(|value| value.kind == Kind::Object);
    let counts = |object: &Option<Object>, span: Span| object.as_ref().is_some_and(|object| object.span == span);
    match carrier {
        Some(carrier) if counts(&found.body, carrier.span) => {}
        carrier => found.body = carrier.and_then(|carrier| Object::read(src, carrier.span)),
    }
    let wanted = found.body.as_ref().and_then(|body| body.get(src, "_meta"));
    let wanted = wanted
        .filter(|value| value.kind == Kind::Object)
        .map(|value| value.span);
    match wanted {
        Some(span) if counts(&found.meta, span) => {}
        wanted => found.meta = wanted.and_then(|span| Object::read(src, span)),
    }
}
