//! What operators read and command, over gRPC. Every call needs an operator's certificate.

mod diff;
mod execute;
mod show;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use proto_model::limits;
use proto_wire::control::control_server::Control;
use proto_wire::control::{
    DiffRequest, DiffResponse, ExecuteRequest, ExecuteResponse, ExplainRequest, ExplainResponse, GetRequest,
    GetResponse, StatusRequest, StatusResponse,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::hub::Hub;
use crate::identity::{Name, Role};
use crate::log::State;
use crate::tls::Remote;

/// The service for operators.
#[derive(Clone)]
pub struct Service {
    hub: Arc<Hub>,
    watches: Arc<Semaphore>,
}

impl Service {
    /// The service of a hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, watches: Arc::new(Semaphore::new(limits::WATCHES_MAX)) }
    }

    /// Works out an answer from a state at or after an index.
    async fn read<T: Send + 'static>(
        &self,
        min_applied_index: u64,
        answer: impl FnOnce(&Hub, &State) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let state = self.state_at(min_applied_index).await?;
        let hub = Arc::clone(&self.hub);
        // Guards list objects, which reads bodies.
        let answer = spawn_blocking(move || answer(&hub, &state)).await;
        answer.map_err(|_| Status::internal("a defect of the hub; see its log"))?.map(Response::new)
    }

    async fn state_at(&self, min_applied_index: u64) -> Result<State, Status> {
        let mut applied = self.hub.applied.clone();
        let wait = Duration::from_secs(limits::MIN_APPLIED_WAIT_SECS_MAX);
        match tokio::time::timeout(wait, applied.wait_for(|now| now.index >= min_applied_index)).await {
            Ok(Ok(now)) => Ok(State::of(&now)),
            Ok(Err(_)) => Err(Status::unavailable("the hub is stopping; try again")),
            Err(_) => Err(Status::unavailable(format!(
                "this replica is behind entry {min_applied_index}, which you have seen; try again, \
                 or ask another"
            ))),
        }
    }
}

/// The operator that a request's certificate names.
fn operator<T>(request: &Request<T>) -> Result<(Role, String), Status> {
    let peer = request.extensions().get::<Remote>().and_then(|remote| remote.peer.clone());
    let peer =
        peer.ok_or_else(|| Status::unauthenticated("an operator's certificate is needed; name a context file"))?;
    if !peer.is_valid_at(SystemTime::now()) {
        return Err(Status::unauthenticated("the certificate has ended; make a new one with `drover-hub operator`"));
    }
    match &peer.name {
        Name::Operator { role, name } => Ok((*role, name.clone())),
        Name::Cluster(_) => Err(Status::permission_denied("this is a cluster's certificate, not an operator's")),
    }
}

/// Lets operators alone through to a service that does not look itself.
///
/// # Errors
/// The request's certificate is no operator's.
pub fn only_operators(request: Request<()>) -> Result<Request<()>, Status> {
    operator(&request)?;
    Ok(request)
}

#[tonic::async_trait]
impl Control for Service {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        self.read(request.min_applied_index, move |hub, state| Ok(show::status(hub, state, &request))).await
    }

    type WatchStream = ReceiverStream<Result<StatusResponse, Status>>;

    async fn watch(&self, request: Request<StatusRequest>) -> Result<Response<Self::WatchStream>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        let place = Arc::clone(&self.watches)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many watches are open at this hub; close some"))?;
        let (out, answers) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            this.keep_answering(request, &out).await;
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        self.read(request.min_applied_index, move |hub, state| show::explain(hub, state, &request)).await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        operator(&request)?;
        let request = request.into_inner();
        self.read(request.min_applied_index, move |hub, state| show::get(hub, state, &request)).await
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        operator(&request)?;
        diff::diff(&self.hub, request.get_ref()).await.map(Response::new)
    }

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let (role, who) = operator(&request)?;
        if role != Role::Admin {
            return Err(Status::permission_denied(format!("{who} is a {role} and may read alone; ask an admin")));
        }
        execute::execute(&self.hub, who, request.into_inner()).await.map(Response::new)
    }
}

impl Service {
    /// Answers at each change, at most once in `limits::WATCH_MILLIS_MIN`, until the client goes
    /// or the hub stops.
    async fn keep_answering(&self, request: StatusRequest, out: &mpsc::Sender<Result<StatusResponse, Status>>) {
        let (mut applied, mut memory) = (self.hub.applied.clone(), self.hub.node.changes());
        let mut stop = self.hub.stop.clone();
        loop {
            let start = Instant::now();
            applied.mark_unchanged();
            memory.mark_unchanged();
            let asked = request.clone();
            let answer = self
                .read(request.min_applied_index, move |hub, state| Ok(show::status(hub, state, &asked)))
                .await
                .map(Response::into_inner);
            let failed = answer.is_err();
            if out.send(answer).await.is_err() || failed {
                return;
            }
            let pause = Duration::from_millis(limits::WATCH_MILLIS_MIN).saturating_sub(start.elapsed());
            let next = async {
                tokio::time::sleep(pause).await;
                tokio::select! {
                    changed = applied.changed() => changed.is_ok(),
                    changed = memory.changed() => changed.is_ok(),
                }
            };
            let goes_on = tokio::select! {
                goes_on = next => goes_on,
                () = out.closed() => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !goes_on {
                return;
            }
        }
    }
}
