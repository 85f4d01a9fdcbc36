//! Several messages of a 2025-03-26 client in one request, and their one response.
//!
//! The calls of a batch run side by side. As long as each of them only has an answer to give, the response is an array.
//! As soon as one has to say something before its answer, a question above all, the response becomes one stream: nobody
//! waits for the slowest call to be asked something, and a client whose connection breaks takes up one stream with one
//! event id and misses the answer of no call.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use meshgate_bridge::eras::cannot;
use meshgate_mcp::{Message, Method};
use tokio_util::sync::CancellationToken;

use super::edge::method_of;
use super::errors::error_message;
use super::outbox::Outbox;
use super::session::Session;
use super::{Answer, Edge, Lower, Part, empty, json, sse};
use crate::observe::CallRecord;
use crate::refusal::{Reason, Refusal};

/// The session that takes a batch.
pub struct Taken(Arc<Session>);

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Taken").field(&self.0.revision.name).finish()
    }
}

/// What the calls of one batch share.
pub(super) struct Joint {
    /// Where everything is said once there is more to say than answers.
    pub(super) outbox: Arc<Outbox>,
    /// Cancelled when the response has become a stream.
    pub(super) spoken: CancellationToken,
}

impl Lower {
    /// Whether the session of these headers takes a batch of these messages. Only 2025-03-26 has batches.
    pub fn takes_batch(&self, edge: &Edge<'_>, messages: &[(Bytes, Message)]) -> Result<Taken, Refusal> {
        let session = self.session(edge)?;
        if !session.revision.batching {
            return Err(Refusal::new(Reason::InvalidRequest, cannot::BATCH.words));
        }
        if messages
            .iter()
            .any(|(body, msg)| method_of(body, msg) == Method::Initialize)
        {
            return Err(Refusal::new(
                Reason::InvalidRequest,
                "initialize cannot be part of a batch; send it alone",
            ));
        }
        Ok(Taken(session))
    }

    /// POST of a batch that is taken: its messages run side by side and share one response. A message that is refused is
    /// answered for itself, because the others run.
    pub async fn post_batch(&self, Taken(session): Taken, parts: Vec<Part<'_>>) -> Answer {
        let joint = Joint {
            outbox: self.inner.new_stream(session.next_stream(), session.revision),
            spoken: CancellationToken::new(),
        };
        let reader = joint.outbox.attach();
        let running = parts.iter().map(|part| {
            let (session, joint) = (&session, &joint);
            Box::pin(async move {
                let answer = self.take(&part.edge, Some(joint), part.body, part.message).await;
                match answer.unwrap_or_else(|refusal| refused(part, &refusal, session)) {
                    Answer::Json { body, .. } => {
                        count(part.edge.record, body.len());
                        Some(body)
                    }
                    Answer::Sse { .. } | Answer::Empty { .. } => None,
                }
            })
        });
        let answers = futures_util::future::join_all(running).await;
        let bodies: Vec<Bytes> = answers.into_iter().flatten().collect();
        if !joint.spoken.is_cancelled() {
            let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
            return if bodies.is_empty() {
                empty(StatusCode::ACCEPTED)
            } else {
                json([b"[".as_slice(), &bodies.join(b",".as_slice()), b"]"].concat())
            };
        }
        let outbox = Arc::clone(&joint.outbox);
        // A task, because the stream takes only so much before somebody reads it, and nobody does before this returns.
        self.inner.tasks.spawn(async move {
            for body in bodies {
                outbox.push(&body).await;
            }
            outbox.done();
        });
        session.keep_stream(joint.outbox);
        reader.map_or_else(|| empty(StatusCode::ACCEPTED), sse)
    }
}

fn refused(part: &Part<'_>, refusal: &Refusal, session: &Session) -> Answer {
    part.edge.note(refusal);
    let Some(id) = &part.message.id else {
        return empty(StatusCode::ACCEPTED);
    };
    let method = method_of(part.body, part.message);
    json(error_message(id.raw(part.body), refusal, method, session.revision))
}

/// Counts what is said for a call in the call's own record.
fn count(record: Option<&CallRecord>, bytes: usize) {
    if let Some(record) = record {
        record.leaves(bytes);
    }
}
