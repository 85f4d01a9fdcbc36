//! Each limit at one less, exactly, and one more.

use super::*;
use crate::limits;

#[test]
fn d08_depth_is_refused_at_one_more_than_the_limit() {
    // The message and `params` and `arguments` are levels one to three.
    let of = |depth: usize| call(&format!("{{\"a\":{}{}}}", "[".repeat(depth - 3), "]".repeat(depth - 3)));
    accept(of(63));
    accept(of(64));
    assert_eq!(refuse(of(65)), Fault::Depth { max: 64 });
    let of = |depth: usize| {
        let nested = format!("{}{}", "[".repeat(depth - 2), "]".repeat(depth - 2));
        scan(
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":{nested}}}}}"#).as_bytes(),
            &Rules::SERVER,
        )
    };
    assert!(of(511).is_ok() && of(512).is_ok());
    assert_eq!(of(513).unwrap_err().fault(), Fault::Depth { max: 512 });
}

#[test]
fn d08_numbers_are_refused_at_one_more_than_the_limit() {
    let of = |length: usize| call(&format!("{{\"n\":{}}}", "7".repeat(length)));
    accept(of(39));
    accept(of(40));
    assert_eq!(refuse(of(41)), Fault::NumberLength { max: 40 });
    let src = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"n":{}}}}}"#, "7".repeat(1000));
    assert!(scan(src.as_bytes(), &Rules::SERVER).is_ok());
}

#[test]
fn d08_id_length_is_counted_in_characters() {
    for char in ["x", "é", "😀", "\\n", "\\u00e9"] {
        let of = |length: usize| with_id(&format!("\"{}\"", char.repeat(length)));
        accept(of(255));
        accept(of(256));
        assert_eq!(refuse(of(257)), Fault::Id, "{char}");
    }
}

#[test]
fn d08_size_is_refused_at_one_more_than_the_limit() {
    for rules in [
        Rules::CLIENT,
        Rules {
            bytes_max: 1000,
            ..Rules::CLIENT
        },
        Rules::SERVER,
    ] {
        let max = rules.bytes_max;
        let of = |length: usize| {
            let (before, after) = (r#"{"jsonrpc":"2.0","id":1,"result":{"s":""#, r#""}}"#);
            format!("{before}{}{after}", "x".repeat(length - before.len() - after.len()))
        };
        for length in [max - 1, max] {
            assert!(scan(of(length).as_bytes(), &rules).is_ok());
        }
        assert_eq!(
            scan(of(max + 1).as_bytes(), &rules).unwrap_err().fault(),
            Fault::Size { max }
        );
    }
}

#[test]
fn d08_values_are_refused_at_one_more_than_the_limit() {
    // Six values stand around the elements: the message, jsonrpc, id, method, params, the array itself.
    let of = |count: usize| request(&format!("{{\"a\":[{}]}}", vec!["0"; count - 6].join(",")));
    accept(of(19_999));
    accept(of(20_000));
    assert_eq!(refuse(of(20_001)), Fault::Nodes { max: 20_000 });
    let src = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":[{}]}}}}"#,
        vec!["0"; 50_000].join(",")
    );
    assert!(scan(src.as_bytes(), &Rules::SERVER).is_ok());
}

#[test]
fn d08_recorded_members_are_refused_at_one_more_than_the_limit() {
    let of = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
        scan(
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{{}}}}}"#, members.join(",")).as_bytes(),
            &Rules::SERVER,
        )
    };
    assert!(of(limits::MEMBERS_MAX - 1).is_ok() && of(limits::MEMBERS_MAX).is_ok());
    assert_eq!(
        of(limits::MEMBERS_MAX + 1).unwrap_err().fault(),
        Fault::Members {
            max: limits::MEMBERS_MAX
        }
    );
}
