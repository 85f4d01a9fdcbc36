//! Puts a control plane together, starts it, and ends it.
//!
//! Listeners are bound before anything else is done, so that a taken port stops the start and not the first proxy. Every
//! task is owned here and ends here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use meshgate_identity::{ServiceToken, token_digest};
use meshgate_model::TrustDomain;
use meshgate_telemetry::metrics::ControlMetrics;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alarms::{AlarmKind, Alarms};
use crate::api;
use crate::ca::BuiltIn;
use crate::compile::CompileError;
use crate::denials::Denials;
use crate::distribute::{self, Distributor};
use crate::enrol::{self, Enrolment};
use crate::issuance::Ledger;
use crate::keys::Keys;
use crate::limits::{API_CONNECTIONS_MAX, API_HEAD_TIME, SYNC_CONNECTIONS_MAX, SYNC_HANDSHAKE_TIME};
use crate::listen::{self, Manners, TlsSource};
use crate::own::{Own, OwnError, Sources};
use crate::plane::{Plane, PlaneError};
use crate::probe;
use crate::registry::Registry;
use crate::seal::{Seal, SealError};
use crate::services;
use crate::store::{Clock, Store, StoreError};
use crate::tokens::Tokens;

mod keep;
mod state;

use keep::{follow, keep, publish};
use state::{open, operator_token};

/// Which sidecars take calls: a hint for the next start.
const NOTES_FILE: &str = "sidecars";
/// The operator's token.
pub const OPERATOR_TOKEN_FILE: &str = "operator-token";

/// What a control plane is made of.
#[derive(Clone)]
pub struct ControlParts {
    /// Its state directory; made with mode 0700 where there is none.
    pub state: PathBuf,
    /// The file with the secret that seals the store, where it is not in the state directory.
    pub key_file: Option<PathBuf>,
    /// Where proxies come to; port 0 takes a free one.
    pub sync: SocketAddr,
    /// Where operators come to; anything but loopback needs `api_tls`.
    pub api: SocketAddr,
    /// Where scrapers of this machine come to; none is for nobody.
    pub metrics: Option<SocketAddr>,
    /// TLS of the admin API.
    pub api_tls: Option<TlsSource>,
    /// The trust domain of a new mesh, until its first documents say one. Default: `default.mesh`.
    pub trust_domain: Option<TrustDomain>,
    /// The time.
    pub clock: Clock,
}

impl ControlParts {
    /// A control plane with this state directory, on free loopback ports, by the clock of the system.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            state: state.into(),
            key_file: None,
            sync: loopback,
            api: loopback,
            metrics: None,
            api_tls: None,
            trust_domain: None,
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Nothing may be open to other machines that is not closed to strangers.
    fn check(&self) -> Result<(), StartError> {
        let is_open = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
        if is_open(&self.api) && self.api_tls.is_none() {
            return Err(StartError::Open(self.api));
        }
        match self.metrics.filter(is_open) {
            Some(open) => Err(StartError::OpenMetrics(open)),
            None => Ok(()),
        }
    }
}

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin API would be open to other machines without TLS.
    #[error("the admin api would listen on {0} without TLS; give it a certificate, or listen on 127.0.0.1")]
    Open(SocketAddr),
    /// The metrics would be open to other machines.
    #[error("`metrics` would listen on {0}, and what is there needs no credentials; listen on 127.0.0.1")]
    OpenMetrics(SocketAddr),
    /// An address cannot be had.
    #[error("`{address}` cannot be listened on: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The state directory cannot be used.
    #[error("state directory `{path}`: {cause}")]
    State {
        /// The directory, or a file in it.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The secret cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority or the keys cannot be used.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// Our own identity cannot be made.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// What is kept cannot be distributed.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Where a control plane listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For proxies.
    pub sync: SocketAddr,
    /// For operators.
    pub api: SocketAddr,
    /// For scrapers, where there is such a listener.
    pub metrics: Option<SocketAddr>,
}

/// The control plane.
pub struct Control;

/// A control plane that runs, until it is stopped or dropped.
pub struct Running {
    plane: Arc<Plane>,
    addresses: Addresses,
    operator_token: ServiceToken,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Control {
    /// Starts one on the runtime of the caller.
    ///
    /// # Errors
    /// When an address is taken, and when what is kept cannot be used.
    pub async fn start(parts: ControlParts) -> Result<Running, StartError> {
        parts.check()?;
        let (sync, sync_at) = bind(parts.sync).await?;
        let (api, api_at) = bind(parts.api).await?;
        let metrics = match parts.metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let addresses = Addresses {
            sync: sync_at,
            api: api_at,
            metrics: metrics.as_ref().map(|(_, at)| *at),
        };
        let (store, seal) = open(&parts).await?;
        let operator_token = operator_token(&parts.state)?;
        let plane = Arc::new(plane(&parts, store, seal).await?);
        publish(&plane).await?;

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let enrolment = Arc::new(enrolment(&plane));
        let own = plane.own.clone();
        let manners = Manners {
            tls: Some(Arc::new(move || own.identity().enrolment_acceptor_config())),
            http2_only: true,
            connections_max: SYNC_CONNECTIONS_MAX,
            head_time: SYNC_HANDSHAKE_TIME,
            strangers: Some(Arc::default()),
        };
        let router = services::router(enrolment, plane.distributor.clone());
        tasks.spawn(listen::serve(sync, manners, router, stop.clone()));
        let manners = Manners {
            tls: parts.api_tls.clone(),
            http2_only: false,
            connections_max: API_CONNECTIONS_MAX,
            head_time: API_HEAD_TIME,
            strangers: None,
        };
        let router = api::router(plane.clone(), token_digest(operator_token.expose()));
        tasks.spawn(listen::serve(api, manners, router, stop.clone()));
        if let Some((listener, _)) = metrics {
            let router = probe::router(plane.clone());
            tasks.spawn(listen::serve(listener, probe::MANNERS, router, stop.clone()));
        }
        let (distributor, stopped) = (plane.distributor.clone(), stop.clone());
        tasks.spawn(async move { distributor.run(stopped).await });
        let (distributor, stopped) = (plane.distributor.clone(), stop.clone());
        tasks.spawn(async move { distributor.note(stopped).await });
        tasks.spawn(follow(plane.clone(), stop.clone()));
        tasks.spawn(keep(plane.clone(), stop.clone()));
        Ok(Running {
            plane,
            addresses,
            operator_token,
            stop,
            tasks,
        })
    }
}

impl Running {
    /// What can be asked of it.
    pub fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The token of the operator, which is also in the state directory.
    pub fn operator_token(&self) -> &ServiceToken {
        &self.operator_token
    }

    /// Ends it: listeners first, then streams, then what is left.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A listener, and where it is.
async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    Ok((listener, at))
}

async fn plane(parts: &ControlParts, store: Arc<dyn Store>, seal: Arc<Seal>) -> Result<Plane, StartError> {
    let clock = parts.clock.clone();
    let now = clock();
    let registry = Arc::new(Registry::open(store.clone(), clock.clone()).await?);
    let configuration = registry.current();
    let said = configuration.trust_domain().filter(|_| configuration.number > 0);
    let domain = said
        .or_else(|| parts.trust_domain.clone())
        .unwrap_or_else(|| TrustDomain::of_mesh("default"));
    let life = configuration.certificate_life();
    let authority = BuiltIn::open(store.clone(), seal.clone(), &domain, life, now)
        .await
        .map_err(PlaneError::from)?;
    authority.renew(life, now).await.map_err(PlaneError::from)?;
    let authority = Arc::new(authority);
    let ledger = Arc::new(Ledger::open(store.clone()).await?);
    let keys = Arc::new(Keys::open(store.clone(), seal).await.map_err(PlaneError::from)?);
    let sources = Sources {
        authority: authority.clone(),
        ledger: ledger.clone(),
        keys: keys.clone(),
        registry: registry.clone(),
        clock: clock.clone(),
    };
    let own = Arc::new(Own::open(sources).await?);
    let alarms = Alarms::new(clock.clone());
    let metrics = Arc::new(ControlMetrics::new());
    let distributor = Distributor::new(
        distribute::Parts {
            registry: registry.clone(),
            keys: keys.clone(),
            ledger: ledger.clone(),
            own: own.clone(),
            alarms: alarms.clone(),
            metrics: metrics.clone(),
        },
        parts.state.join(NOTES_FILE),
    );
    let broken = ledger.verify().await?;
    if let Some(wrong) = broken.wrong {
        alarms.raise(
            AlarmKind::LogBroken,
            format!("the issuance log does not hold together: {wrong}"),
        );
    }
    Ok(Plane {
        tokens: Arc::new(Tokens::new(store.clone(), clock.clone())),
        denials: Arc::new(Denials::new(store.clone(), clock.clone())),
        distributor: Arc::new(distributor),
        store,
        registry,
        authority,
        ledger,
        keys,
        own,
        alarms,
        metrics,
        clock,
        founding: Arc::default(),
    })
}

fn enrolment(plane: &Arc<Plane>) -> Enrolment {
    Enrolment::new(enrol::Parts {
        authority: plane.authority.clone(),
        ledger: plane.ledger.clone(),
        tokens: plane.tokens.clone(),
        denials: plane.denials.clone(),
        registry: plane.registry.clone(),
        keys: plane.keys.clone(),
        own: plane.own.clone(),
        alarms: plane.alarms.clone(),
        metrics: plane.metrics.clone(),
        founding: plane.founding.clone(),
        clock: plane.clock.clone(),
    })
}
