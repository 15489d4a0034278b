//! `Diff`: asks the spoke of a cluster how a bundle is live against what is bound.

use std::time::Duration;

use proto_model::ask::{self, BundleDiff, Change, ObjectDiff};
use proto_model::limits;
use proto_wire::control as wire;
use tokio::time::timeout;
use tonic::Status;

use crate::hub::Hub;

pub(super) async fn diff(hub: &Hub, request: &wire::DiffRequest) -> Result<wire::DiffResponse, Status> {
    let wire::DiffRequest { cluster, bundle } = request;
    let state = hub.state();
    let fleet = state.fleet();
    let Some(known) = fleet.clusters.get(cluster) else {
        return Err(Status::not_found(format!("there is no cluster {cluster:?}; `drover cluster list` shows all")));
    };
    let runs = |known: &hub_core::fleet::Cluster| {
        let bundle = fleet.bundles.get(bundle)?;
        Some(fleet.assigned(bundle, known.number).is_some() || bundle.removing.contains(known.number))
    };
    if runs(known) != Some(true) {
        return Err(Status::not_found(format!(
            "{cluster} does not run {bundle:?}; `drover explain {cluster}` shows what it runs"
        )));
    }
    let Some(stream) = hub.node.stream(cluster) else {
        return Err(Status::failed_precondition(format!(
            "the spoke of {cluster} is not connected to this hub, so that nobody can look; what it has goes on running, \
             and `drover explain {cluster}` says since when"
        )));
    };
    if stream.answers < ask::VERSION {
        return Err(Status::failed_precondition(format!(
            "the spoke of {cluster} is too old to be asked; `drover get clusters` shows its version: put a newer one in its place"
        )));
    }
    let Some(answer) = stream.asks.ask(bundle) else {
        return Err(Status::resource_exhausted(format!("too many others ask the spoke of {cluster}; try again")));
    };
    stream.changed.notify_one();
    match timeout(Duration::from_secs(limits::ASK_SECS_MAX), answer).await {
        Ok(Ok(Ok(diff))) => Ok(response(&diff)),
        Ok(Ok(Err(why))) => Err(Status::failed_precondition(format!("the spoke of {cluster} refuses: {why}"))),
        Ok(Err(_)) => Err(Status::aborted(format!("the spoke of {cluster} went away before it answered; try again"))),
        Err(_) => Err(Status::aborted(format!(
            "the spoke of {cluster} did not answer within {} s; try again",
            limits::ASK_SECS_MAX
        ))),
    }
}

fn response(diff: &BundleDiff) -> wire::DiffResponse {
    wire::DiffResponse {
        generation: diff.generation,
        variant: diff.variant.map(|digest| digest.to_string()).unwrap_or_default(),
        objects: diff.objects.iter().map(object).collect(),
        same: diff.same,
        unseen: diff.unseen,
    }
}

fn object(found: &ObjectDiff) -> wire::ObjectDiff {
    use wire::object_diff::Kind;
    let mut out = wire::ObjectDiff { object: found.object.to_string(), ..Default::default() };
    let kind = match &found.change {
        Change::Missing => Kind::Missing,
        Change::Unwanted => Kind::Unwanted,
        Change::Unknown(why) => {
            out.message.clone_from(why);
            Kind::Unknown
        }
        Change::Fields { fields, more } => {
            out.fields_more = *more;
            let fields = fields.iter().map(|one| wire::FieldDiff {
                pointer: one.pointer.clone(),
                live: one.live.clone(),
                bound: one.bound.clone(),
            });
            out.fields = fields.collect();
            Kind::Fields
        }
    };
    out.set_kind(kind);
    out
}
