//! Who is refused over HTTP/2 while still sending hears why: some clients lose the answer when their stream ends first.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use common::{RunningGateway, UNHURRIED, mesh};
use h2::client::SendRequest;
use meshgate_testkit::ScriptedServer;
use tokio::net::TcpStream;

/// What is taken of who is refused, by default.
const TAKEN: usize = 64 << 10;

/// A connection, and what drives it.
struct Client {
    requests: SendRequest<Bytes>,
    pings: h2::PingPong,
    driven: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(gateway: &RunningGateway) -> Self {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let (requests, mut connection) = h2::client::handshake(stream).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        Self {
            requests: requests.ready().await.unwrap(),
            pings,
            driven: tokio::spawn(connection),
        }
    }

    /// Sends a call without a token, whose body has `bytes` in two halves, and ends it or not. Answers with the status, and
    /// whether the stream was reset.
    async fn call(&mut self, gateway: &RunningGateway, bytes: usize, ends: bool) -> (u16, bool) {
        let request = http::Request::post(format!("http://{}/mcp", gateway.address))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(())
            .unwrap();
        let (answer, mut body) = self.requests.send_request(request, false).unwrap();
        let half = bytes / 2;
        for (part, last) in [(half, false), (bytes - half, true)] {
            let mut left = part;
            while left > 0 {
                body.reserve_capacity(left);
                match poll_fn(|cx| body.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        let now = room.min(left);
                        left -= now;
                        let is_end = ends && last && left == 0;
                        body.send_data(Bytes::from(vec![b' '; now]), is_end).unwrap();
                    }
                    // The gateway has ended it.
                    Some(Err(_)) | None => left = 0,
                }
            }
            // The half is there before the next one leaves.
            self.pings.ping(h2::Ping::opaque()).await.unwrap();
        }
        if bytes == 0 && ends {
            body.send_data(Bytes::new(), true).unwrap();
        }
        let answer = tokio::time::timeout(Duration::from_secs(20), answer)
            .await
            .unwrap()
            .unwrap();
        let status = answer.status().as_u16();
        let mut said = answer.into_body();
        while let Some(part) = said.data().await {
            let part = part.unwrap();
            said.flow_control().release_capacity(part.len()).unwrap();
        }
        // A reset follows the answer at once, so it is here when the next thing is.
        self.pings.ping(h2::Ping::opaque()).await.unwrap();
        let reset = poll_fn(|cx| Poll::Ready(body.poll_reset(cx).is_ready())).await;
        (status, reset)
    }
}

#[tokio::test]
async fn who_is_refused_may_send_what_is_taken_to_its_end_and_hears_why_beyond_it_too() {
    let server = ScriptedServer::modern().tool("danger", "{}").start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let mut client = Client::connect(&gateway).await;
    for bytes in [0, 2, TAKEN - 1, TAKEN] {
        assert_eq!(client.call(&gateway, bytes, true).await, (401, false), "{bytes}");
    }
    assert_eq!(client.call(&gateway, TAKEN + 1, false).await, (401, true));
    // One that never ends is told after the time for it, and others on its connection are served all the same.
    assert_eq!(client.call(&gateway, 2, false).await, (401, true));
    assert_eq!(client.call(&gateway, 2, true).await, (401, false));
    assert!(server.received("tools/call").is_empty());
    client.driven.abort();
    gateway.stop().await;
}
