//! Words of questions and of tool descriptions, in a form in which they can be compared.
//!
//! An assistant with a language model would leave this to the model. This one has none, so that the example runs
//! anywhere and does the same thing twice: it knows which words mean the same in an office, and nothing about any tool.

/// Words that ask or bind and say nothing about what is asked for.
const SMALL: &[&str] = &[
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for",
    "from", "give", "has", "have", "her", "his", "how", "i", "in", "is", "it", "its", "me", "my", "of", "on", "one",
    "or", "our", "please", "project", "say", "show", "tell", "that", "the", "their", "them", "there", "these", "they",
    "this", "to", "was", "we", "were", "what", "when", "which", "will", "with", "would", "you", "your",
];

/// What people ask for (left), and how tools say that they have it (right).
const MEANINGS: &[(&[&str], &[&str])] = &[
    (
        &["lead", "led", "leader", "head", "run", "owner", "charge", "responsible"],
        &["lead", "person"],
    ),
    (&["who", "whom", "whose"], &["person", "people", "name"]),
    (
        &["team", "people", "member", "staff", "colleague"],
        &["team", "people", "role", "member"],
    ),
    (&["mail", "contact", "reach", "write"], &["mail", "address", "contact"]),
    (
        &[
            "strategy", "plan", "goal", "review", "note", "meeting", "policy", "decision", "decide", "risk",
            "workshop", "why",
        ],
        &["search", "document", "text", "excerpt"],
    ),
    (
        &["document", "paper", "written", "report", "guideline", "rule"],
        &["search", "document", "text"],
    ),
    (
        &["budget", "cost", "money", "status", "start", "begin", "site", "fact"],
        &["fact", "status", "budget", "date"],
    ),
    (&["all", "list", "every", "many"], &["list", "all"]),
    (
        &["summary", "summarize", "summarise", "short", "brief"],
        &["summary", "sentence"],
    ),
];

/// The words of a text that say something, as stems: `tools_call`, `toolsCall` and `tool calls` give the same.
pub(super) fn stems(text: &str) -> Vec<String> {
    words(text).map(|word| stem(&word)).collect()
}

/// The words of a text that say something, in small letters.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    split(text).into_iter().filter(|word| !SMALL.contains(&word.as_str()))
}

/// Words that mean the same as this stem where tools describe themselves.
pub(super) fn related(stem: &str) -> impl Iterator<Item = &'static str> {
    MEANINGS
        .iter()
        .filter(move |(asked, _)| asked.iter().any(|word| self::stem(word) == stem))
        .flat_map(|(_, said)| said.iter().copied())
}

/// Small letters, cut at everything that is no letter or figure, and where a capital follows a small letter.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut small_before = false;
    for c in text.chars() {
        let ends = !c.is_alphanumeric() || (c.is_uppercase() && small_before);
        if ends && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        small_before = c.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A word without the endings of English that matter here.
pub(super) fn stem(word: &str) -> String {
    if let Some(root) = word.strip_suffix("ies").filter(|root| root.len() > 2) {
        return format!("{root}y");
    }
    for (ending, chars_min) in [("ing", 4), ("ed", 4), ("es", 3), ("s", 3)] {
        let Some(root) = word.strip_suffix(ending) else {
            continue;
        };
        let whole = root.len() >= chars_min && !(ending == "s" && root.ends_with(['i', 's', 'u']));
        let sibilant = root.ends_with(['s', 'x', 'z']) || root.ends_with("ch") || root.ends_with("sh");
        if whole && (ending != "es" || sibilant) {
            return root.to_owned();
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for (forms, one) in [
            (["strategies", "strategy", "Strategy"], "strategy"),
            (["leads", "leading", "lead"], "lead"),
            (["policies", "policy", "Policies"], "policy"),
            (["searches", "searching", "search"], "search"),
            (["status", "Status", "STATUS"], "status"),
        ] {
            for form in forms {
                assert_eq!(stems(form), [one], "{form}");
            }
        }
    }

    #[test]
    fn a_name_is_cut_into_its_words_however_it_is_spelt() {
        assert_eq!(stems("docs__search_documents"), ["doc", "search", "document"]);
        assert_eq!(stems("searchDocuments"), ["search", "document"]);
    }
}
