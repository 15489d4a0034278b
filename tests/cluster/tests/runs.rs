//! The runs of a whole fleet on real API servers: a commit arrives, nothing happens without a
//! reason, what leaves Git leaves the cluster, and nothing goes by accident.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{self, Fleet, Where};
use tests_tools::{Cluster, Options};

/// Two real clusters that run what `examples/retail` wants of them.
struct Run {
    fleet: Fleet,
    clusters: BTreeMap<&'static str, Cluster>,
    commit: String,
}

const NAMES: [&str; 2] = ["dc-frankfurt", "store-berlin"];

impl Run {
    fn start() -> Result<Self> {
        let options = NAMES.iter().map(|name| Options::full(name)).collect();
        let clusters: BTreeMap<_, _> = NAMES.into_iter().zip(Cluster::start_all(options)?).collect();
        let mut fleet = Fleet::new()?;
        fleet.repo.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail"))?;
        let commit = fleet.repo.commit("the retail example")?;
        fleet.start_hub()?;
        for (name, cluster) in &clusters {
            fleet.join(name, Where::Kube(cluster.kubeconfig()))?;
        }
        let mut run = Self { fleet, clusters, commit };
        run.settle()?;
        Ok(run)
    }

    fn settle(&mut self) -> Result<()> {
        self.fleet.wait("both clusters connected", |status| {
            let all = status["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().filter(|one| one["connected"] == true).count() == NAMES.len()
        })?;
        self.fleet.wait_settled(&self.commit).map(drop)
    }

    fn commit(&mut self, message: &str) -> Result<()> {
        self.commit = self.fleet.repo.commit(message)?;
        self.settle()
    }

    fn kubectl(&self, cluster: &str, args: &[&str]) -> Result<String> {
        self.clusters.get(cluster).context("no such cluster")?.kubectl_text(args, "")
    }

    /// Every object with our label, and its resourceVersion.
    fn owned(&self, cluster: &str) -> Result<BTreeMap<String, String>> {
        let kinds = "configmaps,services,serviceaccounts,deployments,statefulsets,jobs,ingresses,\
                     networkpolicies,resourcequotas,limitranges,roles,rolebindings,namespaces,\
                     customresourcedefinitions";
        let args = ["get", kinds, "-A", "-l", "drover.dev/owner", "-o", "json"];
        let list: Json = serde_json::from_str(&self.kubectl(cluster, &args)?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|one| {
                let text = |pointer| one.pointer(pointer).and_then(Json::as_str).unwrap_or("");
                let name = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
                (name, text("/metadata/resourceVersion").to_owned())
            })
            .collect())
    }

    /// Writes of spokes at the API server since a mark, as "verb resource namespace/name". The
    /// lease, which is renewed all the time, the ledger and Events are no objects of a bundle.
    fn writes(&self, cluster: &str, since: usize) -> Result<Vec<String>> {
        let audit = self.clusters.get(cluster).context("no such cluster")?.audit()?;
        Ok(audit
            .iter()
            .skip(since)
            .filter(|entry| {
                ["create", "update", "patch", "delete", "deletecollection"].contains(&entry.verb.as_str())
                    && entry.user == "admin"
                    && entry.user_agent.starts_with("drover-spoke/")
                    && entry.namespace != "drover-system"
                    && entry.resource != "events"
            })
            .map(|entry| format!("{} {} {}/{}", entry.verb, entry.resource, entry.namespace, entry.name))
            .collect())
    }

    fn mark(&self, cluster: &str) -> Result<usize> {
        Ok(self.clusters.get(cluster).context("no such cluster")?.audit()?.len())
    }
}

/// One fleet serves the whole story: its steps build on each other, as a day of a fleet does.
#[test]
fn a_commit_reaches_real_clusters_and_nothing_else_does() -> Result<()> {
    let mut run = Run::start()?;
    deployments_are_available(&run)?;
    nothing_differs(&run)?;
    a_change_arrives(&mut run)?;
    the_hub_may_be_gone(&mut run)?;
    a_hub_that_comes_back_re_sends_nothing(&mut run)?;
    a_spoke_that_restarts_re_applies_nothing(&mut run)?;
    drift_is_put_right(&run)?;
    a_foreign_object_is_not_taken(&mut run)?;
    a_removed_file_takes_its_object_along(&mut run)?;
    an_empty_repository_is_held(&mut run)?;
    an_approved_deletion_goes(&mut run)
}

fn deployments_are_available(run: &Run) -> Result<()> {
    for name in NAMES {
        let args = ["get", "deployments", "-A", "-l", "drover.dev/owner", "-o", "json"];
        let list: Json = serde_json::from_str(&run.kubectl(name, &args)?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        ensure!(!items.is_empty(), "{name} has no Deployment");
        for item in items {
            let available = item["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Available" && one["status"] == "True"));
            ensure!(available, "{name}: {} is not Available", item["metadata"]["name"]);
        }
    }
    Ok(())
}

/// What API servers fill in, and controllers add, is no difference.
fn nothing_differs(run: &Run) -> Result<()> {
    let status = run.fleet.status()?;
    for cluster in status["clusters"].as_array().context("no clusters")? {
        let name = cluster["cluster"].as_str().context("a cluster without a name")?;
        if !NAMES.contains(&name) {
            continue;
        }
        for bundle in cluster["bundles"].as_array().context("no bundles")? {
            let bundle = bundle["bundle"].as_str().context("a bundle without a name")?;
            // It ends with 1 where anything differs.
            let diff: Json = serde_json::from_str(&run.fleet.drover(&["diff", name, bundle, "-o", "json"])?)?;
            ensure!(diff["same"].as_u64() > Some(0), "{name} {bundle}: {diff}");
        }
    }
    Ok(())
}

fn a_change_arrives(run: &mut Run) -> Result<()> {
    let path = run.fleet.repo.dir().join("storefront/config.yaml");
    let text = std::fs::read_to_string(&path)?;
    let before = run.owned("store-berlin")?;
    std::fs::write(&path, text.replace("Welcome to our shops!", "Hello from Git"))?;
    run.commit("a new banner")?;
    let args = ["get", "configmap", "storefront", "-n", "shop", "-o", "jsonpath={.data.banner}"];
    for name in NAMES {
        ensure!(run.kubectl(name, &args)? == "Hello from Git");
    }
    let after = run.owned("store-berlin")?;
    ensure!(before.keys().eq(after.keys()), "a change adds and removes nothing");
    Ok(())
}

fn the_hub_may_be_gone(run: &mut Run) -> Result<()> {
    run.fleet.kill_hub();
    let owned = run.owned("store-berlin")?;
    run.kubectl("store-berlin", &["delete", "configmap", "storefront", "-n", "shop"])?;
    fleet::wait_for("the ConfigMap to come back without a hub", || {
        Ok(run.owned("store-berlin")?.keys().eq(owned.keys()))
    })
}

fn a_hub_that_comes_back_re_sends_nothing(run: &mut Run) -> Result<()> {
    // What the drift before this caused has ended once nothing was written for a while.
    quiet(run)?;
    let before: Vec<_> = NAMES.iter().map(|name| run.owned(name)).collect::<Result<_>>()?;
    let marks: Vec<_> = NAMES.iter().map(|name| run.mark(name)).collect::<Result<_>>()?;
    run.fleet.start_hub()?;
    run.settle()?;
    for (at, name) in NAMES.iter().enumerate() {
        let sent = run.fleet.cluster(name)?["sent_delta_bytes"].as_u64();
        ensure!(sent == Some(0), "{name} was sent {sent:?} bytes");
        let writes = run.writes(name, marks[at])?;
        ensure!(writes.is_empty(), "{name}: {writes:?}");
        ensure!(run.owned(name)? == before[at], "{name}: a resourceVersion moved");
    }
    Ok(())
}

/// Waits until a whole second passed without a write of a spoke.
fn quiet(run: &Run) -> Result<()> {
    let mut marks = Vec::new();
    fleet::wait_for("writes to end", || {
        let now: Vec<_> = NAMES.iter().map(|name| Ok(run.writes(name, 0)?.len())).collect::<Result<_>>()?;
        marks.push(now);
        let last = marks.iter().rev().take(10).collect::<Vec<_>>();
        Ok(last.len() == 10 && last.iter().all(|one| *one == last[0]))
    })
}

fn a_spoke_that_restarts_re_applies_nothing(run: &mut Run) -> Result<()> {
    let before = run.owned("store-berlin")?;
    let mark = run.mark("store-berlin")?;
    run.fleet.kill_spoke("store-berlin");
    run.fleet.wait("the spoke to be gone", |status| {
        status["clusters"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["cluster"] == "store-berlin" && one["connected"] == false))
    })?;
    run.fleet.start_spoke("store-berlin")?;
    run.settle()?;
    quiet(run)?;
    let writes = run.writes("store-berlin", mark)?;
    ensure!(writes.is_empty(), "{writes:?}");
    ensure!(run.owned("store-berlin")? == before);
    ensure!(run.fleet.cluster("store-berlin")?["sent_delta_bytes"] == 0);
    Ok(())
}

fn drift_is_put_right(run: &Run) -> Result<()> {
    let mark = run.mark("dc-frankfurt")?;
    let patch = r#"{"data":{"banner":"edited by hand"}}"#;
    run.kubectl("dc-frankfurt", &["patch", "configmap", "storefront", "-n", "shop", "-p", patch])?;
    let args = ["get", "configmap", "storefront", "-n", "shop", "-o", "jsonpath={.data.banner}"];
    fleet::wait_for("the banner to be put right", || Ok(run.kubectl("dc-frankfurt", &args)? == "Hello from Git"))?;
    quiet(run)?;
    let writes = run.writes("dc-frankfurt", mark)?;
    ensure!(writes == ["patch configmaps shop/storefront"], "{writes:?}");
    Ok(())
}

fn a_foreign_object_is_not_taken(run: &mut Run) -> Result<()> {
    let args = ["create", "configmap", "foreign", "-n", "shop", "--from-literal=a=theirs"];
    run.kubectl("store-berlin", &args)?;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: foreign}\ndata: {a: ours}\n";
    run.fleet.repo.write("storefront/foreign.yaml", manifest)?;
    run.commit = run.fleet.repo.commit("a ConfigMap that somebody else has already")?;
    let status = run.fleet.wait("the refusal", |status| {
        fleet::bundle(status, "store-berlin", "main/storefront").is_some_and(|bundle| bundle["sync"] == "Failed")
    })?;
    let hold = &fleet::bundle(&status, "store-berlin", "main/storefront").context("gone")?["hold"];
    let words = hold["message"].as_str().unwrap_or_default();
    ensure!(words.contains("exists, not ours") && words.contains("foreign"), "{hold}");
    let args = ["get", "configmap", "foreign", "-n", "shop", "-o", "jsonpath={.data.a}"];
    ensure!(run.kubectl("store-berlin", &args)? == "theirs");
    std::fs::remove_file(run.fleet.repo.dir().join("storefront/foreign.yaml"))?;
    run.commit("without it")?;
    ensure!(run.kubectl("store-berlin", &args)? == "theirs", "it was never ours to delete");
    Ok(())
}

fn a_removed_file_takes_its_object_along(run: &mut Run) -> Result<()> {
    quiet(run)?;
    let before = run.owned("store-berlin")?;
    std::fs::remove_file(run.fleet.repo.dir().join("policies/limits.yaml"))?;
    run.commit("no limits")?;
    let mut gone = Vec::new();
    fleet::wait_for("the object to go", || {
        let after = run.owned("store-berlin")?;
        gone = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        Ok(!gone.is_empty())
    })?;
    ensure!(gone == ["LimitRange shop/defaults"], "{gone:?}");
    quiet(run)?;
    let after = run.owned("store-berlin")?;
    let moved: Vec<_> = after.iter().filter(|(name, version)| before.get(*name) != Some(*version)).collect();
    // Status of workloads moves by itself; what Drover writes would show in the count of objects.
    ensure!(after.len() + 1 == before.len(), "{moved:?}");
    Ok(())
}

fn an_empty_repository_is_held(run: &mut Run) -> Result<()> {
    for name in ["inventory-db", "monitoring", "platform", "policies", "reindex", "storefront"] {
        std::fs::remove_dir_all(run.fleet.repo.dir().join(name))?;
    }
    let commit = run.fleet.repo.commit("empty")?;
    let before = run.owned("store-berlin")?;
    let status = run.fleet.wait("the guard to hold every bundle in every cluster", |status| {
        status["sources"][0]["commit"] == commit.as_str()
            && NAMES.iter().all(|name| {
                let clusters = status["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
                let cluster = clusters.iter().find(|one| one["cluster"] == *name);
                cluster.and_then(|one| one["bundles"].as_array()).is_some_and(|bundles| {
                    !bundles.is_empty() && bundles.iter().all(|bundle| bundle["hold"]["kind"] == "guard")
                })
            })
    })?;
    ensure!(fleet::bundle(&status, "store-berlin", "main/storefront").is_some());
    let explained = run.fleet.drover(&["explain", "store-berlin", "main/storefront"])?;
    ensure!(explained.contains("Deployment.apps shop/storefront"), "{explained}");
    quiet(run)?;
    ensure!(run.owned("store-berlin")?.keys().eq(before.keys()), "the guard held nothing back");
    Ok(())
}

fn an_approved_deletion_goes(run: &mut Run) -> Result<()> {
    let of = |owned: &BTreeMap<String, String>| owned.keys().filter(|name| name.ends_with(" shop/storefront")).count();
    let before = run.owned("store-berlin")?;
    ensure!(of(&before) > 0);
    run.fleet.drover(&["rollout", "approve", "main/storefront", "--deletions", "--reason", "meant"])?;
    fleet::wait_for("the storefront to go", || Ok(of(&run.owned("store-berlin")?) == 0))?;
    run.fleet
        .wait("the hub to forget it", |status| fleet::bundle(status, "store-berlin", "main/storefront").is_none())?;
    let after = run.owned("store-berlin")?;
    ensure!(after.len() + of(&before) == before.len(), "something else went, too");
    let audit = run.fleet.drover(&["get", "audit", "-o", "json"])?;
    ensure!(audit.contains("approved deletions of main/storefront") && audit.contains("meant"));
    Ok(())
}
