//! Who gets through a door of the mesh: everybody who should not, with what they might have, and the one who should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::*;
use meshgate_identity::identity::{Expect, server_name};
use meshgate_identity::{Admit, Denied, Peer, denied};
use meshgate_testkit::ca::{Issued, TestCa, Wish};
use meshgate_testkit::intruder;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Knocks with what an attacker shows, and sees that nothing got in and no byte came out.
async fn refuses(door: &Door, shown: Option<&Issued>, what: &str) {
    let before = *door.refused.borrow();
    let config = Arc::new(intruder::client_config(shown, &[&TLS13]));
    let through = knock(door.address, config).await.map(drop);
    assert!(through.is_err(), "{what} got through");
    door.has_refused(before + 1).await;
    assert_eq!(door.reached(), 0, "{what} reached what is behind the door");
}

async fn sidecar_door(ca: &TestCa) -> Door {
    Door::guarded(&identity(ca, "/server/documents/v1"), Admit::Gateways).await
}

#[tokio::test]
async fn a100_a_gateway_gets_in_and_both_know_who_the_other_is() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    let gateway = identity(&ca, "/gateway/main");
    let (config, used) = gateway.client_config(&Expect::Exactly(id("/server/documents/v1")));
    let stream = knock(door.address, config).await.unwrap();
    let tls = stream.get_ref().1;
    assert_eq!(
        Peer::of(tls.peer_certificates()).unwrap().id(),
        &id("/server/documents/v1")
    );
    assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(used.serial(), gateway.current().serial());
    assert_eq!(door.reached(), 1);
}

#[tokio::test]
async fn a100_plain_tcp_and_a_client_without_a_certificate_are_refused() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    for (count, bytes) in [
        &b"POST /mcp HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0; 64],
    ]
    .iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the end");
        assert!(answer.len() <= 7, "an alert at most: {answer:?}");
        door.has_refused(count + 1).await;
    }
    refuses(&door, None, "a client without a certificate").await;
}

#[tokio::test]
async fn a100_every_wrong_certificate_is_refused() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    let gateway = wish("/gateway/main");
    refuses(&door, Some(&gateway.self_signed()), "a self-signed certificate").await;
    refuses(
        &door,
        Some(&TestCa::new(DOMAIN).issue_as(&gateway)),
        "one of a twin of the authority",
    )
    .await;
    let foreign = TestCa::new("other.example").issue("/gateway/main");
    refuses(&door, Some(&foreign), "one of another trust domain").await;
    let misused = ca.issue_as(&Wish::of("spiffe://other.example/gateway/main"));
    refuses(&door, Some(&misused), "one of another trust domain under our root").await;
    for path in [
        "/gateway-evil",
        "/gateway/../x",
        "/gateway%2f",
        "/gateway%2fmain",
        "/gateway",
        "/gateway/",
    ] {
        refuses(&door, Some(&ca.issue_as(&wish(path))), path).await;
    }
    let two = gateway.clone().and_uri("spiffe://corp.example/gateway/other");
    refuses(&door, Some(&ca.issue_as(&two)), "one with two names").await;
    refuses(
        &door,
        Some(&ca.issue_as(&gateway.clone().as_common_name())),
        "one with a common name only",
    )
    .await;
    refuses(&door, Some(&ca.issue_as(&gateway.clone().expired())), "an expired one").await;
    refuses(
        &door,
        Some(&ca.issue_as(&gateway.clone().not_yet())),
        "one that has not begun",
    )
    .await;
    let mut authority = gateway.clone();
    authority.authority = true;
    refuses(&door, Some(&ca.issue_as(&authority)), "an authority").await;
    let mut server_only = gateway.clone();
    server_only.client = false;
    refuses(&door, Some(&ca.issue_as(&server_only)), "one for servers only").await;
    // The certificate of the gateway itself, which everybody sees who talks to it, without its key.
    let stolen = Issued {
        chain: ca.issue_as(&gateway).chain,
        key: ca.issue("/gateway/main").key,
    };
    refuses(&door, Some(&stolen), "another one's certificate").await;
    let mut crowd = ca.issue_as(&gateway);
    crowd.chain.extend(std::iter::repeat_n(crowd.chain[1].clone(), 20));
    refuses(&door, Some(&crowd), "one with a crowd behind it").await;
}

#[tokio::test]
async fn a101_another_sidecar_the_control_plane_and_an_operator_are_no_gateways() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    for path in [
        "/server/projects/v1",
        "/server/documents/v1",
        "/control",
        "/operator/alma",
    ] {
        refuses(&door, Some(&ca.issue(path)), path).await;
    }
    let peers = Door::guarded(&identity(&ca, "/gateway/main"), Admit::Exactly(id("/gateway/main"))).await;
    refuses(&peers, Some(&ca.issue("/gateway/other")), "another gateway").await;
    let own = identity(&ca, "/gateway/main");
    let (config, _) = own.client_config(&Expect::Exactly(id("/gateway/main")));
    knock(peers.address, config).await.unwrap();
}

/// Listens with whatever it is given, shakes hands with one client and returns what that client sent inside TLS.
async fn impostor(shown: &Issued, asks: bool) -> (std::net::SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap();
    let builder = match asks {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(TestCa::new(DOMAIN).root()).unwrap();
            let provider = Arc::new(default_provider());
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(intruder::certified(shown))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = tokio::task::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            let _ = stream.read_to_end(&mut heard).await;
        }
        heard
    });
    (address, heard)
}

#[tokio::test]
async fn a100_a_gateway_tells_nothing_to_whoever_is_not_the_server_it_means() {
    let ca = TestCa::new(DOMAIN);
    let gateway = identity(&ca, "/gateway/main");
    let server = wish("/server/documents/v1");
    let mut client_only = server.clone();
    client_only.server = false;
    let mut authority = server.clone();
    authority.authority = true;
    let wrong = [
        ("self-signed", server.self_signed()),
        ("of a twin of the authority", TestCa::new(DOMAIN).issue_as(&server)),
        (
            "of another trust domain",
            TestCa::new("other.example").issue("/server/documents/v1"),
        ),
        ("of another version", ca.issue("/server/documents/v2")),
        ("of another server", ca.issue("/server/projects/v1")),
        ("of a gateway", ca.issue("/gateway/main")),
        ("with a longer name", ca.issue("/server/documents/v1x")),
        (
            "with two names",
            ca.issue_as(&server.clone().and_uri("spiffe://corp.example/server/projects/v1")),
        ),
        ("with a common name only", ca.issue_as(&server.clone().as_common_name())),
        ("expired", ca.issue_as(&server.clone().expired())),
        ("not begun", ca.issue_as(&server.clone().not_yet())),
        ("for clients only", ca.issue_as(&client_only)),
        ("an authority", ca.issue_as(&authority)),
    ];
    for (what, shown) in &wrong {
        let (address, heard) = impostor(shown, false).await;
        let (config, _) = gateway.client_config(&Expect::Exactly(id("/server/documents/v1")));
        let stream = TcpStream::connect(address).await.unwrap();
        let shaken = TlsConnector::from(config)
            .connect(server_name(), stream)
            .await
            .map(drop);
        assert!(shaken.is_err(), "{what} was believed");
        assert!(heard.await.unwrap().is_empty(), "{what} was told something");
    }
    let stolen = Issued {
        chain: ca.issue_as(&server).chain,
        key: ca.issue_as(&server).key,
    };
    let (address, heard) = impostor(&stolen, true).await;
    let (config, _) = gateway.client_config(&Expect::Exactly(id("/server/documents/v1")));
    assert!(
        connect(address, config).await.is_err(),
        "a certificate without its key was believed"
    );
    assert!(heard.await.unwrap().is_empty());
}

#[tokio::test]
async fn a105_a_denied_part_is_refused_and_its_live_connection_cut() {
    let ca = TestCa::new(DOMAIN);
    let sidecar = identity(&ca, "/server/documents/v1");
    let door = Door::guarded(&sidecar, Admit::Gateways).await;
    let (stolen, other) = (identity(&ca, "/gateway/main"), identity(&ca, "/gateway/other"));
    let expect = Expect::Exactly(id("/server/documents/v1"));
    let mut live = knock(door.address, stolen.client_config(&expect).0).await.unwrap();
    let mut untouched = knock(door.address, other.client_config(&expect).0).await.unwrap();
    let serial = denied::Subject::Serial(stolen.current().serial().into());
    sidecar.replace_denied(Denied::new([(serial, "the key was stolen".into())]).unwrap());
    let mut byte = [0];
    let end = tokio::time::timeout(PATIENCE, live.read(&mut byte))
        .await
        .expect("the connection is cut");
    assert!(!end.is_ok_and(|count| count > 0), "cut without another byte");
    ping(&mut untouched).await.unwrap();
    let reached = door.reached();
    let refused = *door.refused.borrow();
    assert!(knock(door.address, stolen.client_config(&expect).0).await.is_err());
    door.has_refused(refused + 1).await;
    assert_eq!(door.reached(), reached);
    // A new certificate of the same part is not the stolen one.
    stolen.replace_svid(svid(&ca.issue("/gateway/main"))).unwrap();
    knock(door.address, stolen.client_config(&expect).0).await.unwrap();
    // Until the part itself is denied.
    let part = denied::Subject::Id(id("/gateway/main"));
    sidecar.replace_denied(Denied::new([(part, "the host was taken over".into())]).unwrap());
    assert!(knock(door.address, stolen.client_config(&expect).0).await.is_err());
    ping(&mut untouched).await.unwrap();
}

#[tokio::test]
async fn a105_a_gateway_does_not_speak_to_a_denied_sidecar() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    let gateway = identity(&ca, "/gateway/main");
    let expect = Expect::Exactly(id("/server/documents/v1"));
    // A configuration from before the denial asks the list of now.
    let (config, _) = gateway.client_config(&expect);
    knock(door.address, Arc::clone(&config)).await.unwrap();
    let part = denied::Subject::Id(id("/server/documents/v1"));
    gateway.replace_denied(Denied::new([(part, "taken over".into())]).unwrap());
    assert!(connect(door.address, config).await.is_err());
    assert_eq!(door.reached(), 1);
}

#[tokio::test]
async fn a105_nothing_of_an_earlier_session_lets_a_denied_part_in() {
    let ca = TestCa::new(DOMAIN);
    let sidecar = identity(&ca, "/server/documents/v1");
    let door = Door::guarded(&sidecar, Admit::Gateways).await;
    let issued = ca.issue("/gateway/main");
    // This client keeps every ticket it can get and would use it.
    let config = Arc::new(intruder::client_config(Some(&issued), &[&TLS13]));
    for _ in 0..2 {
        let stream = knock(door.address, Arc::clone(&config)).await.unwrap();
        let tls = stream.get_ref().1;
        assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    let part = denied::Subject::Id(id("/gateway/main"));
    sidecar.replace_denied(Denied::new([(part, "taken over".into())]).unwrap());
    assert!(knock(door.address, config).await.is_err());
}

#[tokio::test]
async fn a107_a_certificate_that_ends_cuts_no_stream_and_makes_no_new_one() {
    let ca = TestCa::new(DOMAIN);
    let sidecar = identity(&ca, "/server/documents/v1");
    let gateway = identity(&ca, "/gateway/main");
    let expect = Expect::Exactly(id("/server/documents/v1"));
    let door = Door::open(sidecar.acceptor_config(Admit::Gateways)).await;
    let mut live = knock(door.address, gateway.client_config(&expect).0).await.unwrap();
    // The same door a day and a half later, for this connection and for a new one.
    let later = gateway.current().not_after() + std::time::Duration::from_secs(1);
    let mut config = ServerConfig::clone(&sidecar.acceptor_config(Admit::Gateways));
    config.time_provider = Arc::new(StandsAt(later));
    let tomorrow = Door::open(Arc::new(config)).await;
    assert!(knock(tomorrow.address, gateway.client_config(&expect).0).await.is_err());
    assert_eq!(tomorrow.reached(), 0);
    ping(&mut live).await.unwrap();
    let peer = Peer::of(live.get_ref().1.peer_certificates()).unwrap();
    let ends = [peer.not_after(), gateway.current().not_after()];
    let left = meshgate_identity::svid::connection_life(later, ends, 7);
    assert!(left.is_zero(), "its listener ends it in peace now");
}

#[tokio::test]
async fn a108_nothing_below_tls_1_3_is_spoken() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    let issued = ca.issue("/gateway/main");
    let old = Arc::new(intruder::client_config(Some(&issued), &[&TLS12]));
    assert!(connect(door.address, old).await.is_err());
    door.has_refused(1).await;
    // Who offers both gets 1.3.
    let both = Arc::new(intruder::client_config(Some(&issued), &[&TLS12, &TLS13]));
    let stream = knock(door.address, both).await.unwrap();
    assert_eq!(
        stream.get_ref().1.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    // Nor does our client speak it to a server that knows nothing newer.
    let server = ca.issue("/server/documents/v1");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(intruder::certified(&server))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let past = Door::open(Arc::new(config)).await;
    let gateway = identity(&ca, "/gateway/main");
    let (config, _) = gateway.client_config(&Expect::Exactly(id("/server/documents/v1")));
    assert!(connect(past.address, config).await.is_err());
}

#[tokio::test]
async fn a109_there_is_no_early_data_to_replay() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    let mut config = intruder::client_config(Some(&ca.issue("/gateway/main")), &[&TLS13]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..2 {
        // What a client may send early hangs on a ticket; this one keeps every ticket it gets, and gets none.
        let mut early = rustls::ClientConnection::new(Arc::clone(&config), server_name()).unwrap();
        assert!(early.early_data().is_none());
        let stream = knock(door.address, Arc::clone(&config)).await.unwrap();
        let tls = stream.get_ref().1;
        assert!(!tls.is_early_data_accepted());
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    let listener = identity(&ca, "/control").enrolment_acceptor_config();
    assert_eq!((listener.max_early_data_size, listener.send_tls13_tickets), (0, 0));
}

/// A ClientHello as clients wrote it before TLS 1.3: no list of versions, so the one in its head is the newest it speaks.
fn hello_of(version: u16, extensions: &[u8]) -> Vec<u8> {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x13, 0x00, 0x2f, 0x00, 0x0a];
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend((suites.len() as u16).to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    if !extensions.is_empty() {
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
    }
    let mut handshake = vec![1, 0];
    handshake.extend((body.len() as u16).to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

#[tokio::test]
async fn a108_a_hello_of_any_older_version_gets_an_alert_and_the_end() {
    let ca = TestCa::new(DOMAIN);
    let door = sidecar_door(&ca).await;
    // Curves and signatures that an older server would take, so that nothing is missing but the version.
    let curves = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    // The same, and a list of versions that ends before 1.3.
    let listed = [&curves[..], &[0, 43, 0, 7, 6, 3, 3, 3, 2, 3, 1]].concat();
    let hellos = [0x0300, 0x0301, 0x0302, 0x0303].map(|version| hello_of(version, &curves));
    for (count, hello) in hellos
        .iter()
        .chain([&hello_of(0x0303, &listed), &hello_of(0x0301, &[])])
        .enumerate()
    {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(hello).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("the end");
        assert_eq!(
            (answer.len(), answer[0], answer[5]),
            (7, 21, 2),
            "hello {count}: a fatal alert: {answer:?}"
        );
        door.has_refused(count + 1).await;
    }
    assert_eq!(door.reached(), 0);
}
