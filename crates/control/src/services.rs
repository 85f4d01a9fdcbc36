//! What proxies can ask for over gRPC: a certificate, and their configuration.

use std::sync::Arc;

use axum::Router;
use futures_core::stream::BoxStream;
use meshgate_sync::limits::MESSAGE_BYTES_MAX;
use meshgate_sync::proto::enrolment_server::{Enrolment as EnrolmentService, EnrolmentServer};
use meshgate_sync::proto::sync_server::{Sync as SyncService, SyncServer};
use meshgate_sync::proto::{EnrolReply, EnrolRequest, FromControl, FromProxy};
use tonic::{Request, Response, Status, Streaming};

use crate::distribute::Distributor;
use crate::enrol::{EnrolError, Enrolment};
use crate::limits::{CHAIN_BYTES_MAX, CSR_BYTES_MAX};
use crate::listen::Other;

/// Both services.
pub fn router(enrolment: Arc<Enrolment>, distributor: Arc<Distributor>) -> Router {
    let sync = SyncServer::new(Streams(distributor))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let enrolment =
        EnrolmentServer::new(Desk(enrolment)).max_decoding_message_size(CSR_BYTES_MAX + CHAIN_BYTES_MAX + 4096);
    tonic::service::Routes::new(sync)
        .add_service(enrolment)
        .prepare()
        .into_axum_router()
}

fn other<T>(request: &Request<T>) -> Result<Other, Status> {
    let other = request.extensions().get::<Other>().cloned();
    other.ok_or_else(|| Status::internal("the connection is not known"))
}

struct Streams(Arc<Distributor>);

#[tonic::async_trait]
impl SyncService for Streams {
    type StreamStream = BoxStream<'static, Result<FromControl, Status>>;

    async fn stream(&self, request: Request<Streaming<FromProxy>>) -> Result<Response<Self::StreamStream>, Status> {
        let peer = other(&request)?.peer;
        let peer = peer.ok_or_else(|| Status::unauthenticated("a certificate of this mesh is needed; enrol first"))?;
        let stream = self.0.open(peer, request.into_inner()).await?;
        Ok(Response::new(stream))
    }
}

struct Desk(Arc<Enrolment>);

#[tonic::async_trait]
impl EnrolmentService for Desk {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolReply>, Status> {
        let from = other(&request)?.address;
        let reply = self.0.enrol(request.into_inner(), from).await;
        reply.map(Response::new).map_err(|error| status(&error))
    }
}

/// What a proxy is told. Its words are those of the error; the code says whether trying again makes sense.
fn status(error: &EnrolError) -> Status {
    let words = error.to_string();
    match error {
        EnrolError::Message(_) => Status::invalid_argument(words),
        EnrolError::Authority(crate::ca::AuthorityError::Request(_)) => Status::invalid_argument(words),
        EnrolError::Token(_) | EnrolError::Held(_) => Status::unauthenticated(words),
        EnrolError::Denied { .. } => Status::permission_denied(words),
        EnrolError::Part { .. } => Status::failed_precondition(words),
        EnrolError::Guessing { .. } => Status::resource_exhausted(words),
        // What failed inside is for our log, and to be tried again.
        EnrolError::Authority(_) | EnrolError::Store(_) => {
            tracing::error!("an enrolment failed: {words}");
            Status::unavailable("the control plane cannot sign now; try again")
        }
    }
}
