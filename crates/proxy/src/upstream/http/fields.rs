//! The head of a request as bytes, most of them made once for each server.
//!
//! A call differs from the call before it in a few fields only. So the request line and everything that is the same for
//! all calls to a server are written once, and a call appends its own. What is appended is checked here, because a line
//! end in a value would be the begin of another field.

use std::io::Write as _;

use http::Method;
use http::header::{self, HeaderMap, HeaderName};

use super::wire::Target;

const POST_TYPES: &[u8] = b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
const STREAM_TYPE: &[u8] = b"accept: text/event-stream\r\n";
/// Room for what most calls add, a short body with it; more is only slower.
const OWN_BYTES: usize = 1536;

/// What all requests to a server begin with.
pub(super) struct Prepared {
    path: String,
    /// The fields of the hop and those an operator has configured.
    common: Vec<u8>,
    /// A whole POST up to the fields of the call.
    post: Vec<u8>,
    /// The operator's fields that a call could set, too: theirs count.
    ruled: Vec<HeaderName>,
}

impl Prepared {
    pub(super) fn new(target: &Target, configured: HeaderMap) -> Self {
        let mut common = Vec::new();
        push(&mut common, &header::HOST, target.authority.as_bytes());
        for (name, value) in &configured {
            push(&mut common, name, value.as_bytes());
        }
        let path = target.path.to_string();
        let post = [b"POST ", path.as_bytes(), b" HTTP/1.1\r\n", &common, POST_TYPES].concat();
        Self {
            path,
            common,
            post,
            ruled: configured.keys().cloned().collect(),
        }
    }

    /// The begin of a POST.
    pub(super) fn post(&self) -> Fields<'_> {
        let mut bytes = Vec::with_capacity(self.post.len() + OWN_BYTES);
        bytes.extend_from_slice(&self.post);
        Fields {
            bytes,
            ruled: &self.ruled,
        }
    }

    /// The begin of a request without a body.
    pub(super) fn bodiless(&self, method: &Method) -> Fields<'_> {
        let line = [method.as_str(), " ", &self.path, " HTTP/1.1\r\n"].concat();
        let types = if *method == Method::GET { STREAM_TYPE } else { b"" };
        Fields {
            bytes: [line.as_bytes(), &self.common, types].concat(),
            ruled: &self.ruled,
        }
    }
}

/// The head of a request that may still get fields.
pub(crate) struct Fields<'a> {
    bytes: Vec<u8>,
    ruled: &'a [HeaderName],
}

impl Fields<'_> {
    /// Adds a field, unless an operator has set it for all requests. `false` when the value cannot be one.
    pub(crate) fn add(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        // Without a way out in the middle, so that many bytes are looked at together.
        let bad = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
        if value.iter().fold(false, |found, &byte| found | bad(byte)) {
            return false;
        }
        if !self.ruled.contains(name) {
            push(&mut self.bytes, name, value);
        }
        true
    }

    /// Adds all of these.
    pub(super) fn all(mut self, headers: &HeaderMap) -> Self {
        for (name, value) in headers {
            self.add(name, value.as_bytes());
        }
        self
    }

    /// The whole head of a request with so many bytes behind it.
    pub(super) fn end_with(mut self, body_bytes: usize) -> Vec<u8> {
        // Writing into memory does not fail.
        let _ = write!(self.bytes, "content-length: {body_bytes}\r\n\r\n");
        self.bytes
    }

    /// The whole head of a request without a body.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

fn push(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}
