//! What a control plane does by itself: it follows its store, and the clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use meshgate_identity::rotation::{Rotation, Step};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::alarms::AlarmKind;
use crate::ca::Authority as _;
use crate::denials;
use crate::limits::ROOT_WAIT_ALARM;
use crate::plane::Plane;
use crate::store::{StoreError, unix_ms};

/// How often the clock is looked at: certificates of seconds are for tests, and cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a failure what was changed is distributed again.
const RETRY: Duration = Duration::from_secs(1);
/// How often what is over is forgotten, in looks.
const SWEEP_EVERY: u32 = 120;

/// Makes what is in the store known: to ourselves, and to all proxies.
pub(super) async fn publish(plane: &Plane) -> Result<(), StartError> {
    // The store tells of a commit before whoever made it has taken it over, so they are waited for.
    let _founded = plane.founding.write().await;
    plane.authority.settled().await;
    plane.keys.settled().await;
    plane.registry.refresh().await?;
    let denied = plane.denials.list().await?;
    plane.own.follow(&denied)?;
    plane.distributor.publish(denials::told(&denied))?;
    Ok(())
}

/// Follows the store, whoever writes to it.
pub(super) async fn follow(plane: Arc<Plane>, stop: CancellationToken) {
    // Tokens and issuances change nothing that proxies are told.
    let matters = |key: &str| {
        !["join/", "issuance/", "lease/"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    'again: loop {
        let from = match plane.store.list("config/").await {
            Ok(listing) => listing.revision,
            Err(error) => return tracing::error!("the store cannot be followed: {error}"),
        };
        // What was written between the last look and this revision.
        let mut is_news = true;
        let mut watch = plane.store.watch("", from);
        loop {
            if is_news {
                is_news = !told(publish(&plane).await);
            }
            let retry = async {
                match is_news {
                    true => tokio::time::sleep(RETRY).await,
                    false => std::future::pending().await,
                }
            };
            let events = tokio::select! {
                () = stop.cancelled() => return,
                () = retry => continue,
                events = watch.next() => events,
            };
            match events {
                Some(Ok(events)) => is_news |= events.iter().any(|event| matters(&event.key)),
                Some(Err(StoreError::Compacted { .. })) => continue 'again,
                Some(Err(_)) | None => return,
            }
        }
    }
}

/// Whether it was done.
fn told(done: Result<(), StartError>) -> bool {
    if let Err(error) = &done {
        tracing::error!("what was changed cannot be distributed, and proxies keep what they have: {error}");
    }
    done.is_ok()
}

/// Looks at the clock: renews our certificate and the intermediate, goes on with changes of keys, forgets what is over.
pub(super) async fn keep(plane: Arc<Plane>, stop: CancellationToken) {
    let mut looks = 0_u32;
    let mut serial = String::new();
    let mut plan: Option<Rotation> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = (plane.clock)();
        let life = plane.registry.current().certificate_life();
        if let Err(error) = plane.authority.renew(life, now).await {
            tracing::error!("the intermediate cannot be renewed: {error}");
        }
        let svid = plane.own.identity().current();
        let vouched = plane.own.identity().bundle().vouches_for(svid.chain(), now).is_ok();
        if plan.is_none() || serial != svid.serial() {
            svid.serial().clone_into(&mut serial);
            plan = Some(Rotation::of(&svid, jitter()));
        }
        if let Some(plan) = &mut plan {
            if !vouched {
                plan.hasten();
            }
            if matches!(plan.step(now), Step::Renew | Step::RenewHeld | Step::Lost)
                && let Err(error) = plane.own.renew().await
            {
                tracing::error!("the control plane's certificate cannot be renewed: {error}");
                plan.failed(now, jitter());
            }
        }
        // Roots and keys are written down before they are taken over here, so whoever heard of the one may have told the other.
        if !plane.distributor.tells(&plane.authority.roots()) {
            told(publish(&plane).await);
        }
        if let Err(error) = plane.advance().await {
            tracing::error!("a change of keys does not go on: {error}");
        }
        alarm_of_root(&plane, now);
        looks += 1;
        if looks.is_multiple_of(SWEEP_EVERY) {
            plane.ledger.forget_ended(unix_ms(now));
            if let Err(error) = plane.tokens.sweep().await {
                tracing::warn!("join tokens cannot be swept: {error}");
            }
        }
    }
}

fn alarm_of_root(plane: &Plane, now: SystemTime) {
    let Some(rotation) = plane.authority.rotation() else {
        return;
    };
    let waited = now.duration_since(rotation.since).unwrap_or_default();
    // The second step takes as long as certificates live; the first takes seconds, unless a proxy refuses.
    if rotation.phase == crate::ca::Phase::Distributing && waited > ROOT_WAIT_ALARM {
        plane.alarms.raise(
            AlarmKind::RootWaits,
            "a new root is distributed for more than ten minutes, because proxies do not take it; `status` shows which",
        );
    }
}

fn jitter() -> u64 {
    let mut random = [0; 8];
    // Without entropy everybody is due at the same time, which is no fault.
    let _ = getrandom::fill(&mut random);
    u64::from_be_bytes(random)
}
