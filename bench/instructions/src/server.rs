//! The least MCP server: keep-alive HTTP/1.1, and an answer that is made by looking at the method and the id only.

use std::net::SocketAddr;

use meshgate_mcp::{Rules, scan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Failure, messages};

/// Tools in its list.
const TOOLS: usize = 50;

/// Serves on a free port of loopback for as long as the runtime runs; `text_bytes` is the size of a call's answer.
pub(crate) async fn start(text_bytes: usize) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|e| format!("no port: {e}"))?;
    let address = listener.local_addr().map_err(|e| format!("no address: {e}"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, text_bytes));
        }
    });
    Ok(address)
}

async fn connection(mut stream: TcpStream, text_bytes: usize) {
    let _ = stream.set_nodelay(true);
    let mut held = Vec::new();
    loop {
        while let Some((head, whole)) = request(&held) {
            let answer = answer(held.get(head..whole).unwrap_or_default(), text_bytes);
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

fn answer(body: &[u8], text_bytes: usize) -> Vec<u8> {
    let message = scan(body, &Rules::SERVER).ok();
    let id = message.as_ref().and_then(|m| m.id?.u64(body)).unwrap_or_default();
    let method = message.as_ref().and_then(|m| m.method?.str(body)).unwrap_or_default();
    let body = match &*method {
        "tools/call" => messages::result(id, text_bytes, false),
        "tools/list" => messages::list(id, TOOLS),
        "server/discover" => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"only","version":"1.0.0"}}}}}}}}"#
        )
        .into_bytes(),
        _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"method not found"}}}}"#).into_bytes(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
