//! How spokes join, and how they renew a certificate that has ended. The one service that needs no
//! client certificate.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hub_core::command::Command;
use proto_model::{Digest, limits};
use proto_wire::enroll::enroll_server::Enroll;
use proto_wire::enroll::{JoinRequest, JoinResponse, RenewRequest};
use tonic::{Request, Response, Status};
use tracing::info;

use crate::hub::Hub;
use crate::identity::Name;
use crate::identity::authority::Request as SigningRequest;
use crate::leader::Refused;
use crate::sync::standing;

/// The service that spokes join through.
#[derive(Clone)]
pub struct Service {
    hub: Arc<Hub>,
}

impl Service {
    /// The service of a hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    fn admit(&self) -> Result<(), Status> {
        if self.hub.enrolments.take(Instant::now()) {
            Ok(())
        } else {
            Err(Status::resource_exhausted("many clusters join at once; try again in a moment"))
        }
    }

    fn sign(&self, request: &SigningRequest, cluster: &str) -> Result<Response<JoinResponse>, Status> {
        let authority = &self.hub.identity.authority;
        let name = Name::Cluster(cluster.to_owned());
        let pem = authority
            .sign(request, &name, SystemTime::now())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let state = self.hub.state();
        let known = state.fleet().clusters.get(cluster);
        self.hub.metrics.enrolments.inc();
        Ok(Response::new(JoinResponse {
            certificates: pem.into_bytes().into(),
            roots: authority.roots_pem().as_bytes().to_vec().into(),
            hub_id: authority.hub_id().to_owned(),
            incarnation: known.map_or(0, |known| known.incarnation),
        }))
    }
}

#[tonic::async_trait]
impl Enroll for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        self.admit()?;
        let JoinRequest { token_id, secret, cluster, csr } = request.into_inner();
        {
            // One answer for an unknown token and a wrong secret: it helps nobody to guess.
            let state = self.hub.state();
            let token = state.fleet().tokens.get(&token_id);
            let secret = Digest::of(secret.as_bytes());
            if token.is_none_or(|token| token.token.secret != secret) {
                return Err(Status::permission_denied(
                    "the join token is not known here or has run out; make a new one with \
                     `drover cluster join-token`",
                ));
            }
        }
        let request = SigningRequest::parse(&csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let command = Command::Enrol { cluster: cluster.clone(), token: token_id, key: request.key() };
        self.hub.leader.command(command).await.map_err(refused)?;
        info!(cluster, "cluster joined");
        self.sign(&request, &cluster)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<JoinResponse>, Status> {
        self.admit()?;
        let RenewRequest { certificate, csr } = request.into_inner();
        let peer = self
            .hub
            .identity
            .authority
            .read(&certificate)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        let Name::Cluster(cluster) = &peer.name else {
            return Err(Status::permission_denied(
                "this is an operator's certificate; make a new one with `drover-hub operator`",
            ));
        };
        let grace = Duration::from_secs(limits::CERTIFICATE_GRACE_SECS);
        if SystemTime::now() > peer.not_after + grace {
            return Err(Status::permission_denied("the certificate ended too long ago; join again with a new token"));
        }
        let request = SigningRequest::parse(&csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if request.key() != peer.key {
            return Err(Status::permission_denied("the request is not for the enrolled key"));
        }
        let state = self.hub.state();
        standing(state.fleet(), cluster, &peer).map_err(|refusal| Status::permission_denied(refusal.message()))?;
        info!(cluster, "cluster renewed its certificate");
        self.sign(&request, cluster)
    }
}

fn refused(refused: Refused) -> Status {
    match refused {
        Refused::Because(reason) => Status::failed_precondition(reason),
        other => Status::unavailable(other.to_string()),
    }
}
