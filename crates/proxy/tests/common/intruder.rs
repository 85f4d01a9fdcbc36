//! Somebody at the mesh port of a sidecar who has a sound request, a context that was overheard, and not what it takes.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshgate_identity::identity::server_name;
use meshgate_testkit::ca::Issued;
use meshgate_testkit::intruder::client_config;
use meshgate_testkit::{Answer, ScriptedServer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::inside::{Ask, PATIENCE, RunningSidecar, local};
use super::{UNHURRIED, mesh};

const HI: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#;

/// A sidecar before a server, and a context of the gateway that it names.
pub struct Scene {
    pub server: ScriptedServer,
    pub sidecar: RunningSidecar,
    pub overheard: String,
}

impl Scene {
    /// Both, and the sidecar has heard of its server.
    pub async fn open() -> Self {
        let server = server().await;
        let sidecar = RunningSidecar::start(&beside(&server)).await;
        let overheard = sidecar.gateway().await.context(&local());
        Self {
            server,
            sidecar,
            overheard,
        }
    }

    /// The calls that the server has heard of.
    pub fn calls(&self) -> usize {
        calls(&self.server)
    }

    /// Waits until the server has heard of so many calls.
    pub async fn reached(&self, count: usize) {
        let waiting = async {
            while self.calls() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("the calls reach the server");
    }

    /// Lets the server answer the calls of `slow` that it has.
    pub async fn release(&self) {
        let body = br#"{"jsonrpc":"2.0","method":"release"}"#;
        let json = [("content-type", "application/json")];
        meshgate_testkit::raw::post(self.server.address(), "/mcp", &json, body).await;
    }

    /// A request that the sidecar would forward for its gateway.
    pub fn ask(&self) -> Ask {
        bare().context(&self.overheard)
    }

    /// Sees that whoever shows this gets no answer, and that the server hears nothing.
    pub async fn refuses(&self, shown: Option<&Issued>, what: &str) {
        let config = client_config(shown, &[&rustls::version::TLS13]);
        let answer = intrude(self.sidecar.address, config, self.ask()).await;
        assert!(answer.is_err(), "{what} was answered: {answer:?}");
        assert_eq!(self.calls(), 0, "{what} reached the server");
    }
}

/// A server with the tool `echo`, and `slow`, which answers when somebody says `release`.
pub async fn server() -> ScriptedServer {
    ScriptedServer::modern()
        .tool("echo", HI)
        .tool_as("slow", r#"{"name":"slow","inputSchema":{"type":"object"}}"#, |_| {
            let result = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{HI}}}"#);
            let release = meshgate_testkit::Step::Until("release".to_owned());
            Answer::stream([release, meshgate_testkit::Step::message(result)])
        })
        .start()
        .await
}

/// The calls that a server has heard of.
pub fn calls(server: &ScriptedServer) -> usize {
    let all = server.recorded().into_iter();
    all.filter(|request| request.method() == "tools/call").count()
}

/// The mesh file of a sidecar before a server.
pub fn beside(server: &ScriptedServer) -> String {
    mesh(&[("only", &server.url())], UNHURRIED)
}

/// The parameters of a call of `echo`.
pub const ECHO: &str = r#""name":"echo","arguments":{}"#;

/// A call of `echo` without a context.
pub fn bare() -> Ask {
    Ask::new("7", "tools/call", ECHO)
}

/// A call of `slow` without a context.
pub fn slow() -> Ask {
    Ask::new("7", "tools/call", r#""name":"slow","arguments":{}"#)
}

/// Sends one request over a connection of this TLS client; the status and body of the answer, when there is one.
pub async fn intrude(address: SocketAddr, config: rustls::ClientConfig, ask: Ask) -> Result<(u16, String), String> {
    let attempt = async {
        let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector
            .connect(server_name(), stream)
            .await
            .map_err(|e| e.to_string())?;
        let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let answer = async {
            let response = sender.send_request(ask.request()).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|e| e.to_string())?;
            Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => match ended {
                Err(error) => Err(error.to_string()),
                Ok(()) => answer.await,
            },
        }
    };
    tokio::time::timeout(PATIENCE, attempt)
        .await
        .expect("an answer or an end")
}
