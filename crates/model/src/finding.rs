//! What is wrong with a file, as data: a stable code, where, why and what to do.
//!
//! The command line draws a finding over its source; other programs match on its code. So the words may improve and the
//! codes never change their meaning.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, and the operator should know.
    Warning,
    /// The configuration is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is wrong, or worth knowing, about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, `MG0001` and up; `finding::CODES` lists them.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong: lower case, names the field and the rule.
    pub message: String,
    /// What to do about it; empty when the message says it.
    pub remedy: String,
    /// The source it is in, as given to [`crate::parse`].
    pub source: Arc<str>,
    /// The document it is in, as `Kind/name`; `None` for the file as a whole.
    pub document: Option<String>,
    /// The field, as a path (`spec.listeners[0].address`); empty for the document as a whole.
    pub path: String,
    /// Where in the source, in bytes.
    pub span: Option<Range<usize>>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.severity, self.code)?;
        if let Some(document) = &self.document {
            write!(f, "{document}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}
