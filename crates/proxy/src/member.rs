//! How a proxy becomes a member of a mesh, and stays one.
//!
//! A gateway and a sidecar have this in common: they are told what they are to do by a control plane that they must be able
//! to do without. So membership is a thing of its own, apart from calls, on the runtime that keeps and not on the one that
//! serves. Its life:
//!
//! **It joins once.** An operator gives it a join token, in a file or a variable. The token names the root of the mesh, so the
//! proxy knows whom to tell the secret; it makes a key, sends a request to sign it, and gets a certificate (SVID) for the identity
//! that the token is for, with the trust bundle. From then on the key proves it, and the token is worth nothing. What it has
//! is in its [state directory](Directory): `svid.pem`, `bundle.json`, `snapshot`, `epoch`, all 0600 and locked by one process.
//!
//! **It is told.** One stream to the control plane ([`follow`]); the state machine is `meshgate_sync`'s and this module is its
//! driver. What comes is checked against its signature and manifest, compiled whole beside what runs ([`told`]), written to
//! disk, and then taken over in one step: configuration, endpoints, who may call, roots, keys, who is denied. What does not
//! compile is refused by name (a NACK) and what was served is served on. Nothing here ever starts a
//! command that came this way: how a server is reached is what was typed on this machine (`process::typed`).
//!
//! **It tells.** Its state, its server's era and catalogue, its load and that it drains, when any of it changes and every ten
//! seconds.
//!
//! **It renews.** After a third of its life, by the wall clock, a new key gets a new certificate ([`rotate`]); new connections use
//! it, old ones end by their age. A failure is repeated with growing pauses while the old one is good for two thirds of its
//! life more; past two thirds it is an alarm: in the log, in `status`, in `meshgate_certificate_alarm`. A certificate that has
//! ended while its host slept is renewed with the key that is still held, up to 30 days later, without anybody's help.
//!
//! **It does without.** When the control plane is away, nothing is taken away: endpoints stay, rules stay, calls go on. A proxy
//! that restarts meanwhile starts from its disk, and refuses what is older than it has seen (the epoch floor).
//!
//! **It leaves.** Asked to end, it first tells that it drains, so that gateways go elsewhere, and then finishes what it has.
//! Denied, it is cut off by everybody else within seconds; it does not need to agree.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_identity::stored::{Stored, StoredError};
use meshgate_identity::{Identity, JoinToken, TrustBundle};
use meshgate_model::{Part, SpiffeId};
use meshgate_telemetry::Metrics;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;

mod channel;
mod directory;
mod enrol;
mod follow;
mod join;
mod rotate;
mod standing;
mod told;
mod tokens;

pub use self::channel::ChannelError;
pub use self::directory::{ADMIN_SOCKET, Directory, DirectoryError, TOKEN, read_token, state_folder};
pub use self::enrol::EnrolError;
pub(crate) use self::follow::{Follow, Take};
pub use self::join::{JOIN_TOKEN_VARIABLE, JoinTokenError, join_token};
pub(crate) use self::rotate::rotate;
pub use self::standing::{Alarm, Standing};
pub use self::tokens::{TOKEN_CHARS_MIN, TokenError, register as register_tokens};
pub(crate) use self::told::Told;
use crate::simulated;

/// The pause after a first attempt to join that failed for no fault of the token; it doubles up to [`JOIN_PAUSE_MAX`].
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to join: a person waits for it.
const JOIN_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What a part of a mesh is told by whoever starts it.
#[derive(Debug)]
pub struct MemberParts {
    /// The control plane: host and port.
    pub control: String,
    /// Which part it is.
    pub part: Part,
    /// What it proves itself with while it has nothing else.
    pub join: Option<JoinToken>,
    /// What it keeps.
    pub directory: Directory,
    /// Address that the other parts are told; without one, this machine's on the way to the control plane.
    pub advertise: Option<SocketAddr>,
}

/// Why a proxy is no member of a mesh.
#[derive(Debug, Error)]
pub enum JoinError {
    /// It has never joined and has nothing to join with.
    #[error("`{0}` has not joined the mesh yet, and there is no join token")]
    NoToken(String),
    /// What it has is somebody else's.
    #[error("state directory `{directory}` belongs to `{id}`, and this is `{part}`")]
    Another {
        /// Where the state is.
        directory: String,
        /// Whose it is.
        id: String,
        /// Who is starting.
        part: String,
    },
    /// What it has cannot be read or kept.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The same, for the rest of the directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Certificate and bundle do not belong together.
    #[error("the certificate that is kept cannot be used: {0}")]
    Identity(#[from] meshgate_identity::identity::IdentityError),
    /// The control plane refuses the token.
    #[error(transparent)]
    Refused(EnrolError),
    /// The system gives no random number.
    #[error("the system's random source failed")]
    Entropy,
}

/// A part of a mesh, as whoever keeps it a member sees it.
pub(crate) struct Member {
    pub(crate) control: String,
    pub(crate) identity: Arc<Identity>,
    /// This start of it; no two are alike.
    pub(crate) instance: NonZeroU64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) stored: Stored,
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) metrics: Arc<Metrics>,
    /// The lowest epoch that is taken.
    pub(crate) floor: Mutex<u64>,
    /// The certificate must be renewed now.
    pub(crate) hasten: Notify,
    standing: Mutex<Standing>,
}

impl Member {
    /// Takes what is kept from an earlier start, or joins. Tries until the control plane answers; ends early only when it
    /// refuses.
    pub(crate) async fn join(parts: MemberParts, metrics: Arc<Metrics>) -> Result<Arc<Self>, JoinError> {
        let stored = Stored::at(parts.directory.path());
        let mut floor = read_floor(&parts.directory)?;
        let identity = match (stored.svid()?, stored.bundle()?) {
            (Some(svid), Some(bundle)) if svid.id().part() == &parts.part => Identity::new(svid, bundle)?,
            (Some(svid), Some(_)) => {
                return Err(JoinError::Another {
                    directory: parts.directory.path().display().to_string(),
                    id: svid.id().to_string(),
                    part: parts.part.to_string(),
                });
            }
            _ => {
                let part = parts.part.to_string();
                let token = parts.join.ok_or(JoinError::NoToken(part))?;
                let enrolled = first(&parts.control, &parts.part, &token).await?;
                floor = floor.max(enrolled.epoch);
                write_floor(&parts.directory, floor)?;
                stored.save_bundle(&enrolled.bundle)?;
                stored.save_svid(&enrolled.svid)?;
                tracing::info!(identity = %enrolled.svid.id(), "joined the mesh");
                Identity::new(enrolled.svid, enrolled.bundle)?
            }
        };
        let standing = Standing::of(&identity, &parts.control);
        Ok(Arc::new(Self {
            control: parts.control,
            identity: Arc::new(identity),
            instance: instance()?,
            stored,
            directory: Arc::new(parts.directory),
            advertise: parts.advertise,
            metrics,
            floor: Mutex::new(floor),
            hasten: Notify::new(),
            standing: Mutex::new(standing),
        }))
    }

    /// Who it is.
    pub(crate) fn id(&self) -> SpiffeId {
        self.identity.id()
    }

    /// How it stands with its membership.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    fn note(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing.lock();
        change(&mut standing);
        standing.count(&self.metrics, &self.id());
    }

    /// Takes a bundle over, on disk first; a certificate whose root it lacks is renewed at once.
    fn take_bundle(&self, bundle: TrustBundle) -> Result<(), String> {
        if *self.identity.bundle() == bundle {
            return Ok(());
        }
        self.stored.save_bundle(&bundle).map_err(|error| error.to_string())?;
        let vouches = self
            .identity
            .replace_bundle(bundle)
            .map_err(|error| error.to_string())?;
        if !vouches {
            tracing::info!("the root of this certificate is retired; it is renewed now");
            self.hasten.notify_one();
        }
        Ok(())
    }
}

/// Shows the token until it is taken or refused.
async fn first(control: &str, part: &Part, token: &JoinToken) -> Result<enrol::Enrolled, JoinError> {
    let mut pause = JOIN_PAUSE;
    loop {
        let error = match enrol::with_token(control, part, token).await {
            Ok(enrolled) => return Ok(enrolled),
            Err(error) if error.is_final() => return Err(JoinError::Refused(error)),
            Err(error) => error,
        };
        tracing::warn!(%part, %error, "cannot join the mesh yet; trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(JOIN_PAUSE_MAX);
    }
}

fn instance() -> Result<NonZeroU64, JoinError> {
    (0..8)
        .find_map(|_| NonZeroU64::new(simulated::random()))
        .ok_or(JoinError::Entropy)
}

/// The file with the lowest epoch that is taken. It is apart from the snapshot, so that losing that one does not lower it.
const EPOCH: &str = "epoch";
const EPOCH_BYTES_MAX: u64 = 32;

fn read_floor(directory: &Directory) -> Result<u64, DirectoryError> {
    let Some(bytes) = directory.read(EPOCH, EPOCH_BYTES_MAX)? else {
        return Ok(0);
    };
    let read = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    read.ok_or_else(|| directory.damaged(EPOCH))
}

fn write_floor(directory: &Directory, floor: u64) -> Result<(), DirectoryError> {
    directory.write(EPOCH, format!("{floor}\n").as_bytes())
}

/// Seconds since 1970.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
