//! Legacy and modern spellings side by side.

mod answers;
mod handshake;
mod listens;
mod parked;
mod properties;
mod questions;
mod requests;

use super::{Handshake, Session, Settled};

/// The revisions a server may answer a handshake with.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Everything a server can offer.
const EVERYTHING: &str = r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{},"completions":{}}"#;

/// The session with a server of that revision.
fn session(revision: &str, capabilities: &str) -> Session {
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
    );
    match Handshake::default().settle(answer.as_bytes()).unwrap() {
        Settled::Session(session) => *session,
        Settled::Again => panic!("the server agreed"),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
