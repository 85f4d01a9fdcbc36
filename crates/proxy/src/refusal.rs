//! A refusal: why a call ended without its server's answer, as data.
//!
//! Whoever refuses says who it was, why, whether the call may have run, and when to come back. Only `respond` turns a
//! refusal into bytes, so what a client is told is decided in one place.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use meshgate_mcp::codes;

/// Which part of the path refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The gateway itself, before or after the server.
    Gateway,
    /// The sidecar beside the server, which decides once more.
    Sidecar,
    /// The server, or the way to it.
    Server,
}

impl By {
    /// `gateway`, `sidecar` or `server`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Sidecar => "sidecar",
            Self::Server => "server",
        }
    }
}

/// Whether the refused call may have reached the server's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// No byte of the call reached the server.
    No,
    /// At least one byte may have reached the server.
    Unknown,
}

/// Declares the reasons once: the variant with its meaning, then its HTTP status, JSON-RPC code, stable name and what the
/// caller can do. The documentation is made from the same lines.
macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $status:ident, $code:ident, $name:literal, $remedy:literal;)*) => {
        /// Why a call was refused. Each reason has one HTTP status and one JSON-RPC code (`Reason::row`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// The HTTP status and JSON-RPC code of a reason, and its stable name.
            pub fn row(self) -> (StatusCode, i64, &'static str) {
                match self {
                    $(Self::$variant => (StatusCode::$status, codes::$code, $name),)*
                }
            }

            /// What it means, and what the caller can do.
            pub fn meaning(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => (concat!($($meaning),+), $remedy),)*
                }
            }
        }
    };
}

reasons! {
    /// The body is not JSON.
    Parse = BAD_REQUEST, PARSE_ERROR, "parse", "send one JSON value in UTF-8";
    /// JSON, but not one well-formed JSON-RPC request or notification.
    InvalidRequest = BAD_REQUEST, INVALID_REQUEST, "invalid_request", "send one well-formed JSON-RPC request or notification; the message names the member";
    /// The method is unknown, or its capability is not offered.
    MethodNotFound = NOT_FOUND, METHOD_NOT_FOUND, "method_not_found", "call what `server/discover` (or `initialize`) offers";
    /// Parameters are wrong: unknown tool, prompt, resource, cursor, task or state. HTTP 200.
    InvalidParams = OK, INVALID_PARAMS, "invalid_params", "take names and URIs from the lists of this view, and cursors and states from the last answer";
    /// The required `_meta` members are missing or malformed. HTTP 400.
    InvalidMeta = BAD_REQUEST, INVALID_PARAMS, "invalid_meta", "send the `_meta` members that 2026-07-28 requires";
    /// A mirrored header is missing, repeated or differs from the body.
    HeaderMismatch = BAD_REQUEST, HEADER_MISMATCH, "header_mismatch", "let the mirrored headers say what the body says, each once";
    /// The call needs a client capability that the request did not declare.
    MissingCapability = BAD_REQUEST, MISSING_CAPABILITY, "missing_capability", "declare the capability, or call another tool";
    /// The protocol version is not served here.
    UnsupportedVersion = BAD_REQUEST, UNSUPPORTED_VERSION, "unsupported_version", "use one of `error.data.supported`";
    /// No credential, or one that is not valid.
    Unauthenticated = UNAUTHORIZED, UNAUTHENTICATED, "unauthenticated", "send `Authorization: Bearer` with a token that is valid here";
    /// The caller is known and may not do this.
    Forbidden = FORBIDDEN, FORBIDDEN, "forbidden", "ask the operator for the view or the tool";
    /// `Origin` is present and not allowed.
    Origin = FORBIDDEN, FORBIDDEN, "origin", "name the origin in `origins` of the listener";
    /// `Host` is missing, repeated or not served here.
    Host = BAD_REQUEST, HOST, "host", "use a host name of the listener, or name it in `hosts`";
    /// The path, or the legacy session, does not exist.
    NotFound = NOT_FOUND, NOT_FOUND, "not_found", "check the path; after a lost session, initialize again";
    /// The HTTP method is not served at this path.
    MethodNotAllowed = METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED, "method_not_allowed", "use a method of the `allow` header";
    /// The client does not accept both answer types.
    NotAcceptable = NOT_ACCEPTABLE, NOT_ACCEPTABLE, "not_acceptable", "accept `application/json` and `text/event-stream`";
    /// The request body is not `application/json`, or is compressed.
    UnsupportedMedia = UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED_MEDIA, "unsupported_media", "send uncompressed `application/json`";
    /// The request is over a size limit.
    TooLarge = PAYLOAD_TOO_LARGE, TOO_LARGE, "too_large", "send less; the limit is named in the rule";
    /// The head of the request is over a limit.
    HeadTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, TOO_LARGE, "head_too_large", "send fewer or shorter header fields";
    /// A second stream, or another conflict with state that exists.
    Conflict = CONFLICT, CONFLICT, "conflict", "close the first stream, or use another session";
    /// The client sent its bytes too slowly.
    RequestTimeout = REQUEST_TIMEOUT, REQUEST_TIMEOUT, "request_timeout", "send the whole request without pauses";
    /// Over a rate or concurrency limit.
    RateLimited = TOO_MANY_REQUESTS, RATE_LIMITED, "rate_limited", "come back after `retryAfterMs`";
    /// The gateway is draining or has no room.
    Overloaded = SERVICE_UNAVAILABLE, OVERLOADED, "overloaded", "come back after `retryAfterMs`, to another replica if there is one";
    /// The server is away: not started, not connected, backing off.
    ServerAway = OK, INTERNAL_ERROR, "server_away", "come back after `retryAfterMs`; the operator sees why in `meshgate status`";
    /// The server did not answer before the deadline.
    Deadline = OK, INTERNAL_ERROR, "deadline", "ask whether the call ran before sending it again; the operator may raise `deadline`";
    /// The server broke off, or broke the protocol.
    ServerBroken = OK, INTERNAL_ERROR, "server_broken", "ask whether the call ran before sending it again; the operator sees why in the log";
    /// The call that this request goes on with is not there any more.
    ParkedCallGone = OK, INVALID_PARAMS, "parked_call_gone", "ask whether the call ran; call again only if it may run twice";
    /// The person did not agree to what the server wants before the call.
    Declined = OK, INTERNAL_ERROR, "declined", "call again when the person agrees";
    /// A message cannot be carried between the two eras.
    Unbridgeable = OK, INTERNAL_ERROR, "unbridgeable", "use a client or server of the other era for this call";
    /// A fault of the gateway.
    Internal = INTERNAL_SERVER_ERROR, INTERNAL_ERROR, "internal", "tell the operator; the log has the cause";
}

/// A refused call.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Who refused.
    pub by: By,
    /// Why.
    pub reason: Reason,
    /// Whether the call may have run.
    pub executed: Executed,
    /// When to come back, if that helps.
    pub retry: Option<Duration>,
    /// The rule that refused, for the operator (`view/corpassist`, `limit/body`).
    pub rule: Option<Cow<'static, str>>,
    /// What the client is told: lower case, names the field, the rule and the remedy.
    pub message: Cow<'static, str>,
    /// Members of `error.data` that the protocol asks for, as a JSON object (`{"supported":[..]}`).
    pub data: Option<Vec<u8>>,
    /// Extra response headers that go with it (`www-authenticate`, `allow`). On the heap, because every step of a call has room
    /// for a refusal, and few have a header.
    pub header: Option<Box<(http::HeaderName, http::HeaderValue)>>,
}

impl Refusal {
    /// A refusal by the part of the mesh that runs this, before anything reached a server. What leaves a sidecar says so
    /// ([`Refusal::at`]).
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            by: By::Gateway,
            reason,
            executed: Executed::No,
            retry: None,
            rule: None,
            message: message.into(),
            data: None,
            header: None,
        }
    }

    /// A refusal on the way to, or by, the server.
    pub fn server(reason: Reason, executed: Executed, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            by: By::Server,
            executed,
            ..Self::new(reason, message)
        }
    }

    /// As it leaves a part of the mesh: what nobody behind it has refused, it has.
    #[must_use]
    pub fn at(mut self, part: By) -> Self {
        if self.by == By::Gateway {
            self.by = part;
        }
        self
    }

    /// Names the rule that refused.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<Cow<'static, str>>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Adds the members of `error.data` that the protocol asks for.
    #[must_use]
    pub fn data(mut self, data: Vec<u8>) -> Self {
        self.data = Some(data);
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: http::HeaderName, value: http::HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
