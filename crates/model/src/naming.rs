//! Names and URIs as a view of several servers shows them.
//!
//! Two servers may use the same name, and a hostile one will use any name it likes. So what a client sees carries the
//! server's alias in a place where nothing that a server chooses can stand, and two different things never look the
//! same. Calls are routed by looking the shown name up in a table; nothing ever splits one.
//!
//! **Tools and prompts** become `<alias>__<name>`. An alias holds no `_`, so the first `__` ends it. Hosts often allow 64
//! characters, so a longer form is cut and ends in a digest of the whole; forms that are not cut are shorter than 64
//! characters and cut ones exactly 64, so that no server can name a tool like the cut form of another.
//!
//! **URIs** become `mesh+<alias>:<URI>`, a valid URI for every URI and reversible for every text. The scheme `ui` is
//! reserved by MCP Apps and must stay, so `ui://<rest>` becomes `ui://<alias>.<rest>`: an alias holds no `.`, and the
//! part before the first one is always ours, whatever authority a server chose. Templates are wrapped alike; what is
//! added stands before the first expression and holds no brace, so each expansion is the wrapped form of the server's own
//! expansion.

use aws_lc_rs::digest::{SHA256, digest};

#[cfg(test)]
mod tests;

/// Longest alias.
pub const ALIAS_CHARS_MAX: usize = 32;
/// Longest name of a tool or prompt that is shown at all.
pub const NAME_CHARS_MAX: usize = 128;
/// Length of a shown name that had to be cut; shorter ones are not.
pub const EXPOSED_CHARS_MAX: usize = 64;
/// What stands between alias and name.
pub const SEPARATOR: &str = "__";

/// Characters of the digest at the end of a cut name: 100 bits.
const DIGEST_CHARS: usize = 20;
const WRAPPER: &str = "mesh+";
const UI: &str = "ui://";

/// Whether `alias` may stand before a name: 1 to 32 of `a-z`, `0-9` and `-`.
pub fn valid_alias(alias: &str) -> bool {
    (1..=ALIAS_CHARS_MAX).contains(&alias.len())
        && alias
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether a server's own name is shown at all: 1 to 128 of `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`. Others (look-alike
/// letters, blanks, invisible characters) are left out of the catalogue and reported.
pub fn valid_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The name under which a prefixed view shows `name` of the server `alias`: at most 64 bytes, the same for the same
/// pair always and everywhere, different for different pairs.
pub fn exposed(alias: &str, name: &str) -> String {
    let whole = format!("{alias}{SEPARATOR}{name}");
    if whole.len() < EXPOSED_CHARS_MAX {
        return whole;
    }
    let keep = EXPOSED_CHARS_MAX - DIGEST_CHARS - 1;
    let mut out = whole
        .get(..whole.floor_char_boundary(keep))
        .unwrap_or_default()
        .to_owned();
    while out.len() < EXPOSED_CHARS_MAX - DIGEST_CHARS {
        out.push('_');
    }
    out.push_str(&short_digest(&whole));
    out
}

/// The first 100 bits of SHA-256 in base 32, lower case.
fn short_digest(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let sum = digest(&SHA256, text.as_bytes());
    let bits = sum
        .as_ref()
        .iter()
        .take(16)
        .fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    (0..DIGEST_CHARS)
        .filter_map(|place| usize::try_from((bits >> (123 - 5 * place)) & 31).ok())
        .filter_map(|index| ALPHABET.get(index).map(|letter| char::from(*letter)))
        .collect()
}

/// The URI under which a view of several servers shows `uri` of the server `alias`.
pub fn wrap_uri(alias: &str, uri: &str) -> String {
    match uri.strip_prefix(UI) {
        Some(rest) => format!("{UI}{alias}.{rest}"),
        None => format!("{WRAPPER}{alias}:{uri}"),
    }
}

/// The same for an RFC 6570 template.
pub fn wrap_template(alias: &str, template: &str) -> String {
    wrap_uri(alias, template)
}

/// The alias, and the server's own URI. `None` for a URI that no view shows.
pub fn unwrap_uri(uri: &str) -> Option<(String, String)> {
    let (alias, own) = if let Some(rest) = uri.strip_prefix(UI) {
        let (alias, rest) = rest.split_once('.')?;
        (alias, format!("{UI}{rest}"))
    } else {
        let (alias, own) = uri.strip_prefix(WRAPPER)?.split_once(':')?;
        (alias, own.to_owned())
    };
    valid_alias(alias).then(|| (alias.to_owned(), own))
}
