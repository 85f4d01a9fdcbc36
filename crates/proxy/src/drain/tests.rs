#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::{Drained, drain};

#[tokio::test(start_paused = true)]
async fn work_that_finishes_in_time_is_not_forced() {
    let (drainer, watch) = drain();
    let work = watch.work();
    let task = tokio::spawn(async move {
        watch.asked().await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(work);
    });
    assert_eq!(
        drainer.drain(Duration::from_secs(30)).await,
        Drained { finished: 1, forced: 0 }
    );
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_stays_is_broken_off_at_the_deadline() {
    let (drainer, watch) = drain();
    let (quick, slow) = (watch.work(), watch.work());
    let begun = tokio::time::Instant::now();
    let task = tokio::spawn(async move {
        watch.asked().await;
        drop(quick);
        watch.forced().await;
        drop(slow);
    });
    assert_eq!(
        drainer.drain(Duration::from_secs(30)).await,
        Drained { finished: 1, forced: 1 }
    );
    assert_eq!(begun.elapsed().as_secs(), 30);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_work_ends_at_once() {
    let (drainer, watch) = drain();
    assert!(!watch.is_asked());
    assert_eq!(
        drainer.drain(Duration::from_secs(30)).await,
        Drained { finished: 0, forced: 0 }
    );
    assert!(watch.is_asked());
}
