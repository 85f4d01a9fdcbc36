//! The document says what the router has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_document_lists_every_route_and_no_other() {
    let document = serde_json::to_value(openapi()).unwrap();
    let listed: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let routes: BTreeSet<&str> = routes().into_iter().map(|(path, _)| path).collect();
    assert_eq!(listed, routes);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(
        document["components"]["securitySchemes"]["operator"]["scheme"],
        "bearer"
    );
}
