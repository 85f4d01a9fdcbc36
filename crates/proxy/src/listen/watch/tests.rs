#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, advance};

use super::{Verdict, Watch};
use crate::limits::Limits;
use crate::listen::caps::Caps;
use crate::listen::connection::Connection;
use crate::listen::wire::Version;

const AGE: Duration = Duration::from_secs(3600);

fn connection(version: Version) -> Arc<Connection> {
    let limits = Limits::default();
    let slot = Caps::new(&limits).take("192.0.2.1".parse().unwrap()).unwrap();
    let address = "192.0.2.1:1".parse().unwrap();
    Connection::new((address, address), false, version, &limits, slot, None)
}

async fn after(seconds: u64, watch: &mut Watch, connection: &Connection) -> Verdict {
    advance(Duration::from_secs(seconds)).await;
    watch.look(connection, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_is_finished_after_its_idle_time() {
    let connection = connection(Version::Http1);
    let mut watch = Watch::new(&Limits::default(), Instant::now(), AGE);
    let call = connection.begin(&Arc::default());
    assert_eq!(after(100, &mut watch, &connection).await, Verdict::GoOn);
    drop(call);
    assert_eq!(after(74, &mut watch, &connection).await, Verdict::GoOn);
    assert_eq!(after(1, &mut watch, &connection).await, Verdict::Finish);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_finished_but_its_call_is_waited_for() {
    let connection = connection(Version::Http2);
    let mut watch = Watch::new(&Limits::default(), Instant::now(), AGE);
    let call = connection.begin(&Arc::default());
    assert_eq!(after(3599, &mut watch, &connection).await, Verdict::GoOn);
    assert_eq!(after(1, &mut watch, &connection).await, Verdict::Finish);
    assert_eq!(after(500, &mut watch, &connection).await, Verdict::GoOn);
    drop(call);
    assert_eq!(after(29, &mut watch, &connection).await, Verdict::GoOn);
    assert_eq!(
        after(1, &mut watch, &connection).await,
        Verdict::BreakOff,
        "the client does not close"
    );
}

#[tokio::test(start_paused = true)]
async fn in_http1_a_last_request_is_waited_for_and_its_answer_says_close() {
    let connection = connection(Version::Http1);
    let mut watch = Watch::new(&Limits::default(), Instant::now(), AGE);
    assert!(!connection.says_close());
    watch.ask(&connection, Instant::now());
    assert!(connection.says_close());
    assert_eq!(after(0, &mut watch, &connection).await, Verdict::GoOn);
    let call = connection.begin(&Arc::default());
    assert_eq!(
        after(20, &mut watch, &connection).await,
        Verdict::GoOn,
        "it may take its time"
    );
    drop(call);
    assert_eq!(after(0, &mut watch, &connection).await, Verdict::GoOn);
    assert_eq!(after(1, &mut watch, &connection).await, Verdict::Finish);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_its_server_is_not_a_stall() {
    let connection = connection(Version::Http2);
    let mut watch = Watch::new(&Limits::default(), Instant::now(), AGE);
    let mut call = connection.begin(&Arc::default());
    call.offer(true);
    call.offer(false);
    for _ in 0..10 {
        assert_eq!(after(30, &mut watch, &connection).await, Verdict::GoOn);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_its_client_is_a_stall() {
    let connection = connection(Version::Http2);
    let mut watch = Watch::new(&Limits::default(), Instant::now(), AGE);
    let mut call = connection.begin(&Arc::default());
    call.offer(true);
    for _ in 0..10 {
        connection.sent().fetch_add(1, Ordering::Relaxed);
        assert_eq!(
            after(15, &mut watch, &connection).await,
            Verdict::GoOn,
            "it takes something"
        );
    }
    assert_eq!(after(15, &mut watch, &connection).await, Verdict::GoOn);
    assert_eq!(after(15, &mut watch, &connection).await, Verdict::BreakOff);
}
