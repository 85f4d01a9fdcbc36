//! Every limit of this crate, with its default, in one place.
//!
//! Strictness is directional. A client's message is refused before anything ran, so its limits are tight. A server's
//! message answers a call that has run, so only what protects the gateway itself is limited.

/// Largest message taken from a client, in bytes.
pub const CLIENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting taken from a client; the message itself is level one.
pub const CLIENT_DEPTH_MAX: usize = 64;
/// Most JSON values in one message of a client.
pub const CLIENT_NODES_MAX: usize = 20_000;
/// Longest number taken from a client, in characters.
pub const CLIENT_NUMBER_CHARS_MAX: usize = 40;
/// Longest string id taken from a client, in characters.
pub const CLIENT_ID_CHARS_MAX: usize = 256;
/// Largest integer id taken from a client, either sign: what every JSON library can hold exactly.
pub const CLIENT_ID_MAX: u64 = 1 << 53;
/// Most messages in one batch of a client.
pub const CLIENT_BATCH_MAX: usize = 100;
/// Largest message taken from a server, in bytes.
pub const SERVER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Deepest nesting taken from a server.
pub const SERVER_DEPTH_MAX: usize = 512;
/// Most direct members of the envelope, of its body or of `_meta`, from either side: they are recorded one by one.
pub const MEMBERS_MAX: usize = 65_536;
/// Deepest content block inside content block that the URI walker follows (a tool result inside a sampling message).
pub const CONTENT_DEPTH_MAX: usize = 4;
/// Most `x-mcp-header` annotations one tool may carry.
pub const PARAM_HEADERS_MAX: usize = 64;
/// Most subschemas of one input schema that are searched for `x-mcp-header`.
pub const SCHEMA_NODES_MAX: usize = 10_000;
/// Deepest subschema of an input schema that is searched for `x-mcp-header`.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Longest path of property names to a mirrored argument, in bytes.
pub const PARAM_PATH_BYTES_MAX: usize = 1024;
/// Longest N of `Mcp-Param-N`, in bytes.
pub const PARAM_NAME_BYTES_MAX: usize = 128;
