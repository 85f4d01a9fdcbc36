//! What looks like a secret: by the name it has, or by how it looks.
//!
//! Nothing here proves anything. A name or a form that is wrongly taken for a secret costs the operator one variable; one
//! that is missed ends in a file that others read. So doubtful forms count as secrets.

/// Parts of names that say that their value is a secret.
const WORDS: [&str; 13] = [
    "token",
    "secret",
    "password",
    "passwd",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "passphrase",
    "bearer",
    "connectionstring",
];
/// Ends of names that say where something is, or how much of it, and not what it is.
const PLACES: [&str; 8] = ["file", "path", "url", "dir", "limit", "max", "count", "budget"];
/// How the tokens of well-known services begin.
const PREFIXES: [&str; 22] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_",
    "pk_live_",
    "rk_live_",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "AIza",
    "ya29.",
    "eyJ",
    "npm_",
    "pypi-",
    "hf_",
    "ntn_",
    "-----BEGIN",
];
/// Texts of letters and digits mixed that are at least so long are keys more often than words.
const MIXED_CHARS_MIN: usize = 24;
/// Texts of hexadecimal digits alone that are at least so long.
const HEX_CHARS_MIN: usize = 32;

/// Whether a variable or header of that name holds a secret, as far as its name says.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let folded: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let names_a_place = PLACES.iter().any(|end| folded.ends_with(end));
    !names_a_place && WORDS.iter().any(|word| folded.contains(word))
}

/// Whether a setting of that name is better not copied: as [`sounds_secret`], and `…_KEY`, `…_AUTH`, `…_PAT`, `…_DSN`.
pub(crate) fn may_be_secret(name: &str) -> bool {
    let last = name.rsplit(['_', '-', '.']).next().unwrap_or(name);
    sounds_secret(name) || ["key", "auth", "pat", "dsn", "pwd", "pass"].contains(&last.to_ascii_lowercase().as_str())
}

/// Whether a text looks like a key or token, or holds a password as the user part of a URL.
pub(crate) fn looks_secret(text: &str) -> bool {
    text.split([' ', '=', ':', '?', '&', '/', ',', '"', '\'']).any(is_key) || has_password(text)
}

fn is_key(piece: &str) -> bool {
    let known = PREFIXES
        .iter()
        .any(|prefix| piece.len() >= prefix.len() + 6 && piece.starts_with(prefix));
    known || text_of_a_key(piece)
}

fn text_of_a_key(piece: &str) -> bool {
    let plain = piece
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'.'));
    let has = |test: fn(&u8) -> bool| piece.as_bytes().iter().any(test);
    let hexadecimal = piece.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    if !plain || !mixed {
        return false;
    }
    if hexadecimal {
        return piece.len() >= HEX_CHARS_MIN;
    }
    // Words joined by dashes or dots are names of packages and hosts; a key has long stretches without any.
    piece
        .split(['-', '.', '_'])
        .any(|run| run.len() >= MIXED_CHARS_MIN && run.bytes().any(|b| b.is_ascii_digit()))
}

/// `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| !password.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in ["GITHUB_TOKEN", "X-Api-Key", "Authorization", "db.password"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["TOKEN_FILE", "SECRETS_DIR", "MAX_TOKENS_LIMIT", "LOG_LEVEL", "KEYBOARD"] {
            assert!(!sounds_secret(name), "{name}");
        }
        for name in ["OPENAI_KEY", "key", "SENTRY_DSN", "MY_AUTH"] {
            assert!(may_be_secret(name), "{name}");
        }
        for name in ["PUBLIC_KEY_PATH", "monkey", "COMPASS"] {
            assert!(!may_be_secret(name), "{name}");
        }
    }

    #[test]
    fn forms_of_secrets_are_known() {
        for text in [
            "ghp_0123456789abcdef",
            "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x",
            "--api-key=sk-abcdef123456",
            "postgres://app:hunter2@db/x",
            "0123456789abcdef0123456789abcdef",
            "https://mcp.example.com/s/Zk3JQ8mW1rT7yB2nD5vX9cLp/mcp",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert!(looks_secret(text), "{text}");
        }
        for text in [
            "@modelcontextprotocol/server-filesystem@2026.8.31",
            "/srv/documents/2026/strategy",
            "https://mcp.example.com/v1/mcp?workspace=main",
            "postgres://db.example.com:5432/app",
            "mcp-server-git==2026.10.19",
            "a-very-long-name-of-some-server-2026-edition-with-dashes",
            "production",
            "sk-",
        ] {
            assert!(!looks_secret(text), "{text}");
        }
    }
}
