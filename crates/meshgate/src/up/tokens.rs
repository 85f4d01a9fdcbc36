//! Tokens of applications, for a gateway that is started from a file.

use meshgate_identity::ServiceToken;
use meshgate_model::Snapshot;
use meshgate_proxy::member::{TOKEN_CHARS_MIN, TokenError};

use crate::exit::{CONFIGURATION, Failure};
use crate::state::StateDirectory;

/// Tells the snapshot the digest of every token. Where the configuration leaves callers to the generated token of this
/// machine, that token is made or read, and returned with whether it is new.
pub(super) fn register(
    snapshot: &mut Snapshot,
    state: &StateDirectory,
) -> Result<Option<(ServiceToken, bool)>, Failure> {
    meshgate_proxy::member::register_tokens(snapshot, state.directory()).map_err(|error| {
        let message = error.to_string();
        match error {
            TokenError::Unusable { .. } => Failure::new(CONFIGURATION, message).remedy(format!(
                "put {TOKEN_CHARS_MIN} or more printable characters without spaces there"
            )),
            TokenError::Shared(_) => {
                Failure::new(CONFIGURATION, message).remedy("give each application a token of its own")
            }
            TokenError::Local(error) => error.into(),
        }
    })
}
