//! How the program ends: one code per kind of end, so that scripts need not read messages.

use std::fmt;
use std::process::ExitCode;

use crate::out;

/// What was asked for did not succeed: the file has errors, the tool says it failed.
pub(crate) const FAILED: u8 = 1;
/// A file differs from what runs, and would be taken over.
pub(crate) const DIFFERS: u8 = 3;
/// The configuration is refused; no address was taken (as `EX_USAGE` of sysexits.h).
pub(crate) const CONFIGURATION: u8 = 64;
/// No gateway is running here, or it does not answer (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// The system refused something: an address in use, no more threads (`EX_OSERR`).
pub(crate) const SYSTEM: u8 = 71;
/// The state directory cannot be used (`EX_CANTCREAT`).
pub(crate) const STATE: u8 = 73;
/// Another gateway uses the state directory (`EX_TEMPFAIL`).
pub(crate) const IN_USE: u8 = 75;
/// The caller may not do this (`EX_NOPERM`).
pub(crate) const FORBIDDEN: u8 = 77;
/// Ended by a second signal, before every call had finished.
pub(crate) const FORCED: u8 = 130;

/// The codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    success
  1    what was asked for failed: the file has errors, the tool says it failed
  2    the command line is wrong
  3    `diff` and `check --against-running`: the file would change the running gateway
  64   the configuration is refused; nothing was started
  69   no gateway is running with this state directory, or it does not answer
  71   the system refused something: an address is in use, a program cannot be started
  73   the state directory cannot be used
  75   another gateway uses the state directory
  77   the caller may not do this
  130  ended by a second signal, before every call had finished";

/// Why the program ends without success, for the person who typed the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    remedy: Option<String>,
}

impl Failure {
    /// A failure with its exit code; the message is lower case and has no full stop.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            remedy: None,
        }
    }

    /// Says what to do.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Says what to do where nothing has been said yet.
    pub(crate) fn or_remedy(self, remedy: impl Into<String>) -> Self {
        if self.remedy.is_some() {
            self
        } else {
            self.remedy(remedy)
        }
    }

    /// What went wrong, and what to do about it if that is known.
    pub(crate) fn words(&self) -> (&str, Option<&str>) {
        (&self.message, self.remedy.as_deref())
    }

    /// Tells the person and gives the code.
    pub(crate) fn report(self) -> ExitCode {
        out::note(&self.to_string());
        ExitCode::from(self.code)
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  help: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
