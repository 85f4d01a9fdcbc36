//! What operators write: files, aliases and names.

use meshgate_model::{Config, naming, parse};

/// A mesh file of any bytes is refused with findings that stand inside it, or becomes the same snapshot each time.
pub fn mesh(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    outcome(text, || parse("mesh.yaml", text));
}

/// An `mcp.json` likewise.
pub fn mcp_json(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    outcome(text, || Config::from_mcp_json("mcp.json", text));
}

fn outcome(text: &str, read: impl Fn() -> Result<Config, Vec<meshgate_model::Finding>>) {
    let compiled = || read().and_then(Config::compile);
    match (compiled(), compiled()) {
        (Ok((first, warnings)), Ok((second, _))) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"), "one file, one meaning");
            warnings.iter().for_each(|finding| stands_inside(finding, text));
        }
        (Err(findings), Err(again)) => {
            assert!(!findings.is_empty(), "a refusal says why");
            assert_eq!(findings.len(), again.len());
            findings.iter().for_each(|finding| stands_inside(finding, text));
        }
        _ => panic!("one file, two outcomes"),
    }
}

fn stands_inside(finding: &meshgate_model::Finding, text: &str) {
    assert!(!finding.message.is_empty() && !finding.code.is_empty(), "{finding:?}");
    if let Some(span) = &finding.span {
        assert!(
            text.get(span.clone()).is_some(),
            "{finding:?} points outside or into a character"
        );
    }
}

/// Four lines: two aliases, each with a name or URI behind it. Different pairs are never shown alike, and a wrapped URI
/// gives back exactly its alias and itself.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut pair = || Some((lines.next()?, lines.next()?));
    let (Some(first), Some(second)) = (pair(), pair()) else {
        return;
    };
    if !naming::valid_alias(first.0) || !naming::valid_alias(second.0) {
        return;
    }
    if naming::valid_name(first.1) && naming::valid_name(second.1) {
        let shown = [first, second].map(|(alias, name)| naming::exposed(alias, name));
        assert_eq!(shown[0] == shown[1], first == second, "{shown:?}");
        assert!(
            shown.iter().all(|name| name.len() <= 64 && naming::valid_name(name)),
            "{shown:?}"
        );
    }
    let wrapped = [first, second].map(|(alias, uri)| naming::wrap_uri(alias, uri));
    assert_eq!(wrapped[0] == wrapped[1], first == second, "{wrapped:?}");
    for ((alias, uri), wrapped) in [first, second].iter().zip(&wrapped) {
        assert_eq!(
            naming::unwrap_uri(wrapped),
            Some(((*alias).to_owned(), (*uri).to_owned()))
        );
    }
    let _ = naming::unwrap_uri(first.1);
}
