#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use http::Request;

use super::{authority, check_head};
use crate::limits::Limits;
use crate::refusal::Reason;

fn parts(uri: &str, fields: &[(&str, &str)]) -> http::request::Parts {
    let request = fields.iter().fold(Request::get(uri), |request, (name, value)| {
        request.header(*name, *value)
    });
    request.body(()).unwrap().into_parts().0
}

fn refused(uri: &str, fields: &[(&str, &str)]) -> Option<Reason> {
    check_head(&parts(uri, fields), &Limits::default())
        .err()
        .map(|refusal| refusal.reason)
}

#[test]
fn one_host_that_equals_the_authority_passes() {
    assert_eq!(refused("/mcp", &[("host", "h:7300")]), None);
    assert_eq!(refused("http://h:7300/mcp", &[]), None);
    assert_eq!(refused("http://h:7300/mcp", &[("host", "H:7300")]), None);
    assert_eq!(authority(&parts("http://h/mcp", &[("host", "H")])), Some("H"));
}

#[test]
fn no_host_or_another_host_is_refused() {
    assert_eq!(refused("/mcp", &[]), Some(Reason::Host));
    assert_eq!(refused("/mcp", &[("host", "")]), Some(Reason::Host));
    assert_eq!(refused("/mcp", &[("host", "a"), ("host", "a")]), Some(Reason::Host));
    assert_eq!(refused("http://evil/mcp", &[("host", "good")]), Some(Reason::Host));
    assert_eq!(refused("http://h:80/mcp", &[("host", "h")]), Some(Reason::Host));
    assert_eq!(refused("/mcp", &[("host", "user@h")]), Some(Reason::Host));
}

#[test]
fn repeated_lengths_and_underscores_are_refused() {
    let (host, length) = (("host", "h"), ("content-length", "5"));
    assert_eq!(refused("/", &[host, length]), None);
    assert_eq!(refused("/", &[host, length, length]), Some(Reason::InvalidRequest));
    assert_eq!(
        refused("/", &[host, ("x_forwarded_user", "root")]),
        Some(Reason::InvalidRequest)
    );
}

#[test]
fn d08_the_number_of_fields_is_limited() {
    let fields = |count: usize| [vec![("host", "h")], vec![("a", "b"); count - 1]].concat();
    assert_eq!(refused("/", &fields(63)), None);
    assert_eq!(refused("/", &fields(64)), None);
    assert_eq!(refused("/", &fields(65)), Some(Reason::HeadTooLarge));
}
