//! The state directory: the store, its secret, and the operator's token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::ServiceToken;

use super::{ControlParts, OPERATOR_TOKEN_FILE, StartError};
use crate::seal::{self, Seal, SealError};
use crate::store::{Fenced, FileStore, Store, StoreError};

/// The store, in the state directory.
const STORE_FILE: &str = "control.redb";
/// The secret that seals it.
const KEY_FILE: &str = "control.key";
/// The lease of the control plane that may write.
const LEASE: &str = "control";

/// The store with its secret, held by this process alone.
pub(super) async fn open(parts: &ControlParts) -> Result<(Arc<dyn Store>, Arc<Seal>), StartError> {
    let state = parts.state.clone();
    let key = parts.key_file.clone().unwrap_or_else(|| state.join(KEY_FILE));
    let opened = tokio::task::spawn_blocking(move || -> Result<_, StartError> {
        make_directory(&state)?;
        let path = state.join(STORE_FILE);
        // A store without its secret is one that cannot be read; a new secret would only hide that.
        let seal = Arc::new(Seal::load(&key, !path.exists())?);
        Ok((FileStore::open(&path, seal.clone())?, seal))
    });
    let (store, seal) = opened.await.map_err(|error| StoreError::Failed {
        what: error.to_string(),
    })??;
    // The lock of the file says that there is one; the lease says so to whoever still believes to be it. It may be taken at
    // once, because who could be opened has no other owner.
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| SealError::Entropy)?;
    let holder = crate::issuance::hex(&random);
    let now = (parts.clock)();
    let store = Fenced::take(Arc::new(store), LEASE, &holder, Duration::ZERO, now).await?;
    Ok((Arc::new(store), seal))
}

fn make_directory(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |cause| StartError::State {
        path: path.display().to_string(),
        cause,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("mode {mode:03o} lets others in; run `chmod 700` on it");
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            message,
        )));
    }
    Ok(())
}

/// The token of the operator, made at the first start.
pub(super) fn operator_token(state: &Path) -> Result<ServiceToken, StartError> {
    let path = state.join(OPERATOR_TOKEN_FILE);
    let failed = |cause| StartError::State {
        path: path.display().to_string(),
        cause,
    };
    match seal::read_private(&path) {
        Ok(text) => {
            let text = std::str::from_utf8(&text).unwrap_or_default();
            ServiceToken::parse(text).ok_or_else(|| {
                failed(std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "it holds no token; delete it to have a new one made",
                ))
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut result = Ok(());
            let token = ServiceToken::generate(&mut |out| result = getrandom::fill(out));
            result.map_err(|_| SealError::Entropy)?;
            seal::write_private(&path, token.expose().as_bytes()).map_err(failed)?;
            Ok(token)
        }
        Err(cause) => Err(failed(cause)),
    }
}
