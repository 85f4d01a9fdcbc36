//! `import --registry`: what is asked, what is written, and that nothing of it runs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Place;

/// A registry that answers each request with what the function says, and reports the request lines.
fn registry(place: &Place, answers: fn(&str) -> String) -> (SocketAddr, Receiver<String>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    place.file("ca.pem", &cert.pem());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (said, heard) = channel();
    std::thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), tcp);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && tls.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&head)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let body = answers(&line);
            let _ = write!(
                tls,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = said.send(line);
        }
    });
    (address, heard)
}

fn entry(name: &str) -> String {
    format!(
        r#"{{"server": {{"name": "io.example/{name}", "description": "d", "version": "1.0.0", "packages": [
            {{"registryType": "npm", "identifier": "@example/{name}", "version": "1.0.0", "transport": {{"type": "stdio"}},
              "runtimeArguments": [{{"type": "named", "name": "--call", "value": "sh"}}]}}]}}}}"#
    )
}

fn two_pages(line: &str) -> String {
    if line.contains("/versions/") {
        return entry("one");
    }
    let (name, next) = match line.contains("cursor=io.example%2Fone%3A1") {
        true => ("two", "null".to_owned()),
        false => ("one", "\"io.example/one:1\"".to_owned()),
    };
    format!(
        r#"{{"servers": [{}], "metadata": {{"nextCursor": {next}, "count": 1}}}}"#,
        entry(name)
    )
}

fn import(place: &Place, address: SocketAddr, more: &[&str]) -> super::Ended {
    let url = format!("https://{address}");
    let mut args = vec!["import", "--registry", &url, "--registry-ca", "ca.pem"];
    args.extend_from_slice(more);
    place.run(&args)
}

#[test]
fn d34_entries_of_a_registry_become_proposals_that_a_person_accepts() {
    let place = Place::new();
    let (address, heard) = registry(&place, two_pages);
    let ended = import(&place, address, &["--allow-private-registry", "--search", "we ather"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let asked: Vec<String> = heard.try_iter().collect();
    assert_eq!(
        asked,
        [
            "GET /v0.1/servers?version=latest&limit=30&search=we%20ather HTTP/1.1",
            "GET /v0.1/servers?version=latest&limit=29&search=we%20ather&cursor=io.example%2Fone%3A1 HTTP/1.1",
        ]
    );
    assert!(
        ended.err.contains("MG0622") && ended.err.contains("--call sh"),
        "{}",
        ended.err
    );
    let written = std::fs::read_to_string(place.path().join("proposals.yaml")).unwrap();
    assert!(
        written.lines().all(|line| line.is_empty() || line.starts_with('#')),
        "{written}"
    );
    let checked = place.run(&["check", "proposals.yaml"]);
    assert!(checked.out.contains("0 server(s)"), "{}", checked.out);
    let accepted: String = written
        .lines()
        .filter_map(|line| line.strip_prefix("#: "))
        .map(|line| format!("{line}\n"))
        .collect();
    place.file("mesh.yaml", &accepted);
    let checked = place.run(&["check", "mesh.yaml"]);
    assert!(
        checked.out.contains("2 server(s), 1 view(s), 0 warnings"),
        "{}\n{accepted}",
        checked.out
    );
    assert!(!accepted.contains("--call"), "{accepted}");
}

#[test]
fn one_server_is_asked_for_by_name_and_version() {
    let place = Place::new();
    let (address, heard) = registry(&place, two_pages);
    let ended = import(
        &place,
        address,
        &[
            "--allow-private-registry",
            "--name",
            "io.example/one",
            "--version",
            "1.0.0+x",
            "-o",
            "-",
        ],
    );
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        heard.recv().unwrap(),
        "GET /v0.1/servers/io.example%2Fone/versions/1.0.0%2Bx HTTP/1.1"
    );
    assert!(
        ended.out.contains("#:     args: [\"-y\", \"@example/one@1.0.0\"]"),
        "{}",
        ended.out
    );
}

#[test]
fn a_registry_inside_is_not_asked_unless_that_is_said() {
    let place = Place::new();
    let (address, heard) = registry(&place, two_pages);
    let ended = import(&place, address, &[]);
    assert_eq!(ended.code, 69, "{}", ended.err);
    assert!(
        ended.err.contains("not public") && ended.err.contains("--allow-private-registry"),
        "{}",
        ended.err
    );
    assert!(heard.try_recv().is_err(), "it was never reached");
    assert!(!Path::new(&place.path().join("proposals.yaml")).exists());
    for (url, words) in [
        ("http://registry.example.com", "https://"),
        ("https://u@registry.example.com", "user name"),
    ] {
        let ended = place.run(&["import", "--registry", url]);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(words), "{}", ended.err);
    }
}

#[test]
fn a_registry_that_never_ends_is_asked_so_many_pages_and_no_more() {
    let place = Place::new();
    let (address, heard) = registry(&place, |line| {
        let next = if line.contains("cursor=a") { "b" } else { "a" };
        format!(
            r#"{{"servers": [{}], "metadata": {{"nextCursor": "{next}"}}}}"#,
            entry("same")
        )
    });
    let ended = import(&place, address, &["--allow-private-registry", "--max", "1000"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(heard.try_iter().count(), 20);
}
