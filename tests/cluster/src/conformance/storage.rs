//! The ledger, the lease, and what tells clusters apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proto_model::{Digest, GroupKind, Identity};
use spoke_core::ledger::ROOT_KEY;
use spoke_core::port::{About, Note, Reason, STATUS_NAME, SYSTEM_NAMESPACE, Write};
use tokio::sync::Mutex;

use super::World;
use super::world::eventually;

/// Cases share the ledger of a cluster, which in life belongs to the holder of the lease.
static LEDGER: Mutex<()> = Mutex::const_new(());

async fn put(world: &World, records: &[(&str, &[u8])]) {
    let puts = records.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
    world.cluster.store(Write { puts, deletes: Vec::new() }).await.unwrap();
}

async fn delete(world: &World, keys: &[&str]) {
    let deletes = keys.iter().map(|key| (*key).to_owned()).collect();
    world.cluster.store(Write { puts: Vec::new(), deletes }).await.unwrap();
}

/// The records of one case, as another client finds them.
async fn load(world: &World, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = world.another().await.load().await.unwrap();
    all.retain(|key, _| key.starts_with(prefix));
    all
}

/// Bytes that do not compress.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut last = Digest::of(seed.as_bytes());
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        last = Digest::of(&last.0);
        out.extend_from_slice(&last.0);
    }
    out.truncate(len);
    out
}

pub async fn the_uid_is_that_of_kube_system(world: &World) {
    let identity = Identity {
        kind: GroupKind { group: String::new(), kind: "Namespace".into() },
        namespace: String::new(),
        name: "kube-system".into(),
    };
    let uid = world.cluster.uid().await.unwrap();
    assert_eq!(world.get(&identity).await.unwrap().uid, uid);
    assert_eq!(world.another().await.uid().await.unwrap(), uid);
}

pub async fn records_are_kept_replaced_and_removed(world: &World) {
    let _alone = LEDGER.lock().await;
    assert!(load(world, "small/").await.is_empty());
    put(world, &[("small/a", b"1"), ("small/b.c-d", b""), ("small/a", b"2")]).await;
    let expected = BTreeMap::from([("small/a".to_owned(), b"2".to_vec()), ("small/b.c-d".to_owned(), Vec::new())]);
    assert_eq!(load(world, "small/").await, expected);
    delete(world, &["small/a", "small/never"]).await;
    assert_eq!(load(world, "small/").await.into_keys().collect::<Vec<_>>(), ["small/b.c-d"]);
    delete(world, &["small/b.c-d"]).await;
    assert!(load(world, "small/").await.is_empty());
}

pub async fn a_large_record_is_kept_in_pieces(world: &World) {
    let _alone = LEDGER.lock().await;
    let (one, two) = (noise("one", 2 * 1024 * 1024), noise("two", 1024 * 1024 + 1));
    put(world, &[("large/a", &one)]).await;
    assert_eq!(load(world, "large/").await, BTreeMap::from([("large/a".to_owned(), one)]));
    put(world, &[("large/a", &two)]).await;
    assert_eq!(load(world, "large/").await, BTreeMap::from([("large/a".to_owned(), two)]));
    put(world, &[("large/a", b"small again")]).await;
    assert_eq!(load(world, "large/").await, BTreeMap::from([("large/a".to_owned(), b"small again".to_vec())]));
    delete(world, &["large/a"]).await;
    assert!(load(world, "large/").await.is_empty());
}

pub async fn a_record_that_another_wrote_is_not_written_over(world: &World) {
    let _alone = LEDGER.lock().await;
    put(world, &[("fenced/root", b"1"), ("fenced/list", b"1")]).await;
    let other = world.another().await;
    other.load().await.unwrap();
    let write = |puts: &[(&str, &str)], deletes: &[&str]| Write {
        puts: puts.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect(),
        deletes: deletes.iter().map(|key| (*key).to_owned()).collect(),
    };
    other.store(write(&[("fenced/root", "2"), ("fenced/new", "2")], &["fenced/list"])).await.unwrap();

    // This one was held up, and goes on where it was.
    for late in [
        write(&[("fenced/root", "1b")], &[]),
        write(&[("fenced/new", "1")], &[]),
        write(&[("fenced/list", "1b")], &[]),
        write(&[], &["fenced/root"]),
    ] {
        let refused = world.cluster.store(late.clone()).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Conflict, "{late:?}: {refused}");
    }
    let found = load(world, "fenced/").await;
    assert_eq!(found, BTreeMap::from(["fenced/new", "fenced/root"].map(|key| (key.to_owned(), b"2".to_vec()))));

    // Where somebody removed the root, all of it is gone, and is written again whatever else is left.
    world.cluster.load().await.unwrap();
    put(world, &[(ROOT_KEY, b"1")]).await;
    other.load().await.unwrap();
    other.store(write(&[("fenced/root", "4")], &[ROOT_KEY, "fenced/new"])).await.unwrap();
    let refused = world.cluster.store(write(&[("fenced/new", "5")], &[])).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Gone, "{refused}");
    put(world, &[("fenced/new", b"2"), ("fenced/root", b"2"), (ROOT_KEY, b"2")]).await;
    delete(world, &[ROOT_KEY]).await;
    other.load().await.unwrap();

    // What it has read anew it writes again; what it writes twice, as after an answer that was lost, is no conflict.
    world.cluster.load().await.unwrap();
    put(world, &[("fenced/root", b"3")]).await;
    other.store(write(&[("fenced/root", "3")], &[])).await.unwrap();
    delete(world, &["fenced/new"]).await;
    other.load().await.unwrap();
    other.store(write(&[], &["fenced/root"])).await.unwrap();
    assert!(load(world, "fenced/").await.is_empty());
}

pub async fn two_holders_share_no_lease(world: &World) {
    let other = world.another().await;
    let lease = |cluster: &std::sync::Arc<dyn spoke_core::port::Cluster>, holder: &'static str, secs| {
        let cluster = cluster.clone();
        async move { cluster.lease(holder.into(), secs).await.unwrap() }
    };
    assert!(lease(&world.cluster, "a", 2).await);
    assert!(!lease(&other, "b", 2).await);
    assert!(lease(&world.cluster, "a", 2).await, "the holder renews");
    let renewed = Instant::now();
    assert!(!lease(&other, "b", 2).await);
    eventually("it runs out", || async { lease(&other, "b", 60).await.then_some(()) }).await;
    assert!(renewed.elapsed() >= Duration::from_millis(1_900), "it was taken before its time");
    assert!(!lease(&world.cluster, "a", 2).await);
    assert!(lease(&other, "b", 60).await);

    assert!(lease(&other, "b", 0).await, "what is given back");
    assert!(lease(&world.cluster, "a", 60).await, "is free at once");
    assert!(!lease(&other, "b", 60).await);
    assert!(!lease(&other, "b", 0).await, "and is not another's to give");
    assert!(lease(&world.cluster, "a", 60).await);
}

pub async fn how_it_stands_is_written_and_events_lie_with_their_objects(world: &World) {
    let publish = |key: &str, text: &str| world.cluster.publish(BTreeMap::from([(key.to_owned(), text.to_owned())]));
    publish("first", "one\ntwo\n").await.unwrap();
    publish("second", "three\n").await.unwrap();
    let status =
        Identity { namespace: SYSTEM_NAMESPACE.into(), name: STATUS_NAME.into(), ..world.config_map_id("status") };
    assert_eq!(world.object(&status).await["data"], serde_json::json!({"second": "three\n"}));

    let role = serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": world.namespace}, "rules": [],
    });
    let role = world.applied(&role).await;
    let about = About::Object { identity: role.identity.clone(), version: "v1".into(), uid: role.uid.clone() };
    let uid = world.get(&status).await.unwrap().uid;
    // Another connection never wrote the ConfigMap.
    let other = world.another().await;
    for (about, place, uid, identity) in
        [(About::Status, SYSTEM_NAMESPACE, uid, status), (about, "default", role.uid.clone(), role.identity)]
    {
        let note = Note {
            about,
            is_warning: true,
            reason: "Contested",
            message: "by somebody".into(),
            count: 3,
            first_unix_millis: 1_700_000_000_000,
            last_unix_millis: 1_700_000_060_000,
        };
        other.tell(note).await.unwrap();
        let events = world.events(place).await;
        let is_it =
            |event: &&serde_json::Value| event["involvedObject"]["uid"] == *uid && event["reason"] == "Contested";
        let event = events.iter().find(is_it).unwrap_or_else(|| panic!("{place}: {events:?}"));
        assert_eq!((&event["type"], &event["count"]), (&"Warning".into(), &3.into()));
        assert_eq!(event["lastTimestamp"], "2023-11-14T22:14:20Z");
        // Kubectl shows no Events of a ClusterRole, whoever makes them.
        let described = if place == SYSTEM_NAMESPACE { world.described(&identity).await } else { None };
        if let Some(described) = described {
            assert!(described.contains("Contested") && described.contains("x3 over"), "{described}");
        }
    }
}
