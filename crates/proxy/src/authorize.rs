//! What a caller may do.
//!
//! Which views an application may use is decided here, before any byte of the body; which tools a view has is decided
//! where the view is built, so that the list and the call cannot disagree.

use meshgate_model::{Snapshot, View};

use crate::call::Caller;
use crate::refusal::{Reason, Refusal};

/// Whether a caller may use a view. A view that a caller may not use answers as one that does not exist.
pub fn use_view(snapshot: &Snapshot, view: &View, caller: &Caller) -> Result<(), Refusal> {
    let allowed = match &caller.application {
        None => view.anonymous,
        Some(application) => view.anonymous || snapshot.may_use(application, view),
    };
    if allowed {
        return Ok(());
    }
    // Nothing in the answer may differ from that of a path which is not served, the rule included.
    tracing::debug!(view = %view.name, "the caller may not use this view");
    Err(Refusal::new(Reason::NotFound, "there is no endpoint at this path").rule("view"))
}
