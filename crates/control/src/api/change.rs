//! Changes of the configuration.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use meshgate_model::{Config, Finding};
use serde::Deserialize;

use super::refusal::{Read, Refused};
use crate::limits::API_WAIT_MAX;
use crate::plane::Plane;
use crate::registry::{Outcome, Terms};
use crate::shapes::{AppliedShape, Apply, FindingShape, Problem, Source};

/// Applies documents: all of them or none.
#[utoipa::path(post, path = "/v1/apply", tag = "configuration", request_body = Apply, responses(
    (status = 200, description = "Applied, unchanged, or what a dry run would do", body = AppliedShape),
    (status = 409, description = "The configuration is no longer that of `ifRevision`", body = Problem),
    (status = 422, description = "Refused; the findings say why", body = AppliedShape),
))]
pub(super) async fn apply(
    State(plane): State<Arc<Plane>>,
    Read(apply): Read<Apply>,
) -> Result<(StatusCode, Json<AppliedShape>), Refused> {
    answer(&plane, apply).await
}

/// What applying documents would change.
#[utoipa::path(post, path = "/v1/diff", tag = "configuration", request_body = Apply, responses(
    (status = 200, description = "What would change", body = AppliedShape),
    (status = 409, description = "The configuration is no longer that of `ifRevision`", body = Problem),
    (status = 422, description = "It would be refused; the findings say why", body = AppliedShape),
))]
pub(super) async fn diff(
    State(plane): State<Arc<Plane>>,
    Read(apply): Read<Apply>,
) -> Result<(StatusCode, Json<AppliedShape>), Refused> {
    let looked = Apply { dry_run: true, ..apply };
    answer(&plane, looked).await
}

async fn answer(plane: &Plane, apply: Apply) -> Result<(StatusCode, Json<AppliedShape>), Refused> {
    let sources = apply.sources;
    let read = tokio::task::spawn_blocking(move || read(&sources)).await;
    let read = read.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "reading the documents broke off"))?;
    let documents = match read {
        Ok(documents) => documents,
        Err(findings) => {
            if !apply.dry_run {
                plane.metrics.change("refused");
            }
            let refused = AppliedShape {
                outcome: Outcome::Refused,
                revision: plane.registry.current().number,
                findings: findings.iter().map(FindingShape::from).collect(),
                changes: Vec::new(),
                progress: None,
            };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(refused)));
        }
    };
    let terms = Terms {
        replace: apply.replace,
        dry_run: apply.dry_run,
        if_number: apply.if_revision,
        allow_shrink: apply.allow_shrink,
    };
    let applied = plane.apply(documents, &terms).await?;
    Ok(answered(plane, AppliedShape::from(&applied), apply.wait_seconds).await)
}

async fn answered(
    plane: &Plane,
    mut shape: AppliedShape,
    wait_seconds: Option<u64>,
) -> (StatusCode, Json<AppliedShape>) {
    let settled = matches!(shape.outcome, Outcome::Applied | Outcome::Unchanged);
    if let Some(seconds) = wait_seconds.filter(|_| settled) {
        let most = Duration::from_secs(seconds).min(API_WAIT_MAX);
        shape.progress = Some(plane.wait_for(shape.revision, most).await);
    }
    let status = if shape.outcome == Outcome::Refused {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    (status, Json(shape))
}

/// Every source, so that one mistake hides no other.
fn read(sources: &[Source]) -> Result<Config, Vec<Finding>> {
    let mut config = Config::default();
    let mut findings = Vec::new();
    for source in sources {
        match meshgate_model::parse(&source.name, &source.text) {
            Ok(one) => config = config.and(one),
            Err(found) => findings.extend(found),
        }
    }
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

/// On which terms a document goes.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteTerms {
    /// Whether to look only.
    dry_run: bool,
    /// Only if the configuration is this revision; otherwise 409.
    if_revision: Option<u64>,
    /// Whether much may go.
    allow_shrink: bool,
    /// Wait until every connected proxy has answered, at most so many seconds.
    wait_seconds: Option<u64>,
}

/// Takes a document away.
#[utoipa::path(delete, path = "/v1/documents/{kind}/{name}", tag = "configuration",
    params(("kind" = String, Path, description = "Such as `Server`"), ("name" = String, Path, description = "Its name"), DeleteTerms),
    responses(
        (status = 200, description = "Gone, or what a dry run would do", body = AppliedShape),
        (status = 404, description = "There is no such document", body = Problem),
        (status = 409, description = "The configuration is no longer that of `ifRevision`", body = Problem),
        (status = 422, description = "Refused; the findings say why", body = AppliedShape),
    ))]
pub(super) async fn delete(
    State(plane): State<Arc<Plane>>,
    Path(title): Path<(String, String)>,
    Query(terms): Query<DeleteTerms>,
) -> Result<(StatusCode, Json<AppliedShape>), Refused> {
    if !plane.registry.current().documents.contains_key(&title) {
        return Err(super::read::no_document(&title));
    }
    let wait = terms.wait_seconds;
    let terms = Terms {
        replace: false,
        dry_run: terms.dry_run,
        if_number: terms.if_revision,
        allow_shrink: terms.allow_shrink,
    };
    let applied = plane.delete(&[title], &terms).await?;
    Ok(answered(&plane, AppliedShape::from(&applied), wait).await)
}
