//! The status that controllers write.

use proto_model::GroupKind;
use serde_json::{Map, Value as Json, json};

use crate::state::time;

/// How far a controller has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has seen the object.
    Begun,
    /// All is as the spec asks.
    Ready,
    /// It gave up.
    Failed,
}

/// Whether a condition is True.
pub(crate) fn condition(object: &Json, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

fn one(kind: &str, status: bool, reason: &str, at: u64) -> Json {
    json!({
        "type": kind, "status": if status { "True" } else { "False" },
        "reason": reason, "message": "", "lastTransitionTime": time(at),
    })
}

/// The status of a definition whose kind is served.
pub(crate) fn established(definition: &Json, at: u64) -> Json {
    let versions = definition["spec"]["versions"].as_array();
    let stored: Vec<Json> = versions
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    json!({
        "acceptedNames": definition["spec"]["names"],
        "conditions": [
            one("NamesAccepted", true, "NoConflicts", at),
            one("Established", true, "InitialNamesAccepted", at),
        ],
        "storedVersions": stored,
    })
}

/// The status of an object at a stage, or `None` for kinds without a controller. `begun` and
/// `ended` are the times of the stages, in milliseconds.
pub(crate) fn of(kind: &GroupKind, object: &Json, stage: Stage, begun: u64, ended: u64) -> Option<Json> {
    let (spec, old) = (&object["spec"], &object["status"]);
    let generation = &object["metadata"]["generation"];
    Some(match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => deployment(spec, old, generation, stage, begun, ended),
        ("apps", "ReplicaSet") => replica_set(spec, generation, stage),
        ("apps", "StatefulSet") => stateful_set(object, stage),
        ("apps", "DaemonSet") => daemon_set(generation, stage),
        ("batch", "Job") => job(spec, stage, begun, ended),
        ("", "PersistentVolumeClaim") => match stage {
            Stage::Ready => json!({
                "phase": "Bound", "accessModes": spec["accessModes"],
                "capacity": spec["resources"]["requests"],
            }),
            _ => json!({"phase": "Pending"}),
        },
        ("", "Pod") => pod(stage, begun, ended),
        ("", "Service") if spec["type"] == "LoadBalancer" && stage == Stage::Ready => {
            json!({"loadBalancer": {"ingress": [{"ip": spec["clusterIP"], "ipMode": "VIP"}]}})
        }
        ("", "Service") => old.clone(),
        ("policy", "PodDisruptionBudget") => json!({
            "observedGeneration": generation, "currentHealthy": 0, "desiredHealthy": 0,
            "disruptionsAllowed": 0, "expectedPods": 0,
        }),
        ("apiregistration.k8s.io", "APIService") => {
            json!({"conditions": [one("Available", stage == Stage::Ready, "Passed", ended)]})
        }
        _ => return None,
    })
}

fn replicas(spec: &Json) -> u64 {
    spec["replicas"].as_u64().unwrap_or(1)
}

/// Counters that are left out where they are zero.
fn counts(n: u64, fields: &[(&str, bool)]) -> Json {
    let shown = fields.iter().filter(|(_, on)| *on && n > 0);
    Json::Object(shown.map(|(name, _)| ((*name).to_owned(), n.into())).collect::<Map<_, _>>())
}

fn replica_set(spec: &Json, generation: &Json, stage: Stage) -> Json {
    let n = replicas(spec);
    let ready = stage == Stage::Ready;
    let fields = [("fullyLabeledReplicas", true), ("readyReplicas", ready), ("availableReplicas", ready)];
    let mut status = counts(n, &fields);
    status["replicas"] = n.into();
    status["observedGeneration"] = generation.clone();
    status
}

fn stateful_set(object: &Json, stage: Stage) -> Json {
    let n = replicas(&object["spec"]);
    let ready = stage == Stage::Ready;
    let fields =
        [("currentReplicas", true), ("updatedReplicas", true), ("readyReplicas", ready), ("availableReplicas", ready)];
    let mut status = counts(n, &fields);
    let generation = &object["metadata"]["generation"];
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let revision: Json = format!("{name}-{generation}").into();
    let before = &object["status"]["currentRevision"];
    status["replicas"] = n.into();
    status["observedGeneration"] = generation.clone();
    status["currentRevision"] = if ready || before.is_null() { revision.clone() } else { before.clone() };
    status["updateRevision"] = revision;
    status
}

/// There is one node.
fn daemon_set(generation: &Json, stage: Stage) -> Json {
    let ready = stage == Stage::Ready;
    let mut status = json!({
        "observedGeneration": generation, "desiredNumberScheduled": 1,
        "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberMisscheduled": 0,
        "numberReady": u64::from(ready),
    });
    status[if ready { "numberAvailable" } else { "numberUnavailable" }] = 1.into();
    status
}

fn deployment(spec: &Json, old: &Json, generation: &Json, stage: Stage, begun: u64, ended: u64) -> Json {
    if spec["paused"] == true {
        let mut status = if old.is_object() { old.clone() } else { json!({}) };
        status["observedGeneration"] = generation.clone();
        return status;
    }
    let n = replicas(spec);
    let ready = stage == Stage::Ready;
    let mut status = counts(
        n,
        &[
            ("replicas", true),
            ("updatedReplicas", true),
            ("readyReplicas", ready),
            ("availableReplicas", ready),
            ("unavailableReplicas", !ready),
        ],
    );
    status["observedGeneration"] = generation.clone();
    let available = ready || n == 0;
    let progress = match stage {
        Stage::Begun => one("Progressing", true, "ReplicaSetUpdated", begun),
        Stage::Ready => one("Progressing", true, "NewReplicaSetAvailable", begun),
        Stage::Failed => one("Progressing", false, "ProgressDeadlineExceeded", ended),
    };
    let reason = if available { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" };
    let at = if available { ended } else { begun };
    status["conditions"] = json!([one("Available", available, reason, at), progress]);
    status
}

fn job(spec: &Json, stage: Stage, begun: u64, ended: u64) -> Json {
    if spec["suspend"] == true {
        return json!({"conditions": [one("Suspended", true, "JobSuspended", begun)]});
    }
    let n = spec["completions"].as_u64().unwrap_or(1);
    match stage {
        Stage::Begun => {
            json!({"startTime": time(begun), "active": 1, "ready": 0, "terminating": 0})
        }
        Stage::Ready => json!({
            "startTime": time(begun), "completionTime": time(ended), "succeeded": n,
            "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
            "conditions": [
                one("SuccessCriteriaMet", true, "CompletionsReached", ended),
                one("Complete", true, "CompletionsReached", ended),
            ],
        }),
        Stage::Failed => json!({
            "startTime": time(begun), "failed": 1, "ready": 0, "terminating": 0,
            "conditions": [
                one("FailureTarget", true, "BackoffLimitExceeded", ended),
                one("Failed", true, "BackoffLimitExceeded", ended),
            ],
        }),
    }
}

fn pod(stage: Stage, begun: u64, ended: u64) -> Json {
    match stage {
        Stage::Begun => json!({"phase": "Pending", "startTime": time(begun)}),
        Stage::Ready => json!({
            "phase": "Running", "startTime": time(begun),
            "conditions": [one("Ready", true, "", ended)],
        }),
        Stage::Failed => json!({"phase": "Failed", "startTime": time(begun)}),
    }
}
