//! A bundle that is more than the cluster's part of the ledger takes: what is beyond lies on the
//! volume, and if that is lost the hub sends it again and nothing is deleted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use anyhow::{Result, ensure};
use proto_model::{Digest, limits};
use serde_json::Value as Json;
use tests_cluster::site::{Site, config_map};
use tests_tools::Options;
use tests_tools::fleet::wait_for;

/// Enough ConfigMaps that 8 MiB do not hold them, compressed to the four bits of their hex digits.
const LARGE: usize = 22;
const LARGE_BYTES: usize = 800 * 1024;

/// Text that compresses to half.
fn noise(seed: usize) -> String {
    let mut last = Digest::of(seed.to_string().as_bytes());
    let mut text = String::with_capacity(LARGE_BYTES + 64);
    while text.len() < LARGE_BYTES {
        last = Digest::of(&last.0);
        text.push_str(&last.to_string());
    }
    text
}

fn packs(site: &Site) -> PathBuf {
    site.fleet.spoke_dir(site.name()).join("packs")
}

fn files(site: &Site) -> usize {
    std::fs::read_dir(packs(site)).map(Iterator::count).unwrap_or(0)
}

/// Names and uids of all ConfigMaps in `large`.
fn uids(site: &Site) -> Result<Vec<String>> {
    let list: Json = serde_json::from_str(&site.kubectl(&["get", "configmaps", "-n", "large", "-o", "json"])?)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items.iter().map(|one| format!("{}{}", one["metadata"]["name"], one["metadata"]["uid"])).collect())
}

/// Bytes of the ledger's Secrets, as they lie in the cluster.
fn ledger_bytes(site: &Site) -> Result<usize> {
    let list = site.kubectl(&["get", "secrets", "-n", "drover-system", "-o", "json"])?;
    let list: Json = serde_json::from_str(&list)?;
    let data = list["items"].as_array().unwrap().iter().filter_map(|one| one["data"]["body"].as_str());
    Ok(data.map(str::len).sum())
}

#[test]
fn what_the_cluster_has_no_room_for_lies_on_the_volume_and_comes_again_from_the_hub() -> Result<()> {
    let mut site = Site::joined(Options::bare("large"))?;
    site.bundle("large", "  namespace: large\n")?;
    for at in 0..LARGE {
        site.write(&format!("large/{at}.yaml"), &config_map(&format!("c{at}"), &noise(at)))?;
    }
    site.bundle("small", "  namespace: small\n")?;
    site.write("small/one.yaml", &config_map("one", "1"))?;
    site.settle("a large bundle and a small one")?;
    ensure!(files(&site) == 1, "{} files", files(&site));
    ensure!(ledger_bytes(&site)? < limits::LEDGER_CLUSTER_BYTES_MAX / 8, "the cluster has it, too");
    let before = uids(&site)?;
    ensure!(before.len() == LARGE, "{before:?}");

    // With the folder there, a restart needs no hub.
    site.kill_spoke()?;
    site.fleet.kill_hub();
    site.start_spoke()?;
    site.kubectl(&["delete", "configmap", "c3", "-n", "large"])?;
    site.wait_object("it is made again", ("configmap", "c3", "large"), |found| found.is_some())?;
    let before = uids(&site)?;

    // Without it, what is there stays; the hub brings the content back.
    let name = site.name().to_owned();
    site.fleet.kill_spoke(&name);
    std::fs::remove_dir_all(packs(&site))?;
    let mark = site.cluster.audit()?.len();
    site.start_spoke()?;
    site.wait_spoke_says("Lost")?;
    site.fleet.start_hub()?;
    wait_for("the pack is back", || Ok(files(&site) == 1))?;
    site.wait_spoke_says("2 bundles: 2 Applied and Healthy")?;
    ensure!(uids(&site)? == before, "an object was deleted or made anew");
    let audit = site.cluster.audit()?;
    let deleted: Vec<_> = audit.iter().skip(mark).filter(|one| one.verb == "delete").collect();
    ensure!(deleted.is_empty(), "{deleted:#?}");

    // Other content takes the file's place, and its end takes the file along.
    site.write("large/0.yaml", &config_map("c0", &noise(LARGE)))?;
    site.settle("a change")?;
    ensure!(files(&site) == 1, "the old file stays");
    for at in 1..LARGE {
        site.remove(&format!("large/{at}.yaml"))?;
    }
    site.fleet.repo.commit("nearly all goes")?;
    site.fleet.wait("the guard holds it", |status| status.to_string().contains("\"kind\":\"guard\""))?;
    site.fleet.drover(&["rollout", "approve", "main/large", "--deletions", "--reason", "meant"])?;
    wait_for("the file goes", || Ok(files(&site) == 0))?;
    wait_for("the objects go", || Ok(uids(&site)?.len() == 1))
}
