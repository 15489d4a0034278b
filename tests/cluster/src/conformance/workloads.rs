//! What controllers make of workloads.

use proto_model::Identity;
use serde_json::{Value as Json, json};

use super::World;
use super::manifests::workload;
use super::world::eventually;

async fn status_until(world: &World, identity: &Identity, what: &str, fits: impl Fn(&Json) -> bool) -> Json {
    eventually(what, || async {
        let live = world.get(identity).await?;
        let object = live.object?;
        fits(&object).then(|| object.as_ref().clone())
    })
    .await
}

fn condition(object: &Json, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

fn observed(object: &Json) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

pub async fn a_deployment_becomes_available(world: &World) {
    let mut manifest = world.deployment("d", json!({}));
    manifest["spec"]["replicas"] = 2.into();
    let live = world.applied(&manifest).await;
    let available = |object: &Json| {
        observed(object) && object["status"]["availableReplicas"] == 2 && condition(object, "Available")
    };
    let object = status_until(world, &live.identity, "it is available", available).await;
    assert_eq!(object["status"]["updatedReplicas"], 2);
    assert!(condition(&object, "Progressing"));
    let now = world.get(&live.identity).await.unwrap();
    assert_eq!(now.managed, live.managed, "progress is no drift");

    manifest["spec"]["replicas"] = 0.into();
    let scaled = world.applied(&manifest).await;
    assert_eq!(scaled.object.unwrap()["metadata"]["generation"], 2);
    let none = |object: &Json| observed(object) && object["status"].get("availableReplicas").is_none();
    status_until(world, &live.identity, "it is scaled to nothing", none).await;
}

pub async fn a_stateful_set_becomes_ready(world: &World) {
    let mut spec = workload("s", json!({}));
    spec["serviceName"] = "s".into();
    spec["replicas"] = 2.into();
    let live = world.applied(&world.manifest("apps/v1", "StatefulSet", "s", json!({"spec": spec}))).await;
    let ready = |object: &Json| {
        let status = &object["status"];
        observed(object)
            && status["readyReplicas"] == 2
            && status["updatedReplicas"] == 2
            && status["currentRevision"] == status["updateRevision"]
    };
    status_until(world, &live.identity, "it is ready", ready).await;
    assert_eq!(world.get(&live.identity).await.unwrap().managed, live.managed);
}

pub async fn a_daemon_set_becomes_ready(world: &World) {
    let live =
        world.applied(&world.manifest("apps/v1", "DaemonSet", "d", json!({"spec": workload("d", json!({}))}))).await;
    let ready = |object: &Json| {
        let status = &object["status"];
        observed(object)
            && status["desiredNumberScheduled"] == 1
            && status["updatedNumberScheduled"] == 1
            && status["numberReady"] == 1
    };
    status_until(world, &live.identity, "it is ready", ready).await;
}

pub async fn a_job_completes(world: &World) {
    let manifest = world.job("j", "registry.example/app:1");
    let live = world.applied(&manifest).await;
    let done = |object: &Json| condition(object, "Complete");
    let object = status_until(world, &live.identity, "it is complete", done).await;
    assert_eq!(object["status"]["succeeded"], 1);
    assert!(object["status"]["completionTime"].is_string());
    let again = world.applied(&manifest).await;
    assert_eq!(again.managed, live.managed);
    assert!(condition(&again.object.unwrap(), "Complete"), "an apply does not run it again");
}

pub async fn a_finished_job_goes_when_its_time_is_over(world: &World) {
    let mut manifest = world.job("j", "registry.example/app:1");
    manifest["spec"]["ttlSecondsAfterFinished"] = 0.into();
    let live = world.applied(&manifest).await;
    eventually("it is gone", || async {
        world.get(&live.identity).await.is_none_or(|live| live.deleting).then_some(())
    })
    .await;
}

pub async fn a_suspended_job_waits(world: &World) {
    let mut manifest = world.job("j", "registry.example/app:1");
    manifest["spec"]["suspend"] = true.into();
    let live = world.applied(&manifest).await;
    let suspended = |object: &Json| condition(object, "Suspended");
    status_until(world, &live.identity, "it says so", suspended).await;
    manifest["spec"]["suspend"] = false.into();
    world.applied(&manifest).await;
    status_until(world, &live.identity, "it is complete", |object| condition(object, "Complete")).await;
}
