//! The certificates of listeners that applications call, followed while the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::tls::{Reload, ReloadingTls, TlsError};
use meshgate_model::Snapshot;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::listen::TlsSource;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// One entry per listener, in their order.
#[derive(Clone, Debug)]
pub struct Certificates(Vec<Option<Arc<ReloadingTls>>>);

impl Certificates {
    /// Reads the files of every listener that has them.
    ///
    /// # Errors
    /// With the first listener whose files cannot be used.
    pub fn load(snapshot: &Snapshot) -> Result<Self, (std::net::SocketAddr, TlsError)> {
        let load = |listener: &meshgate_model::Listener| match &listener.tls {
            None => Ok(None),
            Some(files) => match ReloadingTls::load(&files.certificate, &files.key) {
                Ok(tls) => Ok(Some(Arc::new(tls))),
                Err(error) => Err((listener.address, error)),
            },
        };
        let listeners = snapshot.gateway.listeners.iter();
        listeners.map(load).collect::<Result<_, _>>().map(Self)
    }

    /// What listeners ask for the next connection's configuration.
    pub fn sources(&self) -> Vec<Option<TlsSource>> {
        let source = |tls: &Arc<ReloadingTls>| -> TlsSource {
            let tls = tls.clone();
            Arc::new(move || tls.current())
        };
        self.0.iter().map(|tls| tls.as_ref().map(source)).collect()
    }

    /// Looks at the files until `closing`.
    pub async fn follow(self, closing: CancellationToken) {
        let all: Vec<_> = self.0.into_iter().flatten().collect();
        if all.is_empty() {
            return;
        }
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while closing.run_until_cancelled(tick.tick()).await.is_some() {
            for tls in &all {
                look(tls.clone()).await;
            }
        }
    }
}

/// One look, on a thread that may wait for a slow file system.
async fn look(tls: Arc<ReloadingTls>) {
    let named = format!("{tls:?}");
    match tokio::task::spawn_blocking(move || tls.reload_if_changed()).await {
        Ok(Reload::Unchanged) | Err(_) => {}
        Ok(Reload::Reloaded) => tracing::info!(certificate = named, "a renewed certificate is served from now on"),
        Ok(Reload::Kept(error)) => tracing::error!(%error, "the last good certificate is kept"),
    }
}
