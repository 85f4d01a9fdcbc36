//! What is tried, and when.

use std::time::Duration;

/// How large the mesh is, and how long it is watched.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Proxies, gateways among them.
    pub proxies: usize,
    /// Servers; the sidecars are spread over them.
    pub servers: usize,
    /// Replicas of the one gateway.
    pub gateways: usize,
    /// What chance begins with.
    pub seed: u64,
    /// A fault to be found.
    pub plant: Option<Plant>,
}

/// Faults that the judgement must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// One proxy puts only half of a change in force.
    Half,
    /// The control plane forgets to wake one stream.
    Forget,
}

/// Something that happens to all, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A measurement begins under this name.
    Phase(&'static str),
    /// One server's document changes.
    ChangeOne,
    /// The document of the mesh changes, which everybody has.
    ChangeAll,
    /// Somebody is denied, which everybody must know.
    Deny,
    /// An endpoint leaves, which gateways must know.
    Endpoint,
    /// A view changes into something that every fourth sidecar refuses.
    Spoil,
    /// And is mended.
    Mend,
    /// The control plane is killed.
    Kill,
    /// It is started again, with its store.
    Start,
    /// From now on streams break and proxies are slow.
    Faults,
    /// No longer.
    Calm,
    /// Everybody must have everything.
    Judge,
}

pub(crate) const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Plan {
    /// When everybody should be connected at the latest, from a standing start.
    fn crowd(&self) -> u64 {
        let seconds = self.proxies / usize::try_from(meshgate_sync::limits::ADMITTED_PER_SECOND).unwrap_or(1);
        u64::try_from(seconds).unwrap_or(0) + 50
    }

    pub(crate) fn steps(&self) -> Vec<(Duration, Step)> {
        let mut steps = vec![(at(0), Step::Phase("everybody starts at once")), (at(0), Step::Start)];
        let mut now = self.crowd();
        steps.push((at(now - 1), Step::Judge));
        let mut each = |name: &'static str, step: Step, times: u64| {
            steps.push((at(now), Step::Phase(name)));
            for _ in 0..times {
                now += 3;
                steps.push((at(now), step));
            }
            now += 3;
            steps.push((at(now), Step::Judge));
        };
        each("one server's document changes", Step::ChangeOne, 10);
        each("a document that everybody has changes", Step::ChangeAll, 3);
        each("an identity is denied", Step::Deny, 3);
        each("an endpoint leaves", Step::Endpoint, 10);
        now += 1;
        steps.push((at(now), Step::Phase("a change that some proxies refuse, and a denial")));
        steps.push((at(now + 1), Step::Spoil));
        steps.push((at(now + 5), Step::Deny));
        steps.push((at(now + 10), Step::Mend));
        steps.push((at(now + 14), Step::Judge));
        now += 15;
        steps.push((at(now), Step::Phase("the control plane is killed, and back after 20 s")));
        steps.push((at(now), Step::Kill));
        steps.push((at(now + 20), Step::Start));
        now += 20 + self.crowd();
        steps.push((at(now), Step::Judge));
        now += 1;
        steps.push((at(now), Step::Phase("changes while streams break and proxies are slow")));
        steps.push((at(now), Step::Faults));
        for change in 0..60 {
            let step = [Step::ChangeOne, Step::Endpoint, Step::ChangeOne, Step::ChangeAll][change % 4];
            steps.push((
                at(now) + Duration::from_millis(500 * u64::try_from(change).unwrap_or(0)),
                step,
            ));
        }
        steps.push((at(now + 15), Step::Kill));
        steps.push((at(now + 17), Step::Start));
        steps.push((at(now + 30), Step::Calm));
        steps.push((at(now + 30 + self.crowd() + 60), Step::Judge));
        steps.sort_by_key(|(at, _)| *at);
        steps
    }
}
