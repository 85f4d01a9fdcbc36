//! Every JSON-RPC error code that any revision of MCP gives a meaning, and the few of our own.
//!
//! Codes from -32020 to -32099 belong to the specification and codes from -32000 to -32019 mean nothing certain, so
//! what only a gateway can say ("over a limit", "not allowed") stands outside of the whole reserved block.

/// The bytes are not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON, but not one well-formed request or notification.
pub const INVALID_REQUEST: i64 = -32600;
/// The method does not exist here, or its capability is not offered.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Wrong parameters; in 2026-07-28 also: no such tool, prompt, resource, cursor, task or request state.
pub const INVALID_PARAMS: i64 = -32602;
/// A fault of whoever answers.
pub const INTERNAL_ERROR: i64 = -32603;

/// 2026-07-28: a mirrored header is missing or differs from the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// 2026-07-28: the call needs a client capability that the request did not declare (`data.requiredCapabilities`).
pub const MISSING_CAPABILITY: i64 = -32021;
/// 2026-07-28: the protocol version is not served (`data.supported`, `data.requested`).
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// Legacy: no such resource. Taken from old servers, never sent to a modern client.
pub const RESOURCE_NOT_FOUND_LEGACY: i64 = -32002;
/// 2025-11-25: the user must open a URL first (`data.elicitations`). Never sent to a modern client.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// Legacy: the user rejected a sampling request.
pub const USER_REJECTED: i64 = -1;

/// Ours: no credential, or one that is not valid.
pub const UNAUTHENTICATED: i64 = -33001;
/// Ours: the caller, or the origin it comes from, may not do this.
pub const FORBIDDEN: i64 = -33003;
/// Ours: `Host` is not one that is served.
pub const HOST: i64 = -33004;
/// Ours: the path, or the legacy session, does not exist.
pub const NOT_FOUND: i64 = -33005;
/// Ours: the HTTP method is not served at this path.
pub const METHOD_NOT_ALLOWED: i64 = -33006;
/// Ours: the client does not accept both forms of answer.
pub const NOT_ACCEPTABLE: i64 = -33007;
/// Ours: the body is not plain JSON.
pub const UNSUPPORTED_MEDIA: i64 = -33008;
/// Ours: the request is over a size limit.
pub const TOO_LARGE: i64 = -33009;
/// Ours: it is in use already.
pub const CONFLICT: i64 = -33010;
/// Ours: the request came too slowly.
pub const REQUEST_TIMEOUT: i64 = -33011;
/// Ours: over a limit of rate or number.
pub const RATE_LIMITED: i64 = -33012;
/// Ours: no room, or shutting down.
pub const OVERLOADED: i64 = -33013;

/// Whether a code proves that a server is of the modern era: only 2026-07-28 and later give these a meaning.
pub const fn is_modern_evidence(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)
}
