#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;

struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }
    fn certificate(&self) -> PathBuf {
        self.directory.path().join("tls.crt")
    }
    fn key(&self) -> PathBuf {
        self.directory.path().join("tls.key")
    }
    fn load(&self) -> Result<ReloadingTls, TlsError> {
        ReloadingTls::load(self.certificate(), self.key())
    }
    /// Writes a fresh self-signed pair and returns its certificate.
    fn issue(&self) -> CertificateDer<'static> {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.certificate(), issued.cert.pem()).unwrap();
        fs::write(self.key(), issued.signing_key.serialize_pem()).unwrap();
        issued.cert.der().clone()
    }
}

/// Shakes hands in memory; returns the certificate the server showed, the ALPN protocol and the TLS version.
fn shake(
    config: Arc<ServerConfig>,
    trusted: &CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<(CertificateDer<'static>, Option<Vec<u8>>, rustls::ProtocolVersion), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    client.writer().write_all(b"ping").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut got = [0; 4];
    server.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    let shown = client.peer_certificates().unwrap()[0].clone().into_owned();
    Ok((
        shown,
        server.alpn_protocol().map(<[u8]>::to_vec),
        server.protocol_version().unwrap(),
    ))
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn a_listener_speaks_tls_1_3_and_1_2_and_prefers_http_2() {
    let files = Files::new();
    let issued = files.issue();
    let config = files.load().unwrap().current();
    for (versions, expected) in [
        (BOTH, rustls::ProtocolVersion::TLSv1_3),
        (&[&rustls::version::TLS12][..], rustls::ProtocolVersion::TLSv1_2),
    ] {
        let (_, alpn, version) = shake(config.clone(), &issued, versions, &[b"http/1.1", b"h2"]).unwrap();
        assert_eq!((alpn.as_deref(), version), (Some(&b"h2"[..]), expected));
    }
    let (_, alpn, _) = shake(config.clone(), &issued, BOTH, &[b"http/1.1"]).unwrap();
    assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(
        shake(config, &issued, BOTH, &[b"spdy/3"]).is_err(),
        "an ALPN list without ours ends the handshake"
    );
}

#[test]
fn no_early_data_is_accepted() {
    let files = Files::new();
    files.issue();
    assert_eq!(files.load().unwrap().current().max_early_data_size, 0);
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let files = Files::new();
    let first = files.issue();
    let tls = files.load().unwrap();
    assert!(matches!(tls.reload_if_changed(), Reload::Unchanged));
    let second = files.issue();
    assert!(matches!(tls.reload_if_changed(), Reload::Reloaded));
    assert_eq!(shake(tls.current(), &second, BOTH, &[b"h2"]).unwrap().0, second);
    assert_ne!(first, second);
    assert!(matches!(tls.reload_if_changed(), Reload::Unchanged));
}

#[test]
fn a_renewal_caught_half_way_keeps_the_last_good_certificate_and_says_why_once() {
    let files = Files::new();
    let first = files.issue();
    let tls = files.load().unwrap();
    let old_key = fs::read(files.key()).unwrap();
    let second = files.issue();
    let new_key = fs::read(files.key()).unwrap();
    fs::write(files.key(), old_key).unwrap();
    let Reload::Kept(error) = tls.reload_if_changed() else {
        panic!("a certificate with another key was taken")
    };
    assert!(error.to_string().contains("cannot be used together"), "{error}");
    assert!(matches!(tls.reload_if_changed(), Reload::Unchanged));
    assert_eq!(shake(tls.current(), &first, BOTH, &[b"h2"]).unwrap().0, first);
    fs::write(files.key(), new_key).unwrap();
    assert!(matches!(tls.reload_if_changed(), Reload::Reloaded));
    assert_eq!(shake(tls.current(), &second, BOTH, &[b"h2"]).unwrap().0, second);
}

#[test]
fn a_certificate_file_that_goes_away_and_comes_back_harms_nobody() {
    let files = Files::new();
    let first = files.issue();
    let tls = files.load().unwrap();
    let content = fs::read(files.certificate()).unwrap();
    fs::remove_file(files.certificate()).unwrap();
    assert!(matches!(
        tls.reload_if_changed(),
        Reload::Kept(TlsError::File {
            what: "certificate",
            ..
        })
    ));
    assert!(matches!(tls.reload_if_changed(), Reload::Unchanged));
    fs::write(files.certificate(), content).unwrap();
    assert!(matches!(tls.reload_if_changed(), Reload::Reloaded));
    assert_eq!(shake(tls.current(), &first, BOTH, &[b"h2"]).unwrap().0, first);
}

#[test]
fn unusable_files_are_named_with_the_remedy() {
    let files = Files::new();
    let load = || files.load().unwrap_err().to_string();
    assert!(load().contains("tls.crt"));
    files.issue();
    fs::write(files.key(), "not a key").unwrap();
    assert!(load().contains("holds no key in PEM form"));
    fs::write(files.certificate(), "not a certificate").unwrap();
    assert!(load().contains("holds no certificate in PEM form"));
    fs::write(files.certificate(), vec![b'-'; PEM_FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(load().contains("larger than"));
}

#[test]
fn d36_an_error_about_a_key_never_shows_the_key() {
    let files = Files::new();
    files.issue();
    fs::write(
        files.key(),
        "-----BEGIN PRIVATE KEY-----\nQ0FOQVJZQ0FOQVJZ\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    let error = files.load().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("Q0FOQVJZ"));
    assert!(!format!("{error} {error:?}").contains("CANARY"));
}
