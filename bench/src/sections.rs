//! A page is written in parts: what one run does not measure stays as it is, and so does what a person wrote below.

/// A section begins so.
const MARK: &str = "## ";

/// The page with another text in the place of one section, or of all that stands before the first one.
pub(crate) fn put(page: &str, title: Option<&str>, text: &str) -> String {
    let mut parts = split(page);
    let text = text.trim_end();
    let new = match title {
        Some(title) => format!("{MARK}{title}\n\n{text}"),
        None => text.to_owned(),
    };
    let is_same = |part: &str| match title {
        Some(title) => part.lines().next() == Some(&format!("{MARK}{title}")),
        None => !part.starts_with(MARK),
    };
    match parts.iter_mut().find(|part| is_same(part)) {
        Some(part) => *part = new,
        // What is measured stands before what is said about it.
        None => parts.insert(usize::from(title.is_some()).min(parts.len()), new),
    }
    parts.join("\n\n") + "\n"
}

/// What stands before the first section, where something does, and the sections.
fn split(page: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in page.lines() {
        match parts.last_mut() {
            Some(part) if !line.starts_with(MARK) => {
                part.push('\n');
                part.push_str(line);
            }
            _ => parts.push(line.to_owned()),
        }
    }
    let parts = parts.into_iter().map(|part| part.trim_end().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::put;

    const PAGE: &str = "# Title\n\nfigures\n\n## What is missed\n\nwords\n";

    #[test]
    fn a_new_section_stands_behind_the_figures_and_before_the_words() {
        let page = put(PAGE, Some("Twenty"), "more\n");
        assert_eq!(
            page,
            "# Title\n\nfigures\n\n## Twenty\n\nmore\n\n## What is missed\n\nwords\n"
        );
        assert_eq!(put(&page, Some("Twenty"), "more\n"), page);
        assert_eq!(put("", Some("Twenty"), "more"), "## Twenty\n\nmore\n");
    }

    #[test]
    fn new_figures_leave_the_sections_as_they_are() {
        let page = put(PAGE, None, "# Title\n\nnew figures\n");
        assert_eq!(page, "# Title\n\nnew figures\n\n## What is missed\n\nwords\n");
        assert_eq!(put("", None, "# Title\n\nfigures"), "# Title\n\nfigures\n");
    }
}
