//! A question, taken apart: what it is about, and the things it asks.
//!
//! "What is the Q1 strategy of Project Titan, and who leads it?" is about Titan and asks two things. Each of them is
//! answered by itself, and both at once.

use super::words::stems;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As it was typed.
    pub text: String,
    /// What it is about (`Titan`), where it names something.
    pub subject: Option<String>,
    /// What it asks, part by part.
    pub parts: Vec<Part>,
}

/// One thing that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As it was typed, without its marks.
    pub text: String,
    /// Its words that say something, without the subject.
    pub stems: Vec<String>,
}

impl Question {
    /// Takes a question apart. Parts that say nothing are left out.
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        let subject = subject(text);
        let of_subject = subject.as_deref().map(stems).unwrap_or_default();
        let parts = pieces(text)
            .into_iter()
            .map(|piece| {
                let mut stems = stems(&piece);
                stems.retain(|stem| !of_subject.contains(stem));
                Part { text: piece, stems }
            })
            .filter(|part| !part.stems.is_empty())
            .collect();
        Self {
            text: text.to_owned(),
            subject,
            parts,
        }
    }
}

/// The text cut at its marks and at "and" before a word that asks.
fn pieces(text: &str) -> Vec<String> {
    const ASKING: &[&str] = &[
        "how",
        "summarize",
        "tell",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whose",
        "why",
    ];
    let mut pieces = Vec::new();
    for sentence in text.split(['?', '.', ';', '!', ',']) {
        let mut piece: Vec<&str> = Vec::new();
        let mut words = sentence.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let asks_next = words
                .peek()
                .is_some_and(|next| ASKING.contains(&next.to_lowercase().as_str()));
            if word.eq_ignore_ascii_case("and") && (piece.is_empty() || asks_next) {
                pieces.push(std::mem::take(&mut piece).join(" "));
            } else {
                piece.push(word);
            }
        }
        pieces.push(piece.join(" "));
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// What stands in quotes, or the capitalised words after "Project", or capitalised words that begin no sentence.
fn subject(text: &str) -> Option<String> {
    let quoted = |open: char, close: char| {
        let (_, after) = text.split_once(open)?;
        let (inside, _) = after.split_once(close)?;
        Some(inside.trim().to_owned()).filter(|inside| !inside.is_empty())
    };
    let named = quoted('"', '"')
        .or_else(|| quoted('“', '”'))
        .or_else(|| after_project(text))
        .or_else(|| capitals(text));
    named.map(|name| without_project(&name).to_owned())
}

fn after_project(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|word| bare(word).eq_ignore_ascii_case("project"))?;
    run_of_capitals(words)
}

fn capitals(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    // The first word has its capital from its place.
    words.next();
    run_of_capitals(words.skip_while(|word| !is_name(word)))
}

/// The capitalised words that stand together; a mark ends them.
fn run_of_capitals<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut name = Vec::new();
    for word in words {
        if !is_name(word) {
            break;
        }
        name.push(bare(word));
        if word.ends_with([',', '?', '.', '!', ';']) || word.ends_with("'s") || word.ends_with("’s") {
            break;
        }
    }
    (!name.is_empty()).then(|| name.join(" "))
}

/// `Titan`, but neither `I` nor a quarter (`Q1`).
fn is_name(word: &str) -> bool {
    let word = bare(word);
    let capital = word.chars().next().is_some_and(char::is_uppercase);
    let figure = word.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
    capital && !figure && word.chars().count() > 1
}

fn bare(word: &str) -> &str {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word.strip_suffix("'s")
        .or_else(|| word.strip_suffix("’s"))
        .unwrap_or(word)
}

fn without_project(name: &str) -> &str {
    match name.split_once(' ') {
        Some((word, rest)) if word.eq_ignore_ascii_case("project") => rest.trim(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, subject: Option<&str>, parts: &[&str]) {
        let question = Question::read(text);
        assert_eq!(question.subject.as_deref(), subject, "{text}");
        let found: Vec<&str> = question.parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(found, parts, "{text}");
    }

    #[test]
    fn a_question_is_about_something_and_asks_things() {
        check(
            "What is the Q1 strategy of Project Titan, and who leads it?",
            Some("Titan"),
            &["What is the Q1 strategy of Project Titan", "who leads it"],
        );
        check(
            "Who leads Project Aurora, and what does its plan say?",
            Some("Aurora"),
            &["Who leads Project Aurora", "what does its plan say"],
        );
        check(
            "who leads \"Project Titan\" and what is its strategy",
            Some("Titan"),
            &["who leads \"Project Titan\"", "what is its strategy"],
        );
        check("What are Titan's risks?", Some("Titan"), &["What are Titan's risks"]);
        check(
            "What does the travel policy say?",
            None,
            &["What does the travel policy say"],
        );
        check("", None, &[]);
    }
}
