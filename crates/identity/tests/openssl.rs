//! The doors of the mesh as another implementation of TLS sees them.
//!
//! Two ends of one library agree about what they both get wrong; `openssl s_client` has no part in this project and offers
//! what nobody should take.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use meshgate_identity::Admit;
use meshgate_testkit::ca::{Issued, TestCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

struct Client {
    directory: tempfile::TempDir,
}

impl Client {
    fn new(ca: &TestCa, shown: &Issued) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, blocks: &[(&str, &[u8])]| {
            let text: String = blocks.iter().map(|(label, der)| pem(label, der)).collect();
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("root.pem", &[("CERTIFICATE", &ca.root())]);
        write("leaf.pem", &[("CERTIFICATE", &shown.chain[0])]);
        write("chain.pem", &[("CERTIFICATE", &shown.chain[1])]);
        write("key.pem", &[("PRIVATE KEY", &shown.key)]);
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Connects with these options, sends one byte; whether it came back, and what was said.
    async fn run(&self, door: &Door, options: &[&str]) -> (bool, String) {
        let mut child = Command::new("openssl")
            .current_dir(self.path())
            .args([
                "s_client",
                "-connect",
                &door.address.to_string(),
                "-CAfile",
                "root.pem",
                "-verify_return_error",
            ])
            .args([
                "-cert",
                "leaf.pem",
                "-key",
                "key.pem",
                "-cert_chain",
                "chain.pem",
                "-alpn",
                "h2",
                "-ign_eof",
            ])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl is here; `cargo xtask setup` installs it");
        child.stdin.take().unwrap().write_all(b"!").await.unwrap_or_default();
        // Whatever the door sends of its own accord stands before the byte that comes back.
        let mut output = child.stdout.take().unwrap();
        let mut said = Vec::new();
        let heard = async { while !said.contains(&b'!') && output.read_buf(&mut said).await.unwrap() > 0 {} };
        tokio::time::timeout(PATIENCE, heard)
            .await
            .expect("an answer or the end");
        let through = said.contains(&b'!');
        child.start_kill().unwrap_or_default();
        said.extend(child.wait_with_output().await.unwrap().stderr);
        assert!(!through || door.reached() > 0);
        (through, String::from_utf8_lossy(&said).into_owned())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let lines: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[tokio::test]
async fn a108_openssl_gets_in_by_tls_1_3_and_by_nothing_older() {
    let ca = TestCa::new(DOMAIN);
    let door = Door::guarded(&identity(&ca, "/server/documents/v1"), Admit::Gateways).await;
    let client = Client::new(&ca, &ca.issue("/gateway/main"));
    let (through, said) = client.run(&door, &["-tls1_3"]).await;
    assert!(through, "{said}");
    for told in ["TLSv1.3", "Verify return code: 0 (ok)", "ALPN protocol: h2"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("Post-Handshake New Session Ticket"), "{said}");
    assert!(
        said.contains("Max Early Data: 0") || !said.contains("Max Early Data"),
        "{said}"
    );
    let (reached, mut refused) = (door.reached(), *door.refused.borrow());
    for version in ["-tls1_2", "-tls1_1", "-tls1"] {
        let (through, said) = client.run(&door, &[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        assert!(!through, "{version}: {said}");
        refused += 1;
        door.has_refused(refused).await;
    }
    assert_eq!(door.reached(), reached);
}

#[tokio::test]
async fn a109_openssl_is_given_no_session_to_come_back_with() {
    let ca = TestCa::new(DOMAIN);
    let door = Door::guarded(&identity(&ca, "/server/documents/v1"), Admit::Gateways).await;
    let client = Client::new(&ca, &ca.issue("/gateway/main"));
    let (through, said) = client.run(&door, &["-tls1_3", "-sess_out", "session.pem"]).await;
    assert!(through, "{said}");
    assert!(!client.path().join("session.pem").exists(), "a session was given");
}

#[tokio::test]
async fn a100_openssl_without_a_certificate_or_with_a_sidecars_gets_nowhere() {
    let ca = TestCa::new(DOMAIN);
    let door = Door::guarded(&identity(&ca, "/server/documents/v1"), Admit::Gateways).await;
    for shown in [
        ca.issue("/server/projects/v1"),
        TestCa::new(DOMAIN).issue("/gateway/main"),
    ] {
        let (through, said) = Client::new(&ca, &shown).run(&door, &["-tls1_3"]).await;
        assert!(!through, "{said}");
    }
    door.has_refused(2).await;
    assert_eq!(door.reached(), 0);
}
