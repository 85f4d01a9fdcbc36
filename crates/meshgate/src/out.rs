//! Standard output and standard error, for people and for pipes.
//!
//! A reader that has seen enough closes the pipe; that is no error of ours. Text that comes from servers may hold
//! terminal control sequences; on a terminal it is shown, not obeyed.

use std::io::{IsTerminal as _, Write as _};

/// Prints a line of what was asked for.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line about what happens.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a line that a server wrote.
pub(crate) fn print_foreign(text: &str) {
    if std::io::stdout().is_terminal() {
        print(&harmless(text))
    } else {
        print(text)
    }
}

/// The text with everything that a terminal would obey made visible; line ends and tabs stay.
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && c != '\n' && c != '\t') || reorders {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The text on one line.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let joined = harmless(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", joined.get(..at).unwrap_or_default()),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d37_what_a_server_wrote_is_shown_and_not_obeyed() {
        assert_eq!(
            harmless("a\x1b[2Jb\tc\nd\r\u{202e}"),
            "a\\u{1b}[2Jb\tc\nd\\u{d}\\u{202e}"
        );
    }

    #[test]
    fn a_long_text_is_cut_to_one_line() {
        assert_eq!(one_line("first\n  second  third", 12), "first second…");
        assert_eq!(one_line("short", 12), "short");
    }
}
