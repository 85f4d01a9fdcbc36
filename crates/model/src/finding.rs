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
    /// Stable code, `MG0001` and up; [`codes::ALL`] lists them.
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

impl Finding {
    /// An error of whoever assembles a process, about the source as a whole.
    pub fn of_assembly(
        code: &'static str,
        source: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::error(code, &source.into(), message).remedy(remedy)
    }

    pub(crate) fn error(code: &'static str, source: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            remedy: String::new(),
            source: source.clone(),
            document: None,
            path: String::new(),
            span: None,
        }
    }

    pub(crate) fn warning(code: &'static str, source: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, source, message)
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

/// Declares the codes once, as constants and as the list that the documentation is made from.
macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        /// The codes of findings. A code never changes its meaning and is never used again for another.
        pub mod codes {
            $(#[doc = $meaning] pub const $name: &str = $code;)*
            /// Every code with its meaning.
            pub const ALL: &[(&str, &str)] = &[$(($code, $meaning)),*];
        }
    };
}

codes! {
    SYNTAX = "MG0001", "the file is not YAML or JSON";
    FORM = "MG0002", "a value does not have the form of its field";
    UNKNOWN_FIELD = "MG0003", "a field does not exist";
    MISSING_FIELD = "MG0004", "a required field is missing";
    UNKNOWN_VALUE = "MG0005", "a value is not one of those the field has";
    DUPLICATE_FIELD = "MG0006", "a field is written twice";
    TOO_LARGE = "MG0007", "the file is too large, too deep or repeats too much";
    NOT_A_DOCUMENT = "MG0008", "a document is not a mapping";
    API_VERSION = "MG0009", "`apiVersion` is missing or not one this program reads";
    KIND = "MG0010", "`kind` is missing or not one of the kinds";
    NAME = "MG0101", "a name or team does not follow its grammar";
    NAME_TWICE = "MG0102", "two documents of one kind have the same name";
    ONE_ONLY = "MG0103", "a second document of a kind of which there is one";
    PATH_HOME = "MG0104", "a file path begins with `~`, which no shell expands here";
    RANGE = "MG0105", "a limit or a time is outside its range";
    NO_SERVER = "MG0106", "the configuration has no server";
    TRUST_DOMAIN = "MG0107", "a trust domain does not follow its grammar";
    TRACES = "MG0108", "the receiver of spans is no address";
    NO_LISTENER = "MG0201", "a gateway has an empty list of listeners";
    LISTENER_TLS = "MG0202", "a listener that is not loopback has no TLS";
    LISTENER_OPEN = "MG0203", "a listener that is not loopback has no application that could prove itself";
    LISTENER_HOSTS = "MG0204", "a listener that is not loopback does not name its hosts";
    LISTENER_TWICE = "MG0205", "two listeners have the same address";
    HOST = "MG0206", "a host does not follow its grammar";
    ORIGIN = "MG0207", "an origin does not follow its grammar";
    UNKNOWN_VIEW = "MG0208", "a view is named that does not exist";
    ADMIN_ADDRESS = "MG0209", "the admin listener is not loopback, or its address is taken";
    ALIAS = "MG0301", "an alias does not follow its grammar";
    ALIAS_TWICE = "MG0302", "two servers have the same alias";
    REACH = "MG0303", "a server is not reached in exactly one way";
    COMMAND = "MG0304", "a command or argument cannot be executed as written";
    UNPINNED = "MG0305", "a package is run without a version";
    ENVIRONMENT = "MG0306", "the name of an environment variable does not follow its grammar";
    VALUE_SOURCE = "MG0307", "a value does not come from exactly one place";
    LITERAL_SECRET = "MG0308", "a secret seems to be written in the file";
    URL = "MG0309", "a URL does not follow its grammar";
    HEADER = "MG0310", "a header cannot be set, or its name or value does not follow its grammar";
    PLAIN_HTTP = "MG0311", "a server beyond this machine is reached without TLS";
    DEADLINES = "MG0312", "`deadline` is longer than `hardDeadline`";
    TRANSPORT = "MG0313", "a server is said to speak an era that its transport does not have";
    LOADING = "MG0314", "a variable makes a server load or run something else than itself";
    SHARING = "MG0315", "a server without sessions is to have one for each caller";
    QUESTION_HOST = "MG0316", "a host of pages is not a name of DNS";
    VERSION = "MG0317", "the version of a server does not follow its grammar";
    BYPASS = "MG0318", "a server can be called past its sidecar, which is on another machine";
    VIEW_PATH = "MG0401", "the path of a view does not follow its grammar";
    VIEW_PATH_TWICE = "MG0402", "two views have the same path";
    UNKNOWN_SERVER = "MG0403", "a server is named that does not exist";
    SERVER_TWICE = "MG0404", "a view names the same server twice";
    ANONYMOUS = "MG0405", "an anonymous view is served beyond loopback";
    LIFTED = "MG0406", "a view without limits is served beyond loopback";
    INSTRUCTIONS = "MG0407", "instructions are too long";
    TOOL_NAME = "MG0408", "the name of a tool does not follow its grammar";
    RENAME = "MG0409", "two tools get the same name, or a hidden tool is renamed or allowed";
    PLAIN_MERGED = "MG0410", "a view shows names of several servers without their prefix";
    EMPTY_VIEW = "MG0411", "a view has no server";
    TOKEN_SOURCE = "MG0501", "a token does not come from exactly one place";
    TOKEN_DIGEST = "MG0502", "the digest of a token is not 64 hexadecimal digits";
    TOKEN_TWICE = "MG0503", "a token is given twice";
    NO_TOKEN = "MG0504", "an application has no token, so nobody can prove to be it";
    EVERY_VIEW = "MG0505", "`*` stands beside names of views";
    NO_VIEW = "MG0506", "an application may use no view";
    MCP_JSON = "MG0601", "an `mcp.json` holds no object of servers";
    ENTRY_NAME = "MG0602", "the name of an entry gives no alias, or the same as another";
    ENTRY_FIELD = "MG0603", "a field of an entry means nothing here";
    ENTRY_DISABLED = "MG0604", "an entry is disabled and left out";
    // MG0605 was given when entries with the SSE transport of 2024-11-05 were left out.
    VARIABLE = "MG0606", "a variable stands where none is replaced";
    ENTRY_TIME = "MG0607", "the unit of an entry's time limit was guessed, or the limit does not fit";
    ENTRY_SECRET = "MG0608", "a secret was not copied; the file names a variable in its place";
    ENTRY_SECRET_LOST = "MG0609", "a secret stands where none can be read from elsewhere, so the entry is left out";
    ENTRY_REPLACED = "MG0610", "a variable was replaced by its value of today";
    ENTRY_TWICE = "MG0611", "entries of several files have the same name";
    PROPOSAL = "MG0621", "an entry of a registry cannot be proposed as it is";
    PROPOSAL_FIELD = "MG0622", "something an entry of a registry asks for is not part of its proposal";
    RESTART = "MG0701", "a change takes effect at the next start only";
    SHRINK = "MG0702", "a reload would take away too many servers, views or applications";
    EXPOSED = "MG0703", "a reload would open a view on a listener that is not loopback";
    UNREADABLE = "MG0704", "the file, or one that it refers to, cannot be read";
    TOKEN_VALUE = "MG0705", "a token cannot be used";
    LOCK_OUT = "MG0706", "a reload would leave nobody who may call";
}
