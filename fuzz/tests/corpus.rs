//! Every target over its committed corpus, and over each input cut short at every byte: a smoke run without an engine.

use std::path::Path;

#[test]
fn every_target_holds_over_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in meshgate_fuzz::TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).expect("each target has a folder") {
            let input = std::fs::read(entry.expect("a folder entry").path()).expect("an input");
            for end in 0..=input.len() {
                target(&input[..end]);
            }
            inputs += 1;
        }
        assert!(inputs >= 5, "{name} has {inputs} inputs");
    }
}
