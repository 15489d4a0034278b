//! The cluster as a value: what the conformance suite can't ask a real server for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proto_model::{GroupKind, Identity};
use serde_json::{Value as Json, json};
use spoke_core::port::{Cluster as _, Depth, Kind, Observation, Op, Outcome, Reason, Write};
use spoke_memory::{Fault, Memory, Script, State, Verb};

fn config_map(name: &str, value: &str) -> Json {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"drover.dev/owner": "0011223344556677"}},
        "data": {"key": value},
    })
}

fn deployment(name: &str) -> Json {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "labels": {"drover.dev/owner": "0011223344556677"}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "registry.example/app:1"}]},
            },
        },
    })
}

fn apply(manifest: Json) -> Op {
    Op::Apply { manifest, manager: "drover/main/x".into(), dry_run: false }
}

fn kind(group: &str, kind: &str) -> Kind {
    Kind { kind: GroupKind { group: group.into(), kind: kind.into() }, version: "v1".into() }
}

fn identity(group: &str, of: &str, name: &str) -> Identity {
    Identity { kind: kind(group, of).kind, namespace: "default".into(), name: name.into() }
}

fn reason(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Failed(failure) => failure.reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_same_calls_give_the_same_cluster() {
    let run = || {
        let mut state = State::new("one");
        state.execute(&apply(config_map("a", "1")), 1_000);
        state.execute(&apply(deployment("b")), 2_000);
        state.advance(10_000);
        state.all()
    };
    assert_eq!(run(), run());
}

#[test]
fn clusters_of_other_names_have_other_uids() {
    assert_ne!(State::new("one").uid(), State::new("two").uid());
    assert_eq!(State::new("one").uid(), State::new("one").uid());
}

#[test]
fn a_fault_refuses_what_it_fits_as_often_as_it_says() {
    let mut state = State::new("one");
    let mut fault = Fault::of(Reason::Webhook);
    fault.verbs = vec![Verb::Apply];
    fault.name = Some("a".into());
    fault.times = Some(1);
    state.refuse(fault);
    assert!(matches!(state.execute(&apply(config_map("b", "1")), 0), Outcome::Applied(_)));
    assert_eq!(reason(state.execute(&apply(config_map("a", "1")), 0)), Reason::Webhook);
    assert!(matches!(state.execute(&apply(config_map("a", "1")), 0), Outcome::Applied(_)));
}

#[test]
fn a_scripted_deployment_fails_at_its_time() {
    let mut state = State::new("one");
    state.script(identity("apps", "Deployment", "b"), Some(Script::Fail));
    state.execute(&apply(deployment("b")), 0);
    state.advance(1);
    let reasons = |state: &State| {
        let object = state.object(&identity("apps", "Deployment", "b")).unwrap();
        object["status"]["conditions"][1]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reasons(&state), "ReplicaSetUpdated");
    state.advance(state.settings.progress_millis);
    assert_eq!(reasons(&state), "ProgressDeadlineExceeded");
}

#[test]
fn a_watch_that_expires_tells_everything_anew() {
    let mut state = State::new("one");
    state.execute(&apply(config_map("a", "1")), 0);
    let of = kind("", "ConfigMap");
    state.watch(7, BTreeMap::from([(of.clone(), Depth::Metadata)]));
    let shape = |seen: Vec<Observation>| -> Vec<&'static str> {
        seen.iter()
            .map(|seen| match seen {
                Observation::Seen(_) => "seen",
                Observation::Gone { .. } => "gone",
                Observation::Listed(_) => "listed",
                Observation::Restarted(_) => "restarted",
                Observation::Lost { .. } => "lost",
            })
            .collect()
    };
    assert_eq!(shape(state.drain_observations(7)), ["restarted", "seen", "listed"]);
    state.expire_watch(&of);
    assert_eq!(shape(state.drain_observations(7)), ["restarted", "seen", "listed"]);
    state.set_reachable(false);
    assert_eq!(shape(state.drain_observations(7)), ["lost"]);
    assert_eq!(reason(state.execute(&apply(config_map("a", "2")), 0)), Reason::Unreachable);
    state.set_reachable(true);
    assert_eq!(shape(state.drain_observations(7)), ["restarted", "seen", "listed"]);
}

#[test]
fn a_controller_with_nothing_to_do_changes_nothing() {
    let mut state = State::new("one");
    state.execute(&apply(deployment("b")), 0);
    state.advance(10_000);
    let settled = state.revision();
    assert_eq!(state.next_due(), None);
    state.advance(20_000);
    assert_eq!(state.revision(), settled);
}

#[tokio::test]
async fn a_cluster_is_the_same_after_its_process_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (uid, live) = {
        let memory = Memory::open(dir.path(), "one").unwrap();
        let Outcome::Applied(live) = memory.execute(apply(config_map("a", "1"))).await else { panic!() };
        let write = Write { puts: vec![("k/1".into(), vec![1, 2, 3])], deletes: vec!["gone".into()] };
        memory.store(write).await.unwrap();
        (memory.uid().await.unwrap(), live)
    };
    // The task beside a cluster may hold it for a moment longer.
    let memory = loop {
        match Memory::open(dir.path(), "one") {
            Ok(memory) => break memory,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(memory.uid().await.unwrap(), uid);
    assert_eq!(memory.load().await.unwrap(), BTreeMap::from([("k/1".to_owned(), vec![1, 2, 3])]));
    let Outcome::Applied(again) = memory.execute(apply(config_map("a", "1"))).await else { panic!() };
    assert_eq!((again.uid, again.resource_version), (live.uid, live.resource_version));
}

#[tokio::test]
async fn a_watch_tells_on_its_own_as_time_passes() {
    let memory = Memory::volatile("one");
    memory.with_state(|state, _| state.settings.progress_millis = 1);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let sink = std::sync::Arc::new(move |seen| drop(tell.send(seen)));
    memory.watch(BTreeMap::from([(kind("apps", "Deployment"), Depth::Whole)]), sink);
    memory.execute(apply(deployment("b"))).await;
    while let Some(seen) = told.recv().await {
        if let Observation::Seen(live) = seen
            && live.object.is_some_and(|object| object["status"]["availableReplicas"] == 1)
        {
            return;
        }
    }
    panic!("the watch ended");
}
