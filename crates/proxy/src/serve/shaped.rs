//! A server's reply, message by message, in the caller's words.

use std::sync::Arc;

use futures_util::StreamExt as _;

use super::CallContext;
use super::notes::note_outcome;
use crate::call::{Messages, Reply};
use crate::classify::{Reshape, Shaped};
use crate::refusal::{Executed, Reason, Refusal};

/// Shapes a reply message by message.
pub(super) fn shaped(mut shape: Reshape, context: Arc<CallContext>, reply: Reply) -> Result<Reply, Refusal> {
    let messages = match reply {
        Reply::Stream(messages) => messages,
        Reply::One(body) => {
            context.record.came_back();
            return match shape.shape(&body)? {
                Shaped::Response(body, outcome) => {
                    note_outcome(&context.record, &shape, &body, outcome);
                    Ok(Reply::One(body))
                }
                Shaped::Notification(_) | Shaped::Dropped(_) => Err(no_response()),
            };
        }
    };
    let state = (messages, shape, context, false);
    let stream: Messages = Box::pin(futures_util::stream::unfold(
        state,
        |(mut messages, mut shape, context, done)| async move {
            if done {
                return None;
            }
            loop {
                let next = match messages.next().await {
                    None => Err(no_response()),
                    Some(Err(refusal)) => Err(refusal),
                    Some(Ok(body)) => match shape.shape(&body) {
                        Ok(Shaped::Dropped(why)) => {
                            tracing::debug!(why, "a message of the server is not passed on");
                            continue;
                        }
                        Ok(Shaped::Notification(body)) => return Some((Ok(body), (messages, shape, context, false))),
                        Ok(Shaped::Response(body, outcome)) => {
                            context.record.came_back();
                            note_outcome(&context.record, &shape, &body, outcome);
                            Ok(body)
                        }
                        Err(refusal) => Err(refusal),
                    },
                };
                if let Err(refusal) = &next {
                    context.record.refused(refusal);
                }
                return Some((next, (messages, shape, context, true)));
            }
        },
    ));
    Ok(Reply::Stream(stream))
}

fn no_response() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the server ended its answer without a response",
    )
}
