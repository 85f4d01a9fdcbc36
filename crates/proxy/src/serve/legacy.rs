//! The legacy face: from a request of a session to the answer of its revision.
//!
//! All of the era's own rules are in [`crate::lower`]; what is given to it here is who calls, what the view offers, and a
//! way inside that takes modern requests. That way looks the view up anew for each request, so that a session that lives
//! for hours sees what is true now.

use super::{
    Arc, By, Bytes, CallContext, CallRecord, Caller, Core, Edge, Message, Parts, Reason, Refusal, ReplyBody, Response,
    Verb, gateway_identity, respond,
};
use futures_util::StreamExt as _;
use meshgate_model::Digest;

use crate::authenticate;
use crate::authorize::{Standing, use_view};
use crate::limit::Place;
use crate::lower::{Answer, Dispatch, Edge as Session, Offered, Part};

impl Edge {
    /// GET and DELETE within a session.
    pub(super) async fn attached(&self, context: CallContext, parts: &Parts) -> Result<Response<ReplyBody>, Refusal> {
        let offered = offered(&context);
        let edge = self.edge(&context, parts, &offered);
        let answer = if parts.method == Verb::GET {
            let answer = self.lower.get(&edge).await?;
            let token = authenticate::presented(&parts.headers);
            self.while_standing(answer, &context, token)
        } else {
            self.lower.delete(&edge).await?
        };
        Ok(response(answer))
    }

    /// A GET stream ends when its caller may no longer have it; the session's own end is none of its business.
    fn while_standing(&self, answer: Answer, context: &CallContext, token: Option<Digest>) -> Answer {
        let Answer::Sse { headers, events } = answer else {
            return answer;
        };
        let standing = Standing::new(&self.core.catalogues, &context.view, &context.caller, token);
        let events = Box::pin(events.take_until(Box::pin(standing.lost())));
        Answer::Sse { headers, events }
    }

    /// One message of a legacy client.
    pub(super) async fn lowered(
        &self,
        context: CallContext,
        parts: &Parts,
        (body, message): (Bytes, Box<Message>),
    ) -> Result<Response<ReplyBody>, Refusal> {
        let offered = offered(&context);
        let edge = self.edge(&context, parts, &offered);
        // From here on the client may leave: its call runs in its session, and the record waits for its end.
        context.record.goes_on();
        Ok(response(self.lower.post(&edge, &body, &message).await?))
    }

    /// Whether a request may be several messages: it is of a session of a revision that has batches.
    pub(super) fn takes_batches(&self, context: &CallContext, parts: &Parts) -> bool {
        let revision = self
            .lower
            .revision(&parts.headers, &context.caller, &context.view.view.name);
        revision.is_some_and(|revision| revision.batching)
    }

    /// Several messages of a 2025-03-26 client, taken apart. Each is a call of its own, with a record of its own.
    pub(super) fn split(&self, whole: CallContext, parts: &Parts, body: &Bytes) -> Result<Batch, Refusal> {
        super::admit::check_once(&parts.headers)?;
        let tolerant = whole.view.tolerates_duplicates;
        let rules = super::admit::rules(&self.core.limits, tolerant);
        let spans = meshgate_mcp::batch(body, &rules)
            .map_err(|e| Refusal::new(Reason::InvalidRequest, e.to_string()).rule("limit/batch"))?;
        let messages: Result<Vec<(Bytes, Message)>, Refusal> = spans
            .into_iter()
            .map(|span| {
                let part = body.slice(span.start as usize..span.end as usize);
                let message = super::admit::scan(&part, &self.core.limits, tolerant)?;
                Ok((part, *message))
            })
            .collect();
        Ok(Batch {
            messages: messages?,
            whole,
        })
    }

    /// Runs the messages of a batch side by side and answers in one piece.
    pub(super) async fn batched(
        &self,
        batch: Batch,
        over: Option<Box<Refusal>>,
        parts: &Parts,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Batch { whole, messages } = batch;
        super::refuse(over)?;
        // The request itself has been counted as one.
        let more = u32::try_from(messages.len()).unwrap_or(u32::MAX).saturating_sub(1);
        if !whole.view.view.limits_lifted {
            self.core.rate.admit(whole.caller.binding(), more, super::now())?;
        }
        let offered = offered(&whole);
        let (headers, caller) = (&parts.headers, &whole.caller);
        let taken = self.lower.takes_batch(&self.edge(&whole, parts, &offered), &messages)?;
        let records: Vec<CallRecord> = messages
            .iter()
            .map(|(body, message)| {
                let record = self.core.observer.part(&whole.record);
                super::note_arrival(&record, body, Some(super::Face::Legacy), Some(message));
                record.goes_on();
                record
            })
            .collect();
        whole.record.discard();
        let calls = messages.iter().zip(&records).map(|((body, message), record)| Part {
            edge: Session {
                headers,
                caller,
                offered: &offered,
                dispatch: self.core.way_inside(&whole, record),
                record: Some(record),
            },
            body,
            message,
        });
        let answer = response(self.lower.post_batch(taken, calls.collect()).await);
        for record in &records {
            record.note(|r| r.http_status = answer.status().as_u16());
        }
        Ok(answer)
    }

    fn edge<'a>(&self, context: &'a CallContext, parts: &'a Parts, offered: &'a Offered) -> Session<'a> {
        Session {
            headers: &parts.headers,
            caller: &context.caller,
            offered,
            dispatch: self.core.way_inside(context, &context.record),
            record: Some(&context.record),
        }
    }
}

impl Core {
    /// The place of a call that a session makes: it was counted when it arrived, so its rate is not asked again.
    fn session_place(&self, caller: &Caller, lifted: bool) -> Result<Place, Refusal> {
        if lifted {
            return self.place(None, lifted);
        }
        let counted = self.rate.count(caller.binding(), 0, super::now())?;
        self.place(Some(&counted), lifted)
    }

    /// Sends modern requests of a session inside.
    fn way_inside(self: &Arc<Self>, context: &CallContext, record: &CallRecord) -> Dispatch {
        let core = self.clone();
        let path = context.view.view.path.clone();
        let caller: Arc<Caller> = context.caller.clone();
        // The session may keep this for its whole life; the record must close with its own request.
        let record = record.downgrade();
        Arc::new(move |inward| {
            let (core, path, caller) = (core.clone(), path.clone(), caller.clone());
            let record = record.upgrade().map_or_else(CallRecord::unkept, CallRecord::from);
            Box::pin(async move {
                let routing = core.catalogues.routing().load_full();
                let view = routing
                    .views
                    .get(&path)
                    .cloned()
                    .ok_or_else(|| Refusal::new(Reason::NotFound, "the view is gone; initialize again"))?;
                // The request was admitted long ago, or is a session's own wish.
                use_view(&routing.snapshot, &view.view, &caller)?;
                let place = core.session_place(&caller, view.view.limits_lifted);
                let reply = match place {
                    Ok(place) => {
                        let context = CallContext {
                            routing,
                            view,
                            caller,
                            mirrored: None,
                            record: record.clone(),
                            place: Some(place),
                            session: Some(inward.revision),
                            by: By::Gateway,
                        };
                        core.dispatch(Arc::new(context), inward).await
                    }
                    Err(refusal) => Err(refusal),
                };
                // A session answers refusals inside a response that is itself fine: they are recorded here.
                reply.inspect_err(|refusal| record.refused(refusal))
            })
        })
    }
}

/// The messages of one request.
pub(super) struct Batch {
    whole: CallContext,
    messages: Vec<(Bytes, Message)>,
}

fn offered(context: &CallContext) -> Offered {
    let view = &context.view;
    Offered {
        view: view.view.name.clone(),
        capabilities: view.capabilities_raw.clone(),
        server_info: Bytes::from_static(gateway_identity()),
        instructions: view.instructions.clone(),
        limits_lifted: view.view.limits_lifted,
    }
}

fn response(answer: Answer) -> Response<ReplyBody> {
    match answer {
        Answer::Json { status, headers, body } => {
            let mut response = respond::json_answer(status, body);
            response.headers_mut().extend(headers);
            response
        }
        Answer::Sse { headers, events } => {
            let mut response = respond::event_answer(events);
            response.headers_mut().extend(headers);
            response
        }
        Answer::Empty { status, headers } => {
            let mut response = respond::empty_answer(status);
            response.headers_mut().extend(headers);
            response
        }
    }
}
