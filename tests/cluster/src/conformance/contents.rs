//! What a namespace or a definition would take along.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto_model::Identity;
use serde_json::{Value as Json, json};
use spoke_core::contents::Contents;
use spoke_core::port::{Cluster, Op, Outcome, Reason};

use super::World;
use super::world::eventually;

async fn contents(cluster: &dyn Cluster, of: &Identity, inventoried: &[&str]) -> Contents {
    let inventoried: BTreeSet<String> = inventoried.iter().map(|uid| (*uid).to_owned()).collect();
    let op = Op::Contents { of: of.clone(), inventoried: Arc::new(inventoried) };
    match cluster.execute(op).await {
        Outcome::Contents(contents) => contents,
        other => panic!("{of} can't be looked into: {other:?}"),
    }
}

fn own_namespace(world: &World) -> Identity {
    Identity { namespace: String::new(), ..world.identity("", "Namespace", &world.namespace) }
}

fn unlabelled(mut manifest: Json) -> Json {
    manifest["metadata"].as_object_mut().unwrap().remove("labels");
    manifest
}

pub async fn a_namespace_tells_what_is_foreign_in_it(world: &World) {
    let namespace = own_namespace(world);
    assert!(contents(&*world.cluster, &namespace, &[]).await.is_empty(), "Kubernetes' own things do not count");
    let ours = world.applied(&world.config_map("ours", json!({}))).await;
    assert!(!ours.has_status);
    let mut owned = unlabelled(world.config_map("owned", json!({})));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "ours", "uid": ours.uid}]);
    world.create(&owned).await;
    assert!(contents(&*world.cluster, &namespace, &[&ours.uid]).await.is_empty());

    // Our label is no inventory, and what is owned by nobody's object is nobody's.
    let found = contents(&*world.cluster, &namespace, &[]).await;
    assert_eq!(found.foreign.len(), 2, "{found:?}");
    let mut role = unlabelled(world.manifest("rbac.authorization.k8s.io/v1", "Role", "theirs", json!({})));
    role["rules"] = json!([]);
    world.create(&role).await;
    let found = contents(&*world.cluster, &namespace, &[&ours.uid]).await;
    let theirs = world.identity("rbac.authorization.k8s.io", "Role", "theirs");
    assert_eq!(found.foreign, std::slice::from_ref(&theirs));
    world.remove(&theirs).await;
    assert!(contents(&*world.cluster, &namespace, &[&ours.uid]).await.is_empty());
}

pub async fn what_a_workload_makes_is_its_own(world: &World) {
    let live = world.applied(&world.deployment("d", json!({}))).await;
    eventually("it is available", || async {
        let object = world.object(&live.identity).await;
        (object["status"]["availableReplicas"] == 1).then_some(())
    })
    .await;
    let namespace = own_namespace(world);
    let found = contents(&*world.cluster, &namespace, &[&live.uid]).await;
    assert!(found.is_empty(), "{found:?}");
    assert!(!contents(&*world.cluster, &namespace, &[]).await.is_empty());
}

pub async fn many_objects_are_looked_through(world: &World) {
    let mut uids = Vec::new();
    let count = proto_model::limits::API_PAGE_OBJECTS + 5;
    for number in 0..count {
        let mut manifest = world.config_map(&format!("c{number}"), json!({}));
        manifest["metadata"]["labels"] = json!({});
        uids.push(world.applied(&manifest).await.uid);
    }
    let mut all: Vec<&str> = uids.iter().map(String::as_str).collect();
    let namespace = own_namespace(world);
    assert!(contents(&*world.cluster, &namespace, &all).await.is_empty());
    all.pop();
    let found = contents(&*world.cluster, &namespace, &all).await;
    assert_eq!(found.foreign, [world.config_map_id(&format!("c{}", count - 1))]);
}

pub async fn a_namespace_that_is_not_there_holds_nothing(world: &World) {
    let missing = Identity { name: "not-there".into(), ..own_namespace(world) };
    assert!(contents(&*world.cluster, &missing, &[]).await.is_empty());
}

pub async fn what_cannot_be_listed_counts_as_there(world: &World) {
    let blind = world.blind().await;
    let found = contents(&*blind, &own_namespace(world), &[]).await;
    assert!(!found.is_empty());
    assert!(found.foreign.is_empty() && !found.unlisted.is_empty(), "{found:?}");
    assert!(found.say().contains("can't be listed"), "{}", found.say());
    world.see_again();
}

pub async fn a_definition_tells_whose_objects_it_has(world: &World) {
    let (definition, group) = world.definition();
    let defined = world.applied(&definition).await;
    let of = &defined.identity;
    assert!(contents(&*world.cluster, of, &[]).await.is_empty());
    let widget = world.applied_once_known(&world.widget(&group, "w", json!({"size": 1}))).await;
    assert!(widget.has_status);
    let found = contents(&*world.cluster, of, &[]).await;
    assert_eq!(found.foreign, std::slice::from_ref(&widget.identity));
    assert!(contents(&*world.cluster, of, &[&widget.uid]).await.is_empty());
    // A namespace holds it, too.
    let found = contents(&*world.cluster, &own_namespace(world), &[]).await;
    assert_eq!(found.foreign, std::slice::from_ref(&widget.identity));

    assert_eq!(world.delete(&defined.identity, &defined.uid).await, Outcome::Deleted);
    // What was learnt of a kind is kept a while, until a request finds it gone.
    eventually("the kind goes", || async {
        let get = Op::Get { identity: widget.identity.clone(), version: "v1".into() };
        matches!(world.run(get).await, Outcome::Failed(failure) if failure.reason == Reason::NoSuchKind).then_some(())
    })
    .await;
    eventually("nothing is of it", || async { contents(&*world.cluster, of, &[]).await.is_empty().then_some(()) })
        .await;
}
