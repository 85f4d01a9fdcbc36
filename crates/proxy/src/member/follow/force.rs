//! Putting a change in force: compiled, on disk, and only then taken over.

use std::sync::Arc;

use meshgate_sync::client::Offer;
use meshgate_sync::message::{Reason, Refusal};
use meshgate_sync::resource::Kind;
use meshgate_sync::snapshot::Snapshot;

use super::{Follow, SNAPSHOT, Take};
use crate::member::told;
use crate::member::{Directory, write_floor};

impl<T: Take> Follow<T> {
    pub(super) async fn take(&mut self, offer: &Offer) -> Result<(), Refusal> {
        let snapshot = &offer.snapshot;
        let of_configuration = |kind| matches!(kind, Kind::Object | Kind::Tokens);
        let held = self.client.held().map(|held| held.position());
        let whole = held != Some(snapshot.position()) || offer.changed.iter().any(|key| of_configuration(key.kind));
        let taken = self.put_in_force(snapshot, whole).await;
        if let Err(refusal) = &taken {
            let identity = self.member.id();
            tracing::error!(%identity, position = %snapshot.position(), %refusal, "refused; what was served is served on");
            self.member
                .note(|standing| standing.refused = Some(refusal.to_string()));
        }
        taken
    }

    /// Compiles, keeps and swaps. Without `whole` the configuration is the one that is served already.
    pub(super) async fn put_in_force(&mut self, snapshot: &Arc<Snapshot>, whole: bool) -> Result<(), Refusal> {
        let position = snapshot.position();
        let told = {
            let (snapshot, role) = (snapshot.clone(), self.role.borrow_and_update().clone());
            let (directory, floor) = (self.member.directory.clone(), *self.member.floor.lock());
            let worked = tokio::task::spawn_blocking(move || {
                let role = whole.then_some(&role);
                let told = told::told(snapshot.resources(), role, position.revision, &directory)?;
                keep(&directory, &snapshot, floor).map_err(|why| told::Refused {
                    key: None,
                    message: why,
                })?;
                Ok::<_, told::Refused>(told)
            });
            worked
                .await
                .map_err(|error| refusal(Reason::Compile, &error.to_string()))?
        };
        let mut told = told.map_err(|refused| Refusal {
            resource: refused.key,
            ..refusal(Reason::Compile, &refused.message)
        })?;
        for warning in &told.warnings {
            tracing::debug!(%warning, "about the configuration");
        }
        {
            let mut floor = self.member.floor.lock();
            *floor = position.epoch.max(*floor);
        }
        if let Some(bundle) = told.bundle.take() {
            self.member
                .take_bundle(bundle)
                .map_err(|why| refusal(Reason::Keep, &why))?;
        }
        self.member.identity.replace_denied(std::mem::take(&mut told.denied));
        self.taker.take(told).map_err(|why| refusal(Reason::Compile, &why))?;
        self.member.note(|standing| {
            standing.position = Some(position);
            standing.refused = None;
        });
        Ok(())
    }

    /// What was typed on this machine has changed.
    pub(super) async fn take_role(&mut self) {
        let Some(held) = self.client.held().cloned() else {
            return;
        };
        if let Err(refusal) = self.put_in_force(&held, true).await {
            tracing::error!(%refusal, "what was typed is refused; what was served is served on");
        }
    }
}

fn refusal(reason: Reason, message: &str) -> Refusal {
    Refusal::of(reason, message)
}

/// Writes down what is about to be in force.
fn keep(directory: &Directory, snapshot: &Snapshot, floor: u64) -> Result<(), String> {
    let epoch = snapshot.position().epoch;
    if epoch > floor {
        write_floor(directory, epoch).map_err(|error| error.to_string())?;
    }
    directory
        .write(SNAPSHOT, &snapshot.save())
        .map_err(|error| error.to_string())
}
