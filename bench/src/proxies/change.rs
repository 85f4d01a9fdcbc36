//! From the moment a change is sent to the control plane until each proxy enforces it, as calls show it.
//!
//! Every proxy is called all the time, on a connection of its own, one call after the other with a pause between them. The
//! time of a change at a proxy ends with the first answer that shows it, so it holds what the pause and the answer itself
//! took. A proxy that goes back to what was before fails the run: something half taken over is worse than something late.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::{sync::watch, task::JoinSet};

use super::{
    line::{Line, Subject, Verdict},
    scene::{Role, Scene, Size, application, view},
};
use crate::{Failure, running::Core, serve};

/// The pause between an answer and the next call to the same proxy.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// How long all proxies may take for a change before the run has failed.
const CHANGE_MAX: Duration = Duration::from_secs(60);
/// A line that breaks while parts start is opened again after so long.
const AGAIN: Duration = Duration::from_millis(50);
/// Changes are sent so far apart, and up to as much again, another time each: a timer somewhere must not decide what is seen.
const APART: Duration = Duration::from_millis(150);

/// What is changed, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Hide,
    Show,
    Take,
    Give,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Hide, Self::Show, Self::Take, Self::Give];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hide => "a tool of all servers is hidden",
            Self::Show => "it is shown again",
            Self::Take => "the application loses the view",
            Self::Give => "it gets it back",
        }
    }

    fn serves(self) -> bool {
        matches!(self, Self::Show | Self::Give)
    }

    fn documents(self, size: Size) -> String {
        match self {
            Self::Hide => view(size, false),
            Self::Show => view(size, true),
            Self::Take => application(false),
            Self::Give => application(true),
        }
    }
}

/// When one proxy showed one change, and how long the API took to answer it.
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) number: u32,
    pub(super) role: Role,
    pub(super) took: Duration,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) seen: Vec<Seen>,
    /// How long the API took to answer each change.
    pub(super) answered: Vec<Duration>,
}

/// What every proxy should do now, and since when.
#[derive(Clone, Copy)]
struct Wanted {
    number: u32,
    serves: bool,
    since: Instant,
}

/// One proxy does what is wanted.
struct Shown {
    role: Role,
    number: u32,
    took: Duration,
}

/// Makes so many changes and sees each at every proxy. With none it only waits until all serve.
pub(super) fn run(scene: &mut Scene, size: Size, core: Core, changes: u32) -> Result<Found, Failure> {
    let subjects: Vec<Subject> = scene
        .proxies
        .iter()
        .map(|proxy| Subject::of(proxy, &scene.probe))
        .collect();
    let first = Wanted {
        number: 0,
        serves: true,
        since: Instant::now(),
    };
    let (want, wanted) = watch::channel(first);
    let (show, shown) = mpsc::channel();
    thread::scope(|scope| {
        let asking = scope.spawn(move || ask_all(&subjects, core, &wanted, &show));
        let found = change_all(scene, size, changes, &want, &shown);
        drop(want);
        let asked = asking.join().map_err(|_| "whoever asks the proxies broke".to_owned());
        asked.and_then(|asked| asked).and(found)
    })
}

fn change_all(
    scene: &mut Scene,
    size: Size,
    changes: u32,
    want: &watch::Sender<Wanted>,
    shown: &mpsc::Receiver<Shown>,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    everywhere(scene, shown, |_| ())?;
    for (number, kind) in (1..=changes).zip(Kind::ALL.into_iter().cycle()) {
        thread::sleep(APART + APART.mul_f64(f64::from(number * 37 % 100) / 100.0));
        let documents = kind.documents(size);
        let since = Instant::now();
        want.send_replace(Wanted {
            number,
            serves: kind.serves(),
            since,
        });
        scene.api.apply(&documents, false)?;
        found.answered.push(since.elapsed());
        everywhere(scene, shown, |shown| {
            found.seen.push(Seen {
                kind,
                number: shown.number,
                role: shown.role,
                took: shown.took,
            });
        })?;
    }
    Ok(found)
}

/// Waits until every proxy has shown what is wanted.
fn everywhere(scene: &mut Scene, shown: &mpsc::Receiver<Shown>, mut each: impl FnMut(Shown)) -> Result<(), Failure> {
    let start = Instant::now();
    for missing in (1..=scene.proxies.len()).rev() {
        let left = CHANGE_MAX.saturating_sub(start.elapsed());
        match shown.recv_timeout(left) {
            Ok(shown) => each(shown),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                scene.are_alive()?;
                return Err(format!(
                    "{missing} proxies did not show a change in {} s",
                    CHANGE_MAX.as_secs()
                ));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("nobody asks the proxies any more".to_owned()),
        }
    }
    Ok(())
}

/// Asks every proxy until nothing is wanted any more, all on this thread and its core.
fn ask_all(
    subjects: &[Subject],
    core: Core,
    wanted: &watch::Receiver<Wanted>,
    show: &mpsc::Sender<Shown>,
) -> Result<(), Failure> {
    if let Some(number) = core.number {
        let mut own = CpuSet::new();
        own.set(number);
        sched_setaffinity(None, &own).map_err(|e| format!("cannot take core {number}: {e}"))?;
    }
    serve::on_this_thread(async {
        let mut asking = JoinSet::new();
        for subject in subjects {
            asking.spawn(ask(subject.clone(), wanted.clone(), show.clone()));
        }
        while let Some(ended) = asking.join_next().await {
            ended.map_err(|e| e.to_string())??;
        }
        Ok(())
    })
}

async fn ask(subject: Subject, wanted: watch::Receiver<Wanted>, show: mpsc::Sender<Shown>) -> Result<(), Failure> {
    let mut line: Option<Line> = None;
    let mut settled = None;
    loop {
        let asked = match &mut line {
            Some(open) => open.ask().await,
            None => match subject.open().await {
                Ok(open) => {
                    line = Some(open);
                    continue;
                }
                Err(why) => Err(why),
            },
        };
        let now = Instant::now();
        if wanted.has_changed().is_err() {
            return Ok(());
        }
        let want = *wanted.borrow();
        let before = settled == Some(want.number);
        match asked {
            Ok(Verdict::Other(_)) | Err(_) if settled.is_none() => {
                line = None;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Ok(Verdict::Other(why)) | Err(why) => return Err(why),
            Ok(verdict) if (verdict == Verdict::Serves) == want.serves => {
                settled = Some(want.number);
                let shown = Shown {
                    role: subject.role,
                    number: want.number,
                    took: now.saturating_duration_since(want.since),
                };
                if !before && show.send(shown).is_err() {
                    return Ok(());
                }
            }
            Ok(_) if before => {
                return Err(format!(
                    "{:?} went back to what was before change {}",
                    subject.role, want.number
                ));
            }
            Ok(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
