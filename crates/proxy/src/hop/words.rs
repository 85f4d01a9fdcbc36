//! The header fields that only the mesh speaks: between a gateway and a sidecar, and between gateways.
//!
//! Who listens on a mesh port and who calls it must spell them alike, so they are written down once. None of them means
//! anything on a port that clients reach: there they are fields like any other, and are not passed on.

use http::HeaderName;
use meshgate_mcp::headers;

/// Who calls, signed by the gateway (draft-ietf-oauth-transaction-tokens).
pub const CONTEXT: HeaderName = HeaderName::from_static(meshgate_identity::context::HEADER);
/// On an answer of a sidecar: the body is its own refusal and not its server's answer. A server cannot set it, because
/// nothing of a server's header fields is passed on.
pub const REFUSED: HeaderName = HeaderName::from_static(meshgate_mcp::headers::REFUSED);
/// The type of the event that ends a sidecar's stream with a refusal of its own; messages of a server have no type.
pub const REFUSED_EVENT: &str = headers::REFUSED_EVENT;
/// Between gateways: the request has been passed on once, by the gateway instance of this number (in hex), and may not be
/// passed on again.
pub const FORWARDED: HeaderName = HeaderName::from_static("meshgate-forwarded");
/// Between gateways: the client's address as the first gateway saw it.
pub const CLIENT: HeaderName = HeaderName::from_static("meshgate-client");
