//! How much progress a call may report.
//!
//! Progress is for people and for deadlines, and a server that reports a million steps would have every one of them
//! checked, rewritten and sent. So a call has a burst and then a steady number per second; of what comes faster only the
//! last is kept, and goes out when its time has come or the call is over, so that nobody stays at 98 %. Everything that is
//! not progress passes.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use meshgate_mcp::{Method, Rules, scan};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::{PROGRESS_BURST, PROGRESS_PER_SECOND};

/// The time that one notification of progress stands for.
const STEP: Duration = Duration::from_millis(1000 / PROGRESS_PER_SECOND as u64);
/// How far a call may be ahead of its time and still report at once.
const AHEAD_MAX: Duration = Duration::from_millis(1000 / PROGRESS_PER_SECOND as u64 * (PROGRESS_BURST as u64 - 1));

/// The progress of one call.
#[derive(Default)]
pub(super) struct Pace {
    /// When the progress that was let through would be due at a steady pace; `None` before the first.
    due: Option<Instant>,
    held: Option<Bytes>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What becomes of a message.
pub(super) enum Paced {
    /// It passes.
    Passes(Bytes),
    /// It waits for its time, or for a later one to take its place.
    Waits,
}

impl Pace {
    pub(super) fn pass(&mut self, message: Bytes) -> Paced {
        if !mentions_progress(&message) {
            return Paced::Passes(message);
        }
        let now = Instant::now();
        let due = self.due.map_or(now, |due| due.max(now));
        // What only mentions progress is never held; to tell is worth its time when something would be held.
        if due.duration_since(now) <= AHEAD_MAX && self.held.is_none() {
            self.due = Some(due + STEP);
            return Paced::Passes(message);
        }
        if !is_progress(&message) {
            return Paced::Passes(message);
        }
        self.held = Some(message);
        if self.alarm.is_none() {
            self.alarm = Some(Box::pin(sleep_until(due.checked_sub(AHEAD_MAX).unwrap_or(due))));
        }
        Paced::Waits
    }

    /// What waited, whether its time has come or not: something else is about to pass, or the call is over.
    pub(super) fn take_held(&mut self) -> Option<Bytes> {
        self.alarm = None;
        self.held.take()
    }

    /// What waited, once its time has come.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let due = self.alarm.as_mut()?.as_mut().poll(cx);
        if due == Poll::Pending {
            return None;
        }
        self.due = self.due.map(|due| due.max(Instant::now()) + STEP);
        self.take_held()
    }
}

/// Wakes this task again when everybody else has had a turn, whoever the network has news for too. A task that wakes
/// itself is run again at once, dozens of times before the runtime looks at its sockets, and all that time is taken from
/// the calls whose bytes have arrived.
pub(super) fn after_the_others(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

fn mentions_progress(message: &[u8]) -> bool {
    memchr::memmem::find(message, Method::Progress.as_str().as_bytes()).is_some()
}

fn is_progress(message: &[u8]) -> bool {
    scan(message, &Rules::SERVER).is_ok_and(|found| found.method_kind(message) == Method::Progress)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn progress(n: u32) -> Bytes {
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{n}}}}}"#
        );
        text.into()
    }

    fn passes(pace: &mut Pace, message: Bytes) -> bool {
        matches!(pace.pass(message), Paced::Passes(_))
    }

    #[tokio::test(start_paused = true)]
    async fn d08_a_burst_passes_up_to_its_limit_and_of_the_rest_the_last_is_kept() {
        let mut pace = Pace::default();
        let passed = (0..PROGRESS_BURST - 1)
            .filter(|n| passes(&mut pace, progress(*n)))
            .count();
        assert_eq!(passed, 19, "one below the limit");
        assert!(passes(&mut pace, progress(19)), "the limit");
        assert!(!passes(&mut pace, progress(20)), "one above");
        assert!(!passes(&mut pace, progress(21)));
        let text = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"text":"notifications/progress"}}"#);
        assert!(passes(&mut pace, text), "a mere mention is never held");
        assert_eq!(pace.take_held(), Some(progress(21)));
    }

    /// On one worker, as where there is one core: news on a socket is seen before the next turn but few.
    #[test]
    fn whoever_goes_on_after_the_others_goes_on_after_those_with_news_from_the_network_too() {
        use std::sync::atomic::{AtomicBool, Ordering};
        use tokio::io::AsyncReadExt as _;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let turns = runtime.block_on(async {
            let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
            near.set_nonblocking(true).unwrap();
            let heard = std::sync::Arc::new(AtomicBool::new(false));
            let (tell, listening) = (std::sync::Arc::clone(&heard), tokio::sync::oneshot::channel());
            let reader = tokio::spawn(async move {
                let mut near = tokio::net::UnixStream::from_std(near).unwrap();
                let mut read = std::pin::pin!(near.read_u8());
                // Waits at the socket before the other one begins.
                let waits = std::future::poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
                listening.0.send(waits).unwrap();
                read.await.unwrap();
                tell.store(true, Ordering::SeqCst);
            });
            let flood = tokio::spawn(async move {
                assert!(listening.1.await.unwrap());
                std::io::Write::write_all(&mut far, b"!").unwrap();
                let mut turns = 0;
                std::future::poll_fn(|cx| {
                    if heard.load(Ordering::SeqCst) {
                        return Poll::Ready(());
                    }
                    turns += 1;
                    after_the_others(cx);
                    Poll::Pending
                })
                .await;
                turns
            });
            reader.await.unwrap();
            flood.await.unwrap()
        });
        assert!(turns <= 4, "{turns} turns before a byte that had arrived");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_goes_out_when_its_time_has_come_and_the_pace_stays() {
        let mut pace = Pace::default();
        let began = Instant::now();
        let mut sent = 0;
        for n in 0..10_000 {
            sent += u32::from(passes(&mut pace, progress(n)));
            let held = std::future::poll_fn(|cx| Poll::Ready(pace.poll_held(cx))).await;
            sent += u32::from(held.is_some());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let seconds = u32::try_from(began.elapsed().as_secs()).unwrap();
        let most = PROGRESS_BURST + PROGRESS_PER_SECOND * seconds;
        assert!(
            sent <= most && sent >= most - PROGRESS_BURST,
            "{sent} of at most {most}"
        );
    }
}
