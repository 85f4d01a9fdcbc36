//! What turns of two sides say about the p99 of one over that of the other, and how far chance alone would move it.
//!
//! Turns are short and come in pairs, one of each side within a second or two: whatever else the machine does meets both.
//! A whole turn is drawn or left out, never a single call, because calls of one turn share its luck. The draws follow a
//! fixed seed: the same turns always give the same interval.

use crate::stats::{Figure, quantile};

/// How often the pairs are drawn anew.
const DRAWS: usize = 1000;
const SEED: u64 = 0x6d65_7368_6761_7465;
const SHARE: f64 = 0.99;

/// A ratio, and between which ratios nineteen of twenty draws lie.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Ratio {
    pub(crate) value: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Two sides compared. Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Comparison {
    pub(crate) pairs: usize,
    pub(crate) calls: usize,
    pub(crate) without_us: f64,
    pub(crate) with_us: f64,
    /// The p99 of all calls of one side over that of the other.
    pub(crate) pooled: Ratio,
    /// The median of the ratios of each pair.
    pub(crate) paired: Ratio,
}

/// Compares turn by turn; each turn is the latencies of its calls in nanoseconds. None without two turns of both.
pub(crate) fn compare(without: &[Vec<u64>], with: &[Vec<u64>]) -> Option<Comparison> {
    let pairs: Vec<Pair<'_>> = without.iter().zip(with).filter_map(|(a, b)| Pair::of(a, b)).collect();
    if pairs.len() < 2 {
        return None;
    }
    let all: Vec<&Pair<'_>> = pairs.iter().collect();
    let (mut pooled, mut paired) = (Vec::with_capacity(DRAWS), Vec::with_capacity(DRAWS));
    let mut chance = Chance(SEED);
    for _ in 0..DRAWS {
        let drawn: Vec<&Pair<'_>> = all
            .iter()
            .filter_map(|_| pairs.get(chance.below(pairs.len())))
            .collect();
        let (a, b) = p99_of_all(&drawn);
        pooled.push(b / a);
        paired.push(median(&drawn)?);
    }
    let (without, with) = p99_of_all(&all);
    Some(Comparison {
        pairs: pairs.len(),
        calls: all.iter().map(|pair| pair.with.len()).sum(),
        without_us: without / 1000.0,
        with_us: with / 1000.0,
        pooled: between(with / without, pooled),
        paired: between(median(&all)?, paired),
    })
}

/// One turn of each side.
struct Pair<'a> {
    without: &'a [u64],
    with: &'a [u64],
    ratio: f64,
}

impl<'a> Pair<'a> {
    /// None where a side has no calls.
    fn of(without: &'a [u64], with: &'a [u64]) -> Option<Self> {
        let own = |turn: &[u64]| {
            let mut sorted = turn.to_vec();
            sorted.sort_unstable();
            quantile(&sorted, SHARE)
        };
        let (a, b) = (own(without), own(with));
        (a > 0.0 && b > 0.0).then(|| Self {
            without,
            with,
            ratio: b / a,
        })
    }
}

fn p99_of_all(pairs: &[&Pair<'_>]) -> (f64, f64) {
    let p99 = |side: fn(&Pair<'_>) -> Vec<u64>| {
        let mut calls: Vec<u64> = pairs.iter().flat_map(|pair| side(pair)).collect();
        calls.sort_unstable();
        quantile(&calls, SHARE)
    };
    (p99(|pair| pair.without.to_vec()), p99(|pair| pair.with.to_vec()))
}

fn median(pairs: &[&Pair<'_>]) -> Option<f64> {
    Figure::of(pairs.iter().map(|pair| pair.ratio).collect()).map(|figure| figure.median)
}

fn between(value: f64, mut draws: Vec<f64>) -> Ratio {
    draws.sort_by(f64::total_cmp);
    let at = |thousandths: usize| draws.get(draws.len() * thousandths / 1000).copied().unwrap_or(value);
    Ratio {
        value,
        least: at(25),
        most: at(975),
    }
}

/// Numbers that look like chance (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % end.max(1) as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, compare};

    /// Turns of calls between half a millisecond and one, other ones for each seed.
    fn turns(seed: u64, count: usize, factor: f64) -> Vec<Vec<u64>> {
        let mut chance = Chance(seed);
        let mut call = || ((500_000 + chance.below(500_000)) as f64 * factor) as u64;
        (0..count).map(|_| (0..500).map(|_| call()).collect()).collect()
    }

    #[test]
    fn two_sides_alike_have_a_ratio_of_one_in_their_interval() {
        let found = compare(&turns(1, 40, 1.0), &turns(2, 40, 1.0)).unwrap();
        assert_eq!((found.pairs, found.calls), (40, 20_000));
        for ratio in [found.pooled, found.paired] {
            assert!(ratio.least <= 1.0 && ratio.most >= 1.0, "{found:?}");
            assert!((ratio.value - 1.0).abs() < 0.01, "{found:?}");
        }
    }

    #[test]
    fn a_tenth_more_is_found_and_one_is_outside_the_interval() {
        let found = compare(&turns(1, 40, 1.0), &turns(2, 40, 1.1)).unwrap();
        for ratio in [found.pooled, found.paired] {
            assert!((ratio.value - 1.1).abs() < 0.01, "{found:?}");
            assert!(ratio.least > 1.05 && ratio.most < 1.15, "{found:?}");
        }
    }

    #[test]
    fn a_single_stall_of_the_machine_moves_neither_figure_but_a_cost_in_each_turn_moves_both() {
        let (good, mut bad) = (turns(1, 40, 1.0), turns(2, 40, 1.0));
        bad[7].iter_mut().for_each(|call| *call += 300_000);
        let found = compare(&good, &bad).unwrap();
        assert!((found.paired.value - 1.0).abs() < 0.01, "{found:?}");
        for turn in &mut bad {
            // Two of a hundred calls wait for somebody else's.
            turn.iter_mut().step_by(50).for_each(|call| *call += 1_000_000);
        }
        let found = compare(&good, &bad).unwrap();
        assert!(found.pooled.least > 1.4 && found.paired.least > 1.4, "{found:?}");
    }

    #[test]
    fn the_same_turns_give_the_same_interval_and_too_few_give_none() {
        let (good, bad) = (turns(1, 10, 1.0), turns(2, 10, 1.0));
        assert_eq!(compare(&good, &bad), compare(&good, &bad));
        assert!(compare(&good[..1], &bad[..1]).is_none());
        assert!(compare(&good, &[Vec::new(), Vec::new()]).is_none());
    }

    #[test]
    fn the_order_of_the_calls_in_a_turn_does_not_matter() {
        let (good, bad) = (turns(1, 10, 1.0), turns(2, 10, 1.0));
        let turned: Vec<Vec<u64>> = bad.iter().map(|turn| turn.iter().rev().copied().collect()).collect();
        assert_eq!(compare(&good, &bad), compare(&good, &turned));
    }
}
