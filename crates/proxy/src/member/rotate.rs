//! Renewing the certificate while everything runs.
//!
//! When is decided by the plan in `identity::rotation`, which is asked often and reads the wall clock: a timer that was set
//! for twelve hours stands still while its host sleeps. How is one exchange with the control plane, proved by the key
//! that is held, whether its certificate is still good or ended while nobody was awake. The new one is on disk before it is used.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_identity::rotation::{Alarm, Rotation, Step};
use tokio_util::sync::CancellationToken;

use super::enrol::{self, Enrolled};
use super::{Member, write_floor};
use crate::simulated;

/// How often is looked once only a person can help.
const LOST_LOOK: Duration = Duration::from_secs(600);

/// Renews until `closing`.
pub(crate) async fn rotate(member: Arc<Member>, closing: CancellationToken) {
    let mut plan = Rotation::of(&member.identity.current(), simulated::random());
    let mut said = Alarm::None;
    loop {
        let now = SystemTime::now();
        said = worry(&member, plan.alarm(now), said);
        let wait = match plan.step(now) {
            Step::Wait(wait) => wait,
            Step::Renew | Step::RenewHeld => {
                let Some(renewed) = closing.run_until_cancelled(renew(&member)).await else {
                    return;
                };
                match renewed {
                    Ok(()) => {
                        plan = Rotation::of(&member.identity.current(), simulated::random()).taken(SystemTime::now());
                    }
                    Err(why) => {
                        tracing::warn!(identity = %member.id(), %why, "the certificate was not renewed; trying again");
                        plan.failed(SystemTime::now(), simulated::random());
                        member.note(|standing| standing.renewal = Some(why));
                    }
                }
                continue;
            }
            Step::Lost => LOST_LOOK,
        };
        tokio::select! {
            () = closing.cancelled() => return,
            () = member.hasten.notified() => plan.hasten(),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Says what is new about how worried somebody should be.
fn worry(member: &Member, alarm: Alarm, said: Alarm) -> Alarm {
    if alarm == said {
        return said;
    }
    let ends = member.identity.current().not_after();
    let left = ends.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    let identity = member.id();
    match alarm {
        Alarm::None => tracing::info!(%identity, "the certificate is renewed"),
        Alarm::Late => tracing::error!(
            %identity,
            seconds_left = left,
            "the certificate could not be renewed for a third of its life; see that the control plane is reached"
        ),
        Alarm::Ended => tracing::error!(
            %identity,
            "the certificate has ended; it renews itself once the control plane is reached, within 30 days"
        ),
    }
    member.note(|standing| standing.alarm = alarm);
    alarm
}

async fn renew(member: &Member) -> Result<(), String> {
    let (held, bundle) = (member.identity.current(), member.identity.bundle());
    let enrolled = enrol::with_held(&member.control, &held, &bundle).await;
    take(member, enrolled.map_err(|error| error.to_string())?).await
}

async fn take(member: &Member, enrolled: Enrolled) -> Result<(), String> {
    let Enrolled { svid, bundle, epoch } = enrolled;
    // The stream says what the bundle is; this one is only taken where that has not come yet and the new certificate needs it.
    let known = member.identity.bundle();
    if known.vouches_for(svid.chain(), SystemTime::now()).is_err() {
        member.take_bundle(bundle)?;
    }
    raise_floor(member, epoch)?;
    let stored = member.stored.clone();
    let kept = tokio::task::spawn_blocking(move || stored.save_svid(&svid).map(|()| svid)).await;
    let svid = kept
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    member.identity.replace_svid(svid).map_err(|error| error.to_string())?;
    let current = member.identity.current();
    tracing::debug!(identity = %member.id(), serial = current.serial(), "the certificate is renewed");
    member.note(|standing| {
        standing.serial = current.serial().to_owned();
        standing.ends = current.not_after();
        standing.renewal = None;
    });
    Ok(())
}

fn raise_floor(member: &Member, epoch: u64) -> Result<(), String> {
    let mut floor = member.floor.lock();
    if epoch > *floor {
        write_floor(&member.directory, epoch).map_err(|error| error.to_string())?;
        *floor = epoch;
    }
    Ok(())
}
