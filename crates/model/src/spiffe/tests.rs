//! One way to write each ID, and no other text is one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

#[test]
fn an_id_is_written_as_it_was_read() {
    for text in [
        "spiffe://corp.example/gateway/main",
        "spiffe://corp.example/server/documents/v1",
        "spiffe://corp.example/server/documents/2026.11-rc_1",
        "spiffe://m_1-x/control",
        "spiffe://corp.example/operator/alma",
    ] {
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!(id.as_str(), text);
        assert_eq!(id.trust_domain().id(id.part().clone()).unwrap(), id);
    }
}

#[test]
fn what_only_looks_like_an_id_is_none() {
    for text in [
        "",
        "spiffe://",
        "spiffe://corp.example",
        "spiffe://corp.example/",
        "SPIFFE://corp.example/gateway/main",
        "https://corp.example/gateway/main",
        "spiffe://Corp.example/gateway/main",
        "spiffe://corp.example:443/gateway/main",
        "spiffe://u@corp.example/gateway/main",
        "spiffe://corp.example/gateway-evil",
        "spiffe://corp.example/gateway",
        "spiffe://corp.example/gateway/",
        "spiffe://corp.example/gateway//main",
        "spiffe://corp.example//gateway/main",
        "spiffe://corp.example/gateway/main/",
        "spiffe://corp.example/gateway/main/x",
        "spiffe://corp.example/gateway/../control",
        "spiffe://corp.example/gateway/./main",
        "spiffe://corp.example/gateway%2fmain",
        "spiffe://corp.example/gateway/ma%69n",
        "spiffe://corp.example/gateway/Main",
        "spiffe://corp.example/gateway/main?x",
        "spiffe://corp.example/gateway/main#x",
        "spiffe://corp.example/gateway/main ",
        "spiffe://corp.example/server/documents",
        "spiffe://corp.example/server/documents/.v1",
        "spiffe://corp.example/control/x",
        "spiffe://corp.example/Control",
        "spiffe://c\u{00f6}rp.example/control",
    ] {
        assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
    }
}

#[test]
fn lengths_end_where_they_are_said_to_end() {
    let domain = |length: usize| "d".repeat(length).parse::<TrustDomain>();
    assert!(domain(1).is_ok() && domain(254).is_ok() && domain(255).is_ok());
    assert_eq!(domain(0), Err(SpiffeError::TrustDomain));
    assert_eq!(domain(256), Err(SpiffeError::TrustDomain));
    let mesh: TrustDomain = "mesh".parse().unwrap();
    let gateway = |length: usize| mesh.id(Part::Gateway("g".repeat(length).into()));
    assert!(gateway(1).is_ok() && gateway(62).is_ok() && gateway(63).is_ok());
    assert_eq!(gateway(0), Err(SpiffeError::Path));
    assert_eq!(gateway(64), Err(SpiffeError::Path));
    let long = format!("spiffe://mesh/gateway/{}", "g".repeat(2027));
    assert_eq!(long.len(), 2049);
    assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeError::TooLong));
    assert_eq!(long[..2048].parse::<SpiffeId>(), Err(SpiffeError::Path));
}
