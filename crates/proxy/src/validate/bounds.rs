//! How much work a schema can make.
//!
//! Size alone bounds nothing: with `$ref`, thirty short definitions make a thousand million steps. So the schema is read
//! as a graph of subschemas. At one place of a value, a subschema applies its neighbours *here* (`anyOf`, `$ref`) and
//! others one level deeper. Following all of them level by level gives an upper bound of how many subschemas apply to one
//! place at each depth. Flat and plainly recursive schemas stay small; branching recursion grows, and then limits how deep
//! or large a value may be that is still checked.

use std::collections::HashMap;

use serde_json::Value;

use super::NotValidated;

/// Nesting of a schema.
const DEPTH_MAX: usize = 16;
/// Subschemas of a schema.
const NODES_MAX: usize = 512;
/// Depth of values that is measured; a deeper one is not checked.
const LEVELS: usize = 128;
/// Subschemas that may apply to one place.
const HERE_MAX: u64 = 4_096;
/// Subschemas applied to all places of one value together.
const STEPS_MAX: u64 = 10_000_000;

/// Keywords whose value is one subschema, or a list of them, for the same place.
const HERE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords whose value is one subschema, or a list of them, one level deeper.
const DEEPER: [&str; 8] = [
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an object of subschemas.
const NAMED: [&str; 6] = [
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
];

/// Upper bounds of the subschemas that apply to one place, for each depth of a value.
#[derive(Debug)]
pub(super) struct Steps {
    at_depth: Vec<u64>,
}

impl Steps {
    /// Whether a value can be checked within the bound.
    pub(super) fn allow(&self, instance: &Value) -> bool {
        let mut left = STEPS_MAX;
        self.spend(instance, 0, &mut left)
    }

    fn spend(&self, value: &Value, depth: usize, left: &mut u64) -> bool {
        let Some(cost) = self.at_depth.get(depth) else {
            return false;
        };
        let Some(rest) = left.checked_sub(*cost) else {
            return false;
        };
        *left = rest;
        match value {
            Value::Array(items) => items.iter().all(|item| self.spend(item, depth + 1, left)),
            Value::Object(members) => members.values().all(|member| self.spend(member, depth + 1, left)),
            _ => true,
        }
    }
}

/// The subschemas that a subschema applies.
#[derive(Default)]
struct Subschema {
    here: Vec<usize>,
    /// One level deeper, for the members of one name or (`None`) for any member or item.
    deeper: Vec<(Option<String>, usize)>,
    reference: Option<String>,
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Subschema>,
    /// JSON pointers and anchors, as a `$ref` spells them.
    places: HashMap<String, usize>,
}

/// Measures a schema.
pub(super) fn measure(schema: &Value) -> Result<Steps, NotValidated> {
    let mut graph = Graph::default();
    graph.read(schema, "#".to_owned(), 0)?;
    graph.resolve()?;
    let closures = graph.closures()?;
    Ok(graph.follow(&closures))
}

impl Graph {
    fn read(&mut self, schema: &Value, place: String, depth: usize) -> Result<usize, NotValidated> {
        if depth > DEPTH_MAX {
            return Err(NotValidated::new(format!(
                "the schema is nested more than {DEPTH_MAX} levels deep"
            )));
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(NotValidated::new(format!(
                "the schema has more than {NODES_MAX} subschemas"
            )));
        }
        let index = self.nodes.len();
        let mut node = Subschema::default();
        self.nodes.push(Subschema::default());
        self.places.insert(place.clone(), index);
        let Value::Object(members) = schema else {
            return Ok(index);
        };
        for (keyword, value) in members {
            let inner = format!("{place}/{}", escaped(keyword));
            match (keyword.as_str(), value) {
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(NotValidated::new(format!("the schema uses `{keyword}`")));
                }
                ("$id" | "id", Value::String(_)) if depth > 0 => {
                    return Err(NotValidated::new("the schema holds another schema with an `$id`"));
                }
                ("$ref", Value::String(target)) => node.reference = Some(target.clone()),
                ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                    self.places.insert(format!("#{name}"), index);
                }
                (name, value) if HERE.contains(&name) => self.subschemas(value, &inner, depth, &mut node.here)?,
                (name, value) if DEEPER.contains(&name) => {
                    let mut found = Vec::new();
                    self.subschemas(value, &inner, depth, &mut found)?;
                    node.deeper.extend(found.into_iter().map(|child| (None, child)));
                }
                (name, Value::Object(named)) if NAMED.contains(&name) => {
                    for (key, value) in named {
                        let child = self.read(value, format!("{inner}/{}", escaped(key)), depth + 1)?;
                        match name {
                            "properties" => node.deeper.push((Some(key.clone()), child)),
                            "patternProperties" => node.deeper.push((None, child)),
                            "dependentSchemas" | "dependencies" => node.here.push(child),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(place) = self.nodes.get_mut(index) {
            *place = node;
        }
        Ok(index)
    }

    fn subschemas(
        &mut self,
        value: &Value,
        place: &str,
        depth: usize,
        into: &mut Vec<usize>,
    ) -> Result<(), NotValidated> {
        match value {
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    into.push(self.read(item, format!("{place}/{number}"), depth + 1)?);
                }
            }
            value => into.push(self.read(value, place.to_owned(), depth + 1)?),
        }
        Ok(())
    }

    /// Turns references into neighbours. Only what is in the schema itself can be referred to.
    fn resolve(&mut self) -> Result<(), NotValidated> {
        let Self { nodes, places } = self;
        for node in nodes.iter_mut() {
            let Some(target) = node.reference.take() else { continue };
            let plain = target.strip_suffix('/').filter(|rest| *rest == "#").unwrap_or(&target);
            let found = places.get(plain).or_else(|| places.get(&percent_decoded(plain)));
            let Some(found) = found else {
                return Err(NotValidated::new(format!(
                    "`$ref` names `{target}`, which is not a subschema of this schema, and nothing is fetched"
                )));
            };
            node.here.push(*found);
        }
        Ok(())
    }

    /// How often each subschema applies to a place where one of them does, for each of them.
    fn closures(&self) -> Result<Vec<Vec<u64>>, NotValidated> {
        let mut done: Vec<Option<Vec<u64>>> = vec![None; self.nodes.len()];
        for start in 0..self.nodes.len() {
            let mut path = vec![start];
            while let Some(index) = path.last().copied() {
                if done.get(index).is_some_and(Option::is_some) {
                    path.pop();
                    continue;
                }
                let here = self
                    .nodes
                    .get(index)
                    .map(|node| node.here.as_slice())
                    .unwrap_or_default();
                match here.iter().find(|child| done.get(**child).is_some_and(Option::is_none)) {
                    Some(child) if path.contains(child) => {
                        return Err(NotValidated::new("a subschema refers to itself without going deeper"));
                    }
                    Some(child) => path.push(*child),
                    None => {
                        let mut sum = vec![0u64; self.nodes.len()];
                        if let Some(own) = sum.get_mut(index) {
                            *own = 1;
                        }
                        for child in here {
                            add(
                                &mut sum,
                                done.get(*child).and_then(Option::as_deref).unwrap_or_default(),
                                1,
                            );
                        }
                        if total(&sum) > HERE_MAX {
                            return Err(NotValidated::new(format!(
                                "more than {HERE_MAX} subschemas apply to one place"
                            )));
                        }
                        if let Some(slot) = done.get_mut(index) {
                            *slot = Some(sum);
                        }
                        path.pop();
                    }
                }
            }
        }
        Ok(done.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The bound for each depth, from the root down, until it stays as it is or grows beyond every value.
    fn follow(&self, closures: &[Vec<u64>]) -> Steps {
        let mut at_depth = Vec::new();
        let mut level = closures.first().cloned().unwrap_or_default();
        let mut settled = false;
        while at_depth.len() < LEVELS {
            let cost = total(&level).max(1);
            if cost > STEPS_MAX {
                break;
            }
            at_depth.push(cost);
            if !settled {
                let next = self.one_deeper(closures, &level);
                settled = next == level;
                level = next;
            }
        }
        Steps { at_depth }
    }

    /// How often each subschema applies to one place at most, one level deeper. A place has one name, so what applies to
    /// members of different names is not added up: for each subschema the worst name counts.
    fn one_deeper(&self, closures: &[Vec<u64>], level: &[u64]) -> Vec<u64> {
        let mut any: HashMap<usize, u64> = HashMap::new();
        let mut named: HashMap<&str, HashMap<usize, u64>> = HashMap::new();
        for (node, count) in self.nodes.iter().zip(level).filter(|(_, count)| **count > 0) {
            for (name, child) in &node.deeper {
                let times = name
                    .as_deref()
                    .map_or(&mut any, |name| named.entry(name).or_default())
                    .entry(*child)
                    .or_default();
                *times = times.saturating_add(*count);
            }
        }
        let mut worst = vec![0u64; self.nodes.len()];
        for times in named.values() {
            let sum = self.applied(closures, times);
            worst
                .iter_mut()
                .zip(sum)
                .for_each(|(worst, sum)| *worst = sum.max(*worst));
        }
        add(&mut worst, &self.applied(closures, &any), 1);
        worst
    }

    fn applied(&self, closures: &[Vec<u64>], times: &HashMap<usize, u64>) -> Vec<u64> {
        let mut sum = vec![0u64; self.nodes.len()];
        for (child, times) in times {
            add(
                &mut sum,
                closures.get(*child).map(Vec::as_slice).unwrap_or_default(),
                *times,
            );
        }
        sum
    }
}

fn add(sum: &mut [u64], other: &[u64], times: u64) {
    for (sum, other) in sum.iter_mut().zip(other) {
        *sum = sum.saturating_add(other.saturating_mul(times));
    }
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let pair: Option<u8> = if byte == b'%' {
            let digits = [ahead.next(), ahead.next()].map(Option::unwrap_or_default);
            std::str::from_utf8(&digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        } else {
            None
        };
        match pair {
            Some(decoded) => {
                out.push(decoded);
                bytes = ahead;
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
