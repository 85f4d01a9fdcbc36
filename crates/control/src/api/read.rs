//! What can be looked at.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::refusal::Refused;
use crate::denials::Denied;
use crate::issuance::{Entry, Verified};
use crate::limits::API_ISSUANCES_PAGE;
use crate::plane::Plane;
use crate::registry::{Kept, Title};
use crate::shapes::{Certificates, DocumentShape, Documents, MeshStatus, Problem};
use crate::tokens::TokenStatus;

/// Which documents.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Of this kind only.
    kind: Option<String>,
}

/// Documents as they are kept.
#[utoipa::path(get, path = "/v1/documents", tag = "configuration", params(Which), responses(
    (status = 200, description = "The documents", body = Documents),
))]
pub(super) async fn documents(State(plane): State<Arc<Plane>>, Query(which): Query<Which>) -> Json<Documents> {
    let configuration = plane.registry.current();
    let wanted = |title: &Title| which.kind.as_ref().is_none_or(|kind| *kind == title.0);
    let items = configuration.documents.iter().filter(|(title, _)| wanted(title));
    Json(Documents {
        revision: configuration.number,
        items: items.map(|(_, kept)| shape(kept)).collect(),
    })
}

/// One document as it is kept.
#[utoipa::path(get, path = "/v1/documents/{kind}/{name}", tag = "configuration",
    params(("kind" = String, Path, description = "Such as `Server`"), ("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The document", body = DocumentShape),
        (status = 404, description = "There is no such document", body = Problem),
    ))]
pub(super) async fn document(
    State(plane): State<Arc<Plane>>,
    Path(title): Path<Title>,
) -> Result<Json<DocumentShape>, Refused> {
    let configuration = plane.registry.current();
    let kept = configuration.documents.get(&title);
    kept.map(|kept| Json(shape(kept))).ok_or_else(|| no_document(&title))
}

pub(super) fn no_document((kind, name): &Title) -> Refused {
    let short = |text: &str| text.chars().take(64).collect::<String>();
    let message = format!("there is no document {}/{}", short(kind), short(name));
    Refused::new(StatusCode::NOT_FOUND, message)
}

fn shape(kept: &Kept) -> DocumentShape {
    DocumentShape {
        revision: kept.number,
        document: serde_json::from_slice(&kept.json).unwrap_or_default(),
    }
}

/// How the mesh is: who has which revision, certificates, eras, alarms.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses(
    (status = 200, description = "How the mesh is", body = MeshStatus),
))]
pub(super) async fn status(State(plane): State<Arc<Plane>>) -> Json<MeshStatus> {
    Json(plane.status())
}

/// Join tokens: those that wait to be used, and those that were within a day. Never the tokens themselves.
#[utoipa::path(get, path = "/v1/join-tokens", tag = "identity", responses(
    (status = 200, description = "The tokens by their public names", body = Vec<TokenStatus>),
))]
pub(super) async fn join_tokens(State(plane): State<Arc<Plane>>) -> Result<Json<Vec<TokenStatus>>, Refused> {
    Ok(Json(plane.tokens.list().await?))
}

/// Roots, and the control plane's own certificate.
#[utoipa::path(get, path = "/v1/certificates", tag = "identity", responses(
    (status = 200, description = "The certificates", body = Certificates),
))]
pub(super) async fn certificates(State(plane): State<Arc<Plane>>) -> Json<Certificates> {
    Json(plane.certificates())
}

/// Who is denied.
#[utoipa::path(get, path = "/v1/denials", tag = "identity", responses(
    (status = 200, description = "Identities and certificates, each with the reason", body = Vec<Denied>),
))]
pub(super) async fn denials(State(plane): State<Arc<Plane>>) -> Result<Json<Vec<Denied>>, Refused> {
    Ok(Json(plane.denials.list().await?))
}

/// Which part of the log.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct LogPart {
    /// From this number on. Default: the oldest.
    from: u64,
    /// So many, at most 1000. Default: 1000.
    count: Option<usize>,
}

/// Every certificate that was signed.
#[utoipa::path(get, path = "/v1/issuances", tag = "identity", params(LogPart), responses(
    (status = 200, description = "Entries of the log, the oldest first", body = Vec<Entry>),
))]
pub(super) async fn issuances(
    State(plane): State<Arc<Plane>>,
    Query(part): Query<LogPart>,
) -> Result<Json<Vec<Entry>>, Refused> {
    let count = part.count.unwrap_or(API_ISSUANCES_PAGE).min(API_ISSUANCES_PAGE);
    Ok(Json(plane.ledger.page(part.from, count).await?))
}

/// Walks the log and says whether it holds together.
#[utoipa::path(get, path = "/v1/issuances/verify", tag = "identity", responses(
    (status = 200, description = "Whether it does", body = Verified),
))]
pub(super) async fn verify(State(plane): State<Arc<Plane>>) -> Result<Json<Verified>, Refused> {
    Ok(Json(plane.ledger.verify().await?))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "status", responses(
    (status = 200, description = "The OpenAPI document"),
))]
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi_text()).into_response()
}
