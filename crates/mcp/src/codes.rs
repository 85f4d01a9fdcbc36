//! Every JSON-RPC error code that any revision of MCP gives a meaning, and the few of our own.
//!
//! Codes from -32020 to -32099 belong to the specification and codes from -32000 to -32019 mean nothing certain, so
//! what only a gateway can say ("over a limit", "not allowed") stands outside of the whole reserved block.

/// Declares the codes once, as constants and as the list that the documentation is made from.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal;)*) => {
        $($(#[doc = $meaning])+ pub const $name: i64 = $code;)*
        /// Every code with its name and meaning.
        pub const ALL: &[(i64, &str, &str)] = &[$(($code, stringify!($name), concat!($($meaning),+))),*];
    };
}

codes! {
    /// The bytes are not JSON.
    PARSE_ERROR = -32700;
    /// JSON, but not one well-formed request or notification.
    INVALID_REQUEST = -32600;
    /// The method does not exist here, or its capability is not offered.
    METHOD_NOT_FOUND = -32601;
    /// Wrong parameters; in 2026-07-28 also: no such tool, prompt, resource, cursor, task or request state.
    INVALID_PARAMS = -32602;
    /// A fault of whoever answers.
    INTERNAL_ERROR = -32603;

    /// 2026-07-28: a mirrored header is missing or differs from the body.
    HEADER_MISMATCH = -32020;
    /// 2026-07-28: the call needs a client capability that the request did not declare (`data.requiredCapabilities`).
    MISSING_CAPABILITY = -32021;
    /// 2026-07-28: the protocol version is not served (`data.supported`, `data.requested`).
    UNSUPPORTED_VERSION = -32022;

    /// Legacy: no such resource. Taken from old servers, never sent to a modern client.
    RESOURCE_NOT_FOUND_LEGACY = -32002;
    /// 2025-11-25: the user must open a URL first (`data.elicitations`). Never sent to a modern client.
    URL_ELICITATION_REQUIRED = -32042;
    /// Legacy: the user rejected a sampling request.
    USER_REJECTED = -1;

    /// Ours: no credential, or one that is not valid.
    UNAUTHENTICATED = -33001;
    /// Ours: the caller, or the origin it comes from, may not do this.
    FORBIDDEN = -33003;
    /// Ours: `Host` is not one that is served.
    HOST = -33004;
    /// Ours: the path, or the legacy session, does not exist.
    NOT_FOUND = -33005;
    /// Ours: the HTTP method is not served at this path.
    METHOD_NOT_ALLOWED = -33006;
    /// Ours: the client does not accept both forms of answer.
    NOT_ACCEPTABLE = -33007;
    /// Ours: the body is not plain JSON.
    UNSUPPORTED_MEDIA = -33008;
    /// Ours: the request is over a size limit.
    TOO_LARGE = -33009;
    /// Ours: it is in use already.
    CONFLICT = -33010;
    /// Ours: the request came too slowly.
    REQUEST_TIMEOUT = -33011;
    /// Ours: over a limit of rate or number.
    RATE_LIMITED = -33012;
    /// Ours: no room, or shutting down.
    OVERLOADED = -33013;
}

/// Whether a code proves that a server is of the modern era: only 2026-07-28 and later give these a meaning.
pub const fn is_modern_evidence(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION)
}
