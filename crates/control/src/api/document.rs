//! The OpenAPI document of the admin API, made from what answers.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{change, keys, read};

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Meshgate admin API",
        version = "v1",
        description = "What operators do to a mesh. Every request needs the operator's token as `Authorization: Bearer …`; \
                       without it the answer is 401, whatever the path."
    ),
    paths(
        change::apply,
        change::diff,
        change::delete,
        read::documents,
        read::document,
        read::status,
        read::join_tokens,
        read::certificates,
        read::denials,
        read::issuances,
        read::verify,
        read::openapi,
        keys::make_join_token,
        keys::withdraw_join_token,
        keys::rotate,
        keys::rotate_root,
        keys::force_rotation,
        keys::deny,
        keys::allow,
        keys::rotate_key_ring,
        keys::advance_epoch,
    ),
    modifiers(&Bearer),
    security(("operator" = []))
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("operator", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The document as JSON, as it is committed in `docs/reference/openapi.json`.
pub fn openapi_text() -> String {
    serde_json::to_string_pretty(&openapi()).unwrap_or_default()
}
