//! Log levels: session-wide in legacy, part of one request in modern.
//!
//! The session's level is the most verbose one that any live request asked for. It is set when a request opens that
//! needs another, never by a timer: between requests nobody listens anyway. Which request a log message is about cannot
//! be known on a shared session, so a message is delivered only while exactly one request is in flight.

/// How severe a log message is, least severe first (RFC 5424 names).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever debugs the server.
    Debug,
    /// What happens normally.
    Info,
    /// Normal, but worth a look.
    Notice,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// A part of the server failed.
    Critical,
    /// Somebody has to act now.
    Alert,
    /// The server is unusable.
    Emergency,
}

impl Level {
    const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// Reads a level's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// The level's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

/// Who is in flight on a session and which log messages they asked for.
#[derive(Debug, Default)]
pub struct Logs {
    in_flight: usize,
    asked: [usize; Level::ALL.len()],
    set: Option<Level>,
}

impl Logs {
    /// A request goes to the server. Answers the level that has to be set before it.
    pub fn open(&mut self, asked: Option<Level>) -> Option<Level> {
        self.in_flight = self.in_flight.saturating_add(1);
        let level = asked?;
        if let Some(count) = self.asked.get_mut(level as usize) {
            *count = count.saturating_add(1);
        }
        let wanted = Level::ALL
            .into_iter()
            .zip(self.asked)
            .find(|(_, count)| *count > 0)
            .map(|(level, _)| level);
        if wanted == self.set {
            return None;
        }
        self.set = wanted;
        wanted
    }

    /// The request that was opened with `asked` has ended.
    pub fn close(&mut self, asked: Option<Level>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(count) = asked.and_then(|level| self.asked.get_mut(level as usize)) {
            *count = count.saturating_sub(1);
        }
    }

    /// The level could not be set, or the session was made anew: it is unknown again.
    pub fn forget_level(&mut self) {
        self.set = None;
    }

    /// Whether a message of `level` may be delivered to the request that was opened with `asked`.
    pub fn carries(&self, asked: Option<Level>, level: Level) -> bool {
        self.in_flight == 1 && asked.is_some_and(|asked| level >= asked)
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
