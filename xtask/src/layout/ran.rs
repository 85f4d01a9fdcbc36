//! What callgrind saw of one process: which functions ran, how often each was entered, and from where.
//!
//! The format: <https://valgrind.org/docs/manual/cl-format.html>. A name is spelled out once and a number afterwards.

use std::collections::BTreeMap;

/// Functions by their names as the linker knows them.
#[derive(Default)]
pub(super) struct Ran {
    /// How often each was entered, and the instructions of its own.
    pub(super) functions: BTreeMap<String, Count>,
    /// How often one called another.
    pub(super) calls: BTreeMap<(String, String), u64>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) entered: u64,
    pub(super) instructions: u64,
}

impl Ran {
    /// Reads the file that callgrind wrote.
    pub(super) fn read(text: &str) -> Self {
        let (mut ran, mut names) = (Self::default(), BTreeMap::new());
        let (mut caller, mut callee, mut of_a_call) = (String::new(), String::new(), false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                caller = name_of(name, &mut names);
                ran.functions.entry(caller.clone()).or_default();
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = name_of(name, &mut names);
            } else if let Some(calls) = line.strip_prefix("calls=") {
                let times = number(calls.split_whitespace().next());
                ran.functions.entry(callee.clone()).or_default().entered += times;
                *ran.calls.entry((caller.clone(), callee.clone())).or_default() += times;
                of_a_call = true;
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                // The line after a call says what the callee cost, which it says itself too.
                if !std::mem::take(&mut of_a_call) {
                    let own = number(line.split_whitespace().nth(1));
                    ran.functions.entry(caller.clone()).or_default().instructions += own;
                }
            }
        }
        ran
    }
}

/// The name of `(12) name` or `(12)`, without the mark of a recursion.
fn name_of(text: &str, names: &mut BTreeMap<String, String>) -> String {
    let (id, name) = text.split_once(')').unwrap_or((text, ""));
    let name = name.trim();
    if !name.is_empty() {
        let plain = name.split_once('\'').map_or(name, |(plain, _)| plain);
        names.insert(id.to_owned(), plain.to_owned());
    }
    names.get(id).cloned().unwrap_or_default()
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Ran;

    #[test]
    fn names_are_read_once_and_costs_of_a_call_are_the_callees() {
        let text = "events: Ir\nfn=(1) outer\n10 5\ncfn=(2) inner'2\ncalls=3 0\n12 900\n+1 7\nfn=(2)\n4 300\n";
        let ran = Ran::read(text);
        let outer = ran.functions.get("outer").copied().unwrap_or_default();
        let inner = ran.functions.get("inner").copied().unwrap_or_default();
        assert_eq!((outer.entered, outer.instructions), (0, 12));
        assert_eq!((inner.entered, inner.instructions), (3, 300));
        assert_eq!(ran.calls.get(&("outer".to_owned(), "inner".to_owned())), Some(&3));
    }
}
