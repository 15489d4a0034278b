//! Two spokes at one cluster, a ledger in another cluster than its own, and one that is gone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto_model::limits;
use serde_json::Value as Json;
use tests_cluster::site::{Site, config_map};
use tests_tools::process::Process;
use tests_tools::{Cluster, Options, fleet, sys};

const SIGTERM: i32 = 15;

/// A site whose one bundle has some ConfigMaps.
fn site(name: &str) -> Result<Site> {
    let site = Site::joined(Options::bare(name))?;
    site.bundle("web", "  namespace: web\n")?;
    for at in 0..10 {
        site.write(&format!("web/c{at}.yaml"), &config_map(&format!("c{at}"), "1"))?;
    }
    site.settle("a bundle")?;
    Ok(site)
}

/// The spoke's directory, as another machine would have it from a copy of its volume: who it is to the hub, and
/// not who it is to the Lease.
fn copied(site: &Site, name: &str) -> Result<PathBuf> {
    let to = site.fleet.dir().join(name);
    std::fs::create_dir_all(&to)?;
    for file in std::fs::read_dir(site.fleet.spoke_dir(site.name()))? {
        let file = file?;
        let name = file.file_name();
        let is_kept = !["holder", "lock", "spoke.sock", "packs"].iter().any(|other| name == *other);
        if is_kept {
            std::fs::copy(file.path(), to.join(name))?;
        }
    }
    Ok(to)
}

fn start(site: &Site, dir: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(fleet::program("drover-spoke")?);
    command.args(["--cluster", site.name(), "--dir"]).arg(dir).arg("--kubeconfig").arg(kubeconfig);
    Process::start("another spoke", command, &dir.with_extension("log"))
}

/// What the spoke of a directory says.
fn wait_says(dir: &Path, part: &str, patience: Duration) -> Result<String> {
    let begun = Instant::now();
    loop {
        let mut command = Command::new(fleet::program("drover-spoke")?);
        command.args(["status", "--dir"]).arg(dir);
        let output = tests_tools::process::output(command)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains(part) {
            return Ok(said);
        }
        let log = std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
        ensure!(begun.elapsed() < patience, "it does not say {part:?}, but\n{said}\n{log}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_put_right(site: &Site, name: &str) -> Result<()> {
    site.kubectl(&["delete", "configmap", name, "-n", "web"])?;
    site.wait_object("it is made again", ("configmap", name, "web"), |found| found.is_some())
}

#[test]
fn of_two_spokes_one_acts_and_the_other_takes_over() -> Result<()> {
    let mut site = site("two")?;
    let dir = copied(&site, "second")?;
    let kubeconfig = site.cluster.kubeconfig();
    let second = start(&site, &dir, &kubeconfig)?;
    let said = wait_says(&dir, "NOTHING IS DONE HERE", fleet::WAIT)?;
    ensure!(said.contains("lease"), "{said}");
    site.wait_spoke_says("1 bundle: 1 Applied and Healthy")?;

    // One that ends gives the Lease back.
    sys::send_signal(site.fleet.spoke_pid("two").unwrap(), SIGTERM)?;
    wait_says(&dir, "1 bundle: 1 Applied and Healthy", fleet::WAIT)?;
    is_put_right(&site, "c0")?;
    site.fleet.wait("the hub hears the second", |status| tests_cluster::site::connected(status, "two"))?;

    // One that is killed leaves it to run out, and nobody acts before.
    site.fleet.kill_spoke("two");
    site.start_spoke()?;
    site.wait_spoke_says("NOTHING IS DONE HERE")?;
    drop(second);
    let killed = Instant::now();
    let life = Duration::from_secs(u64::from(limits::LEASE_SECS));
    wait_says(&site.fleet.spoke_dir("two"), "1 bundle: 1 Applied and Healthy", life * 2)?;
    ensure!(killed.elapsed() > life / 2, "it took the Lease before it had run out");
    is_put_right(&site, "c1")
}

/// The Secrets of the ledger, as a backup has them.
fn ledger(site: &Site) -> Result<Json> {
    let args = ["get", "secrets", "-n", "drover-system", "-l", "drover.dev/ledger", "-o", "json"];
    let mut list: Json = serde_json::from_str(&site.kubectl(&args)?)?;
    for one in list["items"].as_array_mut().context("no ledger")? {
        let metadata = one["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| ["name", "namespace", "labels"].contains(&key.as_str()));
    }
    Ok(list)
}

#[test]
fn a_ledger_in_another_cluster_is_not_acted_on() -> Result<()> {
    let mut site = site("original")?;
    let clone = Cluster::start(Options::bare("clone"))?;
    clone.kubectl_text(["create", "namespace", "drover-system"], "")?;
    clone.kubectl_text(["create", "-f", "-"], &ledger(&site)?.to_string())?;
    // With the namespace there, all that is missing is a spoke that acts.
    clone.kubectl_text(["create", "namespace", "web"], "")?;
    let dir = copied(&site, "cloned")?;
    site.fleet.kill_hub();
    let spoke = start(&site, &dir, &clone.kubeconfig())?;
    wait_says(&dir, "the ledger was written in another cluster", fleet::WAIT)?;

    // Nor when the hub is there, which knows the original.
    site.fleet.start_hub()?;
    site.fleet.wait("the hub refuses the clone", |status| status.to_string().contains("duplicateIdentity"))?;
    let ours = |entry: &&tests_tools::audit::Entry| {
        let elsewhere = !["", "drover-system", "kube-system"].contains(&entry.namespace.as_str());
        entry.user_agent.starts_with("drover-spoke/") && elsewhere
    };
    let audit = clone.audit()?;
    let writes: Vec<_> = audit.iter().filter(ours).collect();
    ensure!(audit.iter().any(|one| one.user_agent.starts_with("drover-spoke/") && one.resource == "leases"));
    ensure!(writes.is_empty(), "{writes:#?}");
    drop(spoke);
    Ok(())
}

#[test]
fn a_ledger_that_is_gone_is_rebuilt_from_marks_and_what_git_dropped_goes() -> Result<()> {
    let mut site = site("rebuilt")?;
    let before = site.kubectl(&["get", "configmaps", "-n", "web", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    site.kill_spoke()?;
    site.kubectl(&["delete", "secrets", "-n", "drover-system", "-l", "drover.dev/ledger"])?;
    // Meanwhile Git drops two.
    site.remove("web/c8.yaml")?;
    site.remove("web/c9.yaml")?;
    let commit = site.fleet.repo.commit("two go while nobody is there")?;
    // With the ledger went what tells the hub that it is the same spoke: an operator says so.
    site.start_spoke()?;
    site.fleet.wait("the hub asks who this is", |status| status.to_string().contains("duplicateIdentity"))?;
    sys::send_signal(site.fleet.spoke_pid("rebuilt").unwrap(), SIGTERM)?;
    fleet::wait_for("the Lease is given back", || {
        let args = ["get", "leases", "-n", "drover-system", "-o", "jsonpath={.items[*].spec.holderIdentity}"];
        Ok(site.kubectl(&args)?.is_empty())
    })?;
    site.fleet.kill_spoke("rebuilt");
    std::fs::remove_dir_all(site.fleet.spoke_dir("rebuilt"))?;
    site.fleet.drover(&["cluster", "replace", "rebuilt"])?;
    let kubeconfig = site.cluster.kubeconfig();
    site.join(kubeconfig)?;
    site.fleet.wait_settled(&commit).with_context(|| site.fleet.spoke_log("rebuilt"))?;
    fleet::wait_for("what Git dropped goes", || {
        Ok(site.get("configmap", "c8", "web")?.is_none() && site.get("configmap", "c9", "web")?.is_none())
    })?;
    let after = site.kubectl(&["get", "configmaps", "-n", "web", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    ensure!(after.split(' ').count() == 8, "{after}");
    ensure!(after.split(' ').all(|uid| before.contains(uid)), "what stays was made anew");
    let inventory = site.spoke(&["inventory"])?;
    let inventory = String::from_utf8_lossy(&inventory.stdout).into_owned();
    ensure!(inventory.matches("ConfigMap").count() == 8, "{inventory}");
    Ok(())
}
