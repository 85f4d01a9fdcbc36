//! A gateway whose clock is wrong, in front of a sidecar whose clock is right, as two real processes.
//!
//! One program in two parts: the tests, with the sidecar; and the gateway (`gateway DIRECTORY ADDRESS`), which they start
//! under `faketime`, so that every clock it reads is wrong in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use common::inside::{DOMAIN, GATEWAY, PATIENCE, SERVER, bundle, id, local, svid};
use common::intruder::{Scene, bare, intrude};
use libtest_mimic::{Arguments, Trial};
use meshgate_identity::stored::Stored;
use meshgate_identity::{Expect, Identity, context};
use meshgate_testkit::ca::Wish;
use tokio::process::Command;

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [part, directory, address] = &args[..]
        && part == "gateway"
    {
        println!("{}", block_on(gateway(Path::new(directory), address.parse().unwrap())));
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("a104_clocks_that_differ_by_less_than_the_skew_do_no_harm", || {
            block_on(little());
            Ok(())
        }),
        Trial::test(
            "a104_a_clock_two_minutes_off_connects_and_its_contexts_are_refused",
            || {
                block_on(two_minutes());
                Ok(())
            },
        ),
        Trial::test("a104_a_clock_five_minutes_off_fails_closed_and_says_why", || {
            block_on(five_minutes());
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// Calls once with the identity in a directory; what came of it, in one line.
async fn gateway(directory: &Path, address: SocketAddr) -> String {
    let stored = Stored::at(directory);
    let (svid, bundle) = (stored.svid().unwrap().unwrap(), stored.bundle().unwrap().unwrap());
    let identity = Identity::new(svid, bundle).unwrap();
    let (config, used) = identity.client_config(&Expect::Exactly(id(SERVER)));
    let claimed = context::Caller::clone(&local());
    let life = Duration::from_secs(60);
    let token = context::sign(&used, &id(SERVER), &claimed, "txn-1", SystemTime::now(), life).unwrap();
    match intrude(address, (*config).clone(), bare().context(&token)).await {
        Ok((status, body)) => format!("{status} {body}"),
        Err(error) => format!("no connection: {error}"),
    }
}

/// A gateway of the scene under another clock.
async fn called_at(scene: &Scene, offset: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let stored = Stored::at(directory.path());
    let ca = &scene.sidecar.ca;
    stored.save_svid(&svid(&ca.issue_as(&old(GATEWAY)))).unwrap();
    stored.save_bundle(&bundle(ca)).unwrap();
    let output = Command::new("faketime")
        .args(["-f", offset])
        .arg(std::env::current_exe().unwrap())
        .arg("gateway")
        .arg(directory.path())
        .arg(scene.sidecar.address.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap();
    let output = output.expect("faketime is here; `cargo xtask setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A certificate that began an hour ago, so that its times are nobody's trouble.
fn old(path: &str) -> Wish {
    let now = SystemTime::now();
    Wish::of(&format!("spiffe://{DOMAIN}{path}")).between(now - HOUR, now + 36 * HOUR)
}

/// Sees that a call was refused for its context, with this in the text.
fn refused(said: &str, why: &str) {
    for part in [
        "401 ",
        "mesh/context",
        r#""executed":"no""#,
        r#""by":"sidecar""#,
        why,
        "check the clocks",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

async fn little() {
    let scene = Scene::open().await;
    for (count, offset) in ["+0s", "+20s", "-20s"].into_iter().enumerate() {
        let said = called_at(&scene, offset).await;
        assert!(
            said.starts_with("200 ") && said.contains(r#""text":"hi""#),
            "{offset}: {said}"
        );
        assert_eq!(scene.calls(), count + 1);
    }
}

async fn two_minutes() {
    let scene = Scene::open().await;
    // The sidecar's certificate is from this moment, but for what it was back-dated by.
    refused(&called_at(&scene, "-110s").await, "expired");
    refused(&called_at(&scene, "+110s").await, "from the future");
    assert_eq!(scene.calls(), 0);
}

async fn five_minutes() {
    let scene = Scene::open().await;
    let fresh = called_at(&scene, "-5m").await;
    assert!(
        fresh.starts_with("no connection: ") && fresh.contains("not valid yet"),
        "{fresh}"
    );
    scene
        .sidecar
        .identity
        .replace_svid(svid(&scene.sidecar.ca.issue_as(&old(SERVER))))
        .unwrap();
    refused(&called_at(&scene, "-5m").await, "expired");
    refused(&called_at(&scene, "+5m").await, "from the future");
    let ended = called_at(&scene, "+37h").await;
    assert!(
        ended.starts_with("no connection: ") && ended.contains("expired"),
        "{ended}"
    );
    assert_eq!(scene.calls(), 0);
}
