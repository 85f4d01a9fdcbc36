//! TLS at the edge: both HTTP versions behind it, and no time for a client that only pretends to shake hands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::sync::Arc;
use std::time::Duration;

use meshgate_proxy::limits::Limits;
use meshgate_proxy::listen::TlsSource;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::wire_support::{Edge, read_to_end, statuses};

/// A source of one certificate for `localhost`, and a client that trusts it.
fn certificate(protocols: &[&[u8]]) -> (TlsSource, TlsConnector) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(signed.cert.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let server = Arc::new(server);
    (
        Arc::new(move || Arc::clone(&server)),
        TlsConnector::from(Arc::new(client)),
    )
}

/// Sends bytes over TLS and reads until the server closes.
async fn exchange(protocols: &[&[u8]], bytes: &[u8]) -> (Edge, Vec<u8>) {
    let (source, connector) = certificate(protocols);
    let edge = Edge::start_tls(Limits::default(), Some(source));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, edge.connect().await).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    let _in_order_or_cut = read.expect("the server did not close");
    (edge, answer)
}

#[tokio::test]
async fn requests_over_tls_are_answered() {
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let request = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (edge, answer) = exchange(protocols, request).await;
        assert_eq!(statuses(&String::from_utf8(answer).unwrap()), [200]);
        assert_eq!(edge.lines(), ["GET /mcp"]);
    }
}

#[tokio::test]
async fn d01_the_guard_stands_behind_tls_too() {
    let request = b"GET /mcp HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let (edge, answer) = exchange(&[b"http/1.1"], request).await;
    assert_eq!(statuses(&String::from_utf8(answer).unwrap()), [400]);
    assert_eq!(edge.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_client_speaks_the_version_it_agreed_on() {
    let (edge, answer) = exchange(&[b"h2"], b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!((answer, edge.lines()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn d40_a055_a_handshake_that_does_not_come_is_not_waited_for() {
    let (source, _) = certificate(&[]);
    let limits = Limits {
        tls_handshake_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let edge = Edge::start_tls(limits, Some(source));
    let mut silent = edge.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut begun = edge.connect().await;
    begun.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(read_to_end(&mut begun).await, "");
    assert_eq!(edge.caps.open(), 0);
}

/// The first flight of a client, as bytes.
async fn client_hello() -> Vec<u8> {
    let (_, connector) = certificate(&[b"h2"]);
    let (near, mut far) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from("localhost").unwrap();
    let hello = tokio::spawn(connector.connect(name, near));
    let mut bytes = vec![0; 16 << 10];
    let read = far.read(&mut bytes).await.unwrap();
    hello.abort();
    bytes.truncate(read);
    bytes
}

#[tokio::test]
async fn d40_a055_a_client_hello_that_trickles_is_not_waited_for() {
    let hello = client_hello().await;
    assert!(hello.len() > 100, "{} bytes", hello.len());
    let (source, _) = certificate(&[]);
    // A byte in each fifth of the handshake's time, as one a second is in five.
    let limits = Limits {
        tls_handshake_time: Duration::from_millis(500),
        ..Limits::default()
    };
    let edge = Edge::start_tls(limits, Some(source));
    let begun = tokio::time::Instant::now();
    let mut sent = 0;
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(edge.connect().await);
    }
    while edge.caps.open() > 0 || sent == 0 {
        for stream in &mut slow {
            let _cut = stream.try_write(&hello[sent..=sent]);
        }
        sent += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{} are waited for",
            edge.caps.open()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "they had their time");
    assert_eq!(edge.caps.refused().counts()[4], ("slow", 20));
    assert_eq!(edge.lines(), Vec::<String>::new());
}
