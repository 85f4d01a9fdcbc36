//! Edits by example; `tests/splice.rs` proves the rest by property.
#![allow(clippy::unwrap_used)]

use super::*;

fn object(src: &[u8]) -> Object {
    Object::read(src, Span::new(0, src.len())).unwrap()
}

/// Removes the members at `removed`, adds one for each of `added`, and compares.
fn check(src: &str, removed: &[usize], added: &[&str], expected: &str) {
    let mut splice = Splice::new(src.as_bytes());
    let object = object(src.as_bytes());
    for key in added {
        splice.insert(&object, key, b"0");
    }
    for index in removed {
        splice.remove(&object, *index);
    }
    assert_eq!(
        String::from_utf8(splice.finish()).unwrap(),
        expected,
        "{src} -{removed:?} +{added:?}"
    );
}

#[test]
fn members_leave_with_their_comma() {
    let src = r#"{ "a":1 , "b" : [2,3], "c":{} }"#;
    check(src, &[], &[], src);
    check(src, &[0], &[], r#"{ "b" : [2,3], "c":{} }"#);
    check(src, &[1], &[], r#"{ "a":1, "c":{} }"#);
    check(src, &[2], &[], r#"{ "a":1 , "b" : [2,3] }"#);
    check(src, &[1, 0], &[], r#"{ "c":{} }"#);
    check(src, &[1, 2], &[], r#"{ "a":1 }"#);
    check(src, &[2, 0], &[], r#"{ "b" : [2,3] }"#);
    check(src, &[0, 1, 2], &[], "{  }");
    check(src, &[7, 1, 1], &[], r#"{ "a":1, "c":{} }"#);
}

#[test]
fn members_are_added_behind_those_that_stay() {
    check("{}", &[], &["x"], r#"{"x":0}"#);
    check("{ }", &[], &["x", "y"], r#"{"x":0,"y":0 }"#);
    check(r#"{"a":1}"#, &[], &["x", "y\""], r#"{"a":1,"x":0,"y\"":0}"#);
    check(r#"{"a":1}"#, &[0], &["x"], r#"{"x":0}"#);
    check(r#"{"a":1,"b":2}"#, &[0], &["x"], r#"{"b":2,"x":0}"#);
    check(r#"{"a":1,"b":2}"#, &[1], &["x"], r#"{"a":1,"x":0}"#);
    check(r#"{"a":1,"b":2}"#, &[0, 1], &["x", "y"], r#"{"x":0,"y":0}"#);
}

#[test]
fn nested_objects_change_together() {
    let src = br#"{"a":{"b":{}},"c":{"d":1}}"#;
    let outer = object(src);
    let inner = Object::read(src, outer.get(src, "a").unwrap().span).unwrap();
    let innermost = Object::read(src, inner.get(src, "b").unwrap().span).unwrap();
    let mut splice = Splice::new(src);
    splice.insert(&innermost, "x", b"1");
    splice.insert(&inner, "y", b"2");
    splice.insert(&outer, "z", b"3");
    splice.set(&outer, "c", b"4");
    assert_eq!(splice.finish(), br#"{"a":{"b":{"x":1},"y":2},"c":4,"z":3}"#);
}

#[test]
fn changes_inside_of_what_goes_go_with_it() {
    let src = br#"{"a":{"b":1},"c":2}"#;
    let outer = object(src);
    let inner = Object::read(src, outer.get(src, "a").unwrap().span).unwrap();
    let mut splice = Splice::new(src);
    splice.set(&inner, "b", b"9");
    splice.set(&inner, "x", b"9");
    splice.remove_named(&outer, "a");
    assert_eq!(splice.finish(), br#"{"c":2}"#);
    let mut splice = Splice::new(src);
    splice.set(&inner, "b", b"9");
    splice.replace(inner.span, b"0");
    assert_eq!(splice.finish(), br#"{"a":0,"c":2}"#);
}

#[test]
fn the_later_replacement_of_a_range_stands() {
    let src = br#"{"id":1}"#;
    let mut splice = Splice::new(src);
    assert!(splice.is_empty());
    let id = object(src).get(src, "id").unwrap().span;
    splice.replace(id, b"2");
    splice.replace(id, b"3".to_vec());
    assert!(!splice.is_empty());
    assert_eq!(splice.finish(), br#"{"id":3}"#);
}

#[test]
fn ranges_outside_of_the_message_change_nothing() {
    let src = br#"{"a":1}"#;
    let mut splice = Splice::new(src);
    splice.replace(Span { start: 3, end: 99 }, b"x");
    splice.replace(Span { start: 5, end: 2 }, b"x");
    splice.insert(
        &Object {
            span: Span { start: 0, end: 99 },
            ..Object::default()
        },
        "x",
        b"1",
    );
    splice.insert(&Object::default(), "x", b"1");
    assert_eq!(splice.finish(), src);
}

#[test]
fn every_member_of_a_repeated_name_leaves() {
    let src = br#"{"a":1,"b":2,"\u0061":3}"#;
    let mut splice = Splice::new(src);
    splice.remove_named(&object(src), "a");
    assert_eq!(splice.finish(), br#"{"b":2}"#);
}

#[test]
fn long_runs_that_stay_are_shared_and_short_ones_copied() {
    for (long, shared) in [
        (SHARED_BYTES_MIN - 1, 0),
        (SHARED_BYTES_MIN, 1),
        (SHARED_BYTES_MIN + 1, 1),
    ] {
        let src = Bytes::from(format!(r#"{{"a":1,"b":{},"c":3}}"#, "7".repeat(long - 11)));
        let object = object(&src);
        let changed = || {
            let mut splice = Splice::new(&src);
            splice.set(&object, "a", b"2");
            splice.insert_member(&object, br#""d":4"#.as_slice());
            splice
        };
        let pieces = changed().finish_shared(&src);
        assert_eq!(pieces.concat(), changed().finish());
        let range = src.as_ptr_range();
        let of_src = pieces.iter().filter(|piece| range.contains(&piece.as_ptr()));
        assert_eq!(of_src.count(), shared, "{long}");
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
    }
    let untouched = Bytes::from(vec![b' '; SHARED_BYTES_MIN]);
    assert_eq!(
        Splice::new(&untouched).finish_shared(&untouched),
        std::slice::from_ref(&untouched)
    );
    assert!(Splice::new(b"").finish_shared(&Bytes::new()).is_empty());
}
