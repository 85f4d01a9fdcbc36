//! Every target over inputs near its corpus, without an engine: the same ones on every machine.
//!
//! An engine that watches coverage finds more, but wants a nightly compiler and minutes. Some thousands of small changes to
//! inputs that already reach deep cost seconds and catch what a change to a parser breaks first.

use std::path::Path;

/// Changed inputs for each target.
const ROUNDS: u64 = 50_000;
/// Targets that read a whole file or check a signature each time get fewer.
const SLOW: [&str; 4] = ["mesh", "mcp_json", "context", "certificate"];
const SLOW_ROUNDS: u64 = 5_000;
const BYTES_MAX: usize = 4096;

#[test]
fn every_target_holds_for_inputs_near_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in meshgate_fuzz::TARGETS {
        let mut seeds: Vec<_> = std::fs::read_dir(corpus.join(name))
            .expect("each target has a folder")
            .map(|entry| std::fs::read(entry.expect("a folder entry").path()).expect("an input"))
            .collect();
        seeds.sort();
        let rounds = if SLOW.contains(&name) { SLOW_ROUNDS } else { ROUNDS };
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ name.len() as u64);
        for round in 0..rounds {
            let input = changed(&seeds, &mut random);
            let ran = std::panic::catch_unwind(|| target(&input));
            assert!(ran.is_ok(), "{name}, round {round}: {}", input.escape_ascii());
        }
    }
}

/// A seed with one to four changes.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| seeds[random.below(seeds.len())].clone();
    let mut input = pick(random);
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => input.insert(at, b"{}[]\":,\\\r\n \0-.e0\xff"[random.below(17)]),
            2 if at < input.len() => drop(input.remove(at)),
            3 => input.truncate(at),
            4 => {
                let other = pick(random);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let end = (at + random.below(32)).min(input.len());
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
        }
        input.truncate(BYTES_MAX);
    }
    input
}

/// A xorshift generator: repeatable, and good enough to choose places.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap_or(0)
    }
}
