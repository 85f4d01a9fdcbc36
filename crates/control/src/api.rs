//! The admin API: what operators do to a mesh, over HTTP with JSON.
//!
//! It has a listener of its own, because what can change everything must not be reachable where everybody calls. Nothing
//! here answers without the operator's token, not even that a path does not exist; nothing here trusts a browser, so a
//! request that carries an origin is refused whatever its token. The document at `/v1/openapi.json` is made from the same
//! table as the router and is committed, so that a change of the API is seen as one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use meshgate_identity::token_digest;

use crate::plane::Plane;
use crate::shapes::Problem;

mod change;
mod document;
mod keys;
mod read;
mod refusal;

#[cfg(test)]
mod tests;

pub use document::{openapi, openapi_text};

/// Every path there is, and who answers.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<Plane>>)> {
    vec![
        ("/v1/apply", post(change::apply)),
        ("/v1/diff", post(change::diff)),
        ("/v1/documents", get(read::documents)),
        (
            "/v1/documents/{kind}/{name}",
            get(read::document).delete(change::delete),
        ),
        ("/v1/join-tokens", get(read::join_tokens).post(keys::make_join_token)),
        ("/v1/join-tokens/{name}", delete(keys::withdraw_join_token)),
        ("/v1/certificates", get(read::certificates)),
        ("/v1/certificates/rotate", post(keys::rotate)),
        ("/v1/certificates/rotate-root", post(keys::rotate_root)),
        ("/v1/certificates/force-rotation", post(keys::force_rotation)),
        ("/v1/denials", get(read::denials).post(keys::deny).delete(keys::allow)),
        ("/v1/status", get(read::status)),
        ("/v1/issuances", get(read::issuances)),
        ("/v1/issuances/verify", get(read::verify)),
        ("/v1/key-ring/rotate", post(keys::rotate_key_ring)),
        ("/v1/epoch/advance", post(keys::advance_epoch)),
        ("/v1/openapi.json", get(read::openapi)),
    ]
}

/// The router: for those who show the token with this digest.
pub fn router(plane: Arc<Plane>, token: [u8; 32]) -> Router {
    let mut router = Router::new();
    for (path, answers) in routes() {
        router = router.route(path, answers);
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method)
        .with_state(plane)
        .layer(middleware::from_fn_with_state(token, only_operators))
}

/// Nothing gets past this without the token.
async fn only_operators(State(token): State<[u8; 32]>, request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return problem(
            StatusCode::FORBIDDEN,
            "the admin api is not for web pages: a request with an `Origin` is refused",
        );
    }
    if !is_operator(request.headers(), &token) {
        let mut refused = problem(
            StatusCode::UNAUTHORIZED,
            "the operator's token is needed, as `Authorization: Bearer …`; it is in the file `operator-token` of the control \
             plane's state directory",
        );
        let challenge = header::HeaderValue::from_static("Bearer realm=\"meshgate control\"");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return refused;
    }
    let mut answer = next.run(request).await;
    let no_store = header::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    answer
}

/// Exactly one credential, and the right one. Digests are compared, so the time it takes says nothing about the token.
fn is_operator(headers: &HeaderMap, token: &[u8; 32]) -> bool {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (shown.next(), shown.next()) else {
        return false;
    };
    let bearer = one.to_str().ok().and_then(|text| {
        let (scheme, rest) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
    });
    bearer.is_some_and(|shown| token_digest(shown) == *token)
}

async fn nothing() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "there is nothing here; `/v1/openapi.json` lists what there is",
    )
}

async fn no_such_method() -> Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take that method; `/v1/openapi.json` lists what it takes",
    )
}

fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    let message = message.into();
    (status, Json(Problem { message })).into_response()
}
