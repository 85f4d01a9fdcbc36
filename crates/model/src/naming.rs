//! (types first; the rest follows)

/// Whether `alias` may stand before a name.
pub fn valid_alias(alias: &str) -> bool {
    (1..=32).contains(&alias.len())
        && alias
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}
/// The name under which a view shows `name` of the server `alias`.
pub fn exposed(alias: &str, name: &str) -> String {
    format!("{alias}__{name}")
}
/// The URI under which a view shows `uri` of the server `alias`.
pub fn wrap_uri(alias: &str, uri: &str) -> String {
    format!("mesh+{alias}:{uri}")
}
/// The same for an RFC 6570 template.
pub fn wrap_template(alias: &str, template: &str) -> String {
    wrap_uri(alias, template)
}
/// The alias and the server's own URI.
pub fn unwrap_uri(uri: &str) -> Option<(String, String)> {
    let (alias, rest) = uri.strip_prefix("mesh+")?.split_once(':')?;
    valid_alias(alias).then(|| (alias.to_owned(), rest.to_owned()))
}
