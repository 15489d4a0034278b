//! What API servers refuse, and that the message names the field.

use serde_json::{Value as Json, json};
use spoke_core::port::Reason;

use super::World;

async fn check(world: &World, manifest: &Json, field: &str) {
    let failure = world.refused(manifest).await;
    assert_eq!(failure.reason, Reason::Invalid, "{failure}");
    assert!(failure.message.contains(field), "{failure:?} does not name {field}");
}

fn without(mut manifest: Json, pointer: &str) -> Json {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    manifest
}

fn with(mut manifest: Json, pointer: &str, value: Json) -> Json {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[field] = value;
    manifest
}

pub async fn workloads_without_what_they_need(world: &World) {
    let good = world.deployment("d", json!({}));
    check(world, &without(good.clone(), "/spec/selector"), "spec.selector").await;
    let other = with(good.clone(), "/spec/selector", json!({"matchLabels": {"app": "other"}}));
    check(world, &other, "spec.template.metadata.labels").await;
    let empty = with(good.clone(), "/spec/template/spec/containers", json!([]));
    check(world, &empty, "spec.template.spec.containers").await;
    check(
        world,
        &without(good.clone(), "/spec/template/spec/containers/0/image"),
        "spec.template.spec.containers[0].image",
    )
    .await;
    let mounts = json!([{"name": "nowhere", "mountPath": "/x"}]);
    let mounting = with(good, "/spec/template/spec/containers/0/volumeMounts", mounts);
    check(world, &mounting, "spec.template.spec.containers[0].volumeMounts[0].name").await;
    let claim = json!({"metadata": {"name": "nowhere"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }});
    let mut claiming = with(mounting, "/spec/volumeClaimTemplates", json!([claim]));
    claiming["kind"] = "StatefulSet".into();
    world.applied(&claiming).await;
    let job = world.job("j", "registry.example/app:1");
    check(world, &without(job, "/spec/template/spec/restartPolicy"), "spec.template.spec.restartPolicy").await;
    let cron = world.manifest("batch/v1", "CronJob", "c", json!({"spec": {
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}},
    }}));
    check(world, &cron, "spec.schedule").await;
}

pub async fn fields_that_do_not_exist(world: &World) {
    let good = world.deployment("d", json!({}));
    check(world, &with(good.clone(), "/spec/replcas", json!(1)), ".spec.replcas").await;
    check(world, &with(good, "/spec/replicas", json!("three")), ".spec.replicas").await;
    let map = world.config_map("a", json!({"key": 1}));
    check(world, &map, ".data.key").await;
    let map = with(world.config_map("a", json!({})), "/date", json!({}));
    check(world, &map, ".date").await;
}

pub async fn values_out_of_range(world: &World) {
    check(world, &world.service("s", json!([{"port": 99_999}])), "spec.ports[0].port").await;
    let two = json!([{"port": 80}, {"port": 81}]);
    check(world, &world.service("s", two), "spec.ports[0].name").await;
    check(world, &with(world.deployment("d", json!({})), "/spec/replicas", json!(-1)), "spec.replicas").await;
    check(world, &world.config_map("a", json!({"a/b": "1"})), "data").await;
    let claim = json!({"resources": {"requests": {"storage": "1Gi"}}});
    check(world, &world.manifest("v1", "PersistentVolumeClaim", "c", json!({"spec": claim})), "spec.accessModes").await;
}

pub async fn bytes_that_are_none(world: &World) {
    let with_bytes = |name: &str, field: &str, text: &str| {
        let kind = if field == "data" { "Secret" } else { "ConfigMap" };
        let mut manifest = world.manifest("v1", kind, name, json!({}));
        manifest[field] = json!({"key": text});
        manifest
    };
    check(world, &with_bytes("a", "data", "no base64"), "base64").await;
    check(world, &with_bytes("a", "binaryData", "no base64"), "base64").await;
    // As `base64` prints it, and with bits to spare in the last letter.
    let live = world.applied(&with_bytes("a", "data", "aGVs\nbG9=\n")).await;
    assert_eq!(world.object(&live.identity).await["data"], json!({"key": "aGVsbG8="}));
    world.applied(&with_bytes("a", "binaryData", "aGVs\nbG8=\n")).await;
}

pub async fn values_that_are_too_long(world: &World) {
    let text = "x".repeat(600 * 1024);
    world.applied(&world.config_map("a", json!({"one": text}))).await;
    check(world, &world.config_map("b", json!({"one": text, "two": text})), "Too long").await;
}

pub async fn nothing_is_left_out(world: &World) {
    let mut manifest = world.deployment("a", json!({"args": null}));
    manifest["spec"]["replicas"] = Json::Null;
    manifest["spec"]["strategy"] = Json::Null;
    let live = world.applied(&manifest).await;
    assert_eq!(world.object(&live.identity).await["spec"]["replicas"], json!(1));
}

pub async fn names_that_are_none(world: &World) {
    check(world, &world.config_map("Upper", json!({})), "metadata.name").await;
    let labelled = with(world.config_map("a", json!({})), "/metadata/labels/key", json!("no good value"));
    check(world, &labelled, "metadata.labels").await;
    let numeric = with(world.config_map("a", json!({})), "/metadata/labels/key", json!(1));
    check(world, &numeric, "metadata.labels").await;
}

pub async fn what_cannot_change(world: &World) {
    world.applied(&world.job("j", "registry.example/app:1")).await;
    check(world, &world.job("j", "registry.example/app:2"), "spec.template").await;

    let good = world.deployment("d", json!({}));
    world.applied(&good).await;
    let other = with(good, "/spec/selector", json!({"matchLabels": {"app": "d", "x": "y"}}));
    let other = with(other, "/spec/template/metadata/labels/x", json!("y"));
    check(world, &other, "spec.selector").await;

    let map = with(world.config_map("fixed", json!({"key": "1"})), "/immutable", json!(true));
    world.applied(&map).await;
    check(world, &with(map, "/data/key", json!("2")), "data").await;

    let service = world.service("s", json!([{"port": 80}]));
    world.applied(&service).await;
    check(world, &with(service, "/spec/clusterIP", json!("10.0.0.250")), "spec.clusterIP").await;

    let role = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let binding = world.manifest(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "b",
        json!({"roleRef": role("view"), "subjects": []}),
    );
    world.applied(&binding).await;
    check(world, &with(binding, "/roleRef", role("edit")), "roleRef").await;

    let secret = world.manifest("v1", "Secret", "s", json!({"type": "Opaque", "stringData": {"key": "1"}}));
    world.applied(&secret).await;
    check(world, &with(secret, "/type", json!("example.com/other")), "type").await;
}

pub async fn a_missing_namespace_in_the_manifest(world: &World) {
    let map = without(world.config_map("a", json!({})), "/metadata/namespace");
    check(world, &map, "metadata.namespace").await;
    check(world, &without(world.config_map("a", json!({})), "/metadata/name"), "name").await;
}

pub async fn no_value_of_a_secret_is_told(world: &World) {
    for field in [
        json!({"data": {"key": "hush hush"}}),
        json!({"stringData": {"bad/key": "hush hush"}}),
        json!({"stringData": {"key": ["hush hush"]}}),
    ] {
        let failure = world.refused(&world.manifest("v1", "Secret", "s", field)).await;
        assert_eq!(failure.reason, Reason::Invalid, "{failure}");
        assert!(!failure.message.contains("hush"), "{failure}");
    }
}
