//! The keys of `_meta` that this mesh reads, writes or passes on with care. All others go through untouched.

/// Request, required: the revision the message is written in.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Request, required: what the client can do on this request.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Request: who the client says it is. For display only.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// Request: the lowest level of log messages wanted on this request's stream.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Result: who the server says it is.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Every message of a `subscriptions/listen` stream: the id of the listen request on that hop.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// Request: the token that progress notifications will carry.
pub const PROGRESS_TOKEN: &str = "progressToken";
/// Request: W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Request: W3C trace context, vendor part.
pub const TRACESTATE: &str = "tracestate";
/// Request: W3C baggage.
pub const BAGGAGE: &str = "baggage";
/// 2025-11-25 tasks: the task a message belongs to.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// MCP Apps, on a tool: an object whose `resourceUri` names its user interface.
pub const UI: &str = "ui";
/// MCP Apps, on a tool: the older, flat form of the same.
pub const UI_RESOURCE_URI: &str = "ui/resourceUri";

/// Ours, on results: how the server that answered calls itself, beside the gateway's own identity.
pub const VENDOR_SERVER_INFO: &str = "dev.meshgate/serverInfo";
/// Ours, on catalogue entries: the alias of the server they belong to.
pub const VENDOR_SERVER: &str = "dev.meshgate/server";
/// Ours, on lists: servers that are away and therefore missing.
pub const VENDOR_AWAY: &str = "dev.meshgate/serversAway";
/// Ours, in `error.data`: who refused, by which rule, and whether the call ran.
pub const VENDOR_REFUSAL: &str = "dev.meshgate/refusal";
