//! A legacy server, seen from the facade.

use std::sync::Arc;

use meshgate_model::Server;

use super::http::HttpLink;
use super::stdio::StdioLink;
use crate::call::{Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};

/// A legacy server behind a modern face.
pub(super) struct Legacy;

impl Legacy {
    pub(super) async fn over_http(_link: Arc<HttpLink>, _server: &Server) -> Result<Self, Refusal> {
        Err(not_yet())
    }

    pub(super) async fn over_stdio(_link: Arc<StdioLink>, _server: &Server) -> Result<Self, Refusal> {
        Err(not_yet())
    }

    pub(super) async fn call(&self, _out: Outbound) -> Result<Reply, Refusal> {
        Err(not_yet())
    }

    pub(super) async fn closed(&self) {
        std::future::pending().await
    }

    pub(super) fn revision(&self) -> &'static str {
        meshgate_mcp::LATEST_LEGACY.name
    }
}

fn not_yet() -> Refusal {
    Refusal::server(
        Reason::ServerAway,
        Executed::No,
        "server speaks a legacy revision, which is not carried yet",
    )
}
