//! Who calls, from the head of a request alone.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use super::{Edge, now};
use crate::authenticate::{authenticate, credentials};
use crate::authorize::use_view;
use crate::call::Caller;
use crate::catalogue::{Routing, ViewState};
use crate::limit::Counted;
use crate::listen::{Connection, network};
use crate::refusal::{Reason, Refusal};

/// A caller that has proven who it is, and the view it may use.
pub(super) struct Proven {
    pub(super) view: Arc<ViewState>,
    pub(super) caller: Arc<Caller>,
    /// Counted against the caller's limits, where they are not lifted. Who is over them hears of it where the ladder
    /// has it: what is wrong with the message comes first.
    pub(super) counted: Option<Counted>,
}

impl Edge {
    /// Who calls which view, counted against the caller's rate. A path that is not served asks for proof as one that is,
    /// and answers those it knows as a view that they may not use.
    pub(super) fn proven(
        &self,
        routing: &Arc<Routing>,
        parts: &Parts,
        connection: &Connection,
    ) -> Result<Proven, Refusal> {
        let not_found = || Refusal::new(Reason::NotFound, "there is no endpoint at this path").rule("view");
        let snapshot = &routing.snapshot;
        let found = routing.views.get(parts.uri.path());
        let shown = credentials(&parts.headers).zip(found.map(|state| Arc::as_ptr(state).addr()));
        if let (Some((bytes, endpoint)), Some(state)) = (shown, found)
            && let Some(caller) = connection.shown(bytes, endpoint, routing)
        {
            let counted = self.counted(Some(state), &caller)?;
            return Ok(Proven {
                view: state.clone(),
                caller,
                counted,
            });
        }
        let asking = match found {
            Some(state) => Some(&state.view),
            None => snapshot.views.iter().find(|view| !view.anonymous),
        };
        let proof = asking.map_or_else(|| Err(not_found()), |view| authenticate(snapshot, view, &parts.headers));
        let caller = match proof {
            Ok(caller) => caller,
            Err(refusal) => {
                tracing::debug!(peer = %connection.peer(), "a request proved nobody");
                return Err(self.slowed(connection.peer().ip()).err().unwrap_or(refusal));
            }
        };
        let allowed = found.filter(|state| use_view(snapshot, &state.view, &caller).is_ok());
        let counted = self.counted(allowed, &caller)?;
        let view = allowed.ok_or_else(not_found)?;
        connection.prove();
        let caller = Arc::new(caller);
        if let Some((bytes, endpoint)) = shown {
            connection.show(bytes, endpoint, routing, &caller);
        }
        Ok(Proven {
            view: view.clone(),
            caller,
            counted,
        })
    }

    /// Counts a request against its caller's limits, unless its view has them lifted.
    fn counted(&self, view: Option<&Arc<ViewState>>, caller: &Caller) -> Result<Option<Counted>, Refusal> {
        if view.is_some_and(|state| state.view.limits_lifted) {
            return Ok(None);
        }
        self.core.rate.count(caller.binding(), 1, now()).map(Some)
    }

    /// Counts a failed proof of an address; loopback shares one cell like any other address.
    fn slowed(&self, peer: IpAddr) -> Result<(), Refusal> {
        let key = match network(peer) {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        self.core.unproven_rate.admit(&key, 1, now())
    }
}
