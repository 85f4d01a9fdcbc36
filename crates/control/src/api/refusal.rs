//! Requests that are not done, and bodies that are not read.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::problem;
use crate::ca::AuthorityError;
use crate::denials::DenyError;
use crate::keys::KeysError;
use crate::limits::{API_BODY_BYTES_MAX, API_BODY_TIME};
use crate::plane::PlaneError;
use crate::registry::ApplyError;
use crate::store::StoreError;
use crate::tokens::TokenError;

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem(self.status, self.message)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Conflict { .. } => StatusCode::CONFLICT,
            StoreError::Limit { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<PlaneError> for Refused {
    fn from(error: PlaneError) -> Self {
        let message = error.to_string();
        let status = match error {
            PlaneError::Apply(ApplyError::Store(error))
            | PlaneError::Store(error)
            | PlaneError::Token(TokenError::Store(error))
            | PlaneError::Authority(AuthorityError::Store(error))
            | PlaneError::Keys(KeysError::Store(error)) => return error.into(),
            PlaneError::Apply(ApplyError::Moved { .. })
            | PlaneError::Authority(AuthorityError::Phase(_))
            | PlaneError::Keys(KeysError::Step(_)) => StatusCode::CONFLICT,
            PlaneError::Token(TokenError::TooMany) => StatusCode::TOO_MANY_REQUESTS,
            PlaneError::Token(TokenError::Life { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
            PlaneError::Part { .. } => StatusCode::NOT_FOUND,
            PlaneError::Token(_) | PlaneError::Authority(_) | PlaneError::Keys(_) | PlaneError::Own(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, message)
    }
}

impl From<DenyError> for Refused {
    fn from(error: DenyError) -> Self {
        let message = error.to_string();
        match error {
            DenyError::Store(error) => error.into(),
            DenyError::Subject(_) | DenyError::Reason => Self::new(StatusCode::UNPROCESSABLE_ENTITY, message),
            DenyError::TooMany => Self::new(StatusCode::INSUFFICIENT_STORAGE, message),
        }
    }
}

/// A body in JSON: of a limited size, in a limited time, of the right type, with no field that is not known.
pub(super) struct Read<T>(pub(super) T);

impl<T, S> FromRequest<S> for Read<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refused::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is read as JSON only: send `Content-Type: application/json`",
            ));
        }
        let body = axum::body::to_bytes(request.into_body(), API_BODY_BYTES_MAX);
        let body: Bytes = match tokio::time::timeout(API_BODY_TIME, body).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let message = format!("the body has more than {API_BODY_BYTES_MAX} bytes, or broke off");
                return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Err(_) => {
                let message = format!("the body took longer than {} s", API_BODY_TIME.as_secs());
                return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, message));
            }
        };
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            Refused::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not what is read here: {error}"),
            )
        })
    }
}
