//! What watches tell.

use std::collections::BTreeMap;

use serde_json::json;
use spoke_core::port::{Depth, Kind, Observation, Outcome, Reason};

use super::World;
use super::world::kind;

pub async fn what_is_there_is_told_then_what_changes(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    let mut foreign = world.config_map("foreign", json!({}));
    foreign["metadata"].as_object_mut().unwrap().remove("labels");
    world.create(&foreign).await;

    let mut observer = world.watch(&[(kind("", "ConfigMap"), Depth::Whole)]);
    assert_eq!(observer.next().await, Observation::Restarted(kind("", "ConfigMap")));
    assert_eq!(observer.next().await, Observation::Seen(one.clone()));
    assert_eq!(observer.next().await, Observation::Listed(kind("", "ConfigMap")));

    let two = world.applied(&world.config_map("a", json!({"key": "2"}))).await;
    assert_eq!(observer.next().await, Observation::Seen(two.clone()));
    let new = world.applied(&world.config_map("b", json!({}))).await;
    assert_eq!(observer.next().await, Observation::Seen(new));
    assert_eq!(world.delete(&two.identity, &two.uid).await, Outcome::Deleted);
    assert_eq!(observer.next().await, Observation::Gone { identity: two.identity, uid: two.uid });
}

pub async fn an_object_that_loses_its_label_is_gone(world: &World) {
    let one = world.applied(&world.config_map("a", json!({}))).await;
    let mut observer = world.watch(&[(kind("", "ConfigMap"), Depth::Metadata)]);
    observer.until_listed().await;
    world.edit(&one.identity, json!({"metadata": {"labels": null}})).await;
    assert_eq!(observer.next().await, Observation::Gone { identity: one.identity.clone(), uid: one.uid.clone() });
    let live = world.get(&one.identity).await.unwrap();
    assert_eq!(live.uid, one.uid, "it is still there");
    assert_ne!(live.managed, one.managed);

    world.applied(&world.config_map("a", json!({}))).await;
    let back = observer.next_live().await;
    assert_eq!((back.uid, back.managed), (one.uid, one.managed));
}

pub async fn depth_decides_what_is_told(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    let mut observer = world.watch(&[(kind("", "ConfigMap"), Depth::Metadata)]);
    let seen = observer.next_live().await;
    assert_eq!(seen.object, None);
    assert_eq!((&seen.uid, &seen.managed, &seen.owners), (&one.uid, &one.managed, &one.owners));
    assert_eq!(seen.resource_version, one.resource_version);
    observer.until_listed().await;

    let whole = BTreeMap::from([(kind("", "ConfigMap"), Depth::Whole)]);
    world.cluster.watch(whole, observer.sink());
    let seen = observer.next_live().await;
    assert_eq!(seen, one);
}

pub async fn a_foreign_change_shows_in_metadata(world: &World) {
    let one = world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    let mut observer = world.watch(&[(kind("", "ConfigMap"), Depth::Metadata)]);
    observer.until_listed().await;
    world.edit(&one.identity, json!({"data": {"key": "theirs"}})).await;
    // A watch that began anew tells again what was there.
    let is_ours = |seen: &Observation| matches!(seen, Observation::Seen(live) if live.managed == one.managed);
    observer.until(|seen| (matches!(seen, Observation::Seen(_)) && !is_ours(seen)).then_some(())).await;
    world.applied(&world.config_map("a", json!({"key": "1"}))).await;
    observer.until(|seen| is_ours(seen).then_some(())).await;
    world.remove(&one.identity).await;
    assert_eq!(observer.next().await, Observation::Gone { identity: one.identity, uid: one.uid });
}

pub async fn what_goes_on_is_not_told_again(world: &World) {
    world.applied(&world.config_map("a", json!({}))).await;
    let maps = (kind("", "ConfigMap"), Depth::Metadata);
    let accounts = (kind("", "ServiceAccount"), Depth::Metadata);
    let mut observer = world.watch(std::slice::from_ref(&maps));
    observer.until_listed().await;
    world.cluster.watch(BTreeMap::from([maps.clone(), accounts.clone()]), observer.sink());
    assert_eq!(observer.next().await, Observation::Restarted(accounts.0.clone()));
    assert_eq!(observer.next().await, Observation::Listed(accounts.0.clone()));

    // What is no longer watched is not told; when it is again, it is told from the beginning.
    world.cluster.watch(BTreeMap::from([accounts.clone()]), observer.sink());
    let two = world.applied(&world.config_map("b", json!({}))).await;
    let account = world.applied(&world.manifest("v1", "ServiceAccount", "a", json!({}))).await;
    assert_eq!(observer.next_live().await.identity, account.identity);
    world.cluster.watch(BTreeMap::from([maps.clone(), accounts]), observer.sink());
    observer.until(|seen| (*seen == Observation::Restarted(maps.0.clone())).then_some(())).await;
    observer
        .until(|seen| match seen {
            Observation::Seen(live) if live.uid == two.uid => Some(()),
            Observation::Listed(_) => panic!("told without what was made meanwhile"),
            _ => None,
        })
        .await;
}

pub async fn a_kind_is_lost_until_it_exists(world: &World) {
    let (definition, group) = world.definition();
    let widgets = Kind { version: "v1".into(), ..kind(&group, "Widget") };
    let mut observer = world.watch(&[(widgets.clone(), Depth::Whole)]);
    match observer.next().await {
        Observation::Lost { kind, failure } => {
            assert_eq!(kind, widgets);
            assert_eq!(failure.reason, Reason::NoSuchKind);
        }
        other => panic!("{other:?}"),
    }
    world.applied(&definition).await;
    observer.until_listed().await;
    let widget = world.widget(&group, "w", json!({"size": 1}));
    let live = world.applied_once_known(&widget).await;
    assert_eq!(observer.next_live().await.uid, live.uid);
}

pub async fn a_kind_that_goes_takes_its_objects(world: &World) {
    let (definition, group) = world.definition();
    let defined = world.applied(&definition).await;
    let live = world.applied_once_known(&world.widget(&group, "w", json!({"size": 1}))).await;
    let widgets = kind(&group, "Widget");
    let mut observer = world.watch(&[(widgets.clone(), Depth::Metadata)]);
    observer.until_listed().await;
    assert_eq!(world.delete(&defined.identity, &defined.uid).await, Outcome::Deleted);
    observer
        .until(|seen| match seen {
            Observation::Gone { uid, .. } => {
                assert_eq!(*uid, live.uid);
                Some(())
            }
            _ => None,
        })
        .await;
    observer
        .until(|seen| {
            matches!(seen, Observation::Lost { failure, .. } if failure.reason == Reason::NoSuchKind).then_some(())
        })
        .await;
}
