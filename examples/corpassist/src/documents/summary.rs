//! A summary that invents nothing: the document's own most telling sentences, in their order.
//!
//! A sentence counts by how often its words occur in the whole document (term frequency), with the words of the title
//! counted extra, divided by the root of its length so that long sentences do not win by length alone. The first
//! sentences of a document say what it is about, so they get a little more.

use std::collections::HashMap;

/// Words that say nothing about a document.
const STOP_WORDS: &str = " a about after all also an and any are as at be because been before but by can could did do does \
    each either every few for from had has have he her his how if in into is it its may more most must no nobody none not \
    of on one only or other our out over per she should so some such than that the their them then there these they this \
    those three to today two under until up us was we were what when where which while who whose will with would year you ";
/// How much a word of the title adds.
const TITLE_WEIGHT: f64 = 2.0;
/// How much more the first sentences count, falling to 1.
const FIRST_WEIGHT: f64 = 0.5;

/// The `count` most telling sentences of a document, in the order of the text and word for word.
pub fn summary<'a>(title: &str, body: &'a str, count: usize) -> Vec<&'a str> {
    let sentences: Vec<&str> = sentences(body).collect();
    let mut frequency: HashMap<String, f64> = HashMap::new();
    for word in sentences.iter().flat_map(|sentence| words(sentence)) {
        *frequency.entry(word).or_default() += 1.0;
    }
    for word in words(title) {
        *frequency.entry(word).or_default() += TITLE_WEIGHT;
    }
    let mut ranked: Vec<(usize, f64)> = sentences
        .iter()
        .enumerate()
        .map(|(at, sentence)| (at, weight(sentence, at, &frequency)))
        .collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut chosen: Vec<usize> = ranked.into_iter().take(count).map(|(at, _)| at).collect();
    chosen.sort_unstable();
    chosen.into_iter().filter_map(|at| sentences.get(at).copied()).collect()
}

/// The sentences of a text. Headings are none; a full stop inside a number or an abbreviation ends none.
pub fn sentences(body: &str) -> impl Iterator<Item = &str> {
    body.lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(in_paragraph)
}

fn in_paragraph(paragraph: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = paragraph.trim();
    while !rest.is_empty() {
        let (sentence, after) = rest.split_at(end_of_first(rest));
        found.push(sentence.trim_end());
        rest = after.trim_start();
    }
    found
}

/// Where the first sentence of a text ends: at a mark with a space and a capital letter or a figure after it.
fn end_of_first(text: &str) -> usize {
    for (at, mark) in text.match_indices(['.', '!', '?']) {
        let end = at + mark.len();
        let after = text.get(end..).unwrap_or_default();
        let next = after.trim_start().chars().next();
        let spaced = after.starts_with(char::is_whitespace);
        if spaced && next.is_some_and(|c| c.is_uppercase() || c.is_numeric()) {
            return end;
        }
    }
    text.len()
}

fn weight(sentence: &str, at: usize, frequency: &HashMap<String, f64>) -> f64 {
    let words = words(sentence);
    let length = f64::from(u32::try_from(words.len().max(1)).unwrap_or(u32::MAX));
    let sum: f64 = words.iter().filter_map(|word| frequency.get(word)).sum();
    let early = 1.0 + FIRST_WEIGHT / f64::from(u32::try_from(at + 1).unwrap_or(u32::MAX));
    early * sum / length.sqrt()
}

/// The words that say something, in small letters and without a plural's ending.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .map(str::to_lowercase)
        .filter(|word| word.len() > 1 && !STOP_WORDS.contains(&format!(" {word} ")))
        .map(|word| match word.strip_suffix('s') {
            Some(stem) if stem.len() > 3 && !stem.ends_with('s') => stem.to_owned(),
            _ => word,
        })
        .collect()
}
