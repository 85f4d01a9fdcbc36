//! Where the join token is: what a part that has nothing yet proves itself with, once.
//!
//! It is in a file or a variable and never on the command line, which every program on a machine can read.

use std::path::Path;

use meshgate_identity::JoinToken;
use thiserror::Error;
use zeroize::Zeroizing;

use super::tokens::first_line;

/// The variable that holds the token where no file is named.
pub const JOIN_TOKEN_VARIABLE: &str = "MESHGATE_JOIN_TOKEN";

/// Why a join token cannot be used. It never shows the token.
#[derive(Debug, Error)]
pub enum JoinTokenError {
    /// The file cannot be read.
    #[error("the join token in `{file}` cannot be read: {why}")]
    File {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// It is no join token.
    #[error("what is in {0} is no join token; `meshgate join-token` prints one, which begins with `mgj_`")]
    Form(String),
}

/// The join token in the file, or without one in [`JOIN_TOKEN_VARIABLE`]; `None` where that is not set either.
///
/// # Errors
/// When the file cannot be read, or what is there is no join token.
pub fn join_token(file: Option<&Path>) -> Result<Option<JoinToken>, JoinTokenError> {
    if let Some(file) = file {
        let shown = file.display().to_string();
        let text = first_line(file).map_err(|why| JoinTokenError::File {
            file: shown.clone(),
            why,
        })?;
        return parsed(&text, format!("`{shown}`"));
    }
    match std::env::var(JOIN_TOKEN_VARIABLE).map(Zeroizing::new) {
        Ok(text) => parsed(&text, format!("the variable `{JOIN_TOKEN_VARIABLE}`")),
        Err(_) => Ok(None),
    }
}

fn parsed(text: &str, place: String) -> Result<Option<JoinToken>, JoinTokenError> {
    JoinToken::parse(text).map(Some).ok_or(JoinTokenError::Form(place))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_join_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("join");
        let token = JoinToken::generate(b"a root", &mut |out| out.fill(7));
        std::fs::write(&path, format!("{}\n# made today\n", *token.expose())).unwrap();
        let read = join_token(Some(&path)).unwrap().unwrap();
        assert_eq!(*read.expose(), *token.expose());
    }

    #[test]
    fn d36_a_refused_join_token_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("join");
        std::fs::write(&path, "CANARY\n").unwrap();
        let refused = join_token(Some(&path)).unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("CANARY"));
        assert!(matches!(
            join_token(Some(&directory.path().join("none"))),
            Err(JoinTokenError::File { .. })
        ));
    }
}
