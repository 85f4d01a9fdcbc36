//! The document repository: what is in it, what is found in it, and what a summary is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use corpassist::documents::store::Store;
use corpassist::documents::{seed, summary};

#[test]
fn there_are_at_least_200_documents_and_the_same_ones_every_time() {
    let documents = seed::documents();
    assert!(documents.len() >= 200, "{}", documents.len());
    assert_eq!(documents, seed::documents());
    let ids: BTreeSet<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids.len(), documents.len(), "ids are not unique");
}

#[test]
fn every_document_is_readable() {
    for document in seed::documents() {
        let body = &document.body;
        assert!(body.len() > 250, "{} is short", document.id);
        for left in ["{", "}", "||", "  ", "..", " ."] {
            assert!(!body.contains(left), "{} holds `{left}`:\n{body}", document.id);
        }
        for sentence in summary::sentences(body) {
            let first = sentence.chars().next().unwrap();
            assert!(
                first.is_uppercase() || first.is_numeric(),
                "{}: {sentence}",
                document.id
            );
            assert!(sentence.ends_with(['.', '?', '!']), "{}: {sentence}", document.id);
        }
    }
}

#[test]
fn documents_of_one_kind_are_not_copies_of_each_other() {
    let texts: BTreeSet<String> = seed::documents().into_iter().map(|document| document.body).collect();
    assert_eq!(texts.len(), seed::documents().len());
}

#[test]
fn a_search_finds_titans_strategy_first() {
    let store = Store::in_memory().unwrap();
    for query in [
        "Titan Q1 strategy",
        "q1 strategies titan",
        "What is the Q1 strategy of Project Titan?",
    ] {
        let hits = store.search(query, 5).unwrap();
        assert_eq!(hits[0].id, "titan-q1-strategy", "{query}: {hits:#?}");
    }
    let policies = store.search("travel policy", 5).unwrap();
    assert_eq!(policies[0].id, "travel-policy");
}

#[test]
fn a_query_is_words_and_never_the_language_of_the_index() {
    let store = Store::in_memory().unwrap();
    for query in [
        "\"",
        "titan AND",
        "NEAR(",
        "title:x*",
        "'; DROP TABLE documents; --",
        "",
    ] {
        store.search(query, 5).unwrap();
    }
    assert_eq!(store.search("?!", 5).unwrap(), []);
}

#[test]
fn every_sentence_of_a_summary_is_in_the_document() {
    for document in seed::documents() {
        let sentences = summary::summary(&document.title, &document.body, 4);
        assert!(!sentences.is_empty() && sentences.len() <= 4, "{}", document.id);
        let mut from = 0;
        for sentence in sentences {
            let at = document.body[from..].find(sentence).unwrap();
            from += at + sentence.len();
        }
    }
}

#[test]
fn the_summary_of_titans_strategy_says_what_the_strategy_is() {
    let store = Store::in_memory().unwrap();
    let titan = store.read("titan-q1-strategy").unwrap().unwrap();
    let summary = summary::summary(&titan.title, &titan.body, 4).join(" ");
    assert!(summary.contains("three largest plants"), "{summary}");
}

#[test]
fn a_sentence_ends_neither_inside_a_number_nor_after_a_small_word() {
    let found: Vec<&str> =
        summary::sentences("# Heading\nIt costs 4.2 million euros, i.e. too much. Why? Nobody knows.").collect();
    assert_eq!(
        found,
        ["It costs 4.2 million euros, i.e. too much.", "Why?", "Nobody knows."]
    );
}

#[test]
fn a_database_is_filled_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("documents.sqlite");
    drop(Store::open(&path).unwrap());
    let count = |path| -> i64 {
        let database = rusqlite::Connection::open(path).unwrap();
        database
            .query_row("SELECT count(*) FROM documents", [], |row| row.get(0))
            .unwrap()
    };
    let filled = count(&path);
    drop(Store::open(&path).unwrap());
    assert_eq!(count(&path), filled);
}
