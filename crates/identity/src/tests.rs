//! What the tests of this crate make again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use meshgate_model::SpiffeId;
use meshgate_testkit::ca::{Issued, TestCa, Wish};

use crate::{Peer, Svid, SvidKey, TrustBundle};

pub(crate) const DOMAIN: &str = "corp.example";

pub(crate) fn ca() -> TestCa {
    TestCa::new(DOMAIN)
}

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://{DOMAIN}{path}").parse().unwrap()
}

pub(crate) fn wish(path: &str) -> Wish {
    Wish::of(&format!("spiffe://{DOMAIN}{path}"))
}

pub(crate) fn svid_of(issued: &Issued) -> Svid {
    Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), issued.chain.clone()).unwrap()
}

pub(crate) fn svid(ca: &TestCa, path: &str) -> Arc<Svid> {
    Arc::new(svid_of(&ca.issue(path)))
}

/// What the other end of a connection made with a SVID sees.
pub(crate) fn peer(svid: &Svid) -> Peer {
    Peer::of(Some(svid.chain())).unwrap()
}

pub(crate) fn bundle(ca: &TestCa) -> TrustBundle {
    TrustBundle::new(ca.domain().parse().unwrap(), vec![ca.root()], Vec::new()).unwrap()
}
