#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

/// The size of a future that `make` gives.
fn bytes<A, F: Future>(_make: fn(A) -> F) -> usize {
    size_of::<F>()
}

/// Every call moves what waits for it to the heap, and touches it again and again: beyond these sizes a page of text is
/// copied for each call at each hop, out of memory that no cache holds. What grew has either a rare branch that is not
/// boxed, or keeps something twice.
#[test]
fn what_waits_for_a_call_is_small() {
    type Arriving<T> = (Arc<T>, Request<Incoming>, Arc<Connection>);
    let edge = bytes(|(edge, request, connection): Arriving<Edge>| edge.answer(request, connection));
    let inside = bytes(|(inside, request, connection): Arriving<Inside>| inside.answer(request, connection));
    let call = bytes(|(core, context, inward): (Arc<Core>, Arc<CallContext>, Inward)| core.dispatch(context, inward));
    let sizes = (edge, inside, call);
    assert!(edge <= 2000 && inside <= 1600 && call <= 2800, "{sizes:?} bytes");
}
