#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_traceparent_is_read_and_written_back() {
    let context = TraceContext::from_traceparent(GOOD).unwrap();
    assert_eq!(context.header_value().as_str(), GOOD);
    assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
    assert!(context.sampled());
}

#[test]
fn a_child_keeps_the_trace_and_names_its_parent() {
    let parent = TraceContext::from_traceparent(GOOD).unwrap();
    let child = parent.child([1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        child.header_value().as_str(),
        "00-0af7651916cd43dd8448eb211c80319c-0102030405060708-01"
    );
    assert_eq!(child.parent_id().unwrap().to_string(), "b7ad6b7169203331");
}

#[test]
fn a_later_version_is_read_by_the_rules_of_this_one() {
    let later = format!("01{}", &GOOD[2..]);
    assert_eq!(
        TraceContext::from_traceparent(&later).unwrap().header_value().as_str(),
        GOOD
    );
    assert!(TraceContext::from_traceparent(&format!("{later}-future")).is_some());
    assert!(TraceContext::from_traceparent(&format!("{later}x")).is_none());
    assert!(TraceContext::from_traceparent(&format!("{later}-{}", "x".repeat(4096))).is_none());
}

#[test]
fn flags_nobody_has_defined_do_not_travel_on() {
    let all = GOOD.replace("-01", "-ff");
    assert!(
        TraceContext::from_traceparent(&all)
            .unwrap()
            .header_value()
            .as_str()
            .ends_with("-03")
    );
}

#[test]
fn d37_a_malformed_traceparent_is_dropped_and_never_repaired() {
    let (trace, span) = (&GOOD[3..35], &GOOD[36..52]);
    for bad in [
        String::new(),
        GOOD.to_uppercase(),
        format!(" {GOOD}"),
        format!("{GOOD} "),
        format!("{GOOD}\n"),
        format!("{GOOD}-"),
        format!("{GOOD}-x"),
        GOOD[..54].to_owned(),
        format!("ff-{trace}-{span}-01"),
        format!("0g-{trace}-{span}-01"),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00_{trace}_{span}_01"),
        format!("00-{trace}{span}--01"),
        GOOD.replace('7', "é"),
        GOOD.replace('7', "\0"),
        "0".repeat(100_000),
    ] {
        assert!(TraceContext::from_traceparent(&bad).is_none(), "{bad:?}");
    }
}

#[test]
fn an_id_is_never_all_zeros() {
    let root = TraceContext::root([0; 24]);
    assert!(TraceContext::from_traceparent(root.header_value().as_str()).is_some());
    assert!(TraceContext::from_traceparent(root.child([0; 8]).header_value().as_str()).is_some());
}

#[test]
fn ids_of_one_process_do_not_repeat_and_differ_between_processes() {
    let ids = Ids::new([7; 16]);
    let seen: std::collections::HashSet<_> = (0..100_000).map(|_| ids.span()).collect();
    assert_eq!(seen.len(), 100_000);
    let mut other = [7; 16];
    other[0] = 8;
    let others = Ids::new(other);
    assert!((0..1_000).all(|_| !seen.contains(&others.span())));
    assert_ne!(ids.root(), ids.root());
}

#[test]
fn a_tracestate_is_carried_when_short_and_printable() {
    assert!(tracestate_is_sound("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
    assert!(!tracestate_is_sound(""));
    assert!(!tracestate_is_sound("a=b\r\nx: y"));
    assert!(!tracestate_is_sound("a=é"));
    assert!(!tracestate_is_sound(&"a".repeat(TRACESTATE_BYTES_MAX + 1)));
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(entropy in any::<[u8; 24]>(), span in any::<[u8; 8]>()) {
        let child = TraceContext::root(entropy).child(span);
        let read = TraceContext::from_traceparent(child.header_value().as_str()).unwrap();
        prop_assert_eq!(read.header_value(), child.header_value());
    }

    #[test]
    fn no_text_makes_the_parser_fall_over(text in "\\PC{0,80}|[0-9a-f-]{50,60}") {
        if let Some(read) = TraceContext::from_traceparent(&text) {
            let written = read.header_value();
            prop_assert_eq!(&written.as_str()[3..52], &text[3..52]);
        }
    }
}
