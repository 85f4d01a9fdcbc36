//! The order, from what ran: first what calls run through, callers beside callees, then what only starts, by who starts it.
//!
//! Calls are laid out as C3 does (G. Ottoni, B. Maher, "Optimizing Function Placement for Large-Scale Data-Center
//! Applications", CGO 2017): beginning with the hottest, a function joins the piece of whoever calls it most, as long as the
//! piece fits into what the processor has translations at hand for; pieces that do much in few bytes come first.

use std::collections::{BTreeMap, BTreeSet};

use super::{placed::Section, ran::Ran};

/// Entered so often in one rehearsal, with some hundred calls of each kind, a function belongs to calls. What starts does
/// not come near it, but for the readers of documents.
const OF_CALLS: u64 = 400;
/// Bytes of one piece: sixteen pages, which is what the kernel maps at one fault.
const PIECE_MAX: u64 = 64 * 1024;
/// Neighbours of a piece that share one entry of the script; the linker looks at every section for each entry.
const TOGETHER: usize = 16;

/// One process that was watched.
pub(super) struct Watched {
    pub(super) role: &'static str,
    pub(super) ran: Ran,
    pub(super) placed: BTreeMap<String, Section>,
}

/// Sections that belong together, in the order of the program.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) sections: Vec<Section>,
}

#[derive(Default)]
struct Hot {
    size: u64,
    instructions: u64,
    callers: BTreeMap<String, u64>,
}

/// All groups, each section in one of them.
pub(super) fn groups(watched: &[Watched]) -> Vec<Group> {
    let hot = hot(watched);
    let mut placed = BTreeSet::new();
    let mut groups = Vec::new();
    let names = pieces(&hot);
    for (number, names) in names.chunks(TOGETHER).enumerate() {
        let sections = names.iter().flat_map(|name| sections(watched, name)).collect();
        take(&mut groups, &mut placed, format!("calls, {number}"), sections);
    }
    let mut starting: BTreeMap<(usize, Vec<&str>), Vec<Section>> = BTreeMap::new();
    let mut roles: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    for process in watched {
        for name in process.ran.functions.keys() {
            roles.entry(name).or_default().insert(process.role);
        }
    }
    for (name, roles) in roles {
        let roles: Vec<&str> = roles.into_iter().collect();
        let group = starting.entry((usize::MAX - roles.len(), roles)).or_default();
        group.extend(sections(watched, name));
    }
    for ((_, roles), sections) in starting {
        take(&mut groups, &mut placed, roles.join(", "), sections);
    }
    groups
}

/// Adds what is in no group yet.
fn take(groups: &mut Vec<Group>, placed: &mut BTreeSet<Section>, title: String, mut sections: Vec<Section>) {
    sections.retain(|section| placed.insert(section.clone()));
    if !sections.is_empty() {
        groups.push(Group { title, sections });
    }
}

fn sections<'a>(watched: &'a [Watched], name: &'a str) -> impl Iterator<Item = Section> + 'a {
    watched.iter().filter_map(move |process| {
        process.ran.functions.get(name)?;
        process.placed.get(name).cloned()
    })
}

/// What calls run through, over all processes.
fn hot(watched: &[Watched]) -> BTreeMap<String, Hot> {
    let mut all: BTreeMap<String, Hot> = BTreeMap::new();
    for process in watched {
        for (name, count) in &process.ran.functions {
            if let (Some(section), true) = (process.placed.get(name), count.entered >= OF_CALLS) {
                let hot = all.entry(name.clone()).or_default();
                hot.size = section.size;
                hot.instructions += count.instructions;
            }
        }
        for ((caller, callee), times) in &process.ran.calls {
            if let (true, Some(hot)) = (caller != callee, all.get_mut(callee)) {
                *hot.callers.entry(caller.clone()).or_default() += times;
            }
        }
    }
    all
}

/// Their names in order.
fn pieces(hot: &BTreeMap<String, Hot>) -> Vec<&str> {
    let density = |instructions: u64, size: u64| instructions / size.max(1);
    let mut pieces: BTreeMap<&str, Vec<&str>> = hot.keys().map(|name| (name.as_str(), vec![name.as_str()])).collect();
    let mut piece_of: BTreeMap<&str, &str> = hot.keys().map(|name| (name.as_str(), name.as_str())).collect();
    let size = |names: &[&str]| {
        names
            .iter()
            .filter_map(|name| hot.get(*name))
            .map(|hot| hot.size)
            .sum::<u64>()
    };
    let mut hottest: Vec<(&String, &Hot)> = hot.iter().collect();
    hottest.sort_by_key(|(name, hot)| (std::cmp::Reverse(density(hot.instructions, hot.size)), *name));
    for (name, function) in hottest {
        let known = function.callers.iter().filter(|(caller, _)| hot.contains_key(*caller));
        let Some((caller, _)) = known.max_by_key(|(_, times)| **times) else {
            continue;
        };
        let (Some(&to), Some(&from)) = (piece_of.get(caller.as_str()), piece_of.get(name.as_str())) else {
            continue;
        };
        let fits = |to: &Vec<&str>, from: &Vec<&str>| size(to) + size(from) <= PIECE_MAX;
        if to == from || !matches!((pieces.get(to), pieces.get(from)), (Some(to), Some(from)) if fits(to, from)) {
            continue;
        }
        let moved = pieces.remove(from).unwrap_or_default();
        for name in &moved {
            piece_of.insert(name, to);
        }
        pieces.entry(to).or_default().extend(moved);
    }
    let mut pieces: Vec<Vec<&str>> = pieces.into_values().collect();
    pieces.sort_by_key(|names| {
        let work = names
            .iter()
            .filter_map(|name| hot.get(*name))
            .map(|hot| hot.instructions)
            .sum();
        std::cmp::Reverse(density(work, size(names)))
    });
    pieces.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Hot, Watched, groups, pieces};
    use crate::layout::{placed, ran::Ran};

    #[test]
    fn a_function_lies_beside_whoever_calls_it_most_and_dense_pieces_come_first() {
        let function = |size, instructions, callers: &[(&str, u64)]| Hot {
            size,
            instructions,
            callers: callers
                .iter()
                .map(|(name, times)| ((*name).to_owned(), *times))
                .collect(),
        };
        let hot = BTreeMap::from([
            ("cold_caller".to_owned(), function(1000, 5000, &[])),
            (
                "leaf".to_owned(),
                function(10, 9000, &[("cold_caller", 2), ("root", 90)]),
            ),
            ("root".to_owned(), function(50, 9000, &[])),
            ("vast".to_owned(), function(66_000, 70_000, &[("root", 1)])),
        ]);
        assert_eq!(pieces(&hot), ["root", "leaf", "cold_caller", "vast"]);
    }

    #[test]
    fn what_runs_in_calls_comes_first_and_nothing_comes_twice() {
        let map = " 10 10 20 10         a(o):(.text._Rcall)\n 10 10 20 1                 _Rcall\n\
                   \x20 30 30 20 10         a(o):(.text._Rstart)\n 30 30 20 1                 _Rstart\n\
                   \x20 50 50 20 10         a(o):(.text._Rnever)\n 50 50 20 1                 _Rnever\n";
        let ran = "fn=(1) _Rstart\n1 10\ncfn=(2) _Rcall\ncalls=400 0\n1 900\nfn=(2)\n1 900\n";
        let process = |role| Watched {
            role,
            ran: Ran::read(ran),
            placed: placed::read(map),
        };
        let groups = groups(&[process("gateway"), process("sidecar")]);
        let names = groups.iter().map(|group| {
            let names: Vec<&str> = group.sections.iter().map(|section| section.name.as_str()).collect();
            (group.title.as_str(), names)
        });
        let wanted = [
            ("calls, 0", vec![".text._Rcall"]),
            ("gateway, sidecar", vec![".text._Rstart"]),
        ];
        assert_eq!(names.collect::<Vec<_>>(), wanted);
    }
}
