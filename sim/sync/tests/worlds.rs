//! The simulation can fail: faults that are put in are found. And a seed tells one story.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use meshgate_sim_sync::{Plan, Plant, run};

fn plan(seed: u64, plant: Option<Plant>) -> Plan {
    Plan {
        proxies: 60,
        servers: 12,
        gateways: 2,
        seed,
        plant,
    }
}

#[test]
fn a_proxy_with_half_a_change_is_found() {
    let book = run(&plan(1, Some(Plant::Half))).unwrap();
    assert!(
        book.findings.iter().any(|finding| finding.contains("half of revision")),
        "{:?}",
        book.findings
    );
}

#[test]
fn a_stream_that_is_forgotten_is_found() {
    let book = run(&plan(1, Some(Plant::Forget))).unwrap();
    assert!(
        book.findings.iter().any(|finding| finding.contains("what is for it")),
        "{:?}",
        book.findings
    );
}

#[test]
fn worlds_without_a_fault_are_right_and_tell_the_same_story_twice() {
    for seed in 0..3 {
        let (first, second) = (run(&plan(seed, None)).unwrap(), run(&plan(seed, None)).unwrap());
        assert!(first.findings.is_empty(), "seed {seed}: {:?}", first.findings);
        assert_eq!(first.story, second.story, "seed {seed} told two stories");
        let refused: u64 = first.phases.iter().map(|phase| phase.refused).sum();
        assert!(first.pushes > 500 && refused > 0, "nothing happened in seed {seed}");
    }
}
