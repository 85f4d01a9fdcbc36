#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::shape::{ServerStatus, Tool};
use super::*;

#[derive(Default)]
struct Scripted {
    draining: AtomicBool,
}

impl Sight for Scripted {
    fn status(&self) -> Status {
        let ledger = ServerStatus {
            name: "ledger".into(),
            state: "up".into(),
            ..ServerStatus::default()
        };
        Status {
            mesh: "test".into(),
            revision: 3,
            servers: vec![ledger],
            ..Status::default()
        }
    }
    fn tools(&self, view: Option<&str>) -> Option<Tools> {
        let definition = serde_json::from_str(r#"{"name":"append","inputSchema":{"n":1.0}}"#).unwrap();
        let tool = Tool {
            name: "append".into(),
            server: "ledger".into(),
            definition,
        };
        view.is_none_or(|view| view == "all").then(|| Tools {
            view: "all".into(),
            path: "/mcp".into(),
            tools: vec![tool],
            away: Vec::new(),
        })
    }
    fn metrics(&self) -> String {
        "meshgate_up 1\n# EOF\n".into()
    }
    fn unready(&self) -> Option<String> {
        self.draining.load(Ordering::Relaxed).then(|| "draining".into())
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (u16, String) {
    let mut stream = stream;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

struct Open {
    sight: Arc<Scripted>,
    socket: PathBuf,
    metrics: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
    _directory: tempfile::TempDir,
}

impl Open {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        Self::at(directory, socket).await
    }

    async fn at(directory: tempfile::TempDir, socket: PathBuf) -> Self {
        let (sight, closing, tasks) = (
            Arc::new(Scripted::default()),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let metrics = MetricsListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = metrics.local_address();
        tasks.spawn(
            AdminSocket::bind(&socket)
                .unwrap()
                .serve(sight.clone(), None, closing.clone()),
        );
        tasks.spawn(metrics.serve(sight.clone(), closing.clone()));
        Self {
            sight,
            socket,
            metrics: address,
            closing,
            tasks,
            _directory: directory,
        }
    }
    async fn socket(&self, path: &str) -> (u16, String) {
        ask(connect(&self.socket).await.unwrap(), &get(path)).await
    }
    async fn tcp(&self, request: &str) -> (u16, String) {
        ask(TcpStream::connect(self.metrics).await.unwrap(), request).await
    }
}

#[tokio::test]
async fn the_socket_answers_status_tools_metrics_and_probes() {
    let open = Open::new().await;
    let (code, body) = open.socket("/status").await;
    let status: Status = serde_json::from_str(&body).unwrap();
    assert_eq!((code, status), (200, open.sight.status()));
    let (code, body) = open.socket("/tools?view=all").await;
    assert_eq!(code, 200);
    assert!(
        body.contains(r#""definition":{"name":"append","inputSchema":{"n":1.0}}"#),
        "{body}"
    );
    assert_eq!(open.socket("/tools").await.0, 200);
    assert_eq!(open.socket("/tools?view=hidden").await.0, 404);
    assert_eq!(open.socket("/metrics").await, (200, open.sight.metrics()));
    assert_eq!(open.socket("/healthz").await.0, 200);
    assert_eq!(open.socket("/other").await.0, 404);
}

#[tokio::test]
async fn a_socket_may_lie_as_deep_as_any_file() {
    let depth = |length: usize| {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().as_os_str().len() + "//admin.sock".len();
        (directory, "d".repeat(length - own))
    };
    // One below the longest path of a socket, that, one above, and far beyond.
    for length in [106, 107, 108, 270] {
        let (directory, folder) = depth(length);
        let folder = directory.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        let socket = folder.join("admin.sock");
        assert_eq!(socket.as_os_str().len(), length);
        let open = Open::at(directory, socket.clone()).await;
        assert_eq!(open.socket("/healthz").await.0, 200, "{length}");
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        open.closing.cancel();
        open.tasks.close();
        open.tasks.wait().await;
        assert!(!socket.exists(), "{length}");
        assert!(connect(&socket).await.is_err(), "{length}");
    }
}

#[tokio::test]
async fn the_loopback_listener_answers_metrics_and_probes_only() {
    let open = Open::new().await;
    assert_eq!(open.tcp(&get("/metrics")).await.0, 200);
    assert_eq!(open.tcp(&get("/healthz")).await.0, 200);
    for path in ["/status", "/tools", "/", "/mcp", "//status", "/%73tatus"] {
        assert_eq!(open.tcp(&get(path)).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_browser_led_here_by_another_name_reads_no_metrics() {
    let open = Open::new().await;
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", ""] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(open.tcp(&request).await.0, 403, "{host:?}");
    }
    for host in ["localhost:9090", "127.0.0.1", "[::1]:9090", "[::1]"] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(open.tcp(&request).await.0, 200, "{host:?}");
    }
}

#[tokio::test]
async fn nothing_can_be_changed_through_it() {
    let open = Open::new().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = get("/status").replace("GET", method);
        assert_eq!(
            ask(UnixStream::connect(&open.socket).await.unwrap(), &request).await.0,
            405
        );
    }
}

#[tokio::test]
async fn readiness_says_why_not() {
    let open = Open::new().await;
    assert_eq!(open.socket("/readyz").await, (200, "ready\n".into()));
    open.sight.draining.store(true, Ordering::Relaxed);
    assert_eq!(open.socket("/readyz").await, (503, "draining\n".into()));
    assert_eq!(open.socket("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_replaces_a_dead_one_and_goes_with_its_process() {
    let open = Open::new().await;
    assert_eq!(
        std::fs::metadata(&open.socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(AdminSocket::bind(&open.socket).expect("a dead socket is replaced"));
    open.closing.cancel();
    open.tasks.close();
    tokio::time::timeout(Duration::from_secs(3), open.tasks.wait())
        .await
        .expect("the doors close");
    assert!(!open.socket.exists());
}

#[tokio::test]
async fn the_listener_takes_loopback_addresses_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        assert!(
            MetricsListener::bind(address.parse().unwrap()).await.is_err(),
            "{address}"
        );
    }
}

#[tokio::test]
async fn a_crowd_of_idle_clients_is_bounded() {
    let open = Open::new().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX * 2 {
        idle.push(UnixStream::connect(&open.socket).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut closed = 0;
    for stream in &mut idle {
        let mut byte = [0];
        if let Ok(Ok(0)) = tokio::time::timeout(Duration::from_millis(5), stream.read(&mut byte)).await {
            closed += 1;
        }
    }
    assert_eq!(closed, CONNECTIONS_MAX);
}
