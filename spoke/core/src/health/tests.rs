//! Health of manifests as real controllers leave them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proto_model::{HealthCheck, object};
use serde_json::json;

use super::*;

#[track_caller]
fn check(object: Json, health: Health, message: &str) {
    let kind = object::identity(&object).unwrap().kind;
    let found = assess(&kind, &object, &Checks::default());
    assert_eq!((found.health, found.message.as_str()), (health, message));
}

fn with(api_version: &str, kind: &str, spec: Json, status: Json) -> Json {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": "x", "namespace": "shop", "generation": 2},
        "spec": spec, "status": status,
    })
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Json {
    json!({"type": name, "status": status, "reason": reason, "message": message,
           "lastTransitionTime": "2025-01-01T00:00:00Z"})
}

#[test]
fn deployment_counts_updated_old_and_available_replicas() {
    let deployment = |status: Json| with("apps/v1", "Deployment", json!({"replicas": 3}), status);
    check(deployment(json!({})), Health::Progressing, "is not observed by its controller yet");
    check(
        deployment(json!({"observedGeneration": 1, "replicas": 3, "availableReplicas": 3})),
        Health::Progressing,
        "generation 2 is not observed by its controller yet (at 1)",
    );
    check(
        deployment(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1})),
        Health::Progressing,
        "1 of 3 replicas updated",
    );
    check(
        deployment(json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3})),
        Health::Progressing,
        "1 old replicas are going",
    );
    check(
        deployment(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
            "availableReplicas": 2, "readyReplicas": 3})),
        Health::Progressing,
        "2 of 3 replicas available",
    );
    check(
        deployment(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
            "availableReplicas": 3, "readyReplicas": 3,
            "conditions": [condition("Available", "True", "MinimumReplicasAvailable", "")]})),
        Health::Healthy,
        "",
    );
}

#[test]
fn deployment_says_why_it_is_stuck() {
    let deployment = |condition: Json| {
        with(
            "apps/v1",
            "Deployment",
            json!({"replicas": 1}),
            json!({"observedGeneration": 2, "replicas": 1, "conditions": [condition]}),
        )
    };
    check(
        deployment(condition(
            "Progressing",
            "False",
            "ProgressDeadlineExceeded",
            "ReplicaSet \"x-5d\" has timed out progressing.",
        )),
        Health::Degraded,
        "condition Progressing is False: ProgressDeadlineExceeded: \
         ReplicaSet \"x-5d\" has timed out progressing.",
    );
    check(
        deployment(condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")),
        Health::Progressing,
        "condition ReplicaFailure is True: FailedCreate: exceeded quota",
    );
}

#[test]
fn paused_suspended_and_empty_workloads_are_healthy() {
    check(with("apps/v1", "Deployment", json!({"paused": true}), json!({})), Health::Healthy, "");
    let zero = json!({"observedGeneration": 2});
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        check(with("apps/v1", kind, json!({"replicas": 0}), zero.clone()), Health::Healthy, "");
    }
    check(with("batch/v1", "Job", json!({"suspend": true}), json!({})), Health::Healthy, "");
    check(with("batch/v1", "CronJob", json!({"suspend": true}), json!({})), Health::Healthy, "");
}

#[test]
fn stateful_set_waits_for_its_revision() {
    let set = |strategy: Json, status: Json| {
        with("apps/v1", "StatefulSet", json!({"replicas": 3, "updateStrategy": strategy}), status)
    };
    let status = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3,
        "updatedReplicas": 1, "currentRevision": "x-1", "updateRevision": "x-2"});
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    check(set(rolling, status.clone()), Health::Progressing, "1 of 3 replicas updated");
    let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    check(set(partition, status.clone()), Health::Healthy, "");
    check(set(json!({"type": "OnDelete"}), status), Health::Healthy, "");
    check(
        set(json!({}), json!({"observedGeneration": 2, "readyReplicas": 2})),
        Health::Progressing,
        "2 of 3 replicas ready",
    );
}

#[test]
fn daemon_set_counts_ready_nodes() {
    let set = |status: Json| with("apps/v1", "DaemonSet", json!({}), status);
    let status = |updated: i64, ready: i64| {
        json!({"observedGeneration": 2, "desiredNumberScheduled": 4, "numberReady": ready,
               "updatedNumberScheduled": updated, "numberAvailable": 0})
    };
    check(set(status(3, 4)), Health::Progressing, "3 of 4 nodes updated");
    check(set(status(4, 3)), Health::Progressing, "3 of 4 nodes ready");
    check(set(status(4, 4)), Health::Healthy, "");
    check(set(json!({"observedGeneration": 2})), Health::Progressing, "is not observed by its controller yet");
}

#[test]
fn a_job_is_healthy_when_complete_and_degraded_when_failed() {
    let job = |status: Json| with("batch/v1", "Job", json!({"completions": 2}), status);
    check(
        job(json!({"succeeded": 1, "failed": 3})),
        Health::Progressing,
        "has no condition Complete yet: 1 of 2 succeeded, 3 failed",
    );
    let complete = job(json!({"conditions": [condition("Complete", "True", "", "")]}));
    let kind = object::identity(&complete).unwrap().kind;
    assert_eq!(assess(&kind, &complete, &Checks::default()).finished, Some(true));
    let failed = job(json!({"conditions": [condition("Failed", "True", "BackoffLimitExceeded",
        "Job has reached the specified backoff limit")]}));
    assert_eq!(assess(&kind, &failed, &Checks::default()).finished, None, "whoever deletes it wants it run again");
    let own = check_of("batch/v1", "Job", "object.status.succeeded == 2", None);
    let checked = assess(&kind, &complete, &Checks::of(std::slice::from_ref(&own)));
    assert_eq!(checked.finished, Some(true), "a check does not have it run again once it was cleaned away");
    let mut cleaned = failed.clone();
    cleaned["spec"]["ttlSecondsAfterFinished"] = json!(60);
    assert_eq!(assess(&kind, &cleaned, &Checks::default()).finished, Some(false));
    check(
        failed,
        Health::Degraded,
        "condition Failed is True: BackoffLimitExceeded: \
         Job has reached the specified backoff limit",
    );
}

#[test]
fn pods_name_the_container_that_does_not_start() {
    let pod = |status: Json| with("v1", "Pod", json!({}), status);
    check(pod(json!({"phase": "Succeeded"})), Health::Healthy, "");
    check(pod(json!({"phase": "Failed", "reason": "Evicted"})), Health::Degraded, "phase Failed Evicted");
    check(
        pod(json!({"phase": "Running", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]})),
        Health::Degraded,
        "container web waits: CrashLoopBackOff",
    );
    check(
        pod(json!({"phase": "Pending", "conditions": [
            condition("PodScheduled", "False", "Unschedulable", "0/1 nodes are available")]})),
        Health::Progressing,
        "condition PodScheduled is False: Unschedulable: 0/1 nodes are available",
    );
    check(pod(json!({"phase": "Running", "conditions": [condition("Ready", "True", "", "")]})), Health::Healthy, "");
}

#[test]
fn storage_and_services() {
    let claim = |annotations: Json, phase: &str| {
        let mut claim = with("v1", "PersistentVolumeClaim", json!({}), json!({"phase": phase}));
        claim["metadata"]["annotations"] = annotations;
        claim
    };
    check(claim(json!({}), "Bound"), Health::Healthy, "");
    check(claim(json!({}), "Pending"), Health::Healthy, "");
    check(
        claim(json!({"volume.kubernetes.io/storage-provisioner": "ebs.csi.aws.com"}), "Pending"),
        Health::Progressing,
        "phase Pending",
    );
    check(claim(json!({}), "Lost"), Health::Degraded, "phase Lost: its volume is gone");

    let balancer = |status: Json| with("v1", "Service", json!({"type": "LoadBalancer"}), status);
    check(balancer(json!({"loadBalancer": {}})), Health::Progressing, "waits for the address of its load balancer");
    check(balancer(json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}})), Health::Healthy, "");
    check(with("v1", "Service", json!({"type": "ClusterIP"}), json!({})), Health::Healthy, "");
}

#[test]
fn definitions_and_api_services() {
    let definition = |conditions: Json| {
        with("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({}), json!({"conditions": conditions}))
    };
    check(definition(json!([])), Health::Progressing, "has no condition Established yet");
    check(definition(json!([condition("Established", "True", "InitialNamesAccepted", "")])), Health::Healthy, "");
    check(
        definition(json!([condition("NamesAccepted", "False", "PluralConflict", "taken")])),
        Health::Degraded,
        "condition NamesAccepted is False: PluralConflict: taken",
    );
    check(
        with(
            "apiregistration.k8s.io/v1",
            "APIService",
            json!({}),
            json!({"conditions":
            [condition("Available", "False", "MissingEndpoints", "no endpoints")]}),
        ),
        Health::Progressing,
        "condition Available is False: MissingEndpoints: no endpoints",
    );
    check(
        with(
            "policy/v1",
            "PodDisruptionBudget",
            json!({}),
            json!({"observedGeneration": 2, "currentHealthy": 1, "desiredHealthy": 2}),
        ),
        Health::Healthy,
        "",
    );
    check(
        with(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({}),
            json!({"conditions":
            [condition("AbleToScale", "False", "FailedGetScale", "no such target")]}),
        ),
        Health::Degraded,
        "condition AbleToScale is False: FailedGetScale: no such target",
    );
}

#[test]
fn custom_resources_speak_through_conditions() {
    let custom = |status: Json| with("example.com/v1", "Widget", json!({}), status);
    check(custom(Json::Null), Health::Healthy, "");
    check(custom(json!({"phase": "x"})), Health::Healthy, "");
    check(custom(json!({"conditions": [condition("Ready", "True", "", "")]})), Health::Healthy, "");
    check(
        custom(json!({"conditions": [condition("Ready", "False", "Pulling", "image")]})),
        Health::Progressing,
        "condition Ready is False: Pulling: image",
    );
    check(
        custom(json!({"conditions": [condition("Ready", "True", "", ""),
            condition("Stalled", "True", "Auth", "denied")]})),
        Health::Degraded,
        "condition Stalled is True: Auth: denied",
    );
    check(
        custom(json!({"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]})),
        Health::Progressing,
        "condition Ready is about an older generation",
    );
}

#[test]
fn what_is_being_deleted_is_on_its_way() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
        {"name": "x", "deletionTimestamp": "2025-01-01T00:00:00Z"}});
    check(object, Health::Progressing, "is being deleted");
}

#[track_caller]
fn checked(checks: &[HealthCheck], object: &Json, health: Health, message: &str) {
    let kind = object::identity(object).unwrap().kind;
    let found = assess(&kind, object, &Checks::of(checks));
    assert_eq!((found.health, found.message.as_str()), (health, message));
}

fn check_of(api_version: &str, kind: &str, healthy: &str, degraded: Option<&str>) -> HealthCheck {
    HealthCheck {
        title: "HealthCheck main/c".into(),
        api_version: api_version.into(),
        kind: kind.into(),
        healthy: healthy.into(),
        degraded: degraded.map(Into::into),
        ..HealthCheck::default()
    }
}

#[test]
fn a_check_takes_the_place_of_what_is_known_of_the_kind() {
    let phase = check_of(
        "example.com/v1",
        "Database",
        "object.status.phase == 'Running'",
        Some("has(object.status.phase) && object.status.phase == 'Lost'"),
    );
    let database = |status: Json| with("example.com/v1", "Database", json!({}), status);
    let all = std::slice::from_ref(&phase);
    checked(all, &database(json!({"phase": "Running"})), Health::Healthy, "");
    checked(
        all,
        &database(json!({"phase": "Starting", "conditions": [condition("Ready", "True", "", "")]})),
        Health::Progressing,
        "HealthCheck main/c: `healthy` does not hold yet",
    );
    checked(all, &database(json!({"phase": "Lost"})), Health::Degraded, "HealthCheck main/c: `degraded` holds");
    checked(
        all,
        &database(json!({"observed": 2})),
        Health::Progressing,
        "HealthCheck main/c: `healthy`: there is no field \"phase\"",
    );
    // What does not select the object says nothing of it.
    let other = check_of("other.com/v1", "Database", "false", None);
    checked(&[other, phase.clone()], &database(json!({"phase": "Running"})), Health::Healthy, "");
    let first = check_of("example.com/v1", "Database", "false", None);
    checked(
        &[first, phase.clone()],
        &database(json!({"phase": "Running"})),
        Health::Progressing,
        "HealthCheck main/c: `healthy` does not hold yet",
    );
    // A kind of which only metadata is known otherwise.
    let map = with("v1", "ConfigMap", json!({}), Json::Null);
    checked(
        &[check_of("v1", "ConfigMap", "object.metadata.name == 'y'", None)],
        &map,
        Health::Progressing,
        "HealthCheck main/c: `healthy` does not hold yet",
    );
}

#[test]
fn a_check_counts_neither_while_an_object_goes_nor_for_an_older_generation() {
    let all = [check_of("example.com/v1", "Database", "true", None)];
    let mut database = with("example.com/v1", "Database", json!({}), json!({"observedGeneration": 1}));
    checked(&all, &database, Health::Progressing, "generation 2 is not observed by its controller yet (at 1)");
    database["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z".into();
    checked(&all, &database, Health::Progressing, "is being deleted");
}

#[test]
fn a_check_that_goes_wrong_says_so_and_is_never_healthy() {
    let database = with("example.com/v1", "Database", json!({"n": 1}), json!({}));
    let check = |healthy: &str, degraded| [check_of("example.com/v1", "Database", healthy, degraded)];
    let progressing = |all: &[HealthCheck], said: &str| checked(all, &database, Health::Progressing, said);
    progressing(&check("object.spec.n", None), "HealthCheck main/c: `healthy`: gave no boolean");
    progressing(&check("object.spec.n / 0 == 1", None), "HealthCheck main/c: `healthy`: something is divided by zero");
    progressing(&check("true", Some("object.x")), "HealthCheck main/c: `degraded`: there is no field \"x\"");
    let broken = check("objct", None);
    progressing(
        &broken,
        "HealthCheck main/c: `healthy` names \"objct\", and there is only `object`; upgrade the spoke",
    );
    let loops = (0..4).fold("true".to_owned(), |inner, n| format!("[1,2,3,4,5,6,7,8,9].all(x{n}, {inner})"));
    progressing(&check(&loops, None), "HealthCheck main/c: `healthy`: takes more than 5000 steps");
}
