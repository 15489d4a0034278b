//! The streams of the spokes: each is a task that moves messages between the transport and
//! `hub_core::session`, which decides.
//!
//! A stream holds one message at most; the next is made when the transport has taken it. What
//! changes meanwhile is not queued: the newest state is looked at when there is room.

mod admit;
mod asks;
mod outgoing;
mod stream;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use proto_model::delta::Refusal;
use proto_wire::sync::sync_server::Sync;
use proto_wire::sync::{HubMessage, SpokeMessage};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::hub::Hub;
use crate::identity::{Name, Peer};
use crate::log;
use crate::tls::Remote;

pub use admit::standing;
pub use asks::Asks;
use outgoing::Outgoing;

/// The service that spokes connect to.
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
}

#[tonic::async_trait]
impl Sync for Service {
    type ConnectStream = Outgoing;

    async fn connect(&self, request: Request<Streaming<SpokeMessage>>) -> Result<Response<Outgoing>, Status> {
        let (cluster, peer) = cluster_of(&request)?;
        let (out, messages) = mpsc::channel::<Result<HubMessage, Status>>(1);
        if self.hub.attaches.take(Instant::now()) {
            let hub = Arc::clone(&self.hub);
            tokio::spawn(stream::serve(hub, cluster, peer, request.into_inner(), out));
        } else {
            self.hub.metrics.streams_refused.inc();
            // There is room for the first message of a fresh channel.
            let _ = out.try_send(Ok(stream::refused(Refusal::Retry)));
        }
        Ok(Response::new(Outgoing::new(messages)))
    }
}

/// The cluster that a request's certificate names.
fn cluster_of<T>(request: &Request<T>) -> Result<(String, Arc<Peer>), Status> {
    let peer = request.extensions().get::<Remote>().and_then(|remote| remote.peer.clone());
    let peer =
        peer.ok_or_else(|| Status::unauthenticated("a cluster's certificate is needed; join with a token first"))?;
    if !peer.is_valid_at(SystemTime::now()) {
        return Err(Status::unauthenticated("the certificate has ended; renew it first"));
    }
    match &peer.name {
        Name::Cluster(name) => Ok((name.clone(), Arc::clone(&peer))),
        Name::Operator { .. } => Err(Status::permission_denied("this is an operator's certificate, not a cluster's")),
    }
}

/// Tells streams what concerns them: those whose cluster changed look at Fleet again.
pub async fn dispatch(hub: Arc<Hub>) {
    let mut applied = hub.applied.clone();
    let mut before = log::State::of(&applied.borrow_and_update());
    while applied.changed().await.is_ok() {
        let now = log::State::of(&applied.borrow_and_update());
        hub.metrics.applied_index.set(i64::try_from(now.index).unwrap_or(i64::MAX));
        for change in before.fleet().clusters.diff(&now.fleet().clusters) {
            match change {
                imbl::ordmap::DiffItem::Add(name, _) => hub.node.nudge(name),
                imbl::ordmap::DiffItem::Update { new: (name, _), .. } => hub.node.nudge(name),
                imbl::ordmap::DiffItem::Remove(name, _) => {
                    hub.node.nudge(name);
                    hub.node.forget(name);
                }
            }
        }
        for change in before.fleet().suspensions.diff(&now.fleet().suspensions) {
            match change {
                imbl::ordmap::DiffItem::Add(name, _) | imbl::ordmap::DiffItem::Remove(name, _) => hub.node.nudge(name),
                imbl::ordmap::DiffItem::Update { new: (name, _), .. } => hub.node.nudge(name),
            }
        }
        before = now;
    }
}
