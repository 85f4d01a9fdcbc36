//! Watching the mesh file and what it refers to.
//!
//! Editors and orchestrators do not write into a file: they put another in its place, or swap a link somewhere on the
//! way to it. So the directories are watched, each that a link on the way is in, and an event only says that it is time
//! to look. A look is a digest of the contents, taken when it has been quiet for a moment, so a file that is half
//! written is seldom seen and never twice. Where the system tells nothing (a network file system, no watches left), a
//! slow clock looks.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::reload::Reloader;

/// How long it must be quiet before the files are looked at.
const QUIET: Duration = Duration::from_millis(100);
/// How long a look waits for quiet at most.
const UNQUIET_MAX: Duration = Duration::from_secs(1);
/// How often the files are looked at whether or not anything was heard.
const LOOK: Duration = Duration::from_secs(5);
/// Links that are followed on the way to a file, as many as the kernel does.
const LINKS_MAX: usize = 40;

/// Names of files and links that matter; shared with the thread that hears of events.
type Names = Arc<Mutex<HashSet<OsString>>>;

/// Follows the files until `closing`, and reloads whenever something comes from `asked`.
pub(super) async fn follow(reloader: Reloader, mut asked: mpsc::Receiver<()>, closing: CancellationToken) {
    let watched = reloader.is_watched();
    let (heard, mut events) = mpsc::channel(1);
    let names = Names::default();
    let mut ear = if watched { Ear::open(heard.clone(), names) } else { None };
    let mut clock = interval(LOOK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(ear) = &mut ear
            && ear.turn_to(&reloader.files())
        {
            // What happened there before anybody listened was not heard.
            reloader.look().await;
            continue;
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            Some(()) = asked.recv() => {
                reloader.reload(false).await;
            }
            Some(()) = events.recv() => {
                settle(&mut events).await;
                reloader.look().await;
            }
            _ = clock.tick(), if watched => reloader.look().await,
        }
    }
}

/// Waits until nothing more is heard.
async fn settle(events: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + UNQUIET_MAX;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        match timeout_at(quiet, events.recv()).await {
            Ok(Some(())) if Instant::now() < latest => sleep(QUIET / 10).await,
            _ => return,
        }
    }
}

/// The system's events of some directories.
struct Ear {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    names: Names,
}

impl Ear {
    fn open(heard: mpsc::Sender<()>, names: Names) -> Option<Self> {
        let wanted = names.clone();
        let hear = move |event: notify::Result<Event>| {
            let matters = event.as_ref().map_or(true, |event| {
                let named = |path: &PathBuf| path.file_name().is_some_and(|name| wanted.lock().contains(name));
                !event.kind.is_access() && (event.need_rescan() || event.paths.iter().any(named))
            });
            if matters {
                // Full means that a look is due anyway.
                let _ = heard.try_send(());
            }
        };
        match notify::recommended_watcher(hear) {
            Ok(watcher) => Some(Self {
                watcher,
                directories: BTreeSet::new(),
                names,
            }),
            Err(error) => {
                tracing::warn!(%error, "the system tells of no changes; files are looked at every {LOOK:?}");
                None
            }
        }
    }

    /// Listens at every directory on the way to these files, and says whether there are others than before. A directory
    /// that was made anew is listened at anew.
    fn turn_to(&mut self, files: &[PathBuf]) -> bool {
        let mut directories = BTreeSet::new();
        let mut names = HashSet::new();
        for file in files {
            steps(file, &mut directories, &mut names);
        }
        *self.names.lock() = names;
        for gone in self.directories.difference(&directories) {
            // It may have been removed, and its watch with it.
            let _ = self.watcher.unwatch(gone);
        }
        for directory in &directories {
            if let Err(error) = self.watcher.watch(directory, RecursiveMode::NonRecursive)
                && self.directories.contains(directory)
            {
                tracing::debug!(directory = %directory.display(), %error, "the directory is not listened at");
            }
        }
        let others = self.directories != directories;
        self.directories = directories;
        others
    }
}

/// The directories that hold the file or a link on the way to it, and the names of both.
fn steps(file: &Path, directories: &mut BTreeSet<PathBuf>, names: &mut HashSet<OsString>) {
    let mut rest: Vec<OsString> = parts(file);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                directories.insert(at.clone());
                names.insert(part);
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(parts(&target));
            }
            _ if rest.is_empty() => {
                directories.insert(at.clone());
                names.insert(part);
            }
            _ => at = next,
        }
    }
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<OsString> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_link_on_the_way_to_a_file_is_watched_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        std::fs::create_dir_all(root.join("v1")).unwrap();
        std::fs::write(root.join("v1/mesh.yaml"), "").unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        link("v1", "..data");
        link("../..data/mesh.yaml", "etc/mesh.yaml");
        let (mut directories, mut names) = (BTreeSet::new(), HashSet::new());
        steps(&root.join("etc/mesh.yaml"), &mut directories, &mut names);
        let wanted: BTreeSet<PathBuf> = [root.clone(), root.join("etc"), root.join("v1")].into();
        assert_eq!(directories, wanted);
        assert_eq!(names, HashSet::from(["mesh.yaml".into(), "..data".into()]));
    }

    #[test]
    fn a_link_to_itself_ends() {
        let place = tempfile::tempdir().unwrap();
        let looped = place.path().join("loop");
        std::os::unix::fs::symlink(&looped, &looped).unwrap();
        let (mut directories, mut names) = (BTreeSet::new(), HashSet::new());
        steps(&looped, &mut directories, &mut names);
        assert!(names.contains(&OsString::from("loop")));
    }
}
