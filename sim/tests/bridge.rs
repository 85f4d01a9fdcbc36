//! The simulation can fail: faults that are put in are found. And a seed tells one story.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use meshgate_sim::{Plant, run};

/// Worlds that are looked through for a planted fault.
const SEEDS: u64 = 40;
/// Worlds that are played twice.
const SEEDS_TWICE: u64 = 12;

/// What is found of a fault, in the first world in which it shows.
fn found(plant: Plant) -> String {
    for seed in 0..SEEDS {
        let findings = run(seed, Some(plant)).unwrap().findings;
        if let Some(first) = findings.first() {
            return first.clone();
        }
    }
    panic!("{plant:?} is not found in {SEEDS} worlds");
}

#[test]
fn a_call_that_runs_twice_is_found() {
    assert!(found(Plant::Twice).contains("ran 2 times"));
}

#[test]
fn an_answer_that_is_lost_is_found() {
    assert!(found(Plant::Lose).contains("never answered"));
}

#[test]
fn answers_that_are_exchanged_are_found() {
    let finding = found(Plant::Swap);
    let known = ["reached", "never asked", "never answered"];
    assert!(known.iter().any(|words| finding.contains(words)), "{finding}");
}

#[test]
fn a_question_that_reaches_another_call_is_found() {
    assert!(found(Plant::Stray).contains("a question about"));
}

#[test]
fn a_caller_that_is_told_that_nothing_ran_though_it_did_is_found() {
    assert!(found(Plant::Lie).contains("that it had not"));
}

#[test]
fn worlds_without_a_fault_are_right_and_tell_the_same_story_twice() {
    for seed in 0..SEEDS_TWICE {
        let (first, second) = (run(seed, None).unwrap(), run(seed, None).unwrap());
        assert!(first.findings.is_empty(), "seed {seed}: {:?}", first.findings);
        assert_eq!(first.hash(), second.hash(), "seed {seed} told two stories");
        assert!(first.story.len() > 3, "nothing happened in seed {seed}");
    }
}
