//! Operators' commands: from the wire to an act in the log.

use std::sync::Arc;

use hub_core::check;
use hub_core::command::{Act, Deed, Token};
use hub_core::fleet::Fleet;
use proto_model::token::JoinToken;
use proto_model::{Digest, limits, suspend};
use proto_wire::control::execute_request::Command;
use proto_wire::control::{ApproveDeletions, CreateJoinToken, ExecuteRequest, ExecuteResponse};
use tonic::Status;

use crate::hub::Hub;
use crate::leader::Refused;
use crate::node::unix_millis;

/// Life of a join token where none is asked for, in seconds.
const TTL_SECS: u64 = 3600;

pub(super) async fn execute(hub: &Arc<Hub>, who: String, request: ExecuteRequest) -> Result<ExecuteResponse, Status> {
    let ExecuteRequest { request_id, reason, command } = request;
    if request_id.is_empty() || request_id.len() > limits::REQUEST_ID_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "request_id must have 1 to {} bytes: it makes a repetition harmless",
            limits::REQUEST_ID_BYTES_MAX
        )));
    }
    if reason.len() > limits::REASON_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "the reason has more than {} bytes; shorten it",
            limits::REASON_BYTES_MAX
        )));
    }
    let command = command.ok_or_else(|| Status::invalid_argument("name a command"))?;
    // A repetition may come when the cluster is gone already: the log knows its result.
    let known = |cluster: String| {
        let state = hub.state();
        let fleet = state.fleet();
        if fleet.clusters.contains_key(&cluster) || fleet.requests.contains_key(&request_id) {
            return Ok(cluster);
        }
        let message = format!("there is no cluster {cluster:?}; `drover cluster list` shows all");
        Err(Status::not_found(message))
    };
    let (deed, token) = match command {
        Command::CreateJoinToken(ask) => {
            let (token, text) = join_token(hub, &who, &request_id, ask);
            (Deed::CreateToken(token), text)
        }
        Command::RemoveCluster(ask) => (remove(known(ask.cluster)?, ask.delete_objects, ask.now)?, String::new()),
        Command::Suspend(ask) => {
            let (cluster, bundle) = (known(ask.cluster)?, some(ask.bundle));
            let span_millis = ask.span_secs.saturating_mul(1_000);
            (Deed::Suspend { cluster, bundle, span_millis }, String::new())
        }
        Command::Resume(ask) => {
            (Deed::Resume { cluster: known(ask.cluster)?, bundle: some(ask.bundle) }, String::new())
        }
        Command::ReplaceCluster(ask) => (Deed::ReplaceCluster(known(ask.cluster)?), String::new()),
        Command::RevokeCluster(ask) => (Deed::RevokeCluster(known(ask.cluster)?), String::new()),
        Command::ApproveRewind(ask) => (Deed::ApproveRewind { source: ask.source, commit: ask.head }, String::new()),
        Command::ApproveDeletions(ask) => (approve_deletions(hub.state().fleet(), &request_id, &ask)?, String::new()),
    };
    let act = Act { request: request_id, who, why: reason, deed: deed.clone() };
    let done = hub.leader.operate(act).await.map_err(|refused| match refused {
        Refused::Because(reason) => Status::failed_precondition(reason + &beside(hub, &deed)),
        other => Status::unavailable(other.to_string()),
    })?;
    Ok(ExecuteResponse { applied_index: done.index, message: done.message + &beside(hub, &deed), token })
}

fn some(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

fn remove(cluster: String, deletes_objects: bool, now: bool) -> Result<Deed, Status> {
    match (now, deletes_objects) {
        (true, true) => Err(Status::invalid_argument(
            "what is forgotten at once can delete nothing: give --now or --delete-objects, not both",
        )),
        (true, false) => Ok(Deed::RemoveCluster(cluster)),
        (false, _) => Ok(Deed::Leave { cluster, deletes_objects }),
    }
}

/// What the log does not know and an operator should hear with the answer: whether the spoke is there, and what was
/// said at its cluster.
fn beside(hub: &Hub, deed: &Deed) -> String {
    let connected = |cluster: &str| hub.node.stream(cluster);
    match deed {
        Deed::RemoveCluster(_) => "; its objects keep their marks".into(),
        Deed::Leave { cluster, .. } if !hub.state().fleet().clusters.contains_key(cluster) => String::new(),
        Deed::Leave { cluster, .. } if connected(cluster).is_none() => format!(
            ". Its spoke is not connected: it leaves once that is back, or at once and with its marks by `drover cluster \
             remove {cluster} --now`"
        ),
        Deed::Suspend { cluster, .. } => match connected(cluster) {
            None => ". Its spoke is not connected: it hears of it once it is back".into(),
            Some(stream) if stream.heeds < suspend::VERSION => {
                ". Its spoke is too old to heed that: nothing new is sent to it, but it goes on correcting drift".into()
            }
            Some(_) => String::new(),
        },
        Deed::Resume { cluster, bundle } => {
            let here = hub.node.suspended_there(cluster, bundle.as_deref());
            if here.is_empty() {
                return String::new();
            }
            let here = here.join(", ");
            format!(". Suspended at the cluster, which this does not end: {here}; `drover-spoke resume` there does")
        }
        _ => String::new(),
    }
}

/// A token whose id and secret follow from who asked and the request's id: a repetition gives the
/// same one, though the secret is stored nowhere.
fn join_token(hub: &Hub, who: &str, request_id: &str, ask: CreateJoinToken) -> (Token, String) {
    let (id, secret) = hub.identity.mac.join_token(who, request_id);
    let ttl = if ask.ttl_secs == 0 { TTL_SECS } else { ask.ttl_secs };
    let token = Token {
        id: id.clone(),
        secret: Digest::of(secret.as_bytes()),
        names: ask.names,
        labels: ask.labels.into_iter().collect(),
        uses: ask.uses.max(1),
        expires_unix_millis: unix_millis().saturating_add(ttl.saturating_mul(1000)),
    };
    let text = JoinToken { addresses: hub.addresses.clone(), ca: hub.identity.authority.digest(), id, secret };
    (token, text.encode())
}

/// What the guard holds of a bundle now. An operator who names what was shown approves nothing
/// else.
fn approve_deletions(fleet: &Fleet, request_id: &str, ask: &ApproveDeletions) -> Result<Deed, Status> {
    let known = fleet.bundles.get(&ask.bundle);
    let moves = known.map(|bundle| check::held(fleet, bundle)).unwrap_or_default();
    let shown = check::held_digest(&moves);
    let deed = Deed::ApproveDeletions { bundle: ask.bundle.clone(), shown };
    // A repetition may come when nothing is held any more: the log knows its result.
    if fleet.requests.contains_key(request_id) {
        return Ok(deed);
    }
    if moves.is_empty() {
        return Err(Status::failed_precondition(format!(
            "the guard holds nothing of {:?}; `drover status` shows what is held",
            ask.bundle
        )));
    }
    if !ask.goal.is_empty() && ask.goal[..] != shown.0[..] {
        return Err(Status::failed_precondition(format!(
            "what the guard holds of {} has changed since it was shown; look again with \
             `drover explain`",
            ask.bundle
        )));
    }
    Ok(deed)
}
