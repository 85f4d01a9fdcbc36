//! SPIFFE IDs: the names by which the parts of a mesh know each other.
//!
//! A certificate proves such a name and nothing else, and everything that is allowed inside the mesh hangs on comparing
//! two of them. So there is one way to write each: what is read is either exactly the text that would be written, or it is
//! no ID. No case is folded, nothing is decoded, no segment is skipped, and equality is equality of bytes (SPIFFE-ID §2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// The longest ID, in bytes (SPIFFE-ID §2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// The longest trust domain, in bytes (SPIFFE-ID §2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// Why a text is no SPIFFE ID of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpiffeError {
    /// It does not begin with `spiffe://`.
    Scheme,
    /// It is longer than [`SPIFFE_ID_BYTES_MAX`].
    TooLong,
    /// The trust domain is empty, too long, or holds something else than `a-z`, `0-9`, `.`, `-` and `_`.
    TrustDomain,
    /// The path is none of those that parts of a mesh have.
    Path,
}

impl fmt::Display for SpiffeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "a spiffe id begins with `spiffe://`",
            Self::TooLong => "a spiffe id has at most 2048 bytes",
            Self::TrustDomain => "a trust domain has 1 to 255 of `a-z`, `0-9`, `.`, `-` and `_`",
            Self::Path => {
                "the path is none of `/gateway/<name>`, `/server/<name>/<version>`, `/control` and `/operator/<name>`"
            }
        })
    }
}

impl std::error::Error for SpiffeError {}

/// The name of a mesh in the IDs of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The one of a mesh that says none: `<name>.mesh`. What a name of a document cannot hold is left out.
    pub fn of_mesh(name: &str) -> Self {
        let kept: String = name.chars().filter(|c| is_plain(*c)).take(63).collect();
        Self(format!("{kept}.mesh").into())
    }

    /// As it stands in IDs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of a part of this mesh.
    ///
    /// # Errors
    /// When a name in `part` is not one, or the whole is too long.
    pub fn id(&self, part: Part) -> Result<SpiffeId, SpiffeError> {
        if !part.is_named() {
            return Err(SpiffeError::Path);
        }
        let text = format!("{SCHEME}{}{part}", self.0);
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        Ok(SpiffeId {
            text: text.into(),
            domain: self.clone(),
            part,
        })
    }
}

/// Whether a trust domain may hold a character.
fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_')
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let sound = !text.is_empty() && text.len() <= TRUST_DOMAIN_BYTES_MAX && text.chars().all(is_plain);
        sound.then(|| Self(text.into())).ok_or(SpiffeError::TrustDomain)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which part of a mesh an ID names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// `/gateway/<name>`: all replicas of a gateway.
    Gateway(Arc<str>),
    /// `/server/<server>/<version>`: all sidecars of one version of a server.
    Server {
        /// The server.
        server: Arc<str>,
        /// Its version.
        version: Arc<str>,
    },
    /// `/control`: the control plane.
    Control,
    /// `/operator/<name>`: a person who runs the mesh.
    Operator(Arc<str>),
}

impl Part {
    fn is_named(&self) -> bool {
        match self {
            Self::Gateway(name) | Self::Operator(name) => is_name(name),
            Self::Server { server, version } => is_name(server) && is_version(version),
            Self::Control => true,
        }
    }

    fn parse(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let (kind, first, second) = (segments.next()?, segments.next(), segments.next());
        segments.next().is_none().then_some(())?;
        let part = match (kind, first, second) {
            ("gateway", Some(name), None) => Self::Gateway(name.into()),
            ("operator", Some(name), None) => Self::Operator(name.into()),
            ("server", Some(server), Some(version)) => Self::Server {
                server: server.into(),
                version: version.into(),
            },
            ("control", None, None) => Self::Control,
            _ => return None,
        };
        part.is_named().then_some(part)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(name) => write!(f, "/gateway/{name}"),
            Self::Server { server, version } => write!(f, "/server/{server}/{version}"),
            Self::Control => f.write_str("/control"),
            Self::Operator(name) => write!(f, "/operator/{name}"),
        }
    }
}

/// Whether a text can name a document: 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last `-`.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether a text can name a version of a server: 1 to 63 of `a-z`, `A-Z`, `0-9`, `.`, `-` and `_`, the first a letter or
/// a digit.
pub fn is_version(version: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let first = version.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && version.len() <= 63 && version.bytes().all(plain)
}

/// The name of one part of a mesh: `spiffe://<trust domain>/<part>`.
#[derive(Clone, Debug)]
pub struct SpiffeId {
    text: Arc<str>,
    domain: TrustDomain,
    part: Part,
}

impl SpiffeId {
    /// The ID as a certificate holds it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The mesh.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The part.
    pub fn part(&self) -> &Part {
        &self.part
    }
}

impl PartialEq for SpiffeId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SpiffeId {}

impl std::hash::Hash for SpiffeId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SpiffeId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(SpiffeError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let (domain, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        Ok(Self {
            domain: domain.parse()?,
            part: Part::parse(path).ok_or(SpiffeError::Path)?,
            text: text.into(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
