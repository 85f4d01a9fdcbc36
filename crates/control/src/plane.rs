//! What can be asked of a running control plane: the same for a program in this process and for the API.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate_identity::JoinToken;
use meshgate_model::{Config, Part, SpiffeId};
use meshgate_sync::message::State;
use meshgate_sync::server::{Progress, Status};
use meshgate_telemetry::metrics::ControlMetrics;

use crate::alarms::Alarms;
use crate::ca::{Authority as _, AuthorityError, BuiltIn, Phase};
use crate::denials::Denials;
use crate::distribute::Distributor;
use crate::issuance::{Ledger, hex};
use crate::keys::{Keys, KeysError};
use crate::own::{Own, OwnError};
use crate::registry::{Applied, ApplyError, Outcome, Registry, Terms, Title};
use crate::shapes::{
    Certificates, MeshStatus, ProgressShape, ProxyName, ProxyShape, RefusedShape, RootShape, RotationShape,
};
use crate::store::{Clock, Store, StoreError, unix_ms};
use crate::tokens::{TokenError, Tokens};

mod levels;

/// Why a control plane did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// A change could not be looked at.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The mesh has no such part.
    #[error("the mesh has no `{part}`; apply its document first, or look for a slip in the name")]
    Part {
        /// As it was asked for.
        part: String,
    },
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Keys could not be changed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Our own identity could not be changed.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// A join token that was made.
#[derive(Clone, Debug)]
pub struct MadeToken {
    /// The token: kept nowhere.
    pub token: JoinToken,
    /// Its public name.
    pub name: String,
    /// Whom it is for.
    pub identity: SpiffeId,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: u64,
}

/// A running control plane.
pub struct Plane {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authority: Arc<BuiltIn>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) denials: Arc<Denials>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) own: Arc<Own>,
    pub(crate) distributor: Arc<Distributor>,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: Arc<ControlMetrics>,
    pub(crate) clock: Clock,
    /// Held alone while documents change, and with them perhaps the trust domain: between, nothing fits together. Whoever
    /// enrols holds it with others, so that nobody joins a mesh that begins anew.
    pub(crate) founding: Arc<tokio::sync::RwLock<()>>,
}

impl Plane {
    /// Applies documents. What is refused is an answer, not an error.
    ///
    /// # Errors
    /// When the configuration has moved on, and when the store fails.
    pub async fn apply(&self, documents: Config, terms: &Terms) -> Result<Applied, PlaneError> {
        let done = self.applied(documents, terms).await;
        self.count(terms, done.as_ref());
        done
    }

    async fn applied(&self, documents: Config, terms: &Terms) -> Result<Applied, PlaneError> {
        let _one = self.founding.write().await;
        let domain = self.authority.trust_domain();
        let fixed = self.ledger.has_members().then_some(&domain);
        let applied = self.registry.apply(documents, terms, fixed).await?;
        self.found(&applied).await?;
        Ok(applied)
    }

    fn count(&self, terms: &Terms, done: Result<&Applied, &PlaneError>) {
        if terms.dry_run {
            return;
        }
        self.metrics.change(match done.map(|applied| applied.outcome) {
            Ok(Outcome::Applied) => "applied",
            Ok(Outcome::Unchanged | Outcome::WouldApply) => "unchanged",
            Ok(Outcome::Refused) => "refused",
            Err(_) => "failed",
        });
    }

    /// Takes documents away.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn delete(&self, gone: &[Title], terms: &Terms) -> Result<Applied, PlaneError> {
        let done = self.deleted(gone, terms).await;
        self.count(terms, done.as_ref());
        done
    }

    async fn deleted(&self, gone: &[Title], terms: &Terms) -> Result<Applied, PlaneError> {
        let _one = self.founding.write().await;
        let domain = self.authority.trust_domain();
        let fixed = self.ledger.has_members().then_some(&domain);
        let applied = self.registry.delete(gone, terms, fixed).await?;
        self.found(&applied).await?;
        Ok(applied)
    }

    /// A mesh that nobody is part of yet takes the trust domain that its first documents say.
    async fn found(&self, applied: &Applied) -> Result<(), PlaneError> {
        let configuration = self.registry.current();
        let said = configuration.trust_domain();
        let Some(said) =
            said.filter(|said| applied.outcome == Outcome::Applied && *said != self.authority.trust_domain())
        else {
            return Ok(());
        };
        let now = (self.clock)();
        self.authority
            .begin_anew(&said, configuration.certificate_life(), now)
            .await?;
        self.tokens.withdraw_all().await?;
        self.own.begin_anew().await?;
        Ok(())
    }

    /// Waits until every connected proxy has answered a revision.
    pub async fn wait_for(&self, revision: u64, most: Duration) -> ProgressShape {
        progress(self.distributor.wait_for(revision, most).await)
    }

    /// Makes a join token for a part that the documents have.
    ///
    /// # Errors
    /// When they have none such, and as [`Tokens::make`].
    pub async fn join_token(&self, part: Part, life: Duration) -> Result<MadeToken, PlaneError> {
        let unknown = || PlaneError::Part {
            part: part.to_string().trim_start_matches('/').to_owned(),
        };
        if !self.registry.current().has_part(&part) {
            return Err(unknown());
        }
        let identity = self.authority.trust_domain().id(part.clone()).map_err(|_| unknown())?;
        let (token, name, ends_ms) = self.tokens.make(&identity, life, &self.authority.own_root()).await?;
        tracing::info!(%identity, name, "a join token was made");
        Ok(MadeToken {
            token,
            name,
            identity,
            ends_ms,
        })
    }

    /// The certificates of the mesh.
    pub fn certificates(&self) -> Certificates {
        let identity = self.own.identity();
        let svid = identity.current();
        Certificates {
            trust_domain: self.authority.trust_domain().to_string(),
            roots: self.authority.roots().iter().map(|root| self::root(root)).collect(),
            rotation: self.rotation(),
            own_ends_ms: unix_ms(svid.not_after()),
            own_serial: svid.serial().to_owned(),
        }
    }

    /// New certificates for everybody: a new intermediate signs from now on, the control plane renews its own, and every
    /// connected proxy is told to renew its.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate_intermediate(&self) -> Result<Certificates, PlaneError> {
        let life = self.registry.current().certificate_life();
        self.authority.replace_intermediate(life, (self.clock)()).await?;
        self.own.renew().await?;
        self.distributor.renew_all();
        Ok(self.certificates())
    }

    /// Begins a change of roots and of the key that signs snapshots. It goes on by itself: the new root signs when every
    /// connected proxy trusts it, and the old one goes when nothing that it signed is in use.
    ///
    /// # Errors
    /// When one is under way.
    pub async fn rotate_root(&self) -> Result<Certificates, PlaneError> {
        if self.authority.rotation().is_none() {
            self.keys.prepare_signer().await?;
        }
        self.authority.begin_rotation((self.clock)()).await?;
        Ok(self.certificates())
    }

    /// Ends the step that a change of roots is in, whoever is not ready: for a root that must not be trusted any longer.
    ///
    /// # Errors
    /// When none is under way.
    pub async fn force_rotation(&self) -> Result<Certificates, PlaneError> {
        match self.authority.rotation().map(|rotation| rotation.phase) {
            Some(Phase::Distributing) => self.promote().await?,
            _ => self.retire().await?,
        }
        Ok(self.certificates())
    }

    async fn promote(&self) -> Result<(), PlaneError> {
        let life = self.registry.current().certificate_life();
        self.authority.promote(life, (self.clock)()).await?;
        self.keys.promote_signer().await?;
        self.distributor.renew_all();
        tracing::info!("the new root signs; the old one is trusted until nothing that it signed is in use");
        Ok(())
    }

    async fn retire(&self) -> Result<(), PlaneError> {
        self.authority.retire().await?;
        self.keys.retire_signer().await?;
        self.own.renew().await?;
        tracing::info!("the old root is trusted no more");
        Ok(())
    }

    /// Goes on with what waits for proxies.
    ///
    /// # Errors
    /// When the store fails; the next call tries again.
    pub(crate) async fn advance(&self) -> Result<(), PlaneError> {
        let rotation = self.authority.rotation();
        if rotation.is_none() && !self.keys.is_ring_prepared() {
            return Ok(());
        }
        let all_current = self.distributor.all_current(&self.authority.roots());
        if self.keys.is_ring_prepared() && all_current {
            self.keys.promote_ring().await?;
        }
        let Some(rotation) = rotation else {
            return Ok(());
        };
        match rotation.phase {
            Phase::Distributing if all_current => self.promote().await,
            Phase::Signing if all_current && self.old_certificates(&rotation.to) == 0 => self.retire().await,
            Phase::Distributing | Phase::Signing => Ok(()),
        }
    }

    fn old_certificates(&self, new_root: &[u8; 32]) -> usize {
        self.ledger.in_use_elsewhere(new_root, unix_ms((self.clock)()))
    }

    fn rotation(&self) -> Option<RotationShape> {
        let rotation = self.authority.rotation()?;
        let waits_for = match rotation.phase {
            Phase::Distributing => {
                let (connected, _) = self.distributor.proxies();
                let behind = connected.iter().filter(|status| !status.current).count();
                format!("{behind} connected proxies that do not have the new root yet")
            }
            Phase::Signing => {
                let old = self.old_certificates(&rotation.to);
                format!("{old} certificates under the old root that may be in use")
            }
        };
        Some(RotationShape {
            phase: rotation.phase,
            since_ms: unix_ms(rotation.since),
            to: hex(&rotation.to),
            waits_for,
        })
    }

    /// Begins a change of the key that gateways seal with. It goes on by itself.
    ///
    /// # Errors
    /// When one is under way.
    pub async fn rotate_key_ring(&self) -> Result<(), PlaneError> {
        self.keys.prepare_ring().await?;
        Ok(())
    }

    /// Says that the store was set back, so that proxies take what is older than what they have.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn advance_epoch(&self) -> Result<u64, PlaneError> {
        Ok(self.keys.advance_epoch(self.distributor.epoch_seen()).await?)
    }

    /// How the mesh is.
    pub fn status(&self) -> MeshStatus {
        let configuration = self.registry.current();
        let now = self.distributor.now();
        let (connected, gone) = self.distributor.proxies();
        let since = |then: Duration| now.saturating_sub(then).as_secs();
        let mut proxies: Vec<ProxyShape> = connected
            .iter()
            .map(|status| proxy(status, true, since(status.since)))
            .collect();
        proxies.extend(gone.iter().map(|gone| proxy(&gone.status, false, since(gone.at))));
        proxies.sort_by(|a, b| {
            let key = |one: &ProxyShape| (one.proxy.identity.clone(), one.proxy.instance.clone());
            key(a).cmp(&key(b))
        });
        MeshStatus {
            trust_domain: self.authority.trust_domain().to_string(),
            revision: configuration.number,
            changed_ms: configuration.changed_ms,
            epoch: self.keys.epoch(),
            settled: self.distributor.is_settled(),
            proxies,
            key_ring_rotates: self.keys.is_ring_prepared(),
            rotation: self.rotation(),
            alarms: self.alarms.list(),
            now_ms: unix_ms((self.clock)()),
        }
    }
}

fn root(der: &[u8]) -> RootShape {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    RootShape {
        sha256: hex(&meshgate_identity::bundle::root_digest(der)),
        pem: format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        ),
    }
}

fn name(identity: &SpiffeId, instance: std::num::NonZeroU64) -> ProxyName {
    ProxyName {
        identity: identity.to_string(),
        instance: format!("{instance:016x}"),
    }
}

fn progress(progress: Progress) -> ProgressShape {
    let refused = progress
        .refused
        .iter()
        .map(|(identity, instance, refusal)| RefusedShape {
            proxy: name(identity, *instance),
            message: refusal.to_string(),
        });
    ProgressShape {
        taken: progress.taken,
        refused: refused.collect(),
        waiting: progress
            .waiting
            .iter()
            .map(|(identity, instance)| name(identity, *instance))
            .collect(),
    }
}

fn proxy(status: &Status, connected: bool, seconds: u64) -> ProxyShape {
    let report = status.report.clone();
    let state = report.as_ref().and_then(|report| match report.state {
        State::Starting => Some("starting"),
        State::Up => Some("up"),
        State::Away => Some("away"),
        State::Unspecified => None,
    });
    let report = report.unwrap_or_default();
    ProxyShape {
        proxy: name(&status.identity, status.instance),
        connected,
        seconds,
        address: status.address.map(|address| address.to_string()),
        program: status.program.clone(),
        revision: status.position.revision,
        epoch: status.position.epoch,
        current: status.current,
        refuses: status.refused.as_ref().map(|refused| refused.refusal.to_string()),
        state: state.map(str::to_owned),
        reason: report.reason,
        era: report.era,
        catalogue: report.catalogue.map(|digest| hex(&digest.0)),
        tools: report.tools,
        in_flight: report.in_flight,
        draining: report.draining,
        certificate_ends_ms: report.certificate_ends.map(|seconds| seconds.saturating_mul(1000)),
    }
}
