//! The least MCP server of either era: keep-alive HTTP/1.1, and an answer that is made by looking at the method and the id
//! only.

use std::net::SocketAddr;

use meshgate_mcp::{Era, Rules, scan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Failure, messages};

/// The revision of a server with sessions.
pub(crate) const LEGACY: &str = "2025-11-25";
/// Tools in its list.
const TOOLS: usize = 50;

/// Serves on a free port of loopback for as long as the runtime runs; `text_bytes` is the size of a call's answer.
pub(crate) async fn start(text_bytes: usize, era: Era) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|e| format!("no port: {e}"))?;
    let address = listener.local_addr().map_err(|e| format!("no address: {e}"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, text_bytes, era));
        }
    });
    Ok(address)
}

async fn connection(mut stream: TcpStream, text_bytes: usize, era: Era) {
    let _ = stream.set_nodelay(true);
    let mut held = Vec::new();
    loop {
        while let Some((head, whole)) = request(&held) {
            let answer = answer(held.get(head..whole).unwrap_or_default(), text_bytes, era);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            held.drain(..whole);
        }
        if !matches!(stream.read_buf(&mut held).await, Ok(1..)) {
            return;
        }
    }
}

/// Where the body of the first message begins and ends, once all of it is here.
pub(crate) fn request(held: &[u8]) -> Option<(usize, usize)> {
    let head = held.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(held.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or_default();
    (held.len() >= whole).then_some((head, whole))
}

fn answer(body: &[u8], text_bytes: usize, era: Era) -> Vec<u8> {
    if body.is_empty() {
        return b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let message = scan(body, &Rules::SERVER).ok();
    if message.as_ref().is_some_and(|m| m.id.is_none()) {
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let id = message.as_ref().and_then(|m| m.id?.u64(body)).unwrap_or_default();
    let method = message.as_ref().and_then(|m| m.method?.str(body)).unwrap_or_default();
    let body = match &*method {
        "tools/call" => messages::result(id, text_bytes, false),
        "tools/list" => messages::list(id, TOOLS),
        "initialize" => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"{LEGACY}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"only","version":"1.0.0"}}}}}}"#
        )
        .into_bytes(),
        "server/discover" if era == Era::Modern => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"only","version":"1.0.0"}}}}}}}}"#
        )
        .into_bytes(),
        _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"method not found"}}}}"#).into_bytes(),
    };
    let session = if era == Era::Legacy {
        "Mcp-Session-Id: the-session\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{session}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
