//! A server's reply, message by message, in the caller's words.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::StreamExt as _;
use meshgate_mcp::{Era, Rules, scan};

use super::CallContext;
use super::notes::outcome_of;
use crate::call::{Answered, Messages, Reply, Telling, Told};
use crate::classify::{Outcome, Reshape, Shaped};
use crate::refusal::{Executed, Reason, Refusal};
use crate::respond::fault;

/// Shapes a reply message by message. `era` is the server's.
pub(super) fn shaped(
    mut shape: Reshape,
    context: Arc<CallContext>,
    reply: Reply,
    era: Option<Era>,
) -> Result<Answered, Refusal> {
    let messages = match reply {
        Reply::Stream(messages) => messages,
        Reply::One(body) => {
            let shaped = shape.shape(&body);
            if shaped.is_err() {
                give_up(&shape, &body);
            }
            return match shaped? {
                Shaped::Response(body, outcome) => {
                    came_back(&context, era, outcome);
                    Ok(Answered::One(told(body, outcome)))
                }
                Shaped::Long(pieces, outcome) => {
                    came_back(&context, era, outcome);
                    Ok(Answered::One(Told::Pieces(pieces)))
                }
                Shaped::Lowered(pieces, outcome) => {
                    came_back(&context, era, outcome);
                    Ok(Answered::One(Told::Lowered(pieces)))
                }
                Shaped::Notification(_) | Shaped::Dropped(_) => Err(no_response()),
            };
        }
    };
    let state = Shaping {
        messages,
        shape: Box::new(shape),
        context,
        era,
        done: false,
    };
    let each = futures_util::stream::unfold(state, |mut state| async move {
        let next = state.next().await?;
        Some((next, state))
    });
    // A panic ends this answer, and no other one on the connection.
    let each = AssertUnwindSafe(each).catch_unwind();
    let telling: Telling = Box::pin(each.map(|next| next.unwrap_or_else(|_| Err(fault()))));
    Ok(Answered::Stream(telling))
}

struct Shaping {
    messages: Messages,
    shape: Box<Reshape>,
    context: Arc<CallContext>,
    era: Option<Era>,
    done: bool,
}

impl Shaping {
    async fn next(&mut self) -> Option<Result<Told, Refusal>> {
        if self.done {
            return None;
        }
        loop {
            let shaped = match self.messages.next().await {
                None => Err(no_response()),
                Some(message) => message.and_then(|body| {
                    let shaped = self.shape.shape(&body);
                    shaped.inspect_err(|_| give_up(&self.shape, &body))
                }),
            };
            let told = match shaped {
                Ok(Shaped::Dropped(why)) => {
                    tracing::debug!(why, "a message of the server is not passed on");
                    continue;
                }
                Ok(Shaped::Notification(body)) => return Some(Ok(Told::Notice(body))),
                Ok(Shaped::Response(body, outcome)) => {
                    came_back(&self.context, self.era, outcome);
                    Ok(told(body, outcome))
                }
                Ok(Shaped::Long(pieces, outcome)) => {
                    came_back(&self.context, self.era, outcome);
                    Ok(Told::Pieces(pieces))
                }
                Ok(Shaped::Lowered(pieces, outcome)) => {
                    came_back(&self.context, self.era, outcome);
                    Ok(Told::Lowered(pieces))
                }
                Err(refusal) => {
                    let refusal = refusal.at(self.context.by);
                    self.context.record.refused(&refusal);
                    Err(refusal)
                }
            };
            self.done = true;
            return Some(told);
        }
    }
}

/// A question that does not reach its client is not waited for: its call ends at the server, too.
fn give_up(shape: &Reshape, body: &[u8]) {
    let asked = scan(body, &Rules::SERVER).ok();
    let state = asked.and_then(|message| message.body_value(body, "requestState")?.str(body).map(Cow::into_owned));
    if let (Some(state), Some(server)) = (state, shape.view.servers.get(shape.destination.server)) {
        server.upstream.give_up(&shape.caller, &state);
    }
}

fn told(body: bytes::Bytes, outcome: Outcome) -> Told {
    match outcome {
        Outcome::Error(code) => Told::Error(body, code),
        Outcome::Done | Outcome::ToolError | Outcome::InputRequired => Told::Result(body),
    }
}

/// The server's answer is complete.
fn came_back(context: &CallContext, era: Option<Era>, outcome: Outcome) {
    context.record.came_back(era, |record| {
        (record.outcome, record.rpc_code) = outcome_of(outcome);
    });
}

fn no_response() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the server ended its answer without a response",
    )
}
