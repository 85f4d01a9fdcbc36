//! What the binary beside untrusted servers is made of: no authority, no database, no API.
//!
//! Whoever breaks out of a server finds this binary's memory and code beside it. So what could sign certificates for a mesh,
//! hold its store or answer its operators is not left unused there, it is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_proxy_links_no_control_plane_no_database_and_no_api() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "meshgate-proxy",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
            "--locked",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let linked: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(
        linked.contains("meshgate-sync") && linked.contains("rustls"),
        "{linked:?}"
    );
    for absent in [
        "meshgate-control",
        "meshgate",
        "redb",
        "axum",
        "utoipa",
        "reqwest",
        "ring",
        "openssl",
    ] {
        assert!(!linked.contains(absent), "`meshgate-proxy` links `{absent}`");
    }
}
