//! Who owns which field, and what that tells of drift.

use serde_json::json;
use spoke_core::port::OwnerMark;

use super::World;
use super::world::{MANAGER, live};

const OTHER: &str = "drover/main/y";

pub async fn another_s_field_is_taken_over(world: &World) {
    let mut foreign = world.config_map("a", json!({"key": "theirs", "kept": "theirs"}));
    foreign["metadata"].as_object_mut().unwrap().remove("labels");
    world.create(&foreign).await;
    let before = world.get(&world.config_map_id("a")).await.unwrap();
    assert!(before.managed.is_empty(), "another client's fields are not ours");

    let ours = world.applied(&world.config_map("a", json!({"key": "ours"}))).await;
    assert_eq!(ours.uid, before.uid);
    assert_eq!(ours.object.unwrap()["data"], json!({"key": "ours", "kept": "theirs"}));
    assert_eq!(ours.managed.keys().collect::<Vec<_>>(), [MANAGER]);

    let theirs = live(world.apply_as(OTHER, &world.config_map("a", json!({"key": "other"}))).await);
    assert_eq!(theirs.managed.keys().collect::<Vec<_>>(), [MANAGER, OTHER]);
    assert_ne!(theirs.managed[MANAGER], ours.managed[MANAGER], "we lost a field");
}

pub async fn a_field_of_two_owners_stays_until_both_drop_it(world: &World) {
    let both = world.config_map("a", json!({"key": "1", "shared": "1"}));
    let one = world.applied(&both).await;
    let two = live(world.apply_as(OTHER, &both).await);
    assert_eq!(two.managed[MANAGER], one.managed[MANAGER], "the same value is no conflict");
    assert_eq!(two.managed[MANAGER], two.managed[OTHER]);

    let less = world.config_map("a", json!({"key": "1"}));
    let three = world.applied(&less).await;
    assert_eq!(three.object.unwrap()["data"], json!({"key": "1", "shared": "1"}));
    let four = live(world.apply_as(OTHER, &less).await);
    assert_eq!(four.object.unwrap()["data"], json!({"key": "1"}));
}

pub async fn a_foreign_change_is_seen_and_mended(world: &World) {
    let manifest = world.config_map("a", json!({"key": "1", "other": "1"}));
    let ours = world.applied(&manifest).await;
    world.edit(&ours.identity, json!({"data": {"key": "theirs"}})).await;
    let edited = world.get(&ours.identity).await.unwrap();
    assert_ne!(edited.managed, ours.managed);
    let mended = world.applied(&manifest).await;
    assert_eq!(mended.managed, ours.managed);
    assert_eq!(mended.object.unwrap()["data"], json!({"key": "1", "other": "1"}));

    let manifest = world.deployment("d", json!({}));
    let ours = world.applied(&manifest).await;
    let image = json!([{"name": "main", "image": "registry.example/app:evil"}]);
    world.edit(&ours.identity, json!({"spec": {"template": {"spec": {"containers": image}}}})).await;
    let edited = world.get(&ours.identity).await.unwrap();
    assert_ne!(edited.managed, ours.managed);
    assert_eq!(world.applied(&manifest).await.managed, ours.managed);
}

pub async fn a_foreign_removal_is_seen_and_mended(world: &World) {
    let manifest = world.config_map("a", json!({"key": "1", "other": "1"}));
    let ours = world.applied(&manifest).await;
    world.edit(&ours.identity, json!({"data": {"other": null}})).await;
    let edited = world.get(&ours.identity).await.unwrap();
    assert_ne!(edited.managed, ours.managed);
    let mended = world.applied(&manifest).await;
    assert_eq!(mended.managed, ours.managed);
    assert_eq!(mended.object.unwrap()["data"], json!({"key": "1", "other": "1"}));
}

pub async fn a_foreign_addition_is_neither_seen_nor_lost(world: &World) {
    let manifest = world.config_map("a", json!({"key": "1"}));
    let ours = world.applied(&manifest).await;
    let added =
        json!({"data": {"more": "theirs"}, "metadata": {"labels": {"theirs": "x"}, "annotations": {"theirs": "x"}}});
    world.edit(&ours.identity, added).await;
    let edited = world.get(&ours.identity).await.unwrap();
    assert_eq!(edited.managed, ours.managed);
    let again = world.applied(&world.config_map("a", json!({"key": "2"}))).await;
    let object = again.object.unwrap();
    assert_eq!(object["data"], json!({"key": "2", "more": "theirs"}));
    assert_eq!(object["metadata"]["labels"]["theirs"], "x");
}

pub async fn defaults_are_no_drift(world: &World) {
    let service = world.service("s", json!([{"port": 80}]));
    let deployment = world.deployment("d", json!({"ports": [{"containerPort": 80}]}));
    let account = world.manifest("v1", "ServiceAccount", "a", json!({}));
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = world.manifest("v1", "PersistentVolumeClaim", "c", json!({"spec": claim}));
    for manifest in [service, deployment, account, claim, world.job("j", "registry.example/app:1")] {
        let one = world.applied(&manifest).await;
        let two = world.applied(&manifest).await;
        let read = world.get(&one.identity).await.unwrap();
        assert_eq!(one.managed, two.managed, "{}", one.identity);
        assert_eq!(one.managed, read.managed, "{}", one.identity);
        let generation =
            |live: &spoke_core::port::Live| live.object.as_ref().unwrap()["metadata"]["generation"].clone();
        assert_eq!(generation(&one), generation(&read), "{}", one.identity);
    }
    let object = world.object(&world.identity("", "Service", "s")).await;
    assert_eq!(object["spec"]["type"], "ClusterIP");
    assert_eq!(object["spec"]["ports"][0]["targetPort"], 80);
    assert!(object["spec"]["clusterIP"].is_string());
    let object = world.object(&world.identity("apps", "Deployment", "d")).await;
    assert_eq!(object["spec"]["replicas"], 1);
    assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
}

pub async fn owners_marks_read_back(world: &World) {
    let live = world.applied(&world.config_map("a", json!({}))).await;
    let mark = OwnerMark { hub: "h".into(), bundle: "main/x".into(), incarnation: 1 };
    assert_eq!(live.owners, [mark]);
    let mut broken = world.config_map("b", json!({}));
    broken["metadata"]["annotations"][spoke_core::port::OWNER_ANNOTATION] = "no list".into();
    assert!(world.applied(&broken).await.owners.is_empty());
}
