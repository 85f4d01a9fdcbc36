//! Splicing against `serde_json`: any set of changes to valid JSON gives valid JSON that holds exactly those changes,
//! and every byte that no change touches stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use meshgate_mcp::{Kind, Object, Span, Splice, json};
use proptest::prelude::*;
use serde_json::{Map, Value as Tree};

/// One change to one object.
#[derive(Clone, Debug)]
enum Change {
    Insert(String, Tree),
    Remove(prop::sample::Index),
    Replace(prop::sample::Index, Tree),
    Set(String, Tree),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<i64>().prop_map(Tree::from),
        any::<String>().prop_map(Tree::from)
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::from),
            prop::collection::vec(("[a-e]|é\n", inner), 0..6)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

fn object_tree() -> impl Strategy<Value = Map<String, Tree>> {
    prop::collection::vec(("[a-e]{1,2}", tree()), 0..7).prop_map(|members| members.into_iter().collect())
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        ("[x-z][0-9]{2}", tree()).prop_map(|(key, value)| Change::Insert(key, value)),
        any::<prop::sample::Index>().prop_map(Change::Remove),
        (any::<prop::sample::Index>(), tree()).prop_map(|(index, value)| Change::Replace(index, value)),
        ("[a-e]", tree()).prop_map(|(key, value)| Change::Set(key, value)),
    ];
    prop::collection::vec(change, 0..8)
}

/// Prints with white space that differs from place to place.
fn print(tree: &Tree, pretty: bool) -> Vec<u8> {
    if pretty {
        serde_json::to_vec_pretty(tree).unwrap()
    } else {
        serde_json::to_vec(tree).unwrap()
    }
}

/// Applies the changes to splice and tree alike. Removals win over replacements, and nothing is inserted twice.
fn apply(splice: &mut Splice<'_>, src: &[u8], object: &Object, map: &mut Map<String, Tree>, changes: &[Change]) {
    let mut removed = Vec::new();
    for change in changes {
        match change {
            Change::Insert(key, value) if !map.contains_key(key) => {
                splice.insert(object, key, print(value, false));
                map.insert(key.clone(), value.clone());
            }
            Change::Set(key, value) if object.find(src, key).is_some() || !map.contains_key(key) => {
                splice.set(object, key, print(value, true));
                map.insert(key.clone(), value.clone());
            }
            Change::Replace(index, value) if !object.members.is_empty() => {
                let member = object.members[index.index(object.members.len())];
                splice.replace(member.value.span, print(value, false));
                map.insert(member.name(src).into_owned(), value.clone());
            }
            Change::Remove(index) if !object.members.is_empty() => {
                let index = index.index(object.members.len());
                splice.remove(object, index);
                removed.push(object.members[index].name(src).into_owned());
            }
            _ => {}
        }
    }
    for key in removed {
        map.remove(&key);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_to_one_object_are_exactly_those(map in object_tree(), changes in changes(), pretty in any::<bool>()) {
        let src = print(&Tree::Object(map.clone()), pretty);
        let object = Object::read(&src, Span { start: 0, end: src.len() as u32 }).unwrap();
        let mut expected = map;
        let mut splice = Splice::new(&src);
        apply(&mut splice, &src, &object, &mut expected, &changes);
        let out = splice.finish();
        prop_assert!(json::valid(&out, usize::MAX), "{}", String::from_utf8_lossy(&out));
        prop_assert_eq!(serde_json::from_slice::<Tree>(&out).unwrap(), Tree::Object(expected));
        if changes.is_empty() {
            prop_assert_eq!(out, src);
        }
    }

    #[test]
    fn changes_to_an_object_and_the_objects_in_it_go_together(map in object_tree(), outer in changes(), inner in changes(), pretty in any::<bool>()) {
        let src = print(&Tree::Object(map.clone()), pretty);
        let object = Object::read(&src, Span { start: 0, end: src.len() as u32 }).unwrap();
        let mut expected = map;
        let mut splice = Splice::new(&src);
        for member in object.members.iter().filter(|member| member.value.kind == Kind::Object) {
            let nested = Object::read(&src, member.value.span).unwrap();
            let map = expected[&*member.name(&src)].as_object_mut().unwrap();
            apply(&mut splice, &src, &nested, map, &inner);
        }
        apply(&mut splice, &src, &object, &mut expected, &outer);
        let out = splice.finish();
        prop_assert_eq!(serde_json::from_slice::<Tree>(&out).unwrap(), Tree::Object(expected));
    }

    #[test]
    fn any_ranges_at_all_are_safe(src in prop::collection::vec(any::<u8>(), 0..60), edits in prop::collection::vec((0..80u32, 0..80u32, any::<bool>()), 0..12)) {
        let mut splice = Splice::new(&src);
        for (start, end, object) in edits {
            let span = Span { start, end };
            if object {
                let object = Object::read(&src, span).unwrap_or(Object { span, ..Object::default() });
                splice.insert(&object, "k", b"1");
                splice.remove(&object, 0);
            } else {
                splice.replace(span, b"x");
            }
        }
        let _ = splice.finish();
    }
}
