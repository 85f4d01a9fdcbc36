#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const HOST: &str = "registry.example.com";

/// Gives the next of some answers, and counts how often it was asked.
struct Scripted {
    answers: RefCell<VecDeque<Vec<SocketAddr>>>,
    asked: RefCell<usize>,
}

impl Scripted {
    fn new(answers: &[&[SocketAddr]]) -> Self {
        Self {
            answers: RefCell::new(answers.iter().map(|answer| answer.to_vec()).collect()),
            asked: RefCell::new(0),
        }
    }
}

impl Resolve for Scripted {
    async fn addresses(&self, _: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        *self.asked.borrow_mut() += 1;
        Ok(self.answers.borrow_mut().pop_front().unwrap_or_default())
    }
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), 443)
}

/// A TLS server that answers every connection with these bytes, then closes or goes on dripping.
struct Registry {
    address: SocketAddr,
    roots: RootCertStore,
    tasks: JoinSet<()>,
}

impl Registry {
    async fn start(answer: Vec<u8>, drips: bool) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tls.read_u8().await.unwrap());
                }
                let _ = tls.write_all(&answer).await;
                while drips && tls.write_all(b" ").await.is_ok() {
                    let _ = tls.flush().await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let _ = tls.shutdown().await;
            }
        });
        Self { address, roots, tasks }
    }

    async fn pinned(&self, inside: bool) -> Result<Pinned, Refused> {
        let target = Target::parse(&format!("https://{HOST}")).unwrap();
        let resolver = Scripted::new(&[&[self.address]]);
        Pinned::new(target, &resolver, self.roots.clone(), inside).await
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn json_of(bytes: usize) -> Vec<u8> {
    answer("200 OK\r\ncontent-type: application/json", &vec![b' '; bytes])
}

#[test]
fn a153_d34_an_address_that_leads_elsewhere_is_refused_before_anything_is_resolved() {
    for text in [
        "http://169.254.169.254",
        "http://registry.example.com",
        "gopher://registry.example.com",
        "file:///etc/passwd",
        "https://user@registry.example.com",
        "https://user:pw@registry.example.com",
        "https://0x7f.1",
        "https://2130706433",
        "https://127.1",
        "https://0177.0.0.1",
        "https://0x7f000001",
        "https://localhost",
        "https://localhost.",
        "https://a.localhost",
        "https://registry.example.com.",
        "https://registry.example.com:6379",
        "https://registry.example.com:22",
        "https://registry.example.com:0",
        "https://registry.example.com:99999",
        "https://registry.example.com/#x",
        "https://registry.example.com/?a=b",
        "https://",
        "registry.example.com",
        "",
        "https://[::1",
        "https://a b",
    ] {
        assert!(Target::parse(text).is_err(), "{text}");
    }
    for (text, host, port) in [
        ("https://registry.example.com", HOST, 443),
        ("https://registry.example.com:8443/base/", HOST, 8443),
        ("https://[2606:4700::1111]", "2606:4700::1111", 443),
    ] {
        let target = Target::parse(text).unwrap();
        assert_eq!((target.host(), target.port()), (host, port));
    }
    assert_eq!(
        Target::parse("https://h.example/base/").unwrap().path("/v0.1/servers"),
        "/base/v0.1/servers"
    );
}

#[tokio::test]
async fn a153_a_name_with_any_address_inside_is_refused() {
    for inside in [
        "169.254.169.254",
        "127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fd00::1",
    ] {
        for addresses in [vec![at(inside)], vec![at("93.184.215.14"), at(inside)]] {
            let target = Target::parse("https://registry.example.com").unwrap();
            let resolver = Scripted::new(&[&addresses]);
            let refused = Pinned::new(target, &resolver, public_roots(), false).await.unwrap_err();
            assert!(refused.contains("not public"), "{inside}: {refused}");
        }
    }
    // Written as an address it is looked up all the same, and checked all the same.
    let target = Target::parse("https://[::ffff:a9fe:a9fe]").unwrap();
    assert!(Pinned::new(target, &System, public_roots(), false).await.is_err());
}

#[tokio::test]
async fn a153_a_name_is_resolved_once_and_the_address_is_kept() {
    // First a public address, then the loopback: what a rebinding name answers.
    let resolver = Scripted::new(&[&[at("93.184.215.14")], &[at("127.0.0.1")]]);
    let target = Target::parse("https://registry.example.com").unwrap();
    let pinned = Pinned::new(target, &resolver, public_roots(), false).await.unwrap();
    assert_eq!(pinned.addresses, [at("93.184.215.14")]);
    assert_eq!(
        *resolver.asked.borrow(),
        1,
        "nothing else looks a name up: a connection goes to these addresses"
    );
}

#[tokio::test]
async fn an_answer_comes_from_the_place_that_has_its_certificate() {
    let body = br#"{"servers":[]}"#;
    let registry = Registry::start(
        answer("200 OK\r\ncontent-type: application/json; charset=utf-8", body),
        false,
    )
    .await;
    assert!(registry.pinned(false).await.is_err(), "it is on the loopback");
    let pinned = registry.pinned(true).await.unwrap();
    assert_eq!(&pinned.json("/v0.1/servers").await.unwrap()[..], body);
    // Another's certificate.
    let target = Target::parse("https://other.example.com").unwrap();
    let resolver = Scripted::new(&[&[registry.address]]);
    let other = Pinned::new(target, &resolver, registry.roots.clone(), true)
        .await
        .unwrap();
    assert!(other.json("/").await.unwrap_err().contains("TLS"));
    let strangers = Pinned {
        tls: client_config(public_roots()).unwrap(),
        ..pinned
    };
    assert!(strangers.json("/").await.unwrap_err().contains("TLS"));
    drop(registry.tasks);
}

#[tokio::test]
async fn a153_no_redirect_is_followed_and_nothing_is_unpacked() {
    for (head, words) in [
        ("302 Found\r\nlocation: https://169.254.169.254/", "no redirect"),
        ("301 Moved Permanently\r\nlocation: /elsewhere", "no redirect"),
        ("404 Not Found\r\ncontent-type: application/json", "404"),
        ("200 OK\r\ncontent-type: text/html", "text/html"),
        ("200 OK", "in place of JSON"),
        (
            "200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip",
            "packed",
        ),
        (
            "200 OK\r\ncontent-type: application/json\r\ncontent-length: 10485760",
            "at most",
        ),
    ] {
        let registry = Registry::start(answer(head, b"{}"), false).await;
        let refused = registry.pinned(true).await.unwrap().json("/").await.unwrap_err();
        assert!(refused.contains(words), "{head}: {refused}");
    }
}

#[tokio::test]
async fn a153_an_answer_has_a_largest_size() {
    for (bytes, fits) in [
        (ANSWER_BYTES_MAX - 1, true),
        (ANSWER_BYTES_MAX, true),
        (ANSWER_BYTES_MAX + 1, false),
    ] {
        let registry = Registry::start(json_of(bytes), false).await;
        let read = registry.pinned(true).await.unwrap().json("/").await;
        assert_eq!(read.is_ok(), fits, "{bytes}: {:?}", read.err());
    }
}

#[tokio::test]
async fn a153_an_answer_that_drips_is_given_up() {
    let registry = Registry::start(json_of(1), true).await;
    let time = Duration::from_millis(300);
    let pinned = Pinned {
        time,
        ..registry.pinned(true).await.unwrap()
    };
    let refused = pinned.json("/").await.unwrap_err();
    assert!(refused.contains("did not answer within 300ms"), "{refused}");
    assert_eq!(
        registry.pinned(true).await.unwrap().time,
        Duration::from_secs(5),
        "what it is outside of tests"
    );
}
