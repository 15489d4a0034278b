//! What only a real API server can refuse, and what happens while it is away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use spoke_core::port::{Cluster, Depth, Observation, Op, Outcome, Reason};
use spoke_kube::{Access, KubeCluster};
use tests_cluster::conformance::World;
use tests_cluster::conformance::world::{eventually, failure, kind};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_for() {
    let world = World::kube("quota").await;
    let hard = json!({"spec": {"hard": {"count/configmaps": "0"}}});
    world.create(&world.manifest("v1", "ResourceQuota", "none", hard)).await;
    let manifest = world.config_map("a", json!({}));
    // Until the quota is counted, it refuses everything, as a quota too.
    let refused = eventually("the quota refuses", || async {
        match world.apply(&manifest).await {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        }
    })
    .await;
    assert_eq!(refused.reason, Reason::Quota, "{refused}");
    assert!(!refused.reason.is_final());
}

#[tokio::test]
async fn forbidden_names_verb_resource_and_account() {
    let world = World::kube("forbidden").await;
    let dir = std::env::temp_dir().join(format!("drover-forbidden-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("kubeconfig");
    let text = world.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).await;
    let mut config: Json = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = "nobody-in-particular".into();
    std::fs::write(&path, config.to_string()).unwrap();
    let access = Access::Kubeconfig { path, context: None };
    let cluster = KubeCluster::connect(&access, dir.join("packs")).await.unwrap();
    let manifest = world.config_map("a", json!({}));
    let op = Op::Apply { manifest, manager: "drover/main/x".into(), dry_run: false };
    let refused = failure(cluster.execute(op).await);
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(refused.reason, Reason::Forbidden, "{refused}");
    for part in ["patch", "configmaps", "nobody-in-particular"] {
        assert!(refused.message.contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_webhook_that_is_away_is_waited_for() {
    let world = World::kube("webhook").await;
    let hooks = json!({"webhooks": [{
        "name": "away.example.com", "sideEffects": "None", "failurePolicy": "Fail",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
    }]});
    let api = "admissionregistration.k8s.io/v1";
    let configuration = world.manifest(api, "ValidatingWebhookConfiguration", "drover-test", hooks);
    let configuration = world.applied(&configuration).await;
    let manifest = world.config_map("a", json!({}));
    let refused = eventually("the webhook is asked", || async {
        match world.apply(&manifest).await {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        }
    })
    .await;
    assert_eq!(refused.reason, Reason::Webhook, "{refused}");
    let refused = failure(world.dry_run(&manifest).await);
    assert_eq!(refused.reason, Reason::Webhook, "{refused}");
    world.delete(&configuration.identity, &configuration.uid).await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_watched_again() {
    let start = || tests_tools::Cluster::start(tests_tools::Options::bare("outage"));
    let mut real = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    World::install_provider();
    let access = Access::Kubeconfig { path: real.kubeconfig(), context: None };
    let cluster = KubeCluster::connect(&access, real.dir().join("packs")).await.unwrap();
    let (tell, mut told) = unbounded_channel();
    let maps = kind("", "ConfigMap");
    let sink = Arc::new(move |seen| drop(tell.send(seen)));
    cluster.watch(BTreeMap::from([(maps.clone(), Depth::Metadata)]), sink);
    assert_eq!(told.recv().await, Some(Observation::Restarted(maps.clone())));
    assert_eq!(told.recv().await, Some(Observation::Listed(maps.clone())));

    let mut real = tokio::task::spawn_blocking(move || {
        real.stop_apiserver();
        real
    })
    .await
    .unwrap();
    match told.recv().await {
        Some(Observation::Lost { failure, .. }) => assert_eq!(failure.reason, Reason::Unreachable),
        other => panic!("{other:?}"),
    }
    let asked = failure(cluster.execute(Op::EnsureNamespace("default".into())).await);
    assert_eq!(asked.reason, Reason::Unreachable, "{asked}");

    tokio::task::spawn_blocking(move || {
        real.start_apiserver().unwrap();
        real
    })
    .await
    .unwrap();
    loop {
        match told.recv().await {
            Some(Observation::Lost { .. }) => {}
            other => {
                assert_eq!(other, Some(Observation::Restarted(maps.clone())));
                break;
            }
        }
    }
    assert_eq!(told.recv().await, Some(Observation::Listed(maps)));
}
