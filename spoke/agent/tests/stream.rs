//! A spoke against a hub over real TLS: joining, streaming, renewing, coming back.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod hub;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::assign::{Entry, RULES, root};
use proto_model::delta::{BodyPart, Delta, Refusal, ToHub, ToSpoke, VariantPart};
use proto_model::{Assignment, Digest, Fence, Health, Object, Permit, Settings, Sync, Variables, Variant};
use proto_wire::compress::compress;
use serde_json::json;
use spoke_core::port::Cluster;
use spoke_memory::Memory;

use hub::{Hub, Session, Spoke, request};

fn cluster() -> Arc<dyn Cluster> {
    Arc::new(Memory::volatile("edge-1"))
}

fn config_map(name: &str) -> Object {
    Object::new(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
    }))
    .unwrap()
}

/// Sends one bundle with one ConfigMap, from nothing; the root afterwards.
async fn assign(session: &Session) -> Digest {
    assign_all(session, &[config_map("settings")]).await
}

/// Sends one bundle with these objects, from nothing; the root afterwards.
async fn assign_all(session: &Session, objects: &[Object]) -> Digest {
    let digests = objects.iter().map(|object| object.digest).collect();
    let variant = Variant { settings: Settings::default(), objects: digests };
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
    let part = |object: &Object| {
        let bytes = compress(&object.body, None).unwrap().into();
        ToSpoke::Body(BodyPart { digest: object.digest, base: None, bytes })
    };
    session.say_all(&objects.iter().map(part).collect::<Vec<_>>()).await;
    after
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_assigned_is_acked_applied_and_still_there_after_a_restart_of_the_hub() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let spoke = Spoke::start(dir.path().join("s"), Some(hub.token("t1")), cluster());

    let mut session = hub.accept().await;
    assert_eq!(session.hello.fence, Fence::default());
    session.welcome("first").await;
    let after = assign(&session).await;
    let acked = |word| match word {
        ToHub::Ack { generation, root } => Some((generation, root)),
        ToHub::Nack { message, .. } => panic!("{message}"),
        _ => None,
    };
    assert_eq!(session.hears(acked).await, (1, after));
    let report = session
        .hears(|word| match word {
            ToHub::Report(report) if report.sync == Sync::Applied => Some(report),
            _ => None,
        })
        .await;
    assert_eq!((report.bundle.as_str(), report.objects), ("main/web", 1));

    hub.restart().await;
    let again = hub.accept().await;
    assert_eq!(again.hello.root, after);
    assert_eq!(again.hello.fence.generation, 1);
    assert_eq!(again.hello.session_token, b"first");
    assert_eq!(hub.joins(), ["edge-1"], "it joins once");
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_bodies_come_in_one_stream() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let spoke = Spoke::start(dir.path().join("s"), Some(hub.token("t1")), cluster());
    let mut session = hub.accept().await;
    session.welcome("first").await;
    let objects: Vec<Object> = (0..8_000).map(|n| config_map(&format!("m{n}"))).collect();
    let after = assign_all(&session, &objects).await;
    let acked = |word| match word {
        ToHub::Ack { root, .. } => Some(root),
        ToHub::Nack { message, .. } => panic!("{message}"),
        _ => None,
    };
    assert_eq!(session.hears(acked).await, after);
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_spoke_needs_no_token() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster();
    let path = dir.path().join("s");
    let first = Spoke::start(path.clone(), Some(hub.token("t1")), Arc::clone(&cluster));
    let mut session = hub.accept().await;
    session.welcome("first").await;
    let after = assign(&session).await;
    let healthy = |word| match word {
        ToHub::Report(report) if report.health == Health::Healthy => Some(()),
        _ => None,
    };
    session.hears(healthy).await;
    first.stop().await;
    session.ends().await;

    let second = Spoke::start(path, None, cluster);
    let session = hub.accept().await;
    assert_eq!((session.hello.root, session.hello.session_token), (after, b"first".to_vec()));
    assert_eq!(hub.joins(), ["edge-1"]);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_the_stream_and_the_next_stream_stands_on_it() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let enrolment = || {
        let bytes = std::fs::read(path.join("enrolment.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    let session = hub.accept().await;
    let old = enrolment()["certificates"].clone();
    session.welcome("first").await;
    let csr = request(&std::fs::read_to_string(path.join("key.pem")).unwrap());
    session.say(ToSpoke::Certificate(hub.sign(csr.as_bytes()))).await;

    let again = hub.accept().await;
    let kept = enrolment();
    assert_eq!(kept["certificates"], old, "the old one is kept until the new one has stood");
    assert!(kept["next"].is_string());
    again.welcome("second").await;
    assign(&again).await;
    let mut again = again;
    again.hears(|word| matches!(word, ToHub::Ack { .. }).then_some(())).await;
    let kept = enrolment();
    assert_ne!(kept["certificates"], old);
    assert!(kept["next"].is_null());
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_certificate_is_asked_to_be_renewed() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    let session = hub.accept().await;
    spoke.stop().await;
    session.ends().await;

    // Nine tenths of its life over.
    age(&hub, &path, 9000, 1000);
    let spoke = Spoke::start(path, None, cluster());
    let mut session = hub.accept().await;
    session.welcome("first").await;
    let csr = session.hears(|word| if let ToHub::Renew(csr) = word { Some(csr) } else { None }).await;
    session.say(ToSpoke::Certificate(hub.sign(&csr))).await;
    hub.accept().await;
    assert_eq!(hub.renewals(), 0, "in the stream, not by itself");
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_certificate_renews_itself_by_its_key() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    hub.accept().await;
    spoke.stop().await;
    age(&hub, &path, 9000, 0);
    let spoke = Spoke::start(path, None, cluster());
    hub.accept().await;
    assert_eq!((hub.renewals(), hub.joins().len()), (1, 1));
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_leaves_the_spoke_waiting_and_its_key_in_place() {
    let mut hub = Hub::start().await;
    hub.refuse_joins(true);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    hub.refused().await;
    spoke.stop().await;
    let key = std::fs::read(path.join("key.pem")).unwrap();
    hub.refuse_joins(false);
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    hub.accept().await;
    assert_eq!(std::fs::read(path.join("key.pem")).unwrap(), key);
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_spoke_joins_again_with_another_token_only() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let spoke = Spoke::start(path.clone(), Some(hub.token("t1")), cluster());
    let session = hub.accept().await;
    session.say(ToSpoke::Refused(Refusal::Revoked)).await;
    session.ends().await;
    spoke.stop().await;
    assert_eq!(hub.joins().len(), 1);

    let spoke = Spoke::start(path, Some(hub.token("t2")), cluster());
    let session = hub.accept().await;
    assert_eq!(hub.joins().len(), 1, "what it has is tried first");
    session.say(ToSpoke::Refused(Refusal::Revoked)).await;
    session.ends().await;
    hub.accept().await;
    assert_eq!(hub.joins().len(), 2);
    spoke.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enrolment_and_token_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let error = Spoke::start(dir.path().join("s"), None, cluster()).fails().await;
    assert!(error.to_string().contains("drover cluster join-token"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_spokes_live_in_one_process() {
    let mut hub = Hub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let spokes: Vec<Spoke> =
        (0..50).map(|n| Spoke::start(dir.path().join(n.to_string()), Some(hub.token("t1")), cluster())).collect();
    let mut sessions = Vec::new();
    for _ in 0..spokes.len() {
        let session = hub.accept().await;
        session.welcome("first").await;
        assign(&session).await;
        sessions.push(session);
    }
    for session in &mut sessions {
        session.hears(|word| matches!(word, ToHub::Ack { .. }).then_some(())).await;
    }
    for spoke in spokes {
        spoke.stop().await;
    }
}

/// Gives the spoke of a directory a certificate that was made so many seconds ago and ends in so
/// many.
fn age(hub: &Hub, path: &std::path::Path, ago_secs: u64, left_secs: u64) {
    let file = path.join("enrolment.json");
    let mut enrolment: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let key = std::fs::read_to_string(path.join("key.pem")).unwrap();
    enrolment["certificates"] = hub.sign_aged(&key, ago_secs, left_secs).into();
    std::fs::write(&file, serde_json::to_vec(&enrolment).unwrap()).unwrap();
}
