//! Discovery and apply.

use proto_model::{GroupKind, Identity};
use serde_json::json;
use spoke_core::port::{Kind, Op, Outcome, Reason};

use super::World;
use super::world::{failure, kind, live};

pub async fn kinds_and_scopes_are_discovered(world: &World) {
    for (group, name, namespaced) in [
        ("", "ConfigMap", true),
        ("", "Namespace", false),
        ("apps", "Deployment", true),
        ("rbac.authorization.k8s.io", "ClusterRole", false),
        ("apiextensions.k8s.io", "CustomResourceDefinition", false),
        ("batch", "CronJob", true),
        ("networking.k8s.io", "Ingress", true),
        ("policy", "PodDisruptionBudget", true),
        ("storage.k8s.io", "StorageClass", false),
    ] {
        let found = world.run(Op::Discover(kind(group, name))).await;
        assert_eq!(found, Outcome::Discovered { namespaced }, "{name}");
    }
}

pub async fn kinds_that_are_not_there_are_said_so(world: &World) {
    let old = Kind { version: "v1beta1".into(), ..kind("apps", "Deployment") };
    for missing in [kind("", "Nothing"), kind("nowhere.example.com", "Nothing"), old] {
        let failed = failure(world.run(Op::Discover(missing.clone())).await);
        assert_eq!(failed.reason, Reason::NoSuchKind, "{missing:?}");
        let mut manifest = world.config_map("a", json!({}));
        manifest["apiVersion"] = format!("{}/{}", missing.kind.group, missing.version).trim_start_matches('/').into();
        manifest["kind"] = missing.kind.kind.as_str().into();
        assert_eq!(world.refused(&manifest).await.reason, Reason::NoSuchKind, "{missing:?}");
        let identity = Identity { kind: missing.kind.clone(), ..world.config_map_id("a") };
        let read = world.run(Op::Get { identity, version: missing.version.clone() }).await;
        // Of a kind that is there at another version it can be told whether there is an object.
        match missing.kind.kind.as_str() {
            "Deployment" => assert_eq!(read, Outcome::Got(None)),
            _ => assert_eq!(failure(read).reason, Reason::NoSuchKind, "{missing:?}"),
        }
    }
}

pub async fn an_object_is_created_changed_and_left_alone(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    assert!(!one.uid.is_empty() && !one.resource_version.is_empty() && !one.deleting);
    assert_eq!(one.identity, world.config_map_id("a"));
    assert_eq!(one.version, "v1");
    assert_eq!(world.get(&one.identity).await.as_ref(), Some(&one));

    let same = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    assert_eq!(same.resource_version, one.resource_version);

    let two = world.applied(&world.config_map("a", json!({"key": "2"}))).await;
    assert_eq!(two.uid, one.uid);
    assert_ne!(two.resource_version, one.resource_version);
    assert_eq!(two.managed, one.managed, "the same fields are ours");
    assert_eq!(world.object(&one.identity).await["data"], json!({"key": "2"}));
}

pub async fn a_field_that_is_dropped_disappears(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1", "other": "2"}))).await;
    let two = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    assert_eq!(world.object(&one.identity).await["data"], json!({"key": "1"}));
    assert_ne!(two.managed, one.managed);

    // What had a default has it again; what lay within a dropped field goes with it.
    let probe = json!({"livenessProbe": {"httpGet": {"path": "/", "port": 80}}});
    let mut manifest = world.deployment("d", probe);
    manifest["spec"]["replicas"] = 0.into();
    let one = world.applied(&manifest).await;
    let made = one.object.unwrap();
    assert_eq!(made["spec"]["replicas"], 0);
    assert_eq!(made.pointer("/spec/template/spec/containers/0/livenessProbe/periodSeconds"), Some(&json!(10)));
    let mut manifest = world.deployment("d", json!({}));
    manifest["metadata"]["labels"]["more"] = "x".into();
    let made = world.applied(&manifest).await.object.unwrap();
    assert_eq!(made["spec"]["replicas"], 1);
    assert_eq!(made.pointer("/spec/template/spec/containers/0/livenessProbe"), None);
}

pub async fn a_dry_run_changes_nothing(world: &World) {
    let manifest = world.config_map("a", json!({"key": "1"}));
    let would = live(world.dry_run(&manifest).await);
    assert_eq!(would.object.unwrap()["data"], json!({"key": "1"}));
    assert_eq!(world.get(&world.config_map_id("a")).await, None);

    let one = world.applied(&manifest).await;
    let would = live(world.dry_run(&world.config_map("a", json!({"key": "2"}))).await);
    assert_eq!(would.object.unwrap()["data"], json!({"key": "2"}));
    assert_eq!(would.resource_version, one.resource_version);
    assert_eq!(world.get(&one.identity).await, Some(one));

    let mut bad = world.deployment("d", json!({}));
    bad["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    assert_eq!(failure(world.dry_run(&bad).await).reason, Reason::Invalid);
    let mut elsewhere = world.config_map("a", json!({}));
    elsewhere["metadata"]["namespace"] = "not-there".into();
    assert_eq!(failure(world.dry_run(&elsewhere).await).reason, Reason::NoSuchNamespace);
}

pub async fn a_stale_resource_version_is_a_conflict(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    let mut manifest = world.config_map("a", json!({"key": "2"}));
    manifest["metadata"]["resourceVersion"] = one.resource_version.as_str().into();
    let two = world.applied(&manifest).await;
    assert_ne!(two.resource_version, one.resource_version);
    manifest["data"]["key"] = "3".into();
    assert_eq!(world.refused(&manifest).await.reason, Reason::Conflict);
    assert_eq!(world.object(&one.identity).await["data"], json!({"key": "2"}));
}

pub async fn a_secret_s_plain_text_becomes_data(world: &World) {
    let manifest = world.manifest("v1", "Secret", "s", json!({"stringData": {"key": "value"}}));
    let live = world.applied(&manifest).await;
    let object = live.object.unwrap();
    assert_eq!(object["data"], json!({"key": "dmFsdWU="}));
    assert_eq!(object["type"], "Opaque");
    assert_eq!(object.get("stringData"), None);
    let same = world.applied(&manifest).await;
    assert_eq!(same.resource_version, live.resource_version);
    assert_eq!(same.managed, live.managed);
}

pub async fn an_object_of_the_cluster_s_scope_needs_no_namespace(world: &World) {
    let name = format!("role:{}", world.namespace);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let mut manifest = world.manifest("rbac.authorization.k8s.io/v1", "ClusterRole", &name, json!({"rules": rules}));
    // A namespace where none belongs does no harm.
    let live = world.applied(&manifest).await;
    assert_eq!(live.identity.namespace, "");
    manifest["metadata"].as_object_mut().unwrap().remove("namespace");
    let same = world.applied(&manifest).await;
    assert_eq!(same.resource_version, live.resource_version);
    assert_eq!(world.delete(&live.identity, &live.uid).await, Outcome::Deleted);
    assert_eq!(world.get(&live.identity).await, None);
}

pub async fn all_kinds_and_all_owned_objects_are_listed(world: &World) {
    let kinds = world.cluster.kinds().await.unwrap();
    for (group, name) in [("", "ConfigMap"), ("apps", "Deployment"), ("batch", "Job"), ("", "Namespace")] {
        assert!(kinds.contains(&kind(group, name)), "{name}");
    }
    let one = world.applied(&world.config_map("ours", json!({"key": "1"}))).await;
    let mut foreign = world.config_map("foreign", json!({}));
    foreign["metadata"].as_object_mut().unwrap().remove("labels");
    world.create(&foreign).await;
    let owned = world.cluster.owned(kind("", "ConfigMap")).await.unwrap();
    let here: Vec<_> = owned.into_iter().filter(|live| live.identity.namespace == world.namespace).collect();
    assert_eq!(here.len(), 1);
    assert_eq!(here[0].uid, one.uid);
    assert_eq!(here[0].managed, one.managed);
    assert_eq!(here[0].owners, one.owners);
    assert_eq!(here[0].object, None);
    let missing =
        Kind { kind: GroupKind { group: "nowhere.example.com".into(), kind: "X".into() }, version: "v1".into() };
    assert_eq!(world.cluster.owned(missing).await.unwrap_err().reason, Reason::NoSuchKind);
}
