//! Keys told apart, and keys that imitate.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn every_protocol_member_imitates_itself_in_upper_case_only() {
    for (level, names) in [
        (Level::Root, ROOT),
        (Level::Body, BODY),
        (Level::Meta, META),
        (Level::Reference, REFERENCE),
        (Level::Filter, FILTER),
    ] {
        for name in names {
            assert_eq!(imitated(level, name.as_bytes()), None, "{name}");
            assert_eq!(imitated(level, name.to_ascii_uppercase().as_bytes()), Some(*name));
            for (plain, fold) in [('s', 'ſ'), ('S', 'ſ'), ('k', '\u{212a}'), ('K', '\u{212a}')] {
                if name.contains(plain) {
                    assert_eq!(
                        imitated(level, name.replace(plain, &fold.to_string()).as_bytes()),
                        Some(*name)
                    );
                }
            }
        }
        assert_eq!(imitated(level, b""), None);
        assert_eq!(imitated(level, "ñame".as_bytes()), None);
    }
    assert_eq!(imitated(Level::Plain, b"NAME"), None);
}

#[test]
fn no_two_protocol_members_of_one_level_differ_in_case_only() {
    for names in [ROOT, BODY, META, REFERENCE, FILTER] {
        for (index, name) in names.iter().enumerate() {
            assert!(
                names
                    .iter()
                    .skip(index + 1)
                    .all(|other| !other.eq_ignore_ascii_case(name)),
                "{name}"
            );
        }
    }
}

#[test]
fn keys_with_equal_fingerprints_are_compared_in_full() {
    let src = b"12345678aaaa12345678 12345678bbbb12345678";
    let (a, b) = (Span::new(0, 20), Span::new(21, 41));
    assert_eq!(fingerprint(a.of(src)), fingerprint(b.of(src)));
    let mut keys = Keys::default();
    assert!(keys.add(src, 0, a, false, a.of(src)));
    assert!(keys.add(src, 0, b, false, b.of(src)));
    assert!(!keys.add(src, 0, b, false, b.of(src)));
    assert_eq!(keys.close(src, 0), None);
    assert_eq!(keys.mark(), 0);
}
