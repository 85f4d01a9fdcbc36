//! A call that asks: from the server's question to the client's next request, and on.
//!
//! The exchange with the client ends with `input_required`; the one with the server stays open. In between somebody has to
//! read what the server says, or it would be found out too late that it has given up, answered, or asked for more: so each
//! parked call has a task, which keeps the call and hands it to the request that goes on with it. The task is also the one
//! place where a parked call ends: by its time, with its server, or with the gateway.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use meshgate_bridge::eras::cannot;
use meshgate_bridge::lift::{Forward, Full, Gone, Place, Resume};
use meshgate_mcp::Revision;
use tokio::sync::oneshot;

use super::channel::Fault;
use super::flow::{self, Flow};
use super::own::{Key, Own};
use super::shared::now;
use crate::call::{Caller, Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// Makes a call on a session that it has to itself.
pub(super) async fn call(
    own: &Arc<Own>,
    (key, revision): (Key, &'static Revision),
    (out, forward): (Outbound, Forward),
    until: tokio::time::Instant,
) -> Result<Reply, Refusal> {
    for again in [false, true] {
        let lease = own.check_out(key.clone(), revision, until).await?;
        match begin(lease, &out, forward.clone(), (1, until)).await {
            // The server does not know the session any more: the call did not run.
            Err(Fault::SessionLost) if !again => {}
            other => return other.map_err(refused),
        }
    }
    Err(refused(Fault::SessionLost))
}

/// Sends the request of a call and waits for what comes first.
async fn begin(
    lease: super::own::Lease,
    out: &Outbound,
    forward: Forward,
    (round, until): (u32, tokio::time::Instant),
) -> Result<Reply, Fault> {
    let first = async {
        let flow = flow::alone(lease, out, forward, round).await?;
        flow::deliver(flow).await
    };
    let first = tokio::time::timeout_at(until, first).await;
    first.unwrap_or_else(|_| Err(too_late(Executed::Unknown).into()))
}

/// Parks a call whose questions are gathered; answers with the result that asks its client.
pub(super) fn park(flow: Flow) -> Result<Bytes, Refusal> {
    let Some(line) = flow.line() else {
        return Err(Refusal::new(
            Reason::Internal,
            "a call without a session of its own cannot wait",
        ));
    };
    let (own, caller, round) = (
        Arc::clone(line.lease.own()),
        Arc::clone(&line.lease.key().caller),
        line.round,
    );
    if own.stop.is_cancelled() {
        return Err(gone("the server is being stopped"));
    }
    let (wanted, waits) = oneshot::channel();
    let place = own.parking.lock().park(caller, round, wanted, now(), random());
    let place = place.map_err(|full| {
        own.counts.refused.fetch_add(1, Ordering::Relaxed);
        no_room(full)
    })?;
    let result = line.lease.asked.result(flow.told(), &place.state);
    wait_on(&own, flow, waits, place);
    Ok(result.into())
}

fn wait_on(own: &Arc<Own>, flow: Flow, waits: oneshot::Receiver<oneshot::Sender<Flow>>, place: Place) {
    let Some(runtime) = flow.runtime() else { return };
    drop(own.tasks.spawn_on(wait(Arc::clone(own), flow, waits, place), &runtime));
}

/// Keeps a parked call until it is asked for. Dropping the call tells the server that nobody waits any more.
async fn wait(own: Arc<Own>, mut flow: Flow, mut waits: oneshot::Receiver<oneshot::Sender<Flow>>, place: Place) {
    loop {
        tokio::select! {
            biased;
            wanted = &mut waits => {
                if let Ok(to) = wanted {
                    // Whoever asked for it may have gone: then it ends here.
                    drop(to.send(flow));
                }
                return;
            }
            () = own.stop.cancelled() => break,
            () = tokio::time::sleep_until(place.until.into()) => {
                if own.parking.lock().remove(place.nonce).is_some() {
                    own.counts.expired.fetch_add(1, Ordering::Relaxed);
                    tracing::info!("a parked call was given up: its client did not come back in time");
                    return;
                }
                // Taken at the last moment: it is about to be asked for.
                if let Ok(to) = (&mut waits).await {
                    drop(to.send(flow));
                }
                return;
            }
            () = flow.overhear() => {}
        }
    }
    own.parking.lock().remove(place.nonce);
}

/// Goes on with a parked call.
pub(super) async fn resume(
    own: &Arc<Own>,
    out: Outbound,
    resume: Resume,
    until: tokio::time::Instant,
) -> Result<Reply, Refusal> {
    let caller = caller(&out);
    let taken = own
        .parking
        .lock()
        .take(&resume.state, &caller, now())
        .map_err(why_gone)?;
    let (taken, wanted) = taken.map(());
    let (to, given) = oneshot::channel();
    let asked = wanted.send(to).is_ok();
    let Some(mut flow) = (if asked { given.await.ok() } else { None }) else {
        return Err(why_gone(Gone::Unknown));
    };
    if let Some(failed) = flow.failed_while_parked() {
        return Err(gone(&failed));
    }
    let usable = flow.line().map(|line| line.lease.asked.check(&resume.answers));
    if let Some(Err(unusable)) = usable {
        let (wanted, waits) = oneshot::channel();
        let (taken, ()) = taken.map(wanted);
        let place = own.parking.lock().put_back(taken);
        wait_on(own, flow, waits, place);
        let message = format!("{unusable}; the call waits on: send the request again with a sound answer");
        return Err(Refusal {
            executed: Executed::Unknown,
            ..Refusal::new(Reason::InvalidParams, message)
        }
        .rule("lift/answer"));
    }
    own.counts.resumed.fetch_add(1, Ordering::Relaxed);
    flow.next_round(&out, taken.round);
    let next = async {
        match flow.answered(&resume.answers) {
            Next::Deliver => flow::deliver(flow).await,
            Next::Declined => Err(declined().into()),
            Next::Again => {
                let (lease, round) = flow.into_lease().ok_or_else(|| Fault::from(why_gone(Gone::Unknown)))?;
                begin(lease, &out, resume.forward, (round, until)).await
            }
        }
    };
    let next = tokio::time::timeout_at(until, next).await;
    next.unwrap_or_else(|_| Err(too_late(Executed::Unknown).into()))
        .map_err(refused)
}

/// What answers make of a parked call.
pub(super) enum Next {
    /// The server has them: what it says next goes to the client, or the client is asked for what is missing.
    Deliver,
    /// Pages were opened: the request may be sent, for the first time that runs.
    Again,
    /// A page was declined: the request would only be refused again.
    Declined,
}

/// The caller of a request; the gateway's own requests ask nothing.
pub(super) fn caller(out: &Outbound) -> Arc<Caller> {
    out.caller.clone().unwrap_or_else(|| Arc::new(Caller::anonymous()))
}

fn why_gone(why: Gone) -> Refusal {
    gone(match why {
        Gone::Unknown => "no call of this caller waits under this `requestState`: it has been gone on with or given up",
        Gone::Elsewhere => "the call waited in a gateway process that has ended",
        Gone::Expired => "the call has waited too long for its answers and was given up",
    })
}

/// What a request hears that wants to go on with a call which is not there any more. It is never made again.
fn gone(why: &str) -> Refusal {
    Refusal {
        executed: Executed::Unknown,
        ..Refusal::new(Reason::ParkedCallGone, cannot::PARKED_GONE.say(&[why]))
    }
    .rule("lift/parked")
}

fn no_room(full: Full) -> Refusal {
    let (reason, rule, message) = match full {
        Full::Caller => (
            Reason::RateLimited,
            "lift/parked-per-caller",
            "the server asks something, and this caller has as many unanswered calls as it may; answer or wait for those",
        ),
        Full::Server => (
            Reason::Overloaded,
            "lift/parked-per-server",
            "the server asks something, and has as many unanswered calls as it may; come back later",
        ),
        Full::Rounds => (
            Reason::ServerBroken,
            "lift/rounds",
            "the server asks for input in more rounds than a call may take",
        ),
    };
    Refusal {
        executed: Executed::Unknown,
        ..Refusal::new(reason, message)
    }
    .rule(rule)
}

fn declined() -> Refusal {
    Refusal::server(
        Reason::Declined,
        Executed::No,
        "the server wants a page opened before this call, which was declined: the call did not run",
    )
}

pub(super) fn too_late(executed: Executed) -> Refusal {
    Refusal::server(Reason::Deadline, executed, "server did not answer before the deadline")
}

pub(super) fn refused(fault: Fault) -> Refusal {
    match fault {
        Fault::Refused(refusal) | Fault::Status(refusal) => refusal,
        Fault::SessionLost => Refusal::server(
            Reason::ServerAway,
            Executed::No,
            "server does not know the session that it has just opened",
        ),
    }
}

/// The name of a parked call. That nobody else can use it is the work of the seal around it; this keeps names apart.
fn random() -> u128 {
    u128::from(simulated::random()) << 64 | u128::from(simulated::random())
}
