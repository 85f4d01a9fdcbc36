//! One of ten servers misbehaves, in each way there is: every call to the other nine succeeds.
//!
//! The gateway is a whole one, the servers are processes and sockets. The calls to the bad server go on all the while, as
//! from a client that does not know better; what becomes of them is asserted elsewhere. Nothing is measured here but
//! that each good call has its own answer in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use meshgate_testkit::ScriptedServer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::common::{Post, RunningGateway};

const HEAD: &str = "apiVersion: meshgate.dev/v1alpha1\n";
/// Calls to each good server.
const ROUNDS: usize = 4;
/// When a good call must be over, on a machine that compiles something else meanwhile.
const ENOUGH: Duration = Duration::from_secs(30);

pub(super) fn trials() -> Vec<Trial> {
    let pipes = [
        "dies",
        "is-killed",
        "stops",
        "hangs",
        "loops",
        "babbles",
        "garbles",
        "draws-a-line",
        "trickles",
        "floods",
        "sprays",
        "answers-twice",
        "asks",
        "shouts",
        "stops-halfway",
        "falls-silent",
        "counts",
    ];
    let sockets = [
        "hangs",
        "never-reads",
        "refuses",
        "breaks-off",
        "trickles",
        "never-ends-an-event",
        "never-ends-a-body",
        "injects",
        "is-no-stream",
        "answers-twice",
        "answers-another",
        "compresses",
        "redirects",
        "challenges",
        "forgets",
        "counts",
    ];
    let each = pipes
        .iter()
        .map(|way| (true, *way))
        .chain(sockets.iter().map(|way| (false, *way)));
    each.map(|(pipe, way)| {
        let kind = if pipe { "children" } else { "http_servers" };
        let name = format!("one_of_ten_{kind}_{way}_and_nine_do_not_notice").replace('-', "_");
        Trial::test(name, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(nine_succeed(way, pipe));
            Ok(())
        })
    })
    .collect()
}

async fn nine_succeed(way: &'static str, pipe: bool) {
    let mut tasks = JoinSet::new();
    let mut yaml =
        format!("{HEAD}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '127.0.0.1:0'}}]}}\n");
    let bad = if pipe {
        let me = std::env::current_exe().unwrap();
        format!("stdio: {{command: '{}', args: [child, bad, {way}]}}", me.display())
    } else {
        format!("http: {{url: 'http://{}/mcp'}}", bad_server(way, &mut tasks).await)
    };
    let mut servers = vec![("bad".to_owned(), bad)];
    let mut good = Vec::new();
    for n in 0..9 {
        let result = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"s{n}"}}]}}"#);
        let server = ScriptedServer::modern().tool("t", &result).start().await;
        servers.push((format!("s{n}"), format!("http: {{url: '{}'}}", server.url())));
        good.push(server);
    }
    for (name, reach) in &servers {
        yaml.push_str(&format!(
            "---\n{HEAD}kind: Server\nmetadata: {{name: {name}}}\nspec: {{{reach}}}\n"
        ));
    }
    let names: Vec<_> = servers.iter().map(|(name, _)| format!("{{name: {name}}}")).collect();
    yaml.push_str(&format!(
        "---\n{HEAD}kind: View\nmetadata: {{name: default}}\nspec: {{servers: [{}], liftLimits: true}}\n",
        names.join(", ")
    ));
    let gateway = Arc::new(RunningGateway::start(&yaml).await);
    for _ in 0..3 {
        let gateway = Arc::clone(&gateway);
        tasks.spawn(async move {
            loop {
                let _ = tokio::time::timeout(Duration::from_millis(300), call("bad").to(&gateway)).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    for round in 0..ROUNDS {
        let calls = (0..9).map(|n| {
            let gateway = &gateway;
            async move {
                let answer = tokio::time::timeout(ENOUGH, call(&format!("s{n}")).to(gateway)).await;
                let answer = answer.unwrap_or_else(|_| panic!("{way}: s{n} was not called in time in round {round}"));
                let last: Value = serde_json::from_str(answer.messages().last().unwrap()).unwrap();
                assert_eq!(
                    last["result"]["content"][0]["text"],
                    format!("s{n}"),
                    "{way}, round {round}: {}",
                    answer.text()
                );
            }
        });
        futures_util::future::join_all(calls).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tasks.shutdown().await;
}

/// A call that wants progress.
fn call(server: &str) -> Post {
    let meta = super::common::META.replacen('{', r#"{"progressToken":"p","#, 1);
    Post::modern("1", "tools/call", &format!(r#""name":"{server}__t",{meta}"#))
}

/// A server that answers everything but calls, and those in its own way.
async fn bad_server(way: &'static str, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let turned = Arc::new(AtomicBool::new(false));
    if way == "refuses" {
        return address;
    }
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            connections.spawn(serve(socket, way, Arc::clone(&turned)));
        }
    });
    address
}

async fn serve(mut socket: TcpStream, way: &'static str, turned: Arc<AtomicBool>) {
    while let Some(request) = read_request(&mut socket, &turned).await {
        let id = request["id"].to_string();
        let result = match request["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
            }
            "tools/list" => {
                r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"t","inputSchema":{"type":"object"}}]}"#
            }
            _ => {
                turned.store(way == "never-reads", Ordering::Relaxed);
                return misbehave(&mut socket, way, &request).await.unwrap_or_default();
            }
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if socket.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(socket: &mut TcpStream, turned: &AtomicBool) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        if turned.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .split("content-length:")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.trim().parse().ok());
            let body = &bytes[end + 4..];
            if body.len() >= length.unwrap_or(0) {
                return Some(serde_json::from_slice(body).unwrap_or_default());
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn misbehave(socket: &mut TcpStream, way: &str, request: &Value) -> std::io::Result<()> {
    let (id, token) = (
        request["id"].to_string(),
        request["params"]["_meta"]["progressToken"].to_string(),
    );
    let result =
        |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[]}}}}"#);
    const EVENTS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    const JSON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    match way {
        "breaks-off" => return socket.write_all(&JSON[..20]).await,
        "trickles" => {
            socket.write_all(EVENTS).await?;
            for byte in result(&id).bytes() {
                socket.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        "never-ends-an-event" | "never-ends-a-body" => {
            let (head, start) = if way == "never-ends-a-body" {
                (JSON, "[")
            } else {
                (EVENTS, "data: ")
            };
            socket.write_all(head).await?;
            socket.write_all(start.as_bytes()).await?;
            loop {
                socket.write_all(&[b' '; 64 << 10]).await?;
            }
        }
        "injects" => {
            socket.write_all(EVENTS).await?;
            let text = format!(
                "retry: 0\nid: 1\n\nevent: endpoint\ndata: http://127.0.0.1:1/stolen\n\ndata: {{\rdata: }}\n\ndata:\n\n\ndata: {}\n\n",
                result("null")
            );
            socket.write_all(text.as_bytes()).await?;
        }
        "is-no-stream" => {
            socket.write_all(EVENTS).await?;
            socket.write_all(&[0xff; 4096]).await?;
        }
        "answers-twice" => {
            socket.write_all(EVENTS).await?;
            socket
                .write_all(format!("data: {0}\n\ndata: {0}\n\n", result(&id)).as_bytes())
                .await?;
        }
        "answers-another" => {
            socket.write_all(JSON).await?;
            socket.write_all(result("424242").as_bytes()).await?;
        }
        "compresses" => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\r\n";
            socket.write_all(head).await?;
            socket.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).await?;
            loop {
                socket.write_all(&[0; 64 << 10]).await?;
            }
        }
        "redirects" => {
            socket
                .write_all(
                    b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
                )
                .await?
        }
        "challenges" => {
            socket
                .write_all(b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n")
                .await?
        }
        "forgets" => {
            socket
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await?
        }
        "counts" => {
            socket.write_all(EVENTS).await?;
            for n in 0..100_000 {
                let event = format!(
                    "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{n}}}}}\n\n"
                );
                socket.write_all(event.as_bytes()).await?;
            }
            socket
                .write_all(format!("data: {}\n\n", result(&id)).as_bytes())
                .await?;
        }
        // What hangs holds its connection until the other side leaves.
        _ => drop(socket.read(&mut [0]).await?),
    }
    Ok(())
}
