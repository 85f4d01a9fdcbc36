//! The door for scrapers and probes of the same machine: what a control plane counts, and whether it lives.
//!
//! It is apart from the admin API, because a scraper must not hold the token that can change everything. Nothing here can
//! be changed and nothing names a secret, so no credentials are asked for; it is on loopback only, and a request whose host is
//! another name (a web page that had its name resolved to this machine) is refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use meshgate_telemetry::metrics::CONTENT_TYPE;

use crate::limits::{API_HEAD_TIME, PROBE_CONNECTIONS_MAX};
use crate::listen::Manners;
use crate::plane::Plane;

/// How connections are treated.
pub const MANNERS: Manners = Manners {
    tls: None,
    http2_only: false,
    connections_max: PROBE_CONNECTIONS_MAX,
    head_time: API_HEAD_TIME,
    strangers: None,
};

/// The router.
pub fn router(plane: Arc<Plane>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get("ok\n"))
        .route("/readyz", get(readyz))
        .fallback((
            StatusCode::NOT_FOUND,
            "nothing is answered at this path; there are `/metrics`, `/healthz` and `/readyz`\n",
        ))
        .with_state(plane)
        .layer(middleware::from_fn(only_loopback))
}

async fn metrics(State(plane): State<Arc<Plane>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], plane.metrics()).into_response()
}

/// Ready is who can read its store: without it nobody enrols and nothing changes.
async fn readyz(State(plane): State<Arc<Plane>>) -> (StatusCode, String) {
    match plane.store.list("config/").await {
        Ok(_) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn only_loopback(request: Request, next: Next) -> Response {
    if !host_is_loopback(request.uri(), request.headers()) {
        return (StatusCode::FORBIDDEN, "the host must be a loopback name\n").into_response();
    }
    let mut answer = next.run(request).await;
    let no_store = header::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    answer
}

fn host_is_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let said = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = said
        .and_then(|host| host.parse().ok())
        .or_else(|| uri.authority().cloned());
    authority.is_some_and(|authority: axum::http::uri::Authority| {
        let name = authority.host();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || bare
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    })
}
