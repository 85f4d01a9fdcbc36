//! Defaults and bounds of everything a mesh file may say, in one place, so that the schema, the checks and the
//! documentation quote the same figures.

use std::time::Duration;

/// Largest request body, in bytes.
pub const BODY_BYTES: u64 = 4 << 20;
/// Largest answer of a server, in bytes.
pub const RESPONSE_BYTES: u64 = 8 << 20;
/// Longest line a stdio server may write, in bytes.
pub const LINE_BYTES: u64 = 8 << 20;
/// Largest event of an SSE stream, in bytes.
pub const EVENT_BYTES: u64 = 1 << 20;
/// What one stream may hold for a slow reader, in bytes.
pub const STREAM_BUFFER_BYTES: u64 = 256 << 10;
/// How long a certificate of a part of the mesh is valid.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(36 * 3600);
/// The version of a server that says none.
pub const SERVER_VERSION: &str = "v1";
/// Nesting of JSON from clients.
pub const JSON_DEPTH: u32 = 64;
/// Values in one JSON message from a client.
pub const JSON_NODES: u32 = 20_000;
/// Open connections.
pub const CONNECTIONS: u32 = 4096;
/// Open connections from one address.
pub const CONNECTIONS_PER_ADDRESS: u32 = 256;
/// Open streams of one caller.
pub const STREAMS_PER_CALLER: u32 = 32;
/// Legacy sessions of one caller.
pub const SESSIONS_PER_CALLER: u32 = 1_000;
/// Calls that may be in flight.
pub const CALLS_IN_FLIGHT: u32 = 4096;
/// Calls per second of one caller.
pub const CALLS_PER_SECOND: u32 = 50;
/// Calls one caller may make at once before its rate counts.
pub const CALL_BURST: u32 = 100;
/// Calls per second of one caller to one tool that may change something.
pub const WRITES_PER_SECOND: u32 = 10;
/// Calls one caller may make at once to one such tool before its rate counts.
pub const WRITE_BURST: u32 = 20;
/// Requests per second of one address that has not proved who it is.
pub const UNAUTHENTICATED_PER_SECOND: u32 = 20;
/// Children that stdio servers may run as.
pub const CHILDREN: u32 = 256;
/// Silence of a server after which a call is given up.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Longest life of a call, whatever progress it reports.
pub const HARD_DEADLINE: Duration = Duration::from_secs(600);
/// Calls that one server is given at once. A gateway takes 4096, so that a server which hangs fills its own room only.
pub const SERVER_CALLS: u32 = 256;
/// Most calls that one server may be given at once: each holds a connection, and the gateway's own must fit beside them.
pub const SERVER_CALLS_MAX: u32 = 1000;
/// Calls that wait for their turn at one server.
pub const SERVER_QUEUE: u32 = 256;
/// Most calls that may wait for their turn at one server.
pub const SERVER_QUEUE_MAX: u32 = 10_000;
/// How long a call waits for its turn: shorter than most clients wait for an answer, so that they learn what happened.
pub const SERVER_QUEUE_TIME: Duration = Duration::from_secs(5);
/// The longest that a call may be made to wait for its turn.
pub const SERVER_QUEUE_TIME_MAX: Duration = Duration::from_secs(3600);
/// Longest deadline that may be asked for.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often a catalogue is read again when the server announces nothing.
pub const CATALOGUE_REFRESH: Duration = Duration::from_secs(300);
/// How long a client may keep a list.
pub const LIST_TTL: Duration = Duration::from_secs(60);
/// How long calls may end in peace when the gateway stops.
pub const DRAIN: Duration = Duration::from_secs(30);
/// Where the gateway listens when nothing is said.
pub const LISTEN: &str = "127.0.0.1:7300";
/// The endpoint when nothing is said.
pub const PATH: &str = "/mcp";
/// Longest text a view may give as its instructions, in bytes.
pub const INSTRUCTIONS_BYTES: usize = 16 << 10;
/// Largest file that is read as configuration, in bytes.
pub const SOURCE_BYTES: usize = 4 << 20;
/// Documents of one file.
pub const DOCUMENTS: usize = 10_000;
/// Levels of nesting in a file that is read as configuration.
pub const SOURCE_DEPTH: usize = 64;
