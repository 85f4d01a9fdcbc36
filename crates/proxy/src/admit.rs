//! Strict admission: what is not exactly one well-formed MCP message over well-formed HTTP goes no further.
//!
//! The order of the checks is the order of the ladder (first failure wins): authority and origin before anything else,
//! then form, then bytes, then the era of the message, and only then what a modern message must mirror in its headers.
//! Nothing here looks at who is calling.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use meshgate_bridge::eras::cannot;
use meshgate_mcp::{MODERN, Message, Method, Revision, Rules, headers, json, meta};
use meshgate_model::Listener;

use crate::limits::Limits;
use crate::listen::authority;
use crate::refusal::{Reason, Refusal};

/// `MCP-Protocol-Version`.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Session-Id` of the legacy revisions.
pub const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The prefix of mirrored tool arguments.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The authorities and origins that a listener answers to.
#[derive(Clone, Debug, Default)]
pub struct Authorities {
    /// Allowed values of `Host`, lower case, with the port where it is not the scheme's own.
    pub hosts: Vec<String>,
    /// Allowed values of `Origin`, lower case.
    pub origins: Vec<String>,
}

impl Authorities {
    /// What a listener at `port` answers to: the configured names, or on loopback the names of loopback.
    pub fn of(listener: &Listener, port: u16) -> Self {
        let loopback = listener.is_loopback();
        let (scheme, default_port) = if listener.tls.is_some() {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let mut hosts = Vec::new();
        let local = ["localhost", "127.0.0.1", "[::1]"].map(Arc::from);
        let named: &[Arc<str>] = match &listener.hosts {
            Some(named) => named,
            None if loopback => &local,
            None => &[],
        };
        for host in named {
            let host = host.to_ascii_lowercase();
            if has_port(&host) {
                hosts.push(host);
            } else {
                hosts.push(format!("{host}:{port}"));
                if port == default_port {
                    hosts.push(host);
                }
            }
        }
        let origins = match &listener.origins {
            Some(named) => named.iter().map(|origin| normal_origin(origin)).collect(),
            None if loopback => hosts
                .iter()
                .map(|host| normal_origin(&format!("{scheme}://{host}")))
                .collect(),
            None => Vec::new(),
        };
        Self { hosts, origins }
    }

    /// Checks `Host` (exactly one, of the list) and `Origin` (absent, or of the list).
    pub fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        let served = |said: &str| self.hosts.iter().any(|host| host.eq_ignore_ascii_case(said));
        if !authority(parts).is_some_and(served) {
            return Err(Refusal::new(
                Reason::Host,
                "`Host` must appear once and name this gateway; add the name to the listener's `hosts`",
            )
            .rule("gateway/hosts"));
        }
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let known = origin.to_str().is_ok_and(|o| self.origins.contains(&normal_origin(o)));
            if !known || origins.next().is_some() {
                return Err(Refusal::new(
                    Reason::Origin,
                    "`Origin` is not allowed here; add it to the listener's `origins`",
                )
                .rule("gateway/origins"));
            }
        }
        Ok(())
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// An origin in lower case, without the port that its scheme implies.
fn normal_origin(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    for (scheme, port) in [("https://", ":443"), ("http://", ":80")] {
        if origin.starts_with(scheme)
            && let Some(bare) = origin.strip_suffix(port)
        {
            return bare.to_owned();
        }
    }
    origin
}

/// Form of a POST: one JSON body, uncompressed, both answer types accepted.
pub fn check_form(headers: &HeaderMap) -> Result<(), Refusal> {
    if !is_json(headers) {
        return Err(Refusal::new(
            Reason::UnsupportedMedia,
            "`Content-Type` must be `application/json`, said once",
        ));
    }
    let plain = |v: &HeaderValue| v.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Err(Refusal::new(
            Reason::UnsupportedMedia,
            "`Content-Encoding` is not served; send the body plain",
        ));
    }
    if !accepts_both(headers) {
        return Err(Refusal::new(
            Reason::NotAcceptable,
            "`Accept` must list `application/json` and `text/event-stream`",
        ));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    value.as_bytes() == b"application/json"
        || value.to_str().is_ok_and(|said| {
            let essence = said.split(';').next().unwrap_or("").trim();
            essence.eq_ignore_ascii_case("application/json")
        })
}

/// Whether an answer may be JSON and may be events. What nearly every client sends is known by sight.
fn accepts_both(headers: &HeaderMap) -> bool {
    let by_sight = |value: &HeaderValue| {
        matches!(
            value.as_bytes(),
            b"application/json, text/event-stream" | b"text/event-stream, application/json"
        )
    };
    headers.get(ACCEPT).is_some_and(by_sight)
        || accepts(headers, "application", "json") && accepts(headers, "text", "event-stream")
}

/// No header that anybody routes or decides by comes twice.
pub fn check_once(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    for name in headers.keys() {
        let routing = [VERSION, METHOD, NAME, SESSION, http::header::AUTHORIZATION].contains(name)
            || name.as_str().starts_with(PARAM_PREFIX);
        if routing && headers.get_all(name).iter().nth(1).is_some() {
            return Err(Refusal::new(
                Reason::HeaderMismatch,
                format!("header `{name}` may appear once"),
            ));
        }
    }
    Ok(())
}

fn accepts(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|range| {
            let mut parts = range.split(';');
            let essence = parts.next().unwrap_or("").trim();
            let refused = parts.any(|p| matches!(p.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            let Some((k, s)) = essence.split_once('/') else {
                return false;
            };
            !refused && (k == "*" || k.eq_ignore_ascii_case(kind)) && (s == "*" || s.eq_ignore_ascii_case(subtype))
        })
}

/// What a client's JSON must keep to.
///
/// `duplicate_arguments` lets duplicate members inside `arguments` through; the rule of the server that the call turns
/// out to go to has the last word.
pub fn rules(limits: &Limits, duplicate_arguments: bool) -> Rules {
    Rules {
        bytes_max: limits.body_bytes,
        depth_max: limits.json_depth,
        nodes_max: limits.json_nodes,
        number_chars_max: limits.json_number_chars,
        duplicate_arguments,
        ..Rules::CLIENT
    }
}

/// One strict scan of what a client sent.
pub fn scan(body: &[u8], limits: &Limits, duplicate_arguments: bool) -> Result<Box<Message>, Refusal> {
    let rules = rules(limits, duplicate_arguments);
    meshgate_mcp::scan(body, &rules).map_err(|e| {
        let reason = if e.code() == meshgate_mcp::codes::PARSE_ERROR {
            Reason::Parse
        } else {
            Reason::InvalidRequest
        };
        Refusal::new(reason, e.to_string())
    })
}

/// Which protocol family a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// MCP 2026-07-28 and later: stateless.
    Modern,
    /// Everything older: sessions.
    Legacy,
}

/// Selects the face by what the message says of itself; a header alone can only ask for the stricter one.
pub fn face(headers: &HeaderMap, body: &[u8], message: &Message) -> Face {
    let in_meta = message.meta.as_ref().is_some_and(|m| {
        m.get(body, meta::PROTOCOL_VERSION).is_some() || m.get(body, meta::CLIENT_CAPABILITIES).is_some()
    });
    let in_header = headers
        .get(VERSION)
        .is_some_and(|v| v.as_bytes() >= MODERN.name.as_bytes() && dated(v));
    if in_meta || in_header {
        Face::Modern
    } else {
        Face::Legacy
    }
}

fn dated(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| {
            if i == 4 || i == 7 {
                *b == b'-'
            } else {
                b.is_ascii_digit()
            }
        })
}

/// What a modern request must carry and mirror (ladder steps 7 to 10). Gives the method.
pub fn check_modern(headers: &HeaderMap, body: &[u8], message: &Message, legacy_face: bool) -> Result<Method, Refusal> {
    let invalid = |text: &'static str| Refusal::new(Reason::InvalidMeta, text);
    let fields = message
        .meta
        .as_ref()
        .ok_or_else(|| invalid("`params._meta` is required by 2026-07-28"))?;
    let version = fields
        .get(body, meta::PROTOCOL_VERSION)
        .and_then(|v| {
            let served = v.is(body, MODERN.name);
            if served { Some(MODERN.name.into()) } else { v.str(body) }
        })
        .ok_or_else(|| invalid("`_meta` needs `io.modelcontextprotocol/protocolVersion`, a string"))?;
    let capabilities = fields.get(body, meta::CLIENT_CAPABILITIES);
    if !capabilities.is_some_and(|v| v.kind == meshgate_mcp::Kind::Object) {
        return Err(invalid(
            "`_meta` needs `io.modelcontextprotocol/clientCapabilities`, an object",
        ));
    }
    check_once(headers)?;
    mirrored(headers, &VERSION, &version, plain)?;
    let name = message.method.as_ref().and_then(|m| m.str(body)).unwrap_or_default();
    mirrored(headers, &METHOD, &name, plain)?;
    let method = Method::parse(&name);
    if let Some(target) = target(method, body, message) {
        mirrored(headers, &NAME, &target, headers::decode)?;
    }
    if version != MODERN.name {
        return Err(unsupported_version(&version, legacy_face));
    }
    if let Some(level) = fields.get(body, meta::LOG_LEVEL) {
        const LEVELS: [&str; 8] = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ];
        if !level.str(body).is_some_and(|l| LEVELS.contains(&&*l)) {
            return Err(Refusal::new(
                Reason::InvalidParams,
                cannot::LOG_LEVEL.say(&[meta::LOG_LEVEL]),
            ));
        }
    }
    Ok(method)
}

/// The value that `Mcp-Name` mirrors, where the method has one and the body gives it.
pub fn target<'a>(method: Method, body: &'a [u8], message: &'a Message) -> Option<Cow<'a, str>> {
    let member = method.row().target.member()?;
    message.body.as_ref()?.get(body, member)?.str(body)
}

/// The refusal of a version that is not served.
pub fn unsupported_version(requested: &str, legacy_face: bool) -> Refusal {
    let mut supported = vec![MODERN.name];
    if legacy_face {
        supported.extend(
            meshgate_mcp::REVISIONS
                .iter()
                .map(|r: &Revision| r.name)
                .filter(|n| *n != MODERN.name),
        );
    }
    let mut data = b"{\"supported\":[".to_vec();
    for (i, name) in supported.iter().enumerate() {
        if i > 0 {
            data.push(b',');
        }
        json::push_quoted(&mut data, name);
    }
    data.extend_from_slice(b"],\"requested\":");
    json::push_quoted(&mut data, requested);
    data.push(b'}');
    Refusal::new(
        Reason::UnsupportedVersion,
        "this protocol version is not served; use one of `data.supported`",
    )
    .data(data)
}

/// A header must be there and, read as it is to be read, equal what the body says.
fn mirrored<'a, E: std::fmt::Display>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    expected: &str,
    read: impl FnOnce(&'a [u8]) -> Result<Cow<'a, str>, E>,
) -> Result<(), Refusal> {
    let mismatch = |text: String| Err(Refusal::new(Reason::HeaderMismatch, text));
    let Some(value) = headers.get(name) else {
        return mismatch(format!("header `{name}` is required and must equal the body"));
    };
    // Whoever says the very same in plain letters need not be read.
    if value.as_bytes() == expected.as_bytes() && expected.bytes().all(is_plain) {
        return Ok(());
    }
    match read(value.as_bytes()) {
        Ok(said) if said == expected => Ok(()),
        Ok(_) => mismatch(format!("header `{name}` differs from the body")),
        Err(e) => mismatch(format!("header `{name}`: {e}")),
    }
}

/// Letters that stand for themselves in every header: no space at an end, no `=` to begin an encoding.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.')
}

/// Versions and methods are never encoded, and whoever routes by them does not decode them.
fn plain(value: &[u8]) -> Result<Cow<'_, str>, std::str::Utf8Error> {
    std::str::from_utf8(value).map(Cow::Borrowed)
}

#[cfg(test)]
mod tests;
