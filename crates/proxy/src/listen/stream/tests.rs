#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::Semaphore;
use tokio::time::advance;

use super::*;
use crate::listen::caps::Caps;

const STALL: Duration = Duration::from_secs(30);

fn tracked(version: Version, bytes: usize) -> Tracked<Full<Bytes>> {
    let limits = Limits::default();
    let slot = Caps::new(&limits).take("192.0.2.1".parse().unwrap()).unwrap();
    let address = "192.0.2.1:1".parse().unwrap();
    let connection = Connection::new((address, address), false, version, &limits, slot, None);
    let in_flight = connection.begin(&Arc::default());
    Tracked::new(Full::from(vec![7; bytes]), &connection, in_flight, &limits)
}

#[tokio::test]
async fn h2_piece_bytes_one_below_at_and_one_above() {
    let (limit, larger) = (Limits::default().h2_piece_bytes, Limits::default().stream_buffer_bytes);
    for (version, limit) in [(Version::Http2, limit), (Version::Http1, larger)] {
        for (bytes, pieces) in [
            (limit - 1, vec![limit - 1]),
            (limit, vec![limit]),
            (limit + 1, vec![limit, 1]),
            (3 * limit, vec![limit; 3]),
        ] {
            let mut body = tracked(version, bytes);
            assert_eq!(body.size_hint().exact(), Some(bytes as u64));
            let mut came = Vec::new();
            while let Some(frame) = body.frame().await {
                came.push(frame.unwrap().into_data().unwrap().len());
                assert_eq!(body.is_end_stream(), came.len() == pieces.len());
            }
            assert_eq!(came, pieces, "{version:?} {bytes}");
        }
    }
}

/// A stream whose client takes a piece for each permit, until five are taken.
async fn stream(held: Arc<Held>, taken: Arc<Semaphore>) {
    for _ in 0..5 {
        held.waits.store(true, Ordering::Relaxed);
        held.pieces.fetch_add(1, Ordering::Relaxed);
        taken.acquire().await.unwrap().forget();
    }
    held.waits.store(false, Ordering::Relaxed);
    // The server takes its time now, and that is no fault of the client.
    tokio::time::sleep(10 * STALL).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_piece_waits_for_write_stall_time_ends_and_one_that_moves_does_not() {
    let refused = Arc::new(Refused::default());
    let (held, taken) = (Arc::<Held>::default(), Arc::new(Semaphore::new(0)));
    let mut moving = Box::pin(unless_stalled(
        Box::pin(stream(Arc::clone(&held), Arc::clone(&taken))),
        Arc::clone(&held),
        STALL,
        Arc::clone(&refused),
    ));
    for _ in 0..5 {
        assert!(moving.as_mut().now_or_never().is_none());
        advance(STALL - Duration::from_millis(2)).await;
        assert!(moving.as_mut().now_or_never().is_none(), "one below the limit");
        taken.add_permits(1);
    }
    assert!(moving.as_mut().now_or_never().is_none());
    moving.await;
    assert_eq!(refused.slow.load(Ordering::Relaxed), 0);

    let held = Arc::<Held>::default();
    let mut stalled = Box::pin(unless_stalled(
        Box::pin(stream(Arc::clone(&held), Arc::new(Semaphore::new(0)))),
        Arc::clone(&held),
        STALL,
        Arc::clone(&refused),
    ));
    assert!(stalled.as_mut().now_or_never().is_none());
    advance(STALL + Duration::from_millis(2)).await;
    assert!(stalled.as_mut().now_or_never().is_some());
    assert_eq!(refused.slow.load(Ordering::Relaxed), 1);
}
