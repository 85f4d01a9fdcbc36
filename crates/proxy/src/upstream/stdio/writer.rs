//! What is written to a child: lines in their order, cancellations before them, and the last words when it is to end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::STATUS_MAX;
use super::routes::{Outbox, Routes};
use crate::upstream::limits::WRITE_BATCH_BYTES;

/// How long a child may take to read what waits for it when its input is closed.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

pub(super) async fn write(
    routes: Arc<Routes>,
    mut to: impl AsyncWrite + Unpin,
    mut outbox: Outbox,
    finish: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        batch.clear();
        tokio::select! {
            biased;
            () = finish.cancelled() => {
                write_last(&mut to, &mut outbox).await;
                // A process sees the end of its input when this is dropped; a pipe of another kind has to be told.
                let _ = to.shutdown().await;
                return;
            }
            Some(line) = outbox.cancels.recv() => push_line(&mut batch, &line),
            Some(first) = outbox.lines.recv() => {
                let mut next = Some(first);
                while let Some(outgoing) = next {
                    if outgoing.call.is_none_or(|call| call.begin_write()) {
                        push_line(&mut batch, &outgoing.line);
                    }
                    next = if batch.len() < WRITE_BATCH_BYTES { outbox.lines.try_recv().ok() } else { None };
                }
            }
            else => return,
        }
        if !batch.is_empty() && to.write_all(&batch).await.is_err() {
            // The exit status is about to say why.
            tokio::time::sleep(STATUS_MAX).await;
            return routes.close("server closed its standard input");
        }
        if batch.capacity() > WRITE_BATCH_BYTES * 2 {
            batch = Vec::new();
        }
    }
}

/// What waits to be written when the pipe is closed in peace: answers and cancellations, but no calls.
async fn write_last(to: &mut (impl AsyncWrite + Unpin), outbox: &mut Outbox) {
    let mut batch = Vec::new();
    while let Ok(outgoing) = outbox.lines.try_recv() {
        if outgoing.call.is_none() {
            push_line(&mut batch, &outgoing.line);
        }
    }
    while let Ok(line) = outbox.cancels.try_recv() {
        push_line(&mut batch, &line);
    }
    if !batch.is_empty() {
        // A child that does not read is ended all the same.
        let _ = tokio::time::timeout(LAST_WORDS_MAX, to.write_all(&batch)).await;
    }
}

fn push_line(batch: &mut Vec<u8>, line: &[u8]) {
    batch.extend_from_slice(line);
    batch.push(b'\n');
}
