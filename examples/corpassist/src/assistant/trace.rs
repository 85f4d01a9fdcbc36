//! W3C trace context: one trace for a question, one span for each request.

use std::fmt::Write as _;

/// The trace of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: String,
}

impl Trace {
    /// A new trace.
    pub fn new() -> Self {
        Self { id: random::<16>() }
    }

    /// Its id, as 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A new span.
    pub(super) fn span(&self) -> String {
        random::<8>()
    }

    /// The `traceparent` for a request in this span.
    pub(super) fn parent(&self, span: &str) -> String {
        format!("00-{}-{span}-01", self.id)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    // An id of zeros is invalid in W3C's rules; where there is no entropy one that repeats is better than none.
    if getrandom::fill(&mut bytes).is_err() {
        bytes.fill(1);
    }
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
