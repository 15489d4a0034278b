//! `drover up` as somebody runs it: what it prints, how it ends, and that nothing outlives it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_wire::hub::config_map;
use tests_wire::up::{Place, Up, wait_gone};

/// Two clusters are declared.
const DECLARED: &str = tests_wire::hub::DECLARATIONS;
/// None is.
const NONE_DECLARED: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: web}
spec:
  path: web
  namespace: shop
  targets: [{name: local, selector: {matchLabels: {drover.dev/local: \"true\"}}}]
";

fn place(declarations: &str) -> Result<Place> {
    Place::new(&[("drover.yaml", declarations), ("web/web.yaml", &config_map("web", "one"))])
}

fn settled(up: &mut Up) -> Result<()> {
    up.wait("everything settled", |event| event["kind"] == "settled").map(drop)
}

#[test]
fn killed_it_leaves_no_orphan() -> Result<()> {
    let mut place = place(DECLARED)?;
    let mut up = place.up(&[])?;
    settled(&mut up)?;
    let processes = up.processes()?;
    ensure!(processes.len() >= 4, "itself, a hub and two spokes: {processes:?}");
    up.kill()?;
    wait_gone(&processes)
}

#[test]
fn killed_before_it_is_ready_it_leaves_no_orphan() -> Result<()> {
    let mut place = place(DECLARED)?;
    let mut up = place.up(&[])?;
    up.wait("a spoke started", |event| event["kind"] == "cluster_started")?;
    let processes = up.processes()?;
    up.kill()?;
    wait_gone(&processes)?;
    // What it left behind is no obstacle to the next.
    let mut up = place.up(&["--until-settled", "30s"])?;
    ensure!(up.wait_end()?.code() == Some(0), "{}", up.told());
    Ok(())
}

#[test]
fn ctrl_c_ends_all_that_it_started() -> Result<()> {
    let mut place = place(DECLARED)?;
    let mut up = place.up(&[])?;
    settled(&mut up)?;
    let processes = up.processes()?;
    up.interrupt()?;
    ensure!(up.wait_end()?.code() == Some(0), "{}", up.told());
    wait_gone(&processes)?;
    let last = up.events()?.pop().context("no event")?;
    ensure!(last["kind"] == "ended", "{last}");
    Ok(())
}

#[test]
fn a_spoke_answers_how_a_bundle_is_live() -> Result<()> {
    let mut place = place(DECLARED)?;
    let mut up = place.up(&[])?;
    settled(&mut up)?;
    let known = place.drover(&["get", "clusters", "-o", "json"])?;
    let cluster = known["clusters"][0]["cluster"].as_str().context("no cluster")?.to_owned();
    let diff = place.drover(&["diff", &cluster, "web", "-o", "json"])?;
    ensure!(diff["objects"].as_array().is_some_and(Vec::is_empty), "{diff}");
    ensure!(diff["same"] == 1 && diff["unseen"] == 0 && diff["bundle"] == "main/web", "{diff}");
    Ok(())
}

#[test]
fn a_second_start_on_the_same_folder_sends_nothing_again() -> Result<()> {
    let mut place = place(DECLARED)?;
    let mut first = place.up(&["--until-settled", "30s"])?;
    ensure!(first.wait_end()?.code() == Some(0), "{}", first.told());
    let mut second = place.up(&[])?;
    settled(&mut second)?;
    let known = place.drover(&["get", "clusters", "-o", "json"])?;
    let clusters = known["clusters"].as_array().context("no clusters")?;
    ensure!(clusters.len() == 2, "{known}");
    for cluster in clusters {
        ensure!(cluster["connected"] == true && cluster["sent_delta_bytes"] == 0, "{cluster}");
    }
    second.interrupt()?;
    ensure!(second.wait_end()?.success());
    Ok(())
}

#[test]
fn until_settled_ends_with_0_and_events_carry_full_commit_ids() -> Result<()> {
    let mut place = place(DECLARED)?;
    let head = place.repo.git(&["rev-parse", "HEAD"])?.trim().to_owned();
    ensure!(head.len() == 40);
    let mut up = place.up(&["--until-settled", "30s"])?;
    ensure!(up.wait_end()?.code() == Some(0), "{}", up.told());
    let events = up.events()?;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    ensure!(kinds.len() == events.len(), "each event has a kind: {events:?}");
    for kind in ["started", "ready", "source_changed", "cluster_started", "cluster_connected", "settled", "ended"] {
        ensure!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let changed = |event: &&Json| event["kind"] == "bundle_changed";
    let clusters: Vec<&Json> = events.iter().filter(changed).map(|event| &event["cluster"]).collect();
    ensure!(clusters.iter().any(|one| **one == "a") && clusters.iter().any(|one| **one == "b"), "{clusters:?}");
    for event in events.iter().filter(|event| !event["commit"].is_null()) {
        ensure!(event["commit"] == head.as_str(), "{event}");
    }
    let source = events.iter().find(|event| event["kind"] == "source_changed").context("no source")?;
    ensure!(source["commit"] == head.as_str(), "{source}");
    let applied = |event: &&Json| event["sync"] == "Applied" && event["health"] == "Healthy";
    let done = events.iter().find(applied).context("no bundle Applied and Healthy")?;
    ensure!(done["bundle"] == "main/web" && done["commit"] == head.as_str(), "{done}");
    Ok(())
}

#[test]
fn until_settled_ends_with_1_and_a_reason_for_each_cluster() -> Result<()> {
    let mut place = place(DECLARED)?;
    // A kind that no cluster knows.
    place.repo.write("web/odd.yaml", "apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: odd}\n")?;
    place.repo.commit("an odd object")?;
    let mut up = place.up(&["--until-settled", "4s"])?;
    ensure!(up.wait_end()?.code() == Some(1), "{}", up.told());
    let events = up.events()?;
    for cluster in ["a", "b"] {
        let reason = events.iter().rev().find(|event| event["kind"] == "unsettled" && event["cluster"] == cluster);
        let reason = reason.with_context(|| format!("no reason for {cluster} in {events:?}"))?;
        let message = reason["message"].as_str().context("a reason says something")?;
        ensure!(message.contains("main/web"), "{message}");
        ensure!(up.told().contains(&format!("{cluster}: ")), "{}", up.told());
    }
    Ok(())
}

#[test]
fn where_no_cluster_is_declared_it_starts_local_ones() -> Result<()> {
    let mut place = place(NONE_DECLARED)?;
    let mut up = place.up(&["--clusters", "2"])?;
    settled(&mut up)?;
    let known = place.drover(&["get", "clusters", "-o", "json"])?;
    let clusters = known["clusters"].as_array().context("no clusters")?;
    let names: Vec<&str> = clusters.iter().filter_map(|one| one["cluster"].as_str()).collect();
    ensure!(names == ["local-1", "local-2"], "{names:?}");
    for cluster in clusters {
        ensure!(cluster["declared"] == false && cluster["labels"]["drover.dev/local"] == "true", "{cluster}");
    }
    // The bundle reaches them by that label alone.
    let status = place.drover(&["status", "-o", "json"])?;
    for cluster in status["clusters"].as_array().context("no clusters")? {
        ensure!(cluster["bundles"][0]["sync"] == "Applied", "{cluster}");
    }
    Ok(())
}
