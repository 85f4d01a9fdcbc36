//! One name for each server, over several files, the same whenever the same files come in the same order.

use std::collections::BTreeMap;

use crate::kinds::{ServerSpec, ToolsSpec};
use crate::naming::ALIAS_CHARS_MAX;

/// The servers named so far.
#[derive(Default)]
pub(super) struct Names {
    given: BTreeMap<String, Known>,
}

struct Known {
    source: String,
    spec: ServerSpec,
    tools: ToolsSpec,
}

/// A name, or that none is needed.
pub(super) enum Given {
    /// Nobody has it.
    First(String),
    /// A name beside the one that a server of this source has.
    Other(String, String),
    /// This source has the same server under the same name.
    Same(String),
}

impl Names {
    pub(super) fn give(&mut self, wanted: &str, source: &str, spec: &ServerSpec, tools: &ToolsSpec) -> Given {
        let first = self.given.get(wanted).map(|known| known.source.clone());
        let mut name = wanted.to_owned();
        let mut number = 2;
        while let Some(known) = self.given.get(&name) {
            if known.spec == *spec && known.tools == *tools {
                return Given::Same(known.source.clone());
            }
            name = numbered(wanted, number);
            number += 1;
        }
        self.given.insert(
            name.clone(),
            Known {
                source: source.to_owned(),
                spec: spec.clone(),
                tools: tools.clone(),
            },
        );
        match first {
            None => Given::First(name),
            Some(other) => Given::Other(name, other),
        }
    }
}

/// `name-2`, cut where it would be too long.
pub(super) fn numbered(name: &str, number: usize) -> String {
    let end = format!("-{number}");
    let keep = ALIAS_CHARS_MAX.saturating_sub(end.len());
    let head: String = name.chars().take(keep).collect();
    format!("{}{end}", head.trim_end_matches('-'))
}
