//! Tokens of applications, read from where the configuration says they are kept.
//!
//! Only their digests go on: once an application's token has been looked at here, the process holds it nowhere.

use std::io::Read as _;
use std::path::Path;

use meshgate_identity::{ServiceToken, token_digest};
use meshgate_model::{LOCAL_APPLICATION, Snapshot, TokenSource};

use crate::exit::{CONFIGURATION, Failure};
use crate::state::StateDirectory;

#[cfg(test)]
mod tests;

/// Shortest token that is taken; anything shorter can be guessed.
const TOKEN_CHARS_MIN: usize = 22;
/// Longest token that is taken.
const TOKEN_CHARS_MAX: usize = 4 * 1024;

/// Tells the snapshot the digest of every token. Where the configuration leaves callers to the generated token of this
/// machine, that token is made or read, and returned with whether it is new.
pub(super) fn register(
    snapshot: &mut Snapshot,
    state: &StateDirectory,
) -> Result<Option<(ServiceToken, bool)>, Failure> {
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

fn add(snapshot: &mut Snapshot, application: &str, digest: [u8; 32]) -> Result<(), Failure> {
    if snapshot.add_token(application, digest) {
        return Ok(());
    }
    Err(Failure::new(
        CONFIGURATION,
        format!("the token of application `{application}` also proves another application"),
    )
    .remedy("give each application a token of its own"))
}

/// The token kept at a source; `None` where the configuration holds its digest.
fn read(application: &str, source: &TokenSource) -> Result<Option<String>, Failure> {
    let (kept, text) = match source {
        TokenSource::Sha256(_) => return Ok(None),
        TokenSource::File(path) => (format!("file `{}`", path.display()), first_line(path)),
        TokenSource::Environment(name) => (
            format!("variable `{name}`"),
            std::env::var(name).map_err(|cause| cause.to_string()),
        ),
    };
    let refused = |why: &str| {
        Failure::new(
            CONFIGURATION,
            format!("the token of application `{application}` in {kept} cannot be used: {why}"),
        )
        .remedy(format!(
            "put {TOKEN_CHARS_MIN} or more printable characters without spaces there"
        ))
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

fn first_line(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let cap = u64::try_from(2 * TOKEN_CHARS_MAX).unwrap_or(u64::MAX);
    std::fs::File::open(path)
        .and_then(|file| file.take(cap).read_to_string(&mut text))
        .map_err(|cause| cause.to_string())?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
