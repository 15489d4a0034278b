//! How objects, namespaces and kinds come and go.

use proto_model::{GroupKind, Identity};
use serde_json::json;
use spoke_core::port::{Kind, Op, Outcome, Reason};

use super::World;
use super::world::{eventually, failure};

fn namespace(name: &str) -> Identity {
    let kind = GroupKind { group: String::new(), kind: "Namespace".into() };
    Identity { kind, namespace: String::new(), name: name.into() }
}

pub async fn a_delete_needs_the_right_uid(world: &World) {
    let live = world.applied(&world.config_map("a", json!({}))).await;
    let wrong = "00000000-0000-4000-8000-000000000000";
    let failed = failure(world.delete(&live.identity, wrong).await);
    assert_eq!(failed.reason, Reason::Conflict, "{failed}");
    assert!(world.get(&live.identity).await.is_some());
    assert_eq!(world.delete(&live.identity, &live.uid).await, Outcome::Deleted);
    assert_eq!(world.get(&live.identity).await, None);

    let again = world.applied(&world.config_map("a", json!({}))).await;
    assert_ne!(again.uid, live.uid);
    assert_eq!(failure(world.delete(&live.identity, &live.uid).await).reason, Reason::Conflict);
}

pub async fn a_delete_needs_the_object_as_it_was(world: &World) {
    let before = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    let now = world.applied(&world.config_map("a", json!({"key": "2"}))).await;
    assert_eq!(now.uid, before.uid);
    let failed = failure(world.delete_at(&before.identity, &before.uid, &before.resource_version).await);
    assert_eq!(failed.reason, Reason::Conflict, "{failed}");
    assert!(world.get(&now.identity).await.is_some());
    assert_eq!(world.delete_at(&now.identity, &now.uid, &now.resource_version).await, Outcome::Deleted);
    assert_eq!(world.get(&now.identity).await, None);
}

pub async fn deleting_what_is_not_there_is_done(world: &World) {
    let uid = "00000000-0000-4000-8000-000000000000";
    assert_eq!(world.delete(&world.config_map_id("a"), uid).await, Outcome::Deleted);
    let elsewhere = Identity { namespace: "not-there".into(), ..world.config_map_id("a") };
    assert_eq!(world.delete(&elsewhere, uid).await, Outcome::Deleted);
    let unknown = world.identity("nowhere.example.com", "Nothing", "a");
    assert_eq!(world.delete(&unknown, uid).await, Outcome::Deleted);
}

pub async fn finalizers_hold_an_object(world: &World) {
    let mut manifest = world.config_map("a", json!({"key": "1"}));
    manifest["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let live = world.applied(&manifest).await;
    assert_eq!(live.finalizers, ["example.com/hold"]);
    assert_eq!(world.delete(&live.identity, &live.uid).await, Outcome::Deleted);
    let held = world.get(&live.identity).await.unwrap();
    assert!(held.deleting);
    assert_eq!(held.finalizers, ["example.com/hold"]);
    assert_eq!(world.delete(&live.identity, &live.uid).await, Outcome::Deleted);

    // It can still be changed, but nothing more may hold it.
    manifest["data"]["key"] = "2".into();
    assert!(world.applied(&manifest).await.deleting);
    manifest["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    let failed = world.refused(&manifest).await;
    assert_eq!(failed.reason, Reason::Invalid, "{failed}");
    world.edit(&live.identity, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(world.get(&live.identity).await, None);
}

pub async fn a_missing_namespace_is_said_so_and_made(world: &World) {
    let name = format!("{}-2", world.namespace);
    let mut manifest = world.config_map("a", json!({}));
    manifest["metadata"]["namespace"] = name.as_str().into();
    assert_eq!(world.refused(&manifest).await.reason, Reason::NoSuchNamespace);
    let inside = Identity { namespace: name.clone(), ..world.config_map_id("a") };
    assert_eq!(world.get(&inside).await, None);

    assert_eq!(world.run(Op::EnsureNamespace(name.clone())).await, Outcome::NamespaceReady);
    let made = world.get(&namespace(&name)).await.unwrap();
    assert!(made.owners.is_empty());
    assert_eq!(world.run(Op::EnsureNamespace(name.clone())).await, Outcome::NamespaceReady);
    assert_eq!(world.get(&namespace(&name)).await.unwrap().uid, made.uid);
    world.applied(&manifest).await;
    let refused = world.run(Op::EnsureNamespace("No_Name".into())).await;
    assert_eq!(failure(refused).reason, Reason::Invalid);
}

pub async fn a_terminating_namespace_takes_nothing_new(world: &World) {
    let mut held = world.config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = world.applied(&held).await;
    let plain = world.applied(&world.config_map("plain", json!({}))).await;
    let own = world.get(&namespace(&world.namespace)).await.unwrap();
    assert_eq!(world.delete(&own.identity, &own.uid).await, Outcome::Deleted);
    assert!(world.get(&own.identity).await.unwrap().deleting);

    let failed = world.refused(&world.config_map("new", json!({}))).await;
    assert_eq!(failed.reason, Reason::Terminating, "{failed}");
    let ensured = failure(world.run(Op::EnsureNamespace(world.namespace.clone())).await);
    assert_eq!(ensured.reason, Reason::Terminating, "{ensured}");
    eventually("what is in it goes", || async { world.get(&plain.identity).await.is_none().then_some(()) }).await;
    eventually("what is held is marked", || async { world.get(&held.identity).await?.deleting.then_some(()) }).await;
    assert!(world.get(&own.identity).await.is_some());

    world.edit(&held.identity, json!({"metadata": {"finalizers": null}})).await;
    eventually("it goes itself", || async { world.get(&own.identity).await.is_none().then_some(()) }).await;
    assert_eq!(world.refused(&world.config_map("new", json!({}))).await.reason, Reason::NoSuchNamespace);
    assert_eq!(world.run(Op::EnsureNamespace(world.namespace.clone())).await, Outcome::NamespaceReady);
    assert_ne!(world.get(&own.identity).await.unwrap().uid, own.uid);
}

pub async fn a_definition_makes_and_unmakes_its_kind(world: &World) {
    let (definition, group) = world.definition();
    let widget = world.widget(&group, "w", json!({"size": 1}));
    assert_eq!(world.refused(&widget).await.reason, Reason::NoSuchKind);
    let defined = world.applied(&definition).await;
    let live = world.applied_once_known(&widget).await;
    let kind = Kind { kind: live.identity.kind.clone(), version: "v1".into() };
    let found = world.run(Op::Discover(kind.clone())).await;
    assert_eq!(found, Outcome::Discovered { namespaced: true });
    let object = world.object(&defined.identity).await;
    let conditions = object["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
    assert!(world.cluster.kinds().await.unwrap().contains(&kind));
    let again = world.applied(&definition).await;
    assert_eq!(again.managed, defined.managed);

    assert_eq!(world.delete(&defined.identity, &defined.uid).await, Outcome::Deleted);
    eventually("the definition goes", || async { world.get(&defined.identity).await.is_none().then_some(()) }).await;
    eventually("the kind goes", || async {
        match world.run(Op::Discover(kind.clone())).await {
            Outcome::Failed(failure) if failure.reason == Reason::NoSuchKind => Some(()),
            _ => None,
        }
    })
    .await;
    assert_eq!(world.delete(&live.identity, &live.uid).await, Outcome::Deleted);
    world.applied(&definition).await;
    let anew = world.applied_once_known(&widget).await;
    assert_ne!(anew.uid, live.uid, "the objects of a kind go with it");
}

pub async fn what_was_made_at_a_version_that_is_gone_is_still_there(world: &World) {
    let (mut definition, group) = world.definition();
    let mut early = definition["spec"]["versions"][0].clone();
    early["name"] = "v1alpha1".into();
    early["storage"] = false.into();
    definition["spec"]["versions"].as_array_mut().unwrap().push(early);
    world.applied(&definition).await;
    let mut widget = world.widget(&group, "w", json!({"size": 1}));
    widget["apiVersion"] = format!("{group}/v1alpha1").into();
    let made = world.applied_once_known(&widget).await;
    assert_eq!(made.version, "v1alpha1");

    definition["spec"]["versions"][1]["served"] = false.into();
    world.applied(&definition).await;
    let get = || Op::Get { identity: made.identity.clone(), version: "v1alpha1".into() };
    eventually("the version goes, and never the object", || async {
        match world.run(get()).await {
            Outcome::Got(Some(live)) if live.uid == made.uid => (live.version == "v1").then_some(()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(world.delete(&made.identity, &made.uid).await, Outcome::Deleted);
    eventually("it is gone", || async { (world.run(get()).await == Outcome::Got(None)).then_some(()) }).await;
}

pub async fn a_custom_object_is_held_to_its_schema(world: &World) {
    let (definition, group) = world.definition();
    world.applied(&definition).await;
    let parts = json!([{"id": "a", "count": 1}, {"id": "b"}]);
    let live = world.applied_once_known(&world.widget(&group, "w", json!({"size": 1, "parts": parts}))).await;
    let object = live.object.clone().unwrap();
    assert_eq!(object["spec"]["colour"], "red", "defaults are filled in");
    assert_eq!(object["metadata"]["generation"], 1);

    world
        .edit(&live.identity, json!({"spec": {"parts": [{"id": "a", "count": 1}, {"id": "b"}, {"id": "theirs"}]}}))
        .await;
    let two = world.applied(&world.widget(&group, "w", json!({"size": 2, "parts": [{"id": "a", "count": 2}]}))).await;
    let object = two.object.unwrap();
    assert_eq!(object["spec"]["parts"], json!([{"id": "a", "count": 2}, {"id": "theirs"}]));
    assert_eq!(object["metadata"]["generation"], 3);

    for (spec, field) in [
        (json!({}), "spec.size"),
        (json!({"size": 0}), "spec.size"),
        (json!({"size": 1, "colour": "green"}), "spec.colour"),
        (json!({"size": "one"}), ".spec.size"),
        (json!({"size": 1, "nothing": 1}), ".spec.nothing"),
    ] {
        let failed = world.refused(&world.widget(&group, "x", spec)).await;
        assert_eq!(failed.reason, Reason::Invalid, "{failed}");
        assert!(failed.message.contains(field), "{failed:?} does not name {field}");
    }
}
