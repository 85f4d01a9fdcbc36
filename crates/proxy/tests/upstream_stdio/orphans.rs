//! What is left when the gateway is gone: nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use meshgate_proxy::supervise;

use super::{lives, soon, spawn, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("d29_a_killed_gateway_leaves_no_descendant", d29_killed_gateway),
        trial(
            "d29_a_killed_gateway_leaves_no_child_that_ignores_eof_and_sigterm",
            d29_stubborn_child,
        ),
        trial("d29_a_killed_supervisor_takes_its_server_along", d29_killed_supervisor),
        trial("d29_a_supervisor_told_to_end_leaves_no_descendant", d29_told_supervisor),
        trial(
            "a127_a_killed_supervisor_leaves_no_grandchild_in_a_session_of_its_own",
            a127_killed_supervisor,
        ),
        trial(
            "a127_a_server_that_forks_without_end_is_ended_with_all_it_started",
            a127_forks,
        ),
        trial("a127_a_server_that_stops_itself_is_ended_all_the_same", a127_stopped),
        trial("a_closed_link_leaves_no_descendant", a_closed_link),
        trial("a_dropped_link_leaves_no_descendant", a_dropped_link),
        trial(
            "descendants_of_a_server_that_ended_by_itself_end_too",
            a_server_that_ended,
        ),
        trial("a_supervisor_is_small", a_supervisor_is_small),
        trial(
            "a120_a_gateway_is_closed_to_its_children_and_starts_them_all_the_same",
            a120_closed,
        ),
    ]
}

/// A gateway with one child; lives until it is killed.
pub(super) fn gateway(what: &str, record: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let _link = spawn(&[what, record]).await;
        tokio::time::sleep(Duration::from_secs(1000)).await;
    });
    ExitCode::SUCCESS
}

struct Scene {
    gateway: Child,
    /// What the child has started, and itself.
    pids: Vec<u32>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn set(what: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("pids");
        let gateway = Command::new(std::env::current_exe().unwrap())
            .args(["gateway", what, record.to_str().unwrap()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pids = read_pids(&record).await;
        assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
        Self {
            gateway,
            pids,
            _folder: folder,
        }
    }

    /// The process ids of the gateway's own children.
    fn supervisors(&self) -> Vec<u32> {
        children_of(self.gateway.id())
    }

    async fn all_gone(&self, since: Instant) {
        soon("the end of every descendant", || {
            self.pids.iter().all(|pid| !lives(*pid))
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(15));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

async fn read_pids(record: &Path) -> Vec<u32> {
    soon("the child's record", || record.exists()).await;
    std::fs::read_to_string(record)
        .unwrap()
        .lines()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

fn kill(pid: u32, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

async fn d29_killed_gateway() {
    let mut scene = Scene::set("orphans").await;
    let supervisors = scene.supervisors();
    assert_eq!((supervisors.len(), scene.pids.len()), (1, 5));
    scene.pids.extend(supervisors);
    let killed = Instant::now();
    scene.gateway.kill().unwrap();
    scene.gateway.wait().unwrap();
    scene.all_gone(killed).await;
}

async fn d29_stubborn_child() {
    let mut scene = Scene::set("stubborn").await;
    let supervisors = scene.supervisors();
    scene.pids.extend(supervisors);
    let killed = Instant::now();
    scene.gateway.kill().unwrap();
    scene.gateway.wait().unwrap();
    scene.all_gone(killed).await;
}

async fn d29_killed_supervisor() {
    let scene = Scene::set("stubborn").await;
    let killed = Instant::now();
    kill(scene.supervisors()[0], "-KILL");
    scene.all_gone(killed).await;
}

async fn a127_killed_supervisor() {
    let scene = Scene::set("orphans").await;
    let killed = Instant::now();
    kill(scene.supervisors()[0], "-KILL");
    scene.all_gone(killed).await;
}

/// Forks as fast as it can, up to a number that this machine bears; nothing limits it, so everything must be found.
async fn a127_forks() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(&folder);
    let link = spawn(&["forks", path.to_str().unwrap()]).await;
    let pids = read_pids(&path).await;
    assert!(pids.len() >= 100 && pids.iter().all(|pid| lives(*pid)));
    drop(link);
    soon("the end of every fork", || pids.iter().all(|pid| !lives(*pid))).await;
}

async fn a127_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(&folder);
    let link = spawn(&["stubborn", path.to_str().unwrap()]).await;
    let mut pids = read_pids(&path).await;
    kill(pids[0], "-STOP");
    pids.extend(link.pid());
    drop(link);
    soon("the end of the stopped server", || pids.iter().all(|pid| !lives(*pid))).await;
}

async fn d29_told_supervisor() {
    let scene = Scene::set("orphans").await;
    let told = Instant::now();
    kill(scene.supervisors()[0], "-TERM");
    scene.all_gone(told).await;
}

fn record(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("pids")
}

async fn a_closed_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(&folder);
    let link = spawn(&["orphans", path.to_str().unwrap()]).await;
    let pids = read_pids(&path).await;
    // The server itself ends with its input; one of its descendants must be killed for that.
    link.close().await;
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
    assert_eq!(link.close_reason().as_deref(), Some("server process ended"));
}

async fn a_dropped_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(&folder);
    let link = spawn(&["stubborn", path.to_str().unwrap()]).await;
    let mut pids = read_pids(&path).await;
    pids.extend(link.pid());
    drop(link);
    soon("the end of every descendant", || pids.iter().all(|pid| !lives(*pid))).await;
}

async fn a_server_that_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(&folder);
    let link = spawn(&["orphans", path.to_str().unwrap()]).await;
    let pids = read_pids(&path).await;
    kill(pids[0], "-KILL");
    link.closed().await;
    assert!(pids.iter().all(|pid| !lives(*pid)), "{pids:?}");
    assert_eq!(
        link.close_reason().as_deref(),
        Some("server process was killed by signal 9")
    );
}

async fn a120_closed() {
    use rustix::process::{DumpableBehavior, dumpable_behavior};
    supervise::close_to_children().unwrap();
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let link = spawn(&["echo"]).await;
    let supervisor = link.pid().unwrap();
    // Between the two stands the supervisor, which has nothing to hide: its environment is the child's own.
    soon("the supervisor's name", || {
        std::fs::read_to_string(format!("/proc/{supervisor}/comm")).is_ok_and(|name| name.trim() == "mcp-supervisor")
    })
    .await;
    let environment = std::fs::read_to_string(format!("/proc/{supervisor}/environ")).unwrap();
    assert!(
        environment.contains("SCRIPTED=yes") && !environment.contains("CARGO"),
        "{environment}"
    );
}

async fn a_supervisor_is_small() {
    let link = spawn(&["echo"]).await;
    let pid = link.pid().unwrap();
    soon("the supervisor's name", || {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "mcp-supervisor")
    })
    .await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |start: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert_eq!(field("Threads:"), 1);
    assert!(field("RssAnon:") < 2048, "{} KiB of its own", field("RssAnon:"));
}
