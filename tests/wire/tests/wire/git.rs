//! What a hub makes of odd commits, with the real programs: a rewind waits for an operator, a defect keeps the last
//! good.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::Where;
use tests_wire::hub::{Hub, config_map};

fn source(hub: &Hub) -> Result<Json> {
    let all: Json = serde_json::from_str(&hub.fleet.drover(&["get", "sources", "-o", "json"])?)?;
    all["sources"].get(0).cloned().context("no source")
}

#[test]
fn a_rewind_is_held_until_it_is_approved() -> Result<()> {
    let mut hub = Hub::start()?;
    hub.fleet.join("a", Where::Memory)?;
    let first = hub.head()?;
    hub.fleet.wait_settled(&first)?;
    let second = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    hub.fleet.wait_settled(&second)?;

    // A force-push: other content on top of the first commit.
    hub.fleet.repo.git(&["reset", "--quiet", "--hard", &first])?;
    let forced = hub.commit("web/web.yaml", &config_map("web", "three"))?;
    hub.fleet
        .wait("the rewind is seen", |_| source(&hub).is_ok_and(|source| source["rewind_commit"] == forced.as_str()))?;
    ensure!(source(&hub)?["commit"] == second.as_str(), "the accepted head stays");
    hub.fleet.wait_settled(&second)?;
    // It waits across a restart, and no other head than the one that waits is approved.
    hub.restart()?;
    hub.fleet.wait("the rewind still waits", |_| {
        source(&hub).is_ok_and(|source| source["rewind_commit"] == forced.as_str())
    })?;
    ensure!(hub.fleet.drover(&["source", "approve", "main", "--head", &first]).is_err());
    hub.fleet.drover(&["source", "approve", "main", "--head", &forced, "--reason", "a test"])?;
    hub.fleet.wait_settled(&forced)?;
    ensure!(source(&hub)?["rewind_commit"].is_null(), "{}", source(&hub)?);
    Ok(())
}

#[test]
fn a_defect_keeps_the_last_good() -> Result<()> {
    let mut hub = Hub::start()?;
    hub.fleet.join("a", Where::Memory)?;
    let good = hub.head()?;
    let settled = hub.fleet.wait_settled(&good)?;
    let variant = settled["clusters"][0]["bundles"][0]["variant"].clone();
    let broken = hub.commit("web/web.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web\n")?;
    let status = hub.fleet.wait("the defect is shown", |status| {
        status["sources"][0]["commit"] == broken.as_str()
            && status["sources"][0]["defects"].as_array().is_some_and(|all| !all.is_empty())
    })?;
    let defect = &status["sources"][0]["defects"][0];
    ensure!(defect["file"] == "web/web.yaml" && defect["line"].as_u64().is_some(), "{defect}");
    let bundle = &status["clusters"][0]["bundles"][0];
    ensure!(bundle["variant"] == variant && bundle["sync"] == "Applied", "{bundle}");
    ensure!(bundle["commit"] == good.as_str(), "it does not pass for the broken commit: {bundle}");

    // The declarations themselves: the catalog of before stays.
    let worse = hub.commit("drover.yaml", "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: [\n")?;
    let status = hub.fleet.wait("the defect of the declarations is shown", |status| {
        status["sources"][0]["defects"]
            .as_array()
            .is_some_and(|all| all.iter().any(|defect| defect["file"] == "drover.yaml"))
    })?;
    ensure!(status["clusters"][0]["bundles"][0]["variant"] == variant, "{status:#}");

    hub.fleet
        .repo
        .git(&["revert", "--no-edit", "--quiet", &worse])
        .or_else(|_| hub.fleet.repo.git(&["checkout", "--quiet", &good, "--", "drover.yaml"]))?;
    let mended = hub.commit("web/web.yaml", &config_map("web", "mended"))?;
    hub.fleet.wait_settled(&mended).map(drop)
}
