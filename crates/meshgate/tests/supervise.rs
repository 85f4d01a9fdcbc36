//! SIGKILL of a whole gateway leaves nothing of its servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ignores the end of its input and every polite signal, after it has started a process in a session of
/// its own and one that was forked twice and ignores as much.
const NASTY: &str = r#"
trap '' TERM INT HUP
setsid sleep 1000 & first=$!
(sh -c 'trap "" TERM INT HUP; echo $$ > "$0.second"; while :; do sleep 1; done' "$1" & )
while [ ! -s "$1.second" ]; do sleep 0.05; done
echo "$$ $first $(cat "$1.second")" > "$1.part"
mv "$1.part" "$1"
while :; do sleep 1; done
"#;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn soon(what: &str, within: Duration, mut check: impl FnMut() -> bool) {
    let given_up = Instant::now() + within;
    while !check() {
        assert!(Instant::now() < given_up, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// Everything whose command line names the record, which only this test's processes do.
fn family(record: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        lives(pid) && String::from_utf8_lossy(&line).contains(record)
    })
    .collect()
}

#[test]
fn d29_sigkill_of_meshgate_leaves_no_descendant() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let record = path("pids");
    fs::write(path("nasty.sh"), NASTY).unwrap();
    let mesh = format!(
        "apiVersion: meshgate.dev/v1alpha1\nkind: Gateway\nmetadata: {{name: edge}}\n\
         spec: {{listeners: [{{address: \"127.0.0.1:0\"}}]}}\n---\n\
         apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: nasty}}\n\
         spec:\n  stdio: {{command: sh, args: [\"{}\", \"{record}\"]}}\n",
        path("nasty.sh")
    );
    fs::write(path("mesh.yaml"), mesh).unwrap();
    let gateway = Command::new(env!("CARGO_BIN_EXE_meshgate"))
        .args(["up", &path("mesh.yaml"), "--state", &path("state")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let mut gateway = Killed(gateway);
    let said = || fs::read_to_string(path("stderr")).unwrap();
    soon("the server's record", Duration::from_secs(20), || {
        assert!(gateway.0.try_wait().unwrap().is_none(), "{}", said());
        fs::metadata(&record).is_ok()
    });
    let mut pids: Vec<String> = fs::read_to_string(&record)
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(pids.len(), 3);
    // The supervisor's command line names the record, too.
    pids.extend(family(&record));
    assert!(pids.len() >= 5 && pids.iter().all(|pid| lives(pid)), "{pids:?}");

    gateway.0.kill().unwrap();
    gateway.0.wait().unwrap();
    soon("the end of every descendant", Duration::from_secs(5), || {
        pids.iter().all(|pid| !lives(pid))
    });
    assert_eq!(family(&record), Vec::<String>::new());
}
