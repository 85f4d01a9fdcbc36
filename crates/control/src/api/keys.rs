//! Identities and keys: who may join, who may not, and what rotates.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use meshgate_model::{Part, SpiffeId};
use serde::Deserialize;

use super::refusal::{Read, Refused};
use crate::denials::Denied;
use crate::limits::JOIN_TOKEN_LIFE;
use crate::plane::Plane;
use crate::shapes::{Certificates, DenyOrder, EpochShape, JoinTokenMade, JoinTokenOrder, Problem};

/// Makes a join token: good once, for one part, shown once.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "identity", request_body = JoinTokenOrder, responses(
    (status = 201, description = "The token", body = JoinTokenMade),
    (status = 404, description = "The mesh has no such part", body = Problem),
    (status = 422, description = "The part or the life is none", body = Problem),
    (status = 429, description = "Too many tokens wait to be used", body = Problem),
))]
pub(super) async fn make_join_token(
    State(plane): State<Arc<Plane>>,
    Read(order): Read<JoinTokenOrder>,
) -> Result<(StatusCode, Json<JoinTokenMade>), Refused> {
    let part = part(&order.part)?;
    let life = order.life_seconds.map_or(JOIN_TOKEN_LIFE, Duration::from_secs);
    let made = plane.join_token(part, life).await?;
    let shown = JoinTokenMade {
        token: made.token.expose().to_string(),
        name: made.name,
        identity: made.identity.to_string(),
        ends_ms: made.ends_ms,
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

/// `server/documents/v1`, or a whole SPIFFE ID.
fn part(text: &str) -> Result<Part, Refused> {
    let whole = if text.starts_with("spiffe://") {
        text.to_owned()
    } else {
        format!("spiffe://any/{text}")
    };
    let part = whole.parse::<SpiffeId>().ok().map(|id| id.part().clone());
    part.filter(|part| matches!(part, Part::Gateway(_) | Part::Server { .. }))
        .ok_or_else(|| {
            let short: String = text.chars().take(100).collect();
            let message = format!("`{short}` is no part that joins; write `gateway/NAME` or `server/NAME/VERSION`");
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, message)
        })
}

/// Takes a join token back that was not used.
#[utoipa::path(delete, path = "/v1/join-tokens/{name}", tag = "identity",
    params(("name" = String, Path, description = "Its public name")),
    responses(
        (status = 204, description = "It is worth nothing any more"),
        (status = 404, description = "No such token waits to be used", body = Problem),
    ))]
pub(super) async fn withdraw_join_token(
    State(plane): State<Arc<Plane>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    if plane.tokens.withdraw(&name).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refused::new(StatusCode::NOT_FOUND, "no such token waits to be used"))
}

/// New certificates for everybody: a new intermediate signs, and every connected proxy renews its certificate soon.
#[utoipa::path(post, path = "/v1/certificates/rotate", tag = "identity", responses(
    (status = 200, description = "The certificates", body = Certificates),
))]
pub(super) async fn rotate(State(plane): State<Arc<Plane>>) -> Result<Json<Certificates>, Refused> {
    Ok(Json(plane.rotate_intermediate().await?))
}

/// Begins a change of the root. It goes on by itself; `rotation` says what it waits for.
#[utoipa::path(post, path = "/v1/certificates/rotate-root", tag = "identity", responses(
    (status = 202, description = "It has begun", body = Certificates),
    (status = 409, description = "One is under way", body = Problem),
))]
pub(super) async fn rotate_root(State(plane): State<Arc<Plane>>) -> Result<(StatusCode, Json<Certificates>), Refused> {
    Ok((StatusCode::ACCEPTED, Json(plane.rotate_root().await?)))
}

/// Ends the step that a change of the root is in, whoever is not ready. Those who are not have to join anew.
#[utoipa::path(post, path = "/v1/certificates/force-rotation", tag = "identity", responses(
    (status = 200, description = "The next step", body = Certificates),
    (status = 409, description = "None is under way", body = Problem),
))]
pub(super) async fn force_rotation(State(plane): State<Arc<Plane>>) -> Result<Json<Certificates>, Refused> {
    Ok(Json(plane.force_rotation().await?))
}

/// Denies an identity, or one certificate: everywhere, within seconds.
#[utoipa::path(post, path = "/v1/denials", tag = "identity", request_body = DenyOrder, responses(
    (status = 200, description = "The denial", body = Denied),
    (status = 422, description = "Neither an identity nor a serial number, or no reason", body = Problem),
))]
pub(super) async fn deny(
    State(plane): State<Arc<Plane>>,
    Read(order): Read<DenyOrder>,
) -> Result<Json<Denied>, Refused> {
    Ok(Json(plane.denials.deny(&order.subject, &order.reason).await?))
}

/// Whom to allow again.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Subject {
    /// A SPIFFE ID, or the serial number of a certificate.
    subject: String,
}

/// Allows one again that was denied.
#[utoipa::path(delete, path = "/v1/denials", tag = "identity", params(Subject), responses(
    (status = 204, description = "Allowed"),
    (status = 404, description = "It was not denied", body = Problem),
))]
pub(super) async fn allow(
    State(plane): State<Arc<Plane>>,
    Query(subject): Query<Subject>,
) -> Result<StatusCode, Refused> {
    if plane.denials.allow(&subject.subject).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refused::new(StatusCode::NOT_FOUND, "that was not denied"))
}

/// Begins a change of the key that gateways seal with. It goes on by itself.
#[utoipa::path(post, path = "/v1/key-ring/rotate", tag = "identity", responses(
    (status = 202, description = "It has begun"),
    (status = 409, description = "One is under way", body = Problem),
))]
pub(super) async fn rotate_key_ring(State(plane): State<Arc<Plane>>) -> Result<StatusCode, Refused> {
    plane.rotate_key_ring().await?;
    Ok(StatusCode::ACCEPTED)
}

/// Says that the store was set back (restored from a backup), so that proxies follow it again.
#[utoipa::path(post, path = "/v1/epoch/advance", tag = "status", responses(
    (status = 200, description = "The new epoch", body = EpochShape),
))]
pub(super) async fn advance_epoch(State(plane): State<Arc<Plane>>) -> Result<Json<EpochShape>, Refused> {
    let epoch = plane.advance_epoch().await?;
    Ok(Json(EpochShape { epoch }))
}
