//! Whether a target really does what it is measured for. A fast wrong answer is the easiest record to set.

use serde_json::Value;

use crate::{
    Failure,
    connection::{connect, exchange},
    load,
    requests::{FIRST_ID, Peer, Protocol, Workload},
};

const TOOLS: usize = 500;

/// One call whose answer is read in full. Answers how many bytes its body has.
pub(crate) fn verify(peer: &Peer, workload: Workload) -> Result<usize, Failure> {
    let session = match peer.protocol {
        Protocol::Modern => None,
        Protocol::Session => Some(load::session(peer)?),
    };
    let request = peer.request(workload, session.as_deref())?;
    let mut socket = connect(peer.address)?;
    let (head, body) = exchange(&mut socket, &request.bytes)?;
    let shown: String = String::from_utf8_lossy(&body).chars().take(300).collect();
    let wrong = |what: &str| {
        format!(
            "{} is answered wrongly ({what}), status {}: {shown}",
            workload.name(),
            head.status
        )
    };
    let message = message(&body, head.streamed).ok_or_else(|| wrong("no JSON"))?;
    if message.get("id").and_then(Value::as_u64) != Some(FIRST_ID) {
        return Err(wrong("another id"));
    }
    let result = message.get("result").ok_or_else(|| wrong("no result"))?;
    if workload == Workload::List {
        let tools = result.get("tools").and_then(Value::as_array).map_or(0, Vec::len);
        if tools != TOOLS {
            return Err(wrong(&format!("{tools} of {TOOLS} tools")));
        }
    }
    if memchr::memmem::find(&body, workload.expected().as_bytes()).is_none() {
        return Err(wrong("another text"));
    }
    Ok(body.len())
}

/// The message of an answer, out of its event where it came as one.
fn message(body: &[u8], streamed: bool) -> Option<Value> {
    if !streamed {
        return serde_json::from_slice(body).ok();
    }
    let text = std::str::from_utf8(body).ok()?;
    text.lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .find_map(|data| serde_json::from_str(data).ok())
}
