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

/// Ours: over a rate or concurrency limit.
pub const RATE_LIMITED: i64 = -33001;
/// Ours: the caller may not do this.
pub const FORBIDDEN: i64 = -33002;
/// Ours: no server can take the call now.
pub const SERVER_AWAY: i64 = -33003;
/// Ours: the server did not answer in time.
pub const DEADLINE: i64 = -33004;
/// Ours: the message cannot be carried between the eras of client and server.
pub const UNBRIDGEABLE: i64 = -33005;
/// Ours: no credential, or one that is not valid.
pub const UNAUTHENTICATED: i64 = -33006;

/// Whether a code proves that a server is of the modern era: only 2026-07-28 and later give these a meaning.
pub const fn is_modern_evidence(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)
}
