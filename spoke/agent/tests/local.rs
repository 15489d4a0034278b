//! A running spoke and the people at its cluster, without a hub: the local door, suspensions, what is said
//! in the cluster.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and shares the hub with others"
)]

mod hub;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_model::assign::{Assignment, Entry, RULES, root};
use proto_model::delta::{BodyPart, Delta, ToHub, ToSpoke, VariantPart};
use proto_model::{Fence, GroupKind, Identity, Object, Permit, Settings, Sync, Variables, Variant};
use proto_wire::compress::compress;
use serde_json::{Value as Json, json};
use spoke_agent::door::{self, DoorError};
use spoke_core::local::{Ask, Status, Suspended, Told};
use spoke_core::port::Op;
use spoke_core::port::{Cluster, Outcome, STATUS_NAME, SYSTEM_NAMESPACE};
use spoke_memory::Memory;

use hub::{Hub, Session, Spoke};

fn config_map(value: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"},
        "data": {"key": value},
    })
}

async fn assign(session: &Session) {
    let object = Object::new(&config_map("1")).unwrap();
    let variant = Variant { settings: Settings::default(), objects: vec![object.digest] };
    let entry = Entry::Run(Assignment {
        variant: variant.digest(),
        variables: Variables::default(),
        permit: Permit::default(),
        rules: RULES,
    });
    let after = root(&BTreeMap::from([("main/web".to_owned(), entry.digest())]));
    session
        .say(ToSpoke::Delta(Delta {
            fence: Fence { hub_id: "0123".into(), epoch: 1, incarnation: 1, generation: 1 },
            fence_mac: vec![1],
            base: session.hello.root,
            root: after,
            set: BTreeMap::from([("main/web".to_owned(), entry)]),
            forget: Vec::new(),
        }))
        .await;
    let bytes = compress(&variant.encode(), None).unwrap().into();
    session.say(ToSpoke::Variant(VariantPart { digest: variant.digest(), base: None, bytes })).await;
    let bytes = compress(&object.body, None).unwrap().into();
    session.say(ToSpoke::Body(BodyPart { digest: object.digest, base: None, bytes })).await;
}

async fn ask(dir: &Path, ask: Ask) -> Result<Told, DoorError> {
    let dir: PathBuf = dir.to_owned();
    tokio::task::spawn_blocking(move || door::ask(&dir, ask)).await.unwrap()
}

async fn status(dir: &Path) -> Status {
    match ask(dir, Ask::Status).await.unwrap() {
        Told::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn object(cluster: &Memory, namespace: &str, name: &str) -> Option<Json> {
    let kind = GroupKind::of("v1", "ConfigMap");
    let identity = Identity { kind, namespace: namespace.into(), name: name.into() };
    match cluster.execute(Op::Get { identity, version: "v1".into() }).await {
        Outcome::Got(live) => live.and_then(|live| live.object).map(|object| (*object).clone()),
        other => panic!("{other:?}"),
    }
}

async fn meddle(cluster: &Memory) {
    let op = Op::Apply { manifest: config_map("theirs"), manager: "kubectl-edit".into(), dry_run: false };
    assert!(matches!(cluster.execute(op).await, Outcome::Applied(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_its_hub_can_be_asked_and_told_to_hold_still() {
    let mut hub = Hub::start().await;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("s");
    let cluster = Memory::volatile("edge-1");
    let spoke = Spoke::start(dir.clone(), Some(hub.token("t1")), Arc::new(cluster.clone()));
    let mut session = hub.accept().await;
    session.welcome("first").await;
    assign(&session).await;
    let applied = |word| matches!(word, ToHub::Report(report) if report.sync == Sync::Applied).then_some(());
    session.hears(applied).await;
    let attached = status(&dir).await;
    assert!(attached.hub.is_attached && attached.idle_because.is_empty());
    assert_eq!((attached.cluster.as_str(), attached.generation), ("edge-1", 1));

    drop(hub);
    let lost = eventually("the hub is lost", async || {
        let status = status(&dir).await;
        (!status.hub.is_attached && status.hub.trouble.contains("127.0.0.1")).then_some(status)
    })
    .await;
    assert_eq!(lost.bundles[0].sync, "Applied");

    let order = Ask::Suspend { bundle: Some("web".into()), secs: 3_600, reason: "night".into() };
    let Told::Suspended(suspended) = ask(&dir, order).await.unwrap() else { panic!("another answer") };
    assert!(matches!(&suspended[..], [Suspended { bundle: Some(name), .. }] if name == "main/web"));
    meddle(&cluster).await;
    eventually("drift is seen", async || status(&dir).await.bundles[0].drifted.then_some(())).await;
    assert_eq!(object(&cluster, "default", "settings").await.unwrap()["data"]["key"], "theirs");
    spoke.stop().await;
    assert!(matches!(ask(&dir, Ask::Status).await, Err(DoorError::Nobody { .. })));

    // It is in the ledger: another process heeds it.
    let spoke = Spoke::start(dir.clone(), None, Arc::new(cluster.clone()));
    eventually("the ledger is read", async || {
        let status = ask(&dir, Ask::Status).await.ok()?;
        matches!(status, Told::Status(status) if status.bundles.first()?.drifted).then_some(())
    })
    .await;
    assert_eq!(object(&cluster, "default", "settings").await.unwrap()["data"]["key"], "theirs");
    let resumed = ask(&dir, Ask::Resume { bundle: Some("main/web".into()) }).await.unwrap();
    assert_eq!(resumed, Told::Suspended(Vec::new()));
    eventually("it is put back", async || {
        (object(&cluster, "default", "settings").await?["data"]["key"] == "1").then_some(())
    })
    .await;
    let refused = ask(&dir, Ask::Explain { bundle: Some("nothing".into()) }).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no bundle nothing in this cluster; it has main/web");
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_the_cluster_is_there_to_be_seen() {
    let mut hub = Hub::start().await;
    let root = tempfile::tempdir().unwrap();
    let cluster = Memory::volatile("edge-1");
    let spoke = Spoke::start(root.path().join("s"), Some(hub.token("t1")), Arc::new(cluster.clone()));
    let session = hub.accept().await;
    session.welcome("first").await;
    assign(&session).await;
    let data = eventually("the ConfigMap tells", async || {
        let found = object(&cluster, SYSTEM_NAMESPACE, STATUS_NAME).await?;
        found["data"]["bundles"].as_str()?.contains("main/web   Applied   Healthy").then_some(found["data"].clone())
    })
    .await;
    assert!(data["cluster"].as_str().unwrap().contains("hub          0123, attached since"), "{data}");
    meddle(&cluster).await;
    eventually("the Event tells who", async || {
        cluster.with_state(|state, _| {
            let all = state.all();
            let bodies = all.iter().filter_map(|change| match change {
                spoke_memory::Change::Put(identity, body, _) if identity.kind.kind == "Event" => Some(body),
                _ => None,
            });
            let events: Vec<Json> = bodies.map(|body| serde_json::from_slice(body).unwrap()).collect();
            let is_it = |event: &Json| {
                event["reason"] == "DriftCorrected"
                    && event["involvedObject"]["name"] == "settings"
                    && event["message"].as_str().is_some_and(|text| text.contains("kubectl-edit"))
            };
            events.iter().any(is_it).then_some(())
        })
    })
    .await;
    spoke.stop().await;
}
