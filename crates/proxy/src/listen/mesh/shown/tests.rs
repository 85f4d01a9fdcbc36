#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

const MAX: usize = 3;

fn told(until: u64) -> Arc<Told> {
    Arc::new(Told {
        caller: Arc::new(Caller::anonymous()),
        path: "/mcp".into(),
        until,
    })
}

#[test]
fn contexts_per_connection_are_remembered_up_to_the_limit() {
    let mut shown = ShownTokens::new(MAX);
    for (count, token) in [b"a", b"b", b"c", b"d"].into_iter().enumerate() {
        shown.insert(token, told(100 + count as u64), 0);
        assert_eq!(shown.len(), (count + 1).min(MAX));
    }
    assert!(shown.get(b"a", 0).is_none(), "the one that ends first made room");
    assert!(shown.get(b"b", 0).is_some() && shown.get(b"d", 0).is_some());
}

#[test]
fn a_context_is_good_until_its_time_is_over() {
    let mut shown = ShownTokens::new(MAX);
    shown.insert(b"a", told(100), 0);
    assert!(shown.get(b"a", 99).is_some() && shown.get(b"a", 100).is_some());
    assert!(shown.get(b"a", 101).is_none());
}

#[test]
fn those_whose_time_is_over_make_room_first() {
    let mut shown = ShownTokens::new(MAX);
    for (token, until) in [(b"a", 10), (b"b", 10), (b"c", 100)] {
        shown.insert(token, told(until), 0);
    }
    shown.insert(b"d", told(100), 50);
    assert_eq!(shown.len(), 2);
    assert!(shown.get(b"c", 50).is_some() && shown.get(b"d", 50).is_some());
}

#[test]
fn one_other_byte_is_another_context() {
    let mut shown = ShownTokens::new(MAX);
    let token = [7_u8; 700];
    shown.insert(&token, told(100), 0);
    for at in 0..token.len() {
        let mut other = token;
        other[at] ^= 1;
        assert!(shown.get(&other, 0).is_none(), "{at}");
    }
    assert!(shown.get(&token[..699], 0).is_none());
    assert!(shown.get(&token, 0).is_some());
}
