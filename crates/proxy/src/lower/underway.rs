//! A call on its way, with whoever waits for the first thing it says.
//!
//! Most calls have an answer and nothing else, soon. They run in place, without a task, a queue or a second timer of
//! their own. A call becomes a task of the face only when it outlives its request: because it speaks before its answer,
//! because it has been silent for long, or because its client has gone away, which in the legacy eras cancels nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::running::First;
use super::session::Fate;
use crate::refusal::{Executed, Reason, Refusal};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A call that runs for as long as somebody waits here, and as a task from then on.
pub(super) struct Underway<'a> {
    /// Nothing once it has ended.
    work: Option<Work>,
    fate: Arc<Fate>,
    deadline: Instant,
    inner: &'a Inner,
}

impl<'a> Underway<'a> {
    pub(super) fn new(work: impl Future<Output = ()> + Send + 'static, fate: Arc<Fate>, inner: &'a Inner) -> Self {
        Self {
            work: Some(Box::pin(work)),
            fate,
            deadline: Instant::now() + inner.limits.call_max,
            inner,
        }
    }

    /// The first thing the call says, at the latest after `silent_max`, or when another call of its batch has `spoken`.
    pub(super) async fn first(
        mut self,
        mut response: oneshot::Receiver<First>,
        silent_max: Option<Duration>,
        spoken: Option<&CancellationToken>,
    ) -> First {
        let silence = silent_max.map_or(self.deadline, |max| self.deadline.min(Instant::now() + max));
        let others = async {
            match spoken {
                Some(spoken) => spoken.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let said = tokio::select! {
            biased;
            said = &mut response => return said.unwrap_or_else(|_| ended()),
            () = self.work() => None,
            () = others => Some(()),
            () = sleep_until(silence) => Some(()),
        };
        if said.is_none() {
            return response.try_recv().unwrap_or_else(|_| ended());
        }
        if silent_max.is_none() {
            // A client that reads no streams waits for the answer, whatever it is.
            self.fate.expire();
            self.work().await;
            return response.try_recv().unwrap_or_else(|_| ended());
        }
        // Closed before it is looked at a last time: an answer is either here now or goes onto the stream.
        response.close();
        response.try_recv().unwrap_or(First::Silence)
    }

    /// Runs the call to its end. Giving up waiting loses nothing.
    async fn work(&mut self) {
        if let Some(work) = &mut self.work {
            work.await;
        }
        self.work = None;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Some(mut work) = self.work.take() else { return };
        let (fate, deadline) = (Arc::clone(&self.fate), self.deadline);
        // Without a runtime everything ends, and this as well.
        let Ok(runtime) = Handle::try_current() else { return };
        let rest = async move {
            tokio::select! {
                biased;
                () = &mut work => return,
                () = sleep_until(deadline) => fate.expire(),
            }
            work.await;
        };
        self.inner.tasks.spawn_on(rest, &runtime);
    }
}

fn ended() -> First {
    First::Refused(Refusal::server(
        Reason::Internal,
        Executed::Unknown,
        "the call ended without an answer",
    ))
}
