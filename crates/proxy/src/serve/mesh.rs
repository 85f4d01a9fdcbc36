//! The face of a sidecar: calls of gateways, from inside the mesh.
//!
//! The way of a call is the same as at the edge, with two differences that are all of this file: who calls is proven by the
//! certificate of the connection and the context that came with the call, and what the caller may do is decided again, by
//! this sidecar's own configuration. A gateway that decides nothing, or wrongly, still gets a refusal here.

use super::{
    Arc, Arrival, Asked, By, CallContext, Connection, Core, Face, Incoming, Parts, Reason, Refusal, ReplyBody, Request,
    Response, Verb, ViewState, admit, check_head, message_id, note_arrival, now, respond, telemetry,
};
use crate::authenticate::Trusted;
use crate::authorize::may_use;
use crate::call::Caller;
use crate::limit::Counted;

/// Where a sidecar takes calls.
const PATH: &str = "/mcp";

/// The mesh port of a sidecar.
pub struct Inside {
    /// The parts that calls pass.
    pub core: Arc<Core>,
    /// Whom it believes.
    pub trusted: Trusted,
}

/// A caller that a gateway vouches for, and the view that this sidecar lets it use.
struct Vouched {
    view: Arc<ViewState>,
    caller: Arc<Caller>,
    counted: Option<Counted>,
}

impl Inside {
    /// Answers one request. Whatever goes wrong is an answer.
    pub fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> impl Future<Output = Response<ReplyBody>> + Send {
        let (mut arrival, mut asked) = self.core.asked(request, connection);
        async move {
            let admitted = respond::caught(self.admitted(&mut arrival, &mut asked)).await;
            if Core::lingers(&admitted, &asked) {
                arrival.take_rest(&self.core.limits).await;
            }
            self.core.answered(&arrival, admitted, &asked.record)
        }
    }

    async fn admitted(&self, arrival: &mut Arrival, asked: &mut Asked) -> Result<Response<ReplyBody>, Refusal> {
        let core = &self.core;
        let _unproven = asked.connection.unproven()?;
        let Vouched { view, caller, counted } = self.vouched(asked)?;
        check_head(&asked.parts, &core.limits)?;
        check_target(&asked.parts)?;
        arrival.check_announced(&core.limits)?;
        admit::check_form(&asked.parts.headers)?;
        let place = core.place(counted.as_ref(), view.view.limits_lifted)?;
        let over = counted.and_then(|counted| counted.over);
        let body = arrival.read(&core.limits).await?;
        let scanned = admit::scan(&body, &core.limits, view.tolerates_duplicates);
        let face = scanned.as_ref().ok().map(|_| Face::Modern);
        note_arrival(&asked.record, &body, face, scanned.as_deref().ok());
        let message = scanned?;
        arrival.id = message_id(&message, &body);
        let context = CallContext {
            routing: Arc::clone(&asked.routing),
            view,
            caller,
            mirrored: None,
            record: asked.record.clone(),
            place: Some(place),
            session: None,
            by: By::Sidecar,
        };
        let headers = std::mem::take(&mut asked.parts.headers);
        let modern = core.modern(context, over, headers, body, message)?;
        core.modern_answer(modern).await
    }

    /// Steps 4 and 8, from the head alone: who calls, and whether this sidecar lets it use the view it names. What is unknown
    /// here and what is forbidden look the same.
    fn vouched(&self, asked: &Asked) -> Result<Vouched, Refusal> {
        let (routing, connection, record) = (&asked.routing, &asked.connection, &asked.record);
        let peer = connection
            .mesh()
            .ok_or_else(|| Refusal::new(Reason::Internal, "the connection is not one of the mesh"))?;
        record.note(|r| r.peer_identity = Some(peer.text().clone()));
        self.trusted.admit(peer)?;
        connection.prove();
        let told = self.trusted.caller(&asked.parts.headers, peer)?;
        let caller = &told.caller;
        record.note(|r| {
            r.application = caller.application.clone();
            r.user = caller.user.clone();
            r.era_client = Some(telemetry::Era::Modern);
        });
        let found = routing.views.get(&told.path);
        let view = found
            .filter(|state| may_use(&routing.snapshot, &state.view, caller))
            .ok_or_else(|| {
                let text = "this sidecar knows no such view of its server, or not for this application";
                Refusal::new(Reason::Forbidden, text).rule("mesh/view")
            })?;
        if !caller.is_gateway() {
            record.note(|r| r.view = Some(view.view.name.clone()));
        }
        let counted = if view.view.limits_lifted {
            None
        } else {
            Some(self.core.rate.count(caller.binding(), 1, now())?)
        };
        Ok(Vouched {
            view: view.clone(),
            caller: caller.clone(),
            counted,
        })
    }
}

/// One path, one verb.
fn check_target(parts: &Parts) -> Result<(), Refusal> {
    if parts.uri.path() != PATH || parts.uri.query().is_some() {
        return Err(Refusal::new(Reason::NotFound, "a sidecar takes calls at `/mcp`").rule("mesh/path"));
    }
    if parts.method != Verb::POST {
        let refusal = Refusal::new(Reason::MethodNotAllowed, "a sidecar takes POST");
        return Err(refusal.header(http::header::ALLOW, http::HeaderValue::from_static("POST")));
    }
    Ok(())
}
