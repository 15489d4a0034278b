//! What operators suspend and which clusters they let leave, with real programs: nothing is touched, it survives every
//! restart, and what leaves lets go.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use proto_model::{GroupKind, Identity};
use serde_json::Value as Json;
use spoke_core::port::{OWNER_ANNOTATION, OWNER_LABEL};
use spoke_memory::Memory;
use tests_tools::fleet::{Where, bundle, program, run, wait_for};
use tests_wire::hub::{Hub, config_map};

const ONLY_B: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: b}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: web}
spec:
  path: web
  namespace: shop
  targets: [{name: all, selector: {}}]
";

fn started() -> Result<Hub> {
    let mut hub = Hub::start()?;
    hub.fleet.join("a", Where::Memory)?;
    hub.fleet.wait_settled(&hub.head()?)?;
    Ok(hub)
}

/// The bundle `web` in cluster `a`.
fn web(status: &Json) -> Json {
    bundle(status, "a", "main/web").cloned().unwrap_or_default()
}

/// The ConfigMap of the bundle in cluster `a`, of which the spoke does not run; it is removed where that is asked for.
fn object(hub: &Hub, removes: bool) -> Result<Option<Json>> {
    let memory = Memory::open(&hub.fleet.spoke_dir("a").join("cluster"), "a")?;
    let identity = Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: "web".into() };
    Ok(memory.with_state(|state, now| {
        let found = state.object(&identity);
        if removes {
            state.remove(&identity, now);
        }
        found
    }))
}

/// What the spoke says of itself at its cluster.
fn told_there(hub: &Hub) -> Result<Json> {
    let mut command = Command::new(program("drover-spoke")?);
    command.args(["status", "-o", "json", "--dir"]).arg(hub.fleet.spoke_dir("a"));
    serde_json::from_str(&run(command)?).context("no JSON")
}

/// A command whose answer is told as one document.
fn told(hub: &Hub, args: &[&str]) -> Result<String> {
    let answer: Json = serde_json::from_str(&hub.fleet.drover(&[args, &["-o", "json"]].concat())?)?;
    Ok(answer["message"].as_str().unwrap_or_default().to_owned())
}

fn is_known(hub: &Hub) -> Result<bool> {
    let status = hub.fleet.status()?;
    Ok(status["clusters"].as_array().is_some_and(|all| all.iter().any(|one| one["cluster"] == "a")))
}

#[test]
fn what_is_suspended_at_the_hub_is_left_alone_through_every_restart() -> Result<()> {
    let mut hub = started()?;
    // It hears of it when it comes back.
    hub.fleet.kill_spoke("a");
    hub.fleet.wait("the spoke is gone", |status| status["clusters"][0]["connected"] == false)?;
    let said = told(&hub, &["suspend", "a", "web", "--for", "1h", "--reason", "an audit"])?;
    ensure!(said.starts_with("suspended main/web in a until ") && said.contains("is not connected"), "{said}");
    hub.fleet.start_spoke("a")?;
    // Until the spoke has heard, and written it down, it would put the object back.
    let is_unheard =
        |shown: &Json| shown["suspensions"][0]["message"].as_str().is_none_or(|one| one.contains("not said"));
    hub.fleet.wait("it has heard", |status| web(status)["suspended"] == true && !is_unheard(&web(status)))?;
    // Somebody removes the object while nobody looks.
    hub.fleet.kill_spoke("a");
    hub.fleet.wait("the spoke is gone", |status| status["clusters"][0]["connected"] == false)?;
    let object_before = object(&hub, true)?;
    ensure!(object_before.is_some());
    hub.fleet.start_spoke("a")?;
    let shown = web(&hub.fleet.wait("it is seen to be missing", |status| web(status)["drifted"] == true)?);
    let suspension = &shown["suspensions"][0];
    ensure!(shown["suspended"] == true && suspension["at"] == "hub" && suspension["reason"] == "an audit", "{shown}");
    ensure!(suspension["by"].is_string() && suspension["until"].is_string(), "{suspension}");
    // New content waits, here and there.
    let head = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    hub.fleet.wait("it is held", |status| web(status)["hold"]["kind"] == "suspended")?;
    // The hub is lost, and the spoke starts on its own.
    hub.fleet.kill_hub();
    hub.fleet.kill_spoke("a");
    hub.fleet.start_spoke("a")?;
    wait_for("the spoke still knows", || {
        let there = told_there(&hub).unwrap_or_default();
        Ok(there["suspended"][0]["bundle"] == "main/web" && there["suspended"][0]["at_hub"] == true)
    })?;
    hub.fleet.start_hub()?;
    hub.fleet.wait("it is back and held", |status| {
        status["clusters"][0]["connected"] == true && web(status)["hold"]["kind"] == "suspended"
    })?;
    hub.fleet.kill_spoke("a");
    ensure!(object(&hub, false)?.is_none(), "somebody put it back");
    hub.fleet.start_spoke("a")?;
    let said = told(&hub, &["resume", "a", "web", "--reason", "done"])?;
    ensure!(said == "resumed main/web in a", "{said}");
    hub.fleet.wait_settled(&head)?;
    let audit = hub.fleet.drover(&["get", "audit"])?;
    ensure!(audit.contains("suspended main/web in cluster a for 1h") && audit.contains("an audit"), "{audit}");
    Ok(())
}

#[test]
fn a_suspension_made_at_the_cluster_is_not_ended_at_the_hub() -> Result<()> {
    let hub = started()?;
    told(&hub, &["suspend", "a", "--for", "1h"])?;
    let mut command = Command::new(program("drover-spoke")?);
    command.args(["suspend", "web", "--for", "1h", "--reason", "night", "--dir"]).arg(hub.fleet.spoke_dir("a"));
    run(command)?;
    let both = |status: &Json| web(status)["suspensions"].as_array().is_some_and(|all| all.len() == 2);
    let shown = web(&hub.fleet.wait("both are shown", both)?);
    ensure!(shown["suspensions"][0]["at"] == "hub" && shown["suspensions"][1]["at"] == "cluster", "{shown}");
    let said = told(&hub, &["resume", "a"])?;
    ensure!(said.contains("Suspended at the cluster, which this does not end: main/web"), "{said}");
    hub.fleet.wait("one is left", |status| {
        let shown = web(status);
        shown["suspended"] == true && shown["suspensions"].as_array().is_some_and(|all| all.len() == 1)
    })?;
    Ok(())
}

#[test]
fn a_cluster_that_leaves_keeps_its_objects_without_our_marks() -> Result<()> {
    let mut hub = started()?;
    let declared = hub.fleet.drover(&["cluster", "remove", "a"]);
    ensure!(declared.is_err_and(|error| error.to_string().contains("remove its declaration first")));
    hub.commit("drover.yaml", ONLY_B)?;
    hub.fleet.wait("it is undeclared", |status| status["clusters"][0]["hold"].is_string())?;
    // Through a restart of either: it waits, and says so.
    hub.fleet.kill_spoke("a");
    hub.fleet.wait("the spoke is gone", |status| status["clusters"][0]["connected"] == false)?;
    let said = told(&hub, &["cluster", "remove", "a"])?;
    ensure!(said.contains("the marks are taken off the objects of its 1 bundle") && said.contains("--now"), "{said}");
    hub.restart()?;
    hub.fleet.wait("it is leaving", |status| web(status)["hold"]["kind"] == "leaving")?;
    hub.fleet.start_spoke("a")?;
    wait_for("the cluster has left", || Ok(!is_known(&hub)?))?;
    // Its ledger is empty, and names no hub any more.
    wait_for("the spoke remembers no hub", || {
        let there = told_there(&hub).unwrap_or_default();
        Ok(there["hub"]["id"] == "" && there["bundles"].as_array().is_some_and(Vec::is_empty))
    })?;
    hub.fleet.kill_spoke("a");
    let left = object(&hub, false)?.context("the object is gone")?;
    ensure!(left["metadata"]["labels"][OWNER_LABEL].is_null(), "{left}");
    ensure!(left["metadata"]["annotations"][OWNER_ANNOTATION].is_null(), "{left}");
    ensure!(left["data"]["key"] == "one", "{left}");
    Ok(())
}

#[test]
fn a_cluster_whose_objects_are_deleted_waits_for_the_guard() -> Result<()> {
    let mut hub = started()?;
    hub.commit("drover.yaml", ONLY_B)?;
    hub.fleet.wait("it is undeclared", |status| status["clusters"][0]["hold"].is_string())?;
    told(&hub, &["cluster", "remove", "a", "--delete-objects"])?;
    let shown = web(&hub.fleet.wait("the guard holds it", |status| web(status)["hold"]["kind"] == "guard")?);
    ensure!(shown["hold"]["objects_total"] == 1 && shown["sync"] == "Applied", "{shown}");
    hub.fleet.drover(&["rollout", "approve", "web", "--deletions"])?;
    wait_for("the cluster has left", || Ok(!is_known(&hub)?))?;
    hub.fleet.kill_spoke("a");
    ensure!(object(&hub, false)?.is_none());
    Ok(())
}

#[test]
fn a_cluster_that_does_not_come_back_is_forgotten_at_once() -> Result<()> {
    let mut hub = started()?;
    hub.commit("drover.yaml", ONLY_B)?;
    hub.fleet.wait("it is undeclared", |status| status["clusters"][0]["hold"].is_string())?;
    hub.fleet.kill_spoke("a");
    hub.fleet.wait("the spoke is gone", |status| status["clusters"][0]["connected"] == false)?;
    told(&hub, &["cluster", "remove", "a"])?;
    let said = told(&hub, &["cluster", "remove", "a", "--now"])?;
    ensure!(said.contains("its objects keep their marks") && !is_known(&hub)?, "{said}");
    let left = object(&hub, false)?.context("the object is gone")?;
    ensure!(left["metadata"]["labels"][OWNER_LABEL].is_string(), "{left}");
    Ok(())
}
