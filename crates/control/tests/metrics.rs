//! What a scraper of the same machine sees of a control plane, and that nobody else sees it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{MESH, Member, Mesh, ask, gateway, server};
use meshgate_control::{Control, ControlParts, StartError, Terms};
use serde_json::{Value, json};

fn door(mesh: &Mesh) -> SocketAddr {
    mesh.running.addresses().metrics.unwrap()
}

async fn scrape(mesh: &Mesh) -> String {
    let answer = ask(door(mesh), "GET", "/metrics", &[], "").await;
    assert_eq!(answer.status, 200);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    answer.text
}

/// The value of a sample, by its name with labels.
fn value(text: &str, sample: &str) -> i64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
    line.parse().unwrap()
}

#[tokio::test]
async fn a_scrape_says_who_follows_what_was_signed_and_what_was_changed() {
    let mesh = Mesh::start().await;
    let token = mesh.token(server("documents", "v1")).await;
    let sidecar = Member::join(mesh.sync(), &token).await.unwrap();
    assert!(Member::join(mesh.sync(), &token).await.is_err(), "a token is good once");
    let renewed = sidecar.renew().await.unwrap();
    let mut sidecar = renewed.stream(1).await.unwrap();
    let mut edge = mesh.member(gateway("default")).await.stream(2).await.unwrap();
    assert!(sidecar.until(|held| !held.is_empty()).await && edge.until(|held| !held.is_empty()).await);

    let apply = |text: &str, dry: bool| json!({"dryRun": dry, "sources": [{"name": "/etc/mesh.yaml", "text": text}]});
    let one_more = "apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {name: third}\nspec: {sidecar: {}}\n";
    for (text, dry) in [
        (MESH, false),
        (MESH, true),
        ("kind: Nothing\n", false),
        (one_more, false),
    ] {
        mesh.operator("POST", "/v1/apply", &apply(text, dry)).await;
    }
    let gone = mesh
        .operator("DELETE", "/v1/documents/Server/third", &Value::Null)
        .await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let plane = mesh.running.plane();
    let progress = plane.wait_for(plane.status().revision, Duration::from_secs(20)).await;
    assert_eq!(progress.taken, 2, "{progress:?}");

    let text = scrape(&mesh).await;
    for (sample, wanted) in [
        (
            "meshgate_control_proxies{role=\"gateway\",configuration=\"current\"}",
            1,
        ),
        (
            "meshgate_control_proxies{role=\"sidecar\",configuration=\"current\"}",
            1,
        ),
        (
            "meshgate_control_proxies{role=\"sidecar\",configuration=\"refusing\"}",
            0,
        ),
        ("meshgate_control_revision", 3),
        ("meshgate_control_epoch", 1),
        ("meshgate_control_root_rotation", 0),
        ("meshgate_control_alarms{kind=\"token_reused\"}", 1),
        ("meshgate_control_alarms{kind=\"set_back\"}", 0),
        (
            "meshgate_control_enrolments_total{proof=\"join_token\",outcome=\"signed\"}",
            2,
        ),
        (
            "meshgate_control_enrolments_total{proof=\"join_token\",outcome=\"refused\"}",
            1,
        ),
        (
            "meshgate_control_enrolments_total{proof=\"held\",outcome=\"signed\"}",
            1,
        ),
        // The mesh itself, the third server, and its end.
        ("meshgate_control_changes_total{outcome=\"applied\"}", 3),
        ("meshgate_control_changes_total{outcome=\"unchanged\"}", 1),
        ("meshgate_control_changes_total{outcome=\"refused\"}", 1),
        ("meshgate_control_streams_total", 2),
    ] {
        assert_eq!(value(&text, sample), wanted, "{sample} in\n{text}");
    }
    assert!(value(&text, "meshgate_control_answers_total{outcome=\"taken\"}") >= 2);
    let ends = |certificate: &str| {
        let sample = format!("meshgate_control_certificate_ends_seconds{{certificate=\"{certificate}\"}}");
        value(&text, &sample)
    };
    let own = i64::try_from(plane.certificates().own_ends_ms / 1000).unwrap();
    assert_eq!(ends("own"), own);
    assert!(ends("intermediate") > own);
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains(mesh.running.operator_token().expose()));

    drop(sidecar);
    let left = tokio::time::timeout(Duration::from_secs(20), async {
        while value(
            &scrape(&mesh).await,
            "meshgate_control_proxies{role=\"sidecar\",configuration=\"current\"}",
        ) != 0
        {
            tokio::task::yield_now().await;
        }
    });
    left.await.unwrap();
}

#[tokio::test]
async fn the_door_of_scrapers_leads_to_nothing_else_and_is_for_this_machine_only() {
    let mesh = Mesh::bare().await;
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/v1/status", 404), ("/", 404)] {
        assert_eq!(ask(door(&mesh), "GET", path, &[], "").await.status, status, "{path}");
    }
    assert_eq!(ask(door(&mesh), "POST", "/metrics", &[], "").await.status, 405);
    for name in ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9"] {
        assert_eq!(status_for(door(&mesh), name).await, 200, "{name}");
    }
    for name in [
        "metrics.example",
        "127.0.0.1.example",
        "localhost.example",
        "10.0.0.1",
        "[::2]",
        "",
    ] {
        assert_eq!(status_for(door(&mesh), name).await, 403, "{name:?}");
    }
}

/// The status of a scrape with this host.
async fn status_for(door: SocketAddr, host: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(door).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn metrics_beyond_loopback_are_refused_before_anything_listens() {
    let directory = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let parts = ControlParts {
            metrics: Some(address.parse().unwrap()),
            ..ControlParts::new(directory.path().join("control"))
        };
        let refused = Control::start(parts).await.err().unwrap();
        assert!(matches!(refused, StartError::OpenMetrics(_)), "{refused}");
        assert!(!directory.path().join("control").exists());
    }
}

#[tokio::test]
async fn a_dry_run_is_no_change() {
    let mesh = Mesh::bare().await;
    let documents = meshgate_model::parse("/etc/mesh.yaml", MESH).unwrap();
    let terms = Terms {
        dry_run: true,
        ..Terms::default()
    };
    mesh.running.plane().apply(documents, &terms).await.unwrap();
    assert!(!scrape(&mesh).await.contains("meshgate_control_changes_total{"));
}
