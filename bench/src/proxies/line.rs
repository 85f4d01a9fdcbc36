//! One proxy, called again and again on one connection, and what each answer shows: whether it serves the call or refuses it.
//!
//! A gateway is called as applications call it. A sidecar is called as gateways call it, by one that has a certificate of
//! this mesh and asks for what its own configuration may have long taken away; so what refuses is the sidecar itself.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshgate_identity::{
    Expect, Identity, Svid,
    context::{self, Caller},
    identity::server_name,
};
use meshgate_model::SpiffeId;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use super::scene::{APPLICATION, DOMAIN, Proxy, Role, TOKEN, VIEW};
use crate::{
    Failure,
    requests::{MODERN, Workload, call_body},
};

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long what is said of the caller is good, and how long it is used.
const CONTEXT_LIFE: Duration = Duration::from_secs(60);
const CONTEXT_USED: Duration = Duration::from_secs(20);

/// What an answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Serves,
    /// The proxy itself refuses, by a decision.
    Refuses,
    /// Anything else, such as a server that is away.
    Other(String),
}

/// Whom to call, and how.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) role: Role,
    address: SocketAddr,
    probe: Arc<Identity>,
}

impl Subject {
    pub(super) fn of(proxy: &Proxy, probe: &Arc<Identity>) -> Self {
        Self {
            role: proxy.role,
            address: proxy.address,
            probe: probe.clone(),
        }
    }

    /// Connects.
    pub(super) async fn open(&self) -> Result<Line, Failure> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot connect to {}: {e}", self.address);
        let socket = TcpStream::connect(self.address).await.map_err(|e| failed(&e))?;
        socket.set_nodelay(true).map_err(|e| failed(&e))?;
        let mut driving = JoinSet::new();
        let way = match self.role {
            Role::Gateway => {
                let opened = conn::http1::handshake(TokioIo::new(socket)).await;
                let (sender, connection) = opened.map_err(|e| failed(&e))?;
                driving.spawn(async move { drop(connection.await) });
                Way::Edge(sender)
            }
            Role::Sidecar(server) => {
                let id = format!("spiffe://{DOMAIN}/server/s{server}/v1");
                let id: SpiffeId = id.parse().map_err(|e| failed(&e))?;
                let (config, svid) = self.probe.client_config(&Expect::Exactly(id.clone()));
                let tls = TlsConnector::from(config).connect(server_name(), socket).await;
                let opened =
                    conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls.map_err(|e| failed(&e))?)).await;
                let (sender, connection) = opened.map_err(|e| failed(&e))?;
                driving.spawn(async move { drop(connection.await) });
                Way::Mesh(sender, Said { id, svid, last: None })
            }
        };
        Ok(Line {
            subject: self.clone(),
            way,
            _driving: driving,
        })
    }
}

/// An open connection.
pub(super) struct Line {
    subject: Subject,
    way: Way,
    _driving: JoinSet<()>,
}

enum Way {
    Edge(conn::http1::SendRequest<Full<Bytes>>),
    Mesh(conn::http2::SendRequest<Full<Bytes>>, Said),
}

/// What is said of the caller to a sidecar.
struct Said {
    id: SpiffeId,
    svid: Arc<Svid>,
    last: Option<(Instant, HeaderValue)>,
}

impl Said {
    fn value(&mut self) -> Result<HeaderValue, Failure> {
        if let Some((_, value)) = self.last.as_ref().filter(|(made, _)| made.elapsed() < CONTEXT_USED) {
            return Ok(value.clone());
        }
        let caller = Caller::Application {
            application: APPLICATION.to_owned(),
            user: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            view: VIEW.to_owned(),
        };
        let token = context::sign(&self.svid, &self.id, &caller, "bench", SystemTime::now(), CONTEXT_LIFE);
        let value = HeaderValue::try_from(token.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        self.last = Some((Instant::now(), value.clone()));
        Ok(value)
    }
}

impl Line {
    /// One call, and what its answer shows.
    pub(super) async fn ask(&mut self) -> Result<Verdict, Failure> {
        let role = self.subject.role;
        let asked = timeout(ANSWER_MAX, self.exchange()).await;
        let (status, body) = asked.map_err(|_| format!("{role:?} did not answer in time"))??;
        Ok(verdict(role, status, &body))
    }

    async fn exchange(&mut self) -> Result<(u16, Bytes), Failure> {
        let lost = |e: hyper::Error| format!("a connection was lost: {e}");
        let response: Response<Incoming> = match &mut self.way {
            Way::Edge(sender) => {
                let authority = self.subject.address.to_string();
                let own = [
                    ("host", authority.as_str()),
                    ("authorization", &format!("Bearer {TOKEN}")),
                ];
                let request = request("/mcp", "s0__echo", &own)?;
                sender.ready().await.map_err(lost)?;
                sender.send_request(request).await.map_err(lost)?
            }
            Way::Mesh(sender, said) => {
                let mut request = request("https://sidecar/mcp", "echo", &[])?;
                request.headers_mut().insert(context::HEADER, said.value()?);
                sender.ready().await.map_err(lost)?;
                sender.send_request(request).await.map_err(lost)?
            }
        };
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(lost)?.to_bytes();
        Ok((status, body))
    }
}

fn request(uri: &str, tool: &str, own: &[(&str, &str)]) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder = Request::post(uri)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", MODERN)
        .header("mcp-method", "tools/call")
        .header("mcp-name", tool);
    for (name, value) in own {
        builder = builder.header(*name, *value);
    }
    builder
        .body(Full::new(Bytes::from(call_body(tool))))
        .map_err(|e| e.to_string())
}

/// A right answer holds the text that only the server can know; a refusal says who refuses, and that nothing ran.
fn verdict(role: Role, status: u16, body: &[u8]) -> Verdict {
    let other = || Verdict::Other(format!("{role:?}: {status} {}", String::from_utf8_lossy(body)));
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return other();
    };
    if status == 200 && message.get("result").is_some() {
        let echoed = memchr::memmem::find(body, Workload::Echo.expected().as_bytes());
        return if echoed.is_some() { Verdict::Serves } else { other() };
    }
    let refusal = message.pointer("/error/data/dev.meshgate~1refusal");
    let said = |name: &str| refusal.and_then(|refusal| refusal.get(name)?.as_str());
    let by = match role {
        Role::Gateway => "gateway",
        Role::Sidecar(_) => "sidecar",
    };
    let decided = matches!(said("reason"), Some("not_found" | "forbidden" | "invalid_params"));
    if said("executed") != Some("no") || !decided {
        return other();
    }
    match said("by") {
        Some(who) if who == by => Verdict::Refuses,
        // The gateway has let it through: its sidecar has heard of the change before it did.
        Some("sidecar") => Verdict::Serves,
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, Verdict, verdict};

    #[test]
    fn only_the_proxys_own_decision_counts_as_a_refusal() {
        let refused = |by: &str, reason: &str| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32602,"message":"m","data":{{"dev.meshgate/refusal":{{"by":"{by}","executed":"no","reason":"{reason}"}}}}}}}}"#
            );
            verdict(Role::Sidecar(0), 400, body.as_bytes())
        };
        assert_eq!(refused("sidecar", "invalid_params"), Verdict::Refuses);
        assert!(matches!(refused("gateway", "invalid_params"), Verdict::Other(_)));
        assert!(matches!(refused("sidecar", "server_away"), Verdict::Other(_)));
        let through =
            br#"{"error":{"data":{"dev.meshgate/refusal":{"by":"sidecar","executed":"no","reason":"forbidden"}}}}"#;
        assert_eq!(verdict(Role::Gateway, 403, through), Verdict::Serves, "the sidecar's");
    }

    #[test]
    fn an_answer_without_the_servers_text_is_no_answer() {
        let body = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
        assert!(matches!(verdict(Role::Gateway, 200, body), Verdict::Other(_)));
    }
}
