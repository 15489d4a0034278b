//! How an object is doing, read from the object itself as kstatus does.
//!
//! Beyond kstatus: a Job is Healthy when Complete, a volume claim that waits for its first
//! consumer is Healthy, DaemonSets count ready nodes, and what is suspended, paused or scaled to
//! zero is Healthy.
//!
//! Checks that people write ([`Checks`]) come first: where one selects an object, it decides. Then come the kinds of
//! Kubernetes, then those that people install ([`library`]), and conditions that many kinds share.

mod checks;
mod conditions;
mod library;
mod workload;

use proto_model::{GroupKind, Health};
use serde_json::Value as Json;

use crate::port::Depth;
pub use checks::Checks;
use conditions::Conditions;

/// How one object is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// In one word.
    pub health: Health,
    /// Why it is not Healthy, naming the condition; empty where it is.
    pub message: String,
    /// Of a Job that has come to its end and may vanish: whether it succeeded.
    pub finished: Option<bool>,
    /// Whether nothing is known because no controller has written a status, where one may be
    /// expected: the object counts as Healthy unless its kind has a status subresource.
    pub lacks_status: bool,
}

impl Assessment {
    /// As it should be.
    #[must_use]
    pub fn healthy() -> Self {
        Self { health: Health::Healthy, message: String::new(), finished: None, lacks_status: false }
    }

    /// Nothing is known.
    #[must_use]
    pub fn unknown(message: impl Into<String>) -> Self {
        Self { health: Health::Unknown, message: message.into(), finished: None, lacks_status: false }
    }

    /// On its way.
    #[must_use]
    pub fn progressing(message: impl Into<String>) -> Self {
        Self { health: Health::Progressing, message: message.into(), finished: None, lacks_status: false }
    }

    /// In trouble.
    #[must_use]
    pub fn degraded(message: impl Into<String>) -> Self {
        Self { health: Health::Degraded, message: message.into(), finished: None, lacks_status: false }
    }
}

/// How much of a kind must be watched: whole objects where health lies in their status.
#[must_use]
pub fn depth(kind: &GroupKind) -> Depth {
    match (kind.group.as_str(), kind.kind.as_str()) {
        (
            "",
            "ConfigMap" | "Secret" | "ServiceAccount" | "Namespace" | "LimitRange" | "ResourceQuota" | "Endpoints"
            | "PodTemplate",
        )
        | (
            "rbac.authorization.k8s.io"
            | "admissionregistration.k8s.io"
            | "storage.k8s.io"
            | "scheduling.k8s.io"
            | "node.k8s.io"
            | "coordination.k8s.io"
            | "networking.k8s.io"
            | "discovery.k8s.io",
            _,
        )
        | ("batch", "CronJob") => Depth::Metadata,
        _ if matches!(library::known(kind), Some(library::Known::Silent)) => Depth::Metadata,
        _ => Depth::Whole,
    }
}

/// Whether objects of a kind are known to get a status from their controller.
#[must_use]
pub fn gets_status(kind: &GroupKind) -> bool {
    matches!(library::known(kind), Some(library::Known::By(_)))
}

/// Whether kinds of a group come with Kubernetes itself, so that no definition will bring one that is missing.
#[must_use]
pub fn is_built_in(group: &str) -> bool {
    const GROUPS: [&str; 17] = [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    // Others of k8s.io, as gateway.networking.k8s.io, are definitions like any.
    !group.contains('.') || GROUPS.contains(&group)
}

/// How an object is doing. A check that selects it decides, unless the object is being deleted or its status is
/// about an older generation.
#[must_use]
pub fn assess(kind: &GroupKind, object: &Json, checks: &Checks) -> Assessment {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Assessment::progressing("is being deleted");
    }
    let check = checks.of_object(kind, object);
    if depth(kind) == Depth::Metadata && check.is_none() {
        return Assessment::healthy();
    }
    let conditions = Conditions::of(object);
    if check.is_none()
        && let Some(library::Known::By(rule)) = library::known(kind)
    {
        return rule.assess(object, &conditions);
    }
    if let Some(lag) = generation_lag(object) {
        return lag;
    }
    if let Some(check) = check {
        // However well it did: a Job that came to its end is not run again because it was cleaned away.
        let is_job = kind.group == "batch" && kind.kind == "Job";
        let finished = if is_job { workload::job(object, &conditions).finished } else { None };
        return Assessment { finished, ..check.assess(object) };
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => workload::deployment(object, &conditions),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replica_set(object, &conditions),
        ("batch", "Job") => workload::job(object, &conditions),
        ("", "Pod") => workload::pod(object, &conditions),
        ("", "PersistentVolumeClaim") => volume_claim(object),
        ("", "PersistentVolume") => volume(object),
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&conditions),
        ("apiregistration.k8s.io", "APIService") => conditions.must_be_true("Available"),
        ("policy", "PodDisruptionBudget") => disruption_budget(object, &conditions),
        ("autoscaling", "HorizontalPodAutoscaler") => conditions.degraded_unless("AbleToScale"),
        _ => conditions.generic(),
    }
}

/// A number of the object; `None` where it is missing.
fn number(object: &Json, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Json::as_i64)
}

/// A text of the object; empty where it is missing.
fn text<'a>(object: &'a Json, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

/// Status that is about an older generation says nothing yet.
fn generation_lag(object: &Json) -> Option<Assessment> {
    let generation = number(object, "/metadata/generation")?;
    let observed = number(object, "/status/observedGeneration")?;
    (observed < generation).then(|| {
        Assessment::progressing(format!(
            "generation {generation} is not observed by its controller yet (at {observed})"
        ))
    })
}

fn volume_claim(object: &Json) -> Assessment {
    let annotated =
        |name: &str| object.pointer("/metadata/annotations").and_then(|annotations| annotations.get(name)).is_some();
    match text(object, "/status/phase") {
        "Bound" => Assessment::healthy(),
        "Lost" => Assessment::degraded("phase Lost: its volume is gone"),
        // Kubernetes names a provisioner on the claim once it starts to make a volume, which for
        // WaitForFirstConsumer is when the first consumer is there.
        "Pending"
            if !annotated("volume.kubernetes.io/storage-provisioner")
                && !annotated("volume.beta.kubernetes.io/storage-provisioner")
                && text(object, "/spec/volumeName").is_empty() =>
        {
            Assessment::healthy()
        }
        "" => Assessment::progressing("has no phase yet"),
        phase => Assessment::progressing(format!("phase {phase}")),
    }
}

fn volume(object: &Json) -> Assessment {
    match text(object, "/status/phase") {
        "Failed" => Assessment::degraded("phase Failed"),
        _ => Assessment::healthy(),
    }
}

fn service(object: &Json) -> Assessment {
    let has_address = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Json::as_array)
        .is_some_and(|addresses| !addresses.is_empty());
    if text(object, "/spec/type") == "LoadBalancer" && !has_address {
        return Assessment::progressing("waits for the address of its load balancer");
    }
    Assessment::healthy()
}

fn definition(conditions: &Conditions<'_>) -> Assessment {
    if let Some(refused) = conditions.get("NamesAccepted").filter(|one| one.status == "False") {
        return Assessment::degraded(refused.say());
    }
    let established = conditions.get("Established").filter(|one| one.status == "False" && one.reason != "Installing");
    if let Some(refused) = established {
        return Assessment::degraded(refused.say());
    }
    conditions.must_be_true("Established")
}

/// A budget is in force once it was counted. That its pods are too few is their trouble.
fn disruption_budget(object: &Json, conditions: &Conditions<'_>) -> Assessment {
    if let Some(failed) = conditions.get("DisruptionAllowed").filter(|one| one.reason == "SyncFailed") {
        return Assessment::degraded(failed.say());
    }
    match number(object, "/status/desiredHealthy") {
        None => Assessment::progressing("is not observed by its controller yet"),
        Some(_) => Assessment::healthy(),
    }
}

#[cfg(test)]
mod tests;
