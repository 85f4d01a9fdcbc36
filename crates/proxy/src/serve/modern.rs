//! A modern client's message: what it is answered with at once, or the call that begins with it.
//!
//! Everything up to the call waits for nothing, so none of it is part of what a waiting call keeps in memory.

use super::{
    Arc, Bytes, CallContext, Core, Envelope, HeaderMap, Hop, Message, Method, Reason, Refusal, ReplyBody, Response,
    StatusCode, admit, own, refuse, respond,
};
use crate::limit::Place;
use crate::resolve::Call;
use crate::respond::Answering;

/// What a modern message comes to.
pub(super) enum Modern {
    /// Nothing more is to be done.
    Answered(Response<ReplyBody>),
    /// A call that has begun: the id of its request, and its place among those in flight.
    Call(Bytes, Answering, Option<Place>),
}

impl Core {
    /// Step 5 for a modern client, and the begin of its call.
    pub(super) fn modern(
        self: &Arc<Self>,
        mut context: CallContext,
        over: Option<Box<Refusal>>,
        headers: HeaderMap,
        body: Bytes,
        message: Box<Message>,
    ) -> Result<Modern, Refusal> {
        match message.envelope {
            Envelope::Request => {}
            // The core protocol defines no notification from client to server over HTTP: taken, and dropped.
            Envelope::Notification => {
                refuse(over)?;
                return Ok(Modern::Answered(respond::empty_answer(StatusCode::ACCEPTED)));
            }
            Envelope::Result | Envelope::Error => {
                return Err(Refusal::new(
                    Reason::InvalidRequest,
                    "a response is not a request; 2026-07-28 has no client responses",
                ));
            }
        }
        let has_legacy_face = self.hop == Hop::Gateway;
        let method = admit::check_modern(&headers, &body, &message, has_legacy_face)?;
        context.mirrored = Some(headers);
        // Held until the answer is handed over, but for a subscription: its seat counts it.
        let place = context.place.take().filter(|_| method != Method::Listen);
        let call = Call { body, message, method };
        if let Some(over) = over {
            return Err(own::offered(&context.view, &call).err().unwrap_or(*over));
        }
        let id = call.id();
        let (core, record) = (self.clone(), context.record.clone());
        let context = Arc::new(context);
        // A call that has been silent for long is answered by a stream, so its end may come after its request's.
        let answering = Box::pin(async move {
            let answered = respond::caught(core.dispatch_call(context, call)).await;
            let answered = answered.map_err(|refusal| refusal.at(core.by()));
            answered.inspect_err(|refusal| record.refused(refusal))
        });
        Ok(Modern::Call(id, answering, place))
    }

    /// The rest for a modern client.
    pub(super) async fn modern_answer(&self, modern: Modern) -> Result<Response<ReplyBody>, Refusal> {
        match modern {
            Modern::Answered(answer) => Ok(answer),
            Modern::Call(id, answering, place) => {
                let answer = respond::modern(id, answering, self.hop).await?;
                Ok(answer.map(|body| body.holding(place)))
            }
        }
    }
}
