#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// A socket that notes what is written, takes as much as it is told to, and breaks when it is told to.
#[derive(Default)]
struct Socket {
    written: Vec<u8>,
    room: usize,
    breaks: bool,
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.breaks {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = self.room.min(buf.len());
        if count == 0 {
            return Poll::Pending;
        }
        self.room -= count;
        self.written.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn outlet(room: usize) -> Arc<Outlet<Socket>> {
    Outlet::new(Socket {
        room,
        ..Socket::default()
    })
}

fn written(outlet: &Outlet<Socket>) -> Vec<u8> {
    outlet.lock().io.written.clone()
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets `outlet` stand as a task of its own would; how often that task is woken.
fn stand(outlet: &Arc<Outlet<Socket>>, text: &[u8]) -> (Option<Lead>, Arc<Wakes>) {
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let lead = outlet.stand(&Context::from_waker(&waker), text.to_vec());
    (lead, wakes)
}

#[test]
fn all_that_stand_in_a_row_are_written_when_the_first_of_them_runs_again() {
    let all = [outlet(99), outlet(99), outlet(99)];
    let (lead, first) = stand(&all[0], b"one");
    let (none, second) = stand(&all[1], b"two");
    let (nor, third) = stand(&all[2], b"three");
    assert!(lead.is_some() && none.is_none() && nor.is_none());
    // Only the first has woken its task, which so runs after all that were ready.
    assert_eq!([first.count(), second.count(), third.count()], [1, 0, 0]);
    assert!(all.iter().all(|outlet| written(outlet).is_empty()));
    drop(lead);
    assert_eq!(
        all.each_ref().map(|outlet| written(outlet)),
        [&b"one"[..], b"two", b"three"]
    );
    assert_eq!([first.count(), second.count(), third.count()], [1, 0, 0]);
    assert!(all.iter().all(|outlet| outlet.lock().standing() == Standing::Nowhere));
}

#[test]
fn a_row_is_as_long_as_its_limit_and_who_comes_then_writes_at_once() {
    for (count, at_once) in [(ROW_MAX - 1, 0), (ROW_MAX, 0), (ROW_MAX + 1, 1)] {
        let all: Vec<_> = (0..count).map(|_| outlet(99)).collect();
        let leads: Vec<_> = all.iter().filter_map(|outlet| stand(outlet, b"x").0).collect();
        assert_eq!(leads.len(), 1);
        let wrote = || all.iter().filter(|outlet| written(outlet) == b"x").count();
        assert_eq!(wrote(), at_once, "{count}");
        drop(leads);
        assert_eq!(wrote(), count);
    }
}

#[test]
fn what_a_socket_does_not_take_goes_back_to_whoever_said_it() {
    let (first, full) = (outlet(99), outlet(3));
    let (lead, _) = stand(&first, b"one");
    let (_, wakes) = stand(&full, b"hello");
    drop(lead);
    assert_eq!(wakes.count(), 1, "its owner is to see that it takes no more");
    let cx = &mut Context::from_waker(Waker::noop());
    let mut held = full.lock();
    assert_eq!(held.standing(), Standing::Back(3));
    assert!(held.poll_out(cx).is_pending());
    held.io.room = 99;
    assert!(matches!(held.poll_out(cx), Poll::Ready(Ok(()))));
    assert_eq!(held.io.written, b"hello");
    drop(held);
    assert_eq!(written(&first), b"one");
}

#[test]
fn an_error_of_a_socket_is_left_to_its_owner_and_stops_nobody_behind_it() {
    let (broken, behind) = (outlet(99), outlet(99));
    broken.lock().io.breaks = true;
    let (lead, wakes) = stand(&broken, b"one");
    stand(&behind, b"two");
    drop(lead);
    assert_eq!((wakes.count(), written(&behind)), (2, b"two".to_vec()));
    let mut held = broken.lock();
    assert_eq!(held.standing(), Standing::Back(0));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(held.poll_out(cx), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
}

#[test]
fn what_is_taken_back_never_leaves() {
    let (first, second) = (outlet(99), outlet(99));
    let (lead, _) = stand(&first, b"one");
    stand(&second, b"two");
    assert_eq!(second.lock().take_back(), Some((b"two".to_vec(), 0)));
    drop(lead);
    assert_eq!(second.lock().take_back(), None);
    assert_eq!((written(&first), written(&second)), (b"one".to_vec(), Vec::new()));
}

#[test]
fn who_writes_out_of_turn_is_not_written_twice_by_the_row() {
    let (first, second) = (outlet(99), outlet(99));
    let (lead, _) = stand(&first, b"one");
    stand(&second, b"two");
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(second.lock().poll_out(cx), Poll::Ready(Ok(()))));
    // It may even stand in the same row again.
    stand(&second, b"three");
    drop(lead);
    assert_eq!(written(&second), b"twothree");
}

#[test]
fn a_row_that_another_thread_has_let_go_is_joined_by_nobody() {
    let (first, second) = (outlet(99), outlet(99));
    let (lead, _) = stand(&first, b"one");
    // As when its task has been taken over by another worker.
    std::thread::spawn(move || drop(lead)).join().unwrap();
    assert_eq!(written(&first), b"one");
    let (lead, _) = stand(&second, b"two");
    drop(lead.expect("a row of its own"));
    assert_eq!(written(&second), b"two");
}

#[test]
fn once_written_nobody_keeps_the_task_that_spoke() {
    let (first, second) = (outlet(99), outlet(99));
    let (lead, leader) = stand(&first, b"one");
    let (_, other) = stand(&second, b"two");
    second.lock().take_back();
    drop(lead);
    assert_eq!((Arc::strong_count(&leader), Arc::strong_count(&other)), (1, 1));
}
