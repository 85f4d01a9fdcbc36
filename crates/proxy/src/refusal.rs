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
    /// The server behind the gateway, or the way to it.
    Server,
}

/// Whether the refused call may have reached the server's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// No byte of the call reached the server.
    No,
    /// At least one byte may have reached the server.
    Unknown,
}

/// Why a call was refused. Each reason has one HTTP status and one JSON-RPC code (`Reason::row`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The body is not JSON.
    Parse,
    /// JSON, but not one well-formed JSON-RPC request or notification.
    InvalidRequest,
    /// The method is unknown, or its capability is not offered.
    MethodNotFound,
    /// Parameters are wrong: unknown tool, prompt, resource, cursor, task or state. HTTP 200.
    InvalidParams,
    /// The required `_meta` members are missing or malformed. HTTP 400.
    InvalidMeta,
    /// A mirrored header is missing, repeated or differs from the body.
    HeaderMismatch,
    /// The call needs a client capability that the request did not declare.
    MissingCapability,
    /// The protocol version is not served here.
    UnsupportedVersion,
    /// No credential, or one that is not valid.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// `Origin` is present and not allowed.
    Origin,
    /// `Host` is missing, repeated or not served here.
    Host,
    /// The path, or the legacy session, does not exist.
    NotFound,
    /// The HTTP method is not served at this path.
    MethodNotAllowed,
    /// The client does not accept both answer types.
    NotAcceptable,
    /// The request body is not `application/json`, or is compressed.
    UnsupportedMedia,
    /// The request is over a size limit.
    TooLarge,
    /// A second stream, or another conflict with state that exists.
    Conflict,
    /// The client sent its bytes too slowly.
    RequestTimeout,
    /// Over a rate or concurrency limit.
    RateLimited,
    /// The gateway is draining or has no room.
    Overloaded,
    /// The server is away: not started, not connected, backing off.
    ServerAway,
    /// The server did not answer before the deadline.
    Deadline,
    /// The server broke off, or broke the protocol.
    ServerBroken,
    /// A message cannot be carried between the two eras.
    Unbridgeable,
    /// A fault of the gateway.
    Internal,
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
    /// Extra response headers that go with it (`www-authenticate`, `allow`).
    pub header: Option<(http::HeaderName, http::HeaderValue)>,
}

impl Refusal {
    /// A refusal by the gateway before anything reached a server.
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
        self.header = Some((name, value));
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl Reason {
    /// The HTTP status and JSON-RPC code of a reason, and its stable name.
    pub fn row(self) -> (StatusCode, i64, &'static str) {
        use StatusCode as S;
        match self {
            Self::Parse => (S::BAD_REQUEST, codes::PARSE_ERROR, "parse"),
            Self::InvalidRequest => (S::BAD_REQUEST, codes::INVALID_REQUEST, "invalid_request"),
            Self::MethodNotFound => (S::NOT_FOUND, codes::METHOD_NOT_FOUND, "method_not_found"),
            Self::InvalidParams => (S::OK, codes::INVALID_PARAMS, "invalid_params"),
            Self::InvalidMeta => (S::BAD_REQUEST, codes::INVALID_PARAMS, "invalid_meta"),
            Self::HeaderMismatch => (S::BAD_REQUEST, codes::HEADER_MISMATCH, "header_mismatch"),
            Self::MissingCapability => (S::BAD_REQUEST, codes::MISSING_CAPABILITY, "missing_capability"),
            Self::UnsupportedVersion => (S::BAD_REQUEST, codes::UNSUPPORTED_VERSION, "unsupported_version"),
            Self::Unauthenticated => (S::UNAUTHORIZED, codes::UNAUTHENTICATED, "unauthenticated"),
            Self::Forbidden => (S::FORBIDDEN, codes::FORBIDDEN, "forbidden"),
            Self::Origin => (S::FORBIDDEN, codes::FORBIDDEN, "origin"),
            Self::Host => (S::BAD_REQUEST, codes::HOST, "host"),
            Self::NotFound => (S::NOT_FOUND, codes::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, codes::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, codes::NOT_ACCEPTABLE, "not_acceptable"),
            Self::UnsupportedMedia => (S::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA, "unsupported_media"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, codes::TOO_LARGE, "too_large"),
            Self::Conflict => (S::CONFLICT, codes::CONFLICT, "conflict"),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, codes::REQUEST_TIMEOUT, "request_timeout"),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, codes::RATE_LIMITED, "rate_limited"),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, codes::OVERLOADED, "overloaded"),
            Self::ServerAway => (S::OK, codes::INTERNAL_ERROR, "server_away"),
            Self::Deadline => (S::OK, codes::INTERNAL_ERROR, "deadline"),
            Self::ServerBroken => (S::OK, codes::INTERNAL_ERROR, "server_broken"),
            Self::Unbridgeable => (S::OK, codes::INTERNAL_ERROR, "unbridgeable"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, codes::INTERNAL_ERROR, "internal"),
        }
    }
}
