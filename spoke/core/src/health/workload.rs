//! How things that run pods are doing.

use serde_json::Value as Json;

use super::conditions::Conditions;
use super::{Assessment, number, text};

// Why a container waits that will not start without help.
const HOPELESS: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
];

fn count(object: &Json, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

fn replicas(object: &Json) -> i64 {
    number(object, "/spec/replicas").unwrap_or(1)
}

fn is_observed(object: &Json) -> bool {
    number(object, "/status/observedGeneration").is_some()
}

fn not_observed() -> Assessment {
    Assessment::progressing("is not observed by its controller yet")
}

/// The first of `counts` that is below `wanted`, in words.
fn short_of(wanted: i64, counts: &[(&str, i64)]) -> Option<Assessment> {
    counts
        .iter()
        .find(|(_, have)| *have < wanted)
        .map(|(what, have)| Assessment::progressing(format!("{have} of {wanted} replicas {what}")))
}

pub(super) fn deployment(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    let wanted = replicas(object);
    let is_paused = object.pointer("/spec/paused").and_then(Json::as_bool).unwrap_or(false);
    if is_paused {
        return Assessment::healthy();
    }
    if !is_observed(object) {
        return not_observed();
    }
    if let Some(condition) = conditions.get("Progressing")
        && condition.reason == "ProgressDeadlineExceeded"
    {
        return Assessment::degraded(condition.say());
    }
    let updated = count(object, "/status/updatedReplicas");
    let short = short_of(wanted, &[("updated", updated)]);
    let short = short.or_else(|| {
        let old = count(object, "/status/replicas") - updated;
        (old > 0).then(|| Assessment::progressing(format!("{old} old replicas are going")))
    });
    let short = short.or_else(|| {
        short_of(
            wanted,
            &[
                ("available", count(object, "/status/availableReplicas")),
                ("ready", count(object, "/status/readyReplicas")),
            ],
        )
    });
    match short {
        None if wanted == 0 => Assessment::healthy(),
        None => deployment_word(object, conditions),
        // Why there are too few: a quota, a webhook.
        Some(short) => {
            conditions.when_true("ReplicaFailure").map_or(short, |condition| Assessment::progressing(condition.say()))
        }
    }
}

/// What the controller says of a Deployment whose replicas are all there.
fn deployment_word(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    // Without a deadline the controller never says that it is done.
    let has_deadline = number(object, "/spec/progressDeadlineSeconds").is_some_and(|secs| secs < i64::from(i32::MAX));
    let progress = conditions.get("Progressing").filter(|condition| {
        has_deadline && !(condition.status == "True" && condition.reason == "NewReplicaSetAvailable")
    });
    let available = conditions.get("Available").filter(|condition| condition.status != "True");
    progress.or(available).map_or_else(Assessment::healthy, |condition| Assessment::progressing(condition.say()))
}

/// Replicas beyond those that are wanted.
fn going(wanted: i64, have: i64) -> Option<Assessment> {
    (have > wanted).then(|| Assessment::progressing(format!("{} replicas are going", have - wanted)))
}

pub(super) fn replica_set(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    if !is_observed(object) {
        return not_observed();
    }
    if let Some(condition) = conditions.when_true("ReplicaFailure") {
        return Assessment::progressing(condition.say());
    }
    let counts =
        [("available", count(object, "/status/availableReplicas")), ("ready", count(object, "/status/readyReplicas"))];
    let wanted = replicas(object);
    short_of(wanted, &counts)
        .or_else(|| going(wanted, count(object, "/status/replicas")))
        .unwrap_or_else(Assessment::healthy)
}

pub(super) fn stateful_set(object: &Json) -> Assessment {
    if !is_observed(object) {
        return not_observed();
    }
    let wanted = replicas(object);
    let short = short_of(wanted, &[("ready", count(object, "/status/readyReplicas"))]);
    if let Some(short) = short.or_else(|| going(wanted, count(object, "/status/replicas"))) {
        return short;
    }
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Assessment::healthy();
    }
    let partition = count(object, "/spec/updateStrategy/rollingUpdate/partition");
    let (current, update) = (text(object, "/status/currentRevision"), text(object, "/status/updateRevision"));
    if partition == 0 && (update.is_empty() || current == update) {
        return Assessment::healthy();
    }
    let to_update = (wanted - partition).max(0);
    let updated = count(object, "/status/updatedReplicas");
    short_of(to_update, &[("updated", updated)]).unwrap_or_else(Assessment::healthy)
}

pub(super) fn daemon_set(object: &Json) -> Assessment {
    let Some(wanted) = number(object, "/status/desiredNumberScheduled").filter(|_| is_observed(object)) else {
        return not_observed();
    };
    let on_nodes = |what: &str, have: i64| {
        (have < wanted).then(|| Assessment::progressing(format!("{have} of {wanted} nodes {what}")))
    };
    let is_rolling = text(object, "/spec/updateStrategy/type") != "OnDelete";
    let updated = is_rolling.then(|| on_nodes("updated", count(object, "/status/updatedNumberScheduled"))).flatten();
    updated.or_else(|| on_nodes("ready", count(object, "/status/numberReady"))).unwrap_or_else(Assessment::healthy)
}

pub(super) fn job(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    if conditions.when_true("Complete").is_some() {
        return Assessment { finished: Some(true), ..Assessment::healthy() };
    }
    if let Some(condition) = conditions.when_true("Failed") {
        // Where nothing cleans it away by itself, whoever deletes it wants it run again.
        let cleans_itself = object.pointer("/spec/ttlSecondsAfterFinished").is_some_and(|ttl| !ttl.is_null());
        return Assessment { finished: cleans_itself.then_some(false), ..Assessment::degraded(condition.say()) };
    }
    if object.pointer("/spec/suspend").and_then(Json::as_bool).unwrap_or(false) {
        return Assessment::healthy();
    }
    let (done, failed) = (count(object, "/status/succeeded"), count(object, "/status/failed"));
    let wanted = number(object, "/spec/completions").unwrap_or(1);
    Assessment::progressing(format!("has no condition Complete yet: {done} of {wanted} succeeded, {failed} failed"))
}

pub(super) fn pod(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    match text(object, "/status/phase") {
        "Succeeded" => return Assessment::healthy(),
        "Failed" => {
            let reason = text(object, "/status/reason");
            return Assessment::degraded(format!("phase Failed {reason}").trim_end().to_owned());
        }
        _ => {}
    }
    let containers = ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| object.pointer(pointer).and_then(Json::as_array))
        .flatten();
    for container in containers {
        let reason = text(container, "/state/waiting/reason");
        if HOPELESS.contains(&reason) {
            let name = text(container, "/name");
            return Assessment::degraded(format!("container {name} waits: {reason}"));
        }
    }
    match conditions.get("PodScheduled").filter(|condition| condition.status == "False") {
        Some(condition) => Assessment::progressing(condition.say()),
        None => conditions.must_be_true("Ready"),
    }
}
