//! Whom the operator token is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use meshgate_identity::tls::ReloadingTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

const TOKEN: &str = "Bearer mg_the_operators";

#[test]
fn the_operator_token_is_sent_in_clear_to_this_machine_alone() {
    for (url, wanted) in [
        ("http://127.0.0.1:7311", Some("127.0.0.1:7311")),
        ("http://localhost:7311/", Some("localhost:7311")),
        ("http://[::1]:1", Some("[::1]:1")),
        ("http://127.0.0.1", Some("127.0.0.1:80")),
        ("http://10.0.0.1:7311", None),
        ("http://localhost.example.com:7311", None),
        ("http://example.com:7311", None),
        ("https://127.0.0.1:7311", Some("127.0.0.1:7311")),
        ("https://control.example.com", Some("control.example.com:443")),
        ("https://[2001:db8::1]:7311", Some("[2001:db8::1]:7311")),
        ("https://127.0.0.1:7311/v1", None),
        ("https://me:secret@control.example.com", None),
        ("ftp://127.0.0.1", None),
        ("http://127.0.0.1:7311/v1", None),
        ("http://me:secret@127.0.0.1:7311", None),
        ("127.0.0.1:7311", None),
        ("", None),
    ] {
        let place = Place::parse(url, None).ok();
        assert_eq!(place.as_ref().map(Place::authority), wanted, "{url}");
        let is_tls = place.is_some_and(|place| place.tls.is_some());
        assert_eq!(is_tls, wanted.is_some() && url.starts_with("https"), "{url}");
    }
    let (message, remedy) = words(&Place::parse("http://10.0.0.1:7311", None).unwrap_err());
    assert!(message.contains("would leave this machine in clear"), "{message}");
    assert!(remedy.contains("https://") && remedy.contains("ssh -L"), "{remedy}");
}

#[test]
fn an_address_is_left_as_it_is_read() {
    for (address, tls, wanted) in [
        ("127.0.0.1:7311", false, "http://127.0.0.1:7311"),
        ("0.0.0.0:7311", true, "https://127.0.0.1:7311"),
        ("[::]:7311", true, "https://[::1]:7311"),
        ("10.0.0.1:1", true, "https://10.0.0.1:1"),
    ] {
        let url = Place::url(address.parse().unwrap(), tls);
        assert_eq!(url, wanted);
        assert!(Place::parse(&url, None).is_ok(), "{url}");
    }
}

fn words(failure: &Failure) -> (String, String) {
    let (message, remedy) = failure.words();
    (message.to_owned(), remedy.unwrap_or_default().to_owned())
}

/// An API with a certificate for `localhost`, and the file of who vouches for it. What its first client says is the end.
async fn api(directory: &Path) -> (u16, JoinHandle<Option<String>>) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("api.crt"), directory.join("api.key"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let tls = ReloadingTls::load(&certificate, &key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(tls.current()).accept(stream).await.ok()?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
        head.truncate(length);
        Some(String::from_utf8(head).unwrap())
    });
    (port, heard)
}

fn request() -> Request<Full<Bytes>> {
    let request = Request::get("/v1/status").header(http::header::AUTHORIZATION, TOKEN);
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_control_plane_that_proves_its_name_is_asked_through_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (port, heard) = api(directory.path()).await;
    let url = format!("https://localhost:{port}");
    let place = Place::parse(&url, Some(&directory.path().join("api.crt"))).unwrap();
    let (answer, _connection) = place.send(request()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let heard = heard.await.unwrap().unwrap();
    assert!(heard.contains(TOKEN), "{heard}");
}

#[tokio::test]
async fn whoever_does_not_prove_itself_hears_no_token_and_the_operator_what_to_do() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _ = api(elsewhere.path()).await;
    let (ours, theirs) = (directory.path().join("api.crt"), elsewhere.path().join("api.crt"));
    for (case, host, authorities, said, do_this) in [
        (
            "the public authorities",
            "localhost",
            None,
            "is not believed here",
            "--control-ca FILE",
        ),
        ("another authority", "localhost", Some(&theirs), "is not", "--control"),
        (
            "another name",
            "127.0.0.1",
            Some(&ours),
            "127.0.0.1",
            "--control https://HOST:PORT",
        ),
    ] {
        let (port, heard) = api(directory.path()).await;
        let place = Place::parse(&format!("https://{host}:{port}"), authorities.map(|file| &**file)).unwrap();
        let (message, remedy) = words(&place.send(request()).await.map(drop).unwrap_err());
        assert!(message.contains(said), "{case}: {message}");
        assert!(remedy.contains(do_this), "{case}: {remedy}");
        assert_eq!(heard.await.unwrap(), None, "{case}: nothing was said to it");
    }
}

#[tokio::test]
async fn an_api_without_tls_is_not_asked_through_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::parse(&format!("https://{}", listener.local_addr().unwrap()), None).unwrap();
    let plain = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let (sent, ()) = tokio::join!(place.send(request()), plain);
    let (message, remedy) = words(&sent.map(drop).unwrap_err());
    assert!(message.contains("does not speak TLS"), "{message}");
    assert!(remedy.contains("`http://`"), "{remedy}");
}

#[test]
fn a_file_without_authorities_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [&empty, &directory.path().join("missing.pem")] {
        let (message, _) = words(&Place::parse("https://localhost", Some(file)).unwrap_err());
        assert!(message.contains(&file.display().to_string()), "{message}");
    }
}
