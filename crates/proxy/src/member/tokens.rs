//! Tokens of applications, read from where the configuration says they are kept.
//!
//! Only their digests go on: once an application's token has been looked at here, the process holds it nowhere.

use std::io::Read as _;
use std::path::Path;

use meshgate_identity::{ServiceToken, token_digest};
use meshgate_model::{LOCAL_APPLICATION, Snapshot, TokenSource};
use thiserror::Error;
use zeroize::Zeroizing;

use super::directory::{Directory, DirectoryError};

#[cfg(test)]
mod tests;

/// Shortest token that is taken; anything shorter can be guessed.
pub const TOKEN_CHARS_MIN: usize = 22;
/// Longest token that is taken.
const TOKEN_CHARS_MAX: usize = 4 * 1024;

/// Why a token cannot be used. It never shows the token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// What is kept there is no token, or cannot be read.
    #[error("the token of application `{application}` in {kept} cannot be used: {why}")]
    Unusable {
        /// Whose it is.
        application: String,
        /// Where it is kept.
        kept: String,
        /// What is wrong.
        why: String,
    },
    /// A token proves one application.
    #[error("the token of application `{0}` also proves another application")]
    Shared(String),
    /// The generated token of this machine cannot be had.
    #[error(transparent)]
    Local(#[from] DirectoryError),
}

/// Tells the snapshot the digest of every token. Where the configuration leaves callers to the generated token of this
/// machine, that token is made or read, and returned with whether it is new.
///
/// # Errors
/// When a token cannot be used; the snapshot knows some of the others then.
pub fn register(snapshot: &mut Snapshot, state: &Directory) -> Result<Option<(ServiceToken, bool)>, TokenError> {
    for application in snapshot.applications.clone() {
        for source in &application.tokens {
            if let Some(token) = read(&application.name, source)? {
                add(snapshot, &application.name, token_digest(&token))?;
            }
        }
    }
    if snapshot
        .application(LOCAL_APPLICATION)
        .is_none_or(|local| !local.tokens.is_empty())
    {
        return Ok(None);
    }
    let (token, new) = state.token()?;
    add(snapshot, LOCAL_APPLICATION, token.digest())?;
    Ok(Some((token, new)))
}

pub(super) fn add(snapshot: &mut Snapshot, application: &str, digest: [u8; 32]) -> Result<(), TokenError> {
    if snapshot.add_token(application, digest) {
        Ok(())
    } else {
        Err(TokenError::Shared(application.to_owned()))
    }
}

/// The token kept at a source; `None` where the configuration holds its digest.
pub(super) fn read(application: &str, source: &TokenSource) -> Result<Option<Zeroizing<String>>, TokenError> {
    let (kept, text) = match source {
        TokenSource::Sha256(_) => return Ok(None),
        TokenSource::File(path) => (format!("file `{}`", path.display()), first_line(path)),
        TokenSource::Environment(name) => (
            format!("variable `{name}`"),
            std::env::var(name)
                .map(Zeroizing::new)
                .map_err(|cause| cause.to_string()),
        ),
    };
    let refused = |why: &str| TokenError::Unusable {
        application: application.to_owned(),
        kept: kept.clone(),
        why: why.to_owned(),
    };
    let token = text.map_err(|why| refused(&why))?;
    let sound = token.bytes().all(|b| b.is_ascii_graphic());
    match token.len() {
        0..TOKEN_CHARS_MIN => Err(refused("it is too short")),
        TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX if sound => Ok(Some(token)),
        TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX => Err(refused("it holds characters that a header cannot carry")),
        _ => Err(refused("it is too long")),
    }
}

pub(super) fn first_line(path: &Path) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let cap = u64::try_from(2 * TOKEN_CHARS_MAX).unwrap_or(u64::MAX);
    std::fs::File::open(path)
        .and_then(|file| file.take(cap).read_to_string(&mut text))
        .map_err(|cause| cause.to_string())?;
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().trim().to_owned(),
    ))
}
