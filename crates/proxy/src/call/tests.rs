#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashSet;

use super::*;

fn person(application: &str, user: &str) -> Caller {
    Caller::new(Some(application.into()), Some(user.into()))
}

#[test]
fn no_two_callers_have_one_binding() {
    let all = [
        Caller::anonymous(),
        Caller::new(Some("anonymous".into()), None),
        Caller::new(Some("a".into()), None),
        Caller::new(Some("ab".into()), None),
        person("a", ""),
        person("a", "b"),
        person("a", "b\0c"),
        person("ab", "c"),
        Caller::new(None, Some("gateway".into())),
        Caller::gateway("spiffe://corp/gateway/main"),
        Caller::gateway("spiffe://corp/gateway/other"),
        Caller::new(Some("spiffe://corp/gateway/main".into()), None),
    ];
    let different: HashSet<&[u8]> = all.iter().map(Caller::binding).collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn a_person_in_another_group_is_the_same_caller() {
    let before = person("a", "b");
    let after = Caller {
        groups: vec!["finance".into()],
        scopes: vec!["documents:read".into()],
        ..before.clone()
    };
    assert_eq!(before, after);
    assert_eq!(HashSet::from([before]).len(), HashSet::from([after]).len());
    assert_ne!(person("a", "b"), person("a", "c"));
}
