//! What a caller may do, when it begins and for as long as it lasts.
//!
//! Which views an application may use is decided here, before any byte of the body; which tools a view has is decided
//! where the view is built, so that the list and the call cannot disagree. A stream may last for hours, and what allowed
//! it may be taken back meanwhile: so each carries what it was opened under ([`Standing`]) and ends when a configuration
//! comes under which it would not be opened again.

use std::sync::{Arc, Weak};

use meshgate_model::{Digest, Snapshot, View};
use tokio::sync::watch;

use crate::call::Caller;
use crate::catalogue::{Catalogues, CurrentRouting, Routing, ViewState};
use crate::refusal::{Reason, Refusal};
use crate::upstream::Upstream;

/// Whether a caller may use a view. A view that a caller may not use answers as one that does not exist.
pub fn use_view(snapshot: &Snapshot, view: &View, caller: &Caller) -> Result<(), Refusal> {
    if may_use(snapshot, view, caller) {
        return Ok(());
    }
    // Nothing in the answer may differ from that of a path which is not served, the rule included.
    tracing::debug!(view = %view.name, "the caller may not use this view");
    Err(Refusal::new(Reason::NotFound, "there is no endpoint at this path").rule("view"))
}

/// Whether a caller may use a view.
pub fn may_use(snapshot: &Snapshot, view: &View, caller: &Caller) -> bool {
    // What a gateway sees of a whole server is for no caller, whatever its application may use.
    if view.is_of_gateways() || caller.is_gateway() {
        return view.is_of_gateways() && caller.is_gateway();
    }
    match &caller.application {
        None => view.anonymous,
        Some(application) => {
            let exists = snapshot.application(application).is_some();
            (view.anonymous && exists) || snapshot.may_use(application, view)
        }
    }
}

/// What a long stream was opened under.
pub struct Standing {
    path: Arc<str>,
    caller: Arc<Caller>,
    /// The token that proved the caller, where the stream was opened by a request that bore one.
    token: Option<Digest>,
    /// The ways to the servers that the stream hears of; another way, or none, ends it.
    ways: Vec<Weak<Upstream>>,
    merged: bool,
    routing: Arc<CurrentRouting>,
    reconfigured: watch::Receiver<u64>,
}

impl Standing {
    /// A stream that a caller opens at a view, with the token it has shown.
    pub fn new(catalogues: &Catalogues, view: &ViewState, caller: &Arc<Caller>, token: Option<Digest>) -> Self {
        Self {
            path: view.view.path.clone(),
            caller: caller.clone(),
            token,
            ways: Vec::new(),
            merged: view.merged,
            routing: catalogues.routing().clone(),
            reconfigured: catalogues.reconfigured(),
        }
    }

    /// It hears of these servers, so it also ends when one of them is not what it was.
    #[must_use]
    pub fn hearing(mut self, view: &ViewState) -> Self {
        self.ways = view.servers.iter().map(|s| Arc::downgrade(&s.upstream)).collect();
        self
    }

    /// Ends when the stream would not be opened again.
    pub async fn lost(mut self) {
        loop {
            self.reconfigured.mark_unchanged();
            if !self.holds(&self.routing.load()) {
                return;
            }
            if self.reconfigured.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn holds(&self, routing: &Routing) -> bool {
        let Some(view) = routing.views.get(&self.path) else {
            return false;
        };
        let proven = self.token.as_ref().is_none_or(|token| {
            let owner = routing.snapshot.application_by_token_digest(token);
            owner.map(|owner| &owner.name) == self.caller.application.as_ref()
        });
        let is_there = |way: &Weak<Upstream>| {
            let mut ways = view.servers.iter().map(|server| Arc::as_ptr(&server.upstream));
            ways.any(|other| std::ptr::eq(other, way.as_ptr()))
        };
        // Where one server became several, its resources have other names from now on.
        let servers = self.ways.is_empty() || (view.merged == self.merged && self.ways.iter().all(is_there));
        proven && servers && may_use(&routing.snapshot, &view.view, &self.caller)
    }
}
