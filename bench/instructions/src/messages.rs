//! Messages as they are on the wire.

/// What `echo` sends and gets back.
const TEXT: &str = "Which projects slipped in the first quarter, who leads them, and what did the strategy say?";
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A call of a tool, about 400 bytes.
pub(crate) fn call(id: u64) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"only__echo","arguments":{{"text":"{TEXT}"}},{META}}}}}"#
    )
    .into_bytes()
}

/// A result whose text has this many bytes and, where it is `escaped`, an escape in every line.
pub(crate) fn result(id: u64, text_bytes: usize, escaped: bool) -> Vec<u8> {
    let line = if escaped {
        "a line of the answer, and its end\\n"
    } else {
        "a line of the answer, and another. "
    };
    let text: String = line
        .chars()
        .cycle()
        .take(text_bytes / line.len().max(1) * line.len())
        .collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}}}"#
    )
    .into_bytes()
}

/// A list of this many tools.
pub(crate) fn list(id: u64, tools: usize) -> Vec<u8> {
    let tools: Vec<String> = (0..tools).map(tool).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","tools":[{}]}}}}"#,
        tools.join(",")
    )
    .into_bytes()
}

fn tool(number: usize) -> String {
    let name = if number == 0 {
        "echo".to_owned()
    } else {
        format!("tool_{number:02}")
    };
    format!(
        r#"{{"name":"{name}","description":"Gives back the text it was given.","inputSchema":{{"type":"object","properties":{{"text":{{"type":"string"}}}},"required":["text"]}}}}"#
    )
}

/// A call of a tool by a client with a session.
pub(crate) fn legacy_call(id: u64) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"only__echo","arguments":{{"text":"{TEXT}"}}}}}}"#
    )
    .into_bytes()
}

/// What opens a session.
pub(crate) fn initialize(revision: &str) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1.0.0"}}}}}}"#
    )
    .into_bytes()
}

/// A tools/list request.
pub(crate) fn ask_list(id: u64) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{{META}}}}}"#).into_bytes()
}
