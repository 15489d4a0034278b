//! Several sources: what the root declares is followed, kept within what it may, and let go of through the guard.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Repo, Where, bundle};
use tests_wire::hook::{self, address, connect, push, signed};
use tests_wire::hub::{Hub, config_map};

/// Clusters `a` of the team, and `b` of another.
const CLUSTERS: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: a, labels: {team: a}}
---
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: b, labels: {team: b}}
";

/// The team's bundle, for all clusters that there are.
const APP: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: app}
spec: {path: app, namespace: team-a, targets: [{selector: {}}]}
";

fn team(url: &str, more: &str) -> String {
    format!(
        "apiVersion: drover.dev/v1alpha1\nkind: Source\nmetadata: {{name: team}}\nspec:\n  url: {url}\n{more}  may:\n    \
         clusters: {{selector: {{matchLabels: {{team: a}}}}}}\n    namespaces: [\"team-a\", \"team-a-*\"]\n"
    )
}

fn repository(dir: &std::path::Path, value: &str) -> Result<Repo> {
    let repo = Repo::new(dir.to_owned())?;
    repo.write("drover.yaml", APP)?;
    repo.write("app/app.yaml", &config_map("app", value))?;
    repo.commit("the team's first")?;
    Ok(repo)
}

/// A hub whose root declares the source `team`, and a spoke of cluster `a`.
struct World {
    hub: Hub,
    team: Repo,
    dir: tempfile::TempDir,
}

impl World {
    fn start() -> Result<Self> {
        Self::start_with("", &[])
    }

    fn start_with(more: &str, args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let team = repository(&dir.path().join("team"), "one")?;
        let declared = self::team(&team.dir().display().to_string(), more);
        let mut hub = Hub::start_with_args(&[("drover.yaml", CLUSTERS), ("team.drover.yaml", &declared)], args)?;
        hub.fleet.join("a", Where::Memory)?;
        let world = Self { hub, team, dir };
        world.runs(&world.head()?)?;
        Ok(world)
    }

    fn head(&self) -> Result<String> {
        Ok(self.team.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Waits until cluster `a` runs the team's bundle as of a commit.
    fn runs(&self, commit: &str) -> Result<Json> {
        self.hub.fleet.wait("the team's bundle is applied", |status| {
            bundle(status, "a", "team/app")
                .is_some_and(|app| app["commit"] == commit && app["sync"] == "Applied" && app["hold"].is_null())
        })
    }

    fn source(&self) -> Result<Option<Json>> {
        let all: Json = serde_json::from_str(&self.hub.fleet.drover(&["get", "sources", "-o", "json"])?)?;
        let all = all["sources"].as_array().context("no sources")?;
        Ok(all.iter().find(|one| one["source"] == "team").cloned())
    }

    fn source_until(&self, what: &str, is_so: impl Fn(&Json) -> bool) -> Result<Json> {
        let mut found = Json::Null;
        self.hub.fleet.wait(what, |_| {
            found = self.source().ok().flatten().unwrap_or_default();
            is_so(&found)
        })?;
        Ok(found)
    }

    fn write(&self, path: &str, text: &str) -> Result<String> {
        self.team.write(path, text)?;
        self.team.commit("the team's change")
    }
}

#[test]
fn a_source_is_followed_within_what_it_may() -> Result<()> {
    let mut world = World::start()?;
    let status = world.hub.fleet.status()?;
    ensure!(bundle(&status, "b", "team/app").is_none(), "it selects a cluster that it does not see: {status:#}");

    // What it may not have holds that bundle alone, with file and line, and reaches nobody.
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\nrules: []\n";
    for (path, text, word) in [
        ("app/role.yaml", role, "scope"),
        ("app/role.yaml", &*config_map("x", "y").replace("name: x", "name: x, namespace: kube-system"), "kube-system"),
        ("c.drover.yaml", "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: mine}\n", "root source"),
    ] {
        let commit = world.write(path, text)?;
        let source = world.source_until("the defect is shown", |source| {
            let defects = source["defects"].as_array().cloned().unwrap_or_default();
            source["commit"] == commit.as_str()
                && defects.iter().any(|one| one["message"].as_str().is_some_and(|message| message.contains(word)))
        })?;
        let defect = &source["defects"][0];
        ensure!(defect["file"].is_string() && defect["line"].as_u64().is_some_and(|line| line > 0), "{defect}");
    }
    let good = world.write("app/role.yaml", &config_map("role", "fine"))?;
    world.runs(&good)?;
    ensure!(world.hub.fleet.cluster("mine").is_err(), "it declared a cluster");

    // The root goes on by itself, and everything goes on after a restart.
    world.hub.commit("team.drover.yaml", &team(&world.team.dir().display().to_string(), "  poll: 1s\n"))?;
    world.hub.restart()?;
    let next = world.write("app/app.yaml", &config_map("app", "two"))?;
    world.runs(&next).map(drop)
}

#[test]
fn a_source_that_is_removed_goes_as_far_as_the_guard_lets_it() -> Result<()> {
    let mut world = World::start()?;
    fs::remove_file(world.hub.fleet.repo.dir().join("team.drover.yaml"))?;
    world.hub.fleet.repo.commit("without the team")?;
    let is_held = |status: &Json| bundle(status, "a", "team/app").is_some_and(|app| app["hold"]["kind"] == "guard");
    let status = world.hub.fleet.wait("the guard holds it", is_held)?;
    ensure!(bundle(&status, "a", "team/app").is_some_and(|app| app["sync"] == "Applied"), "{status:#}");
    let is_removed = |source: &Json| source["error"].as_str().is_some_and(|error| error.contains("no longer declares"));
    world.source_until("it is shown as removed", is_removed)?;
    // Nobody reads it any more, nor after a restart.
    world.write("app/app.yaml", &config_map("app", "two"))?;
    world.hub.restart()?;
    world.source_until("it is still shown as removed", is_removed)?;
    world.hub.fleet.wait("the guard still holds it", is_held)?;

    world.hub.fleet.drover(&["rollout", "approve", "team/app", "--deletions", "--reason", "a test"])?;
    world.hub.fleet.wait("nothing of it is left", |status| {
        bundle(status, "a", "team/app").is_none() && world.source().is_ok_and(|source| source.is_none())
    })?;
    // One of that name that comes back is a new one.
    world.hub.commit("team.drover.yaml", &team(&world.team.dir().display().to_string(), ""))?;
    world.runs(&world.head()?).map(drop)
}

#[test]
fn a_source_that_lies_elsewhere_is_accepted_anew() -> Result<()> {
    let world = World::start()?;
    let other = repository(&world.dir.path().join("other"), "of another history")?;
    let commit = other.git(&["rev-parse", "HEAD"])?.trim().to_owned();
    world.hub.commit("team.drover.yaml", &team(&other.dir().display().to_string(), ""))?;
    world.runs(&commit)?;
    let source = world.source()?.context("no source")?;
    ensure!(source["rewind_commit"].is_null() && source["error"].is_null(), "{source}");
    let audit = world.hub.fleet.drover(&["get", "audit", "-o", "json"])?;
    ensure!(audit.contains("read from another place"), "{audit}");
    Ok(())
}

#[test]
fn a_branch_that_vanishes_keeps_what_it_gave() -> Result<()> {
    let world = World::start()?;
    let first = world.head()?;
    world.team.git(&["branch", "--move", "main", "elsewhere"])?;
    let source = world.source_until("the error is shown", |source| source["error"].is_string())?;
    ensure!(source["error"].as_str().is_some_and(|error| error.contains("main")), "{source}");
    ensure!(source["commit"] == first.as_str(), "{source}");
    world.runs(&first)?;
    let on = world.hub.commit("web.drover.yaml", &APP.replace("team-a", "x").replace("app", "web"))?;
    world.hub.fleet.wait("the root goes on", |status| {
        status["sources"].as_array().is_some_and(|all| all.iter().any(|one| one["commit"] == on.as_str()))
    })?;

    world.team.git(&["branch", "--move", "elsewhere", "main"])?;
    let second = world.write("app/app.yaml", &config_map("app", "two"))?;
    world.runs(&second)?;
    world.source_until("the error is over", |source| source["error"].is_null()).map(drop)
}

#[test]
fn a_webhook_of_a_further_source_is_signed_with_its_own_secret() -> Result<()> {
    let credentials = tempfile::tempdir()?;
    let path = credentials.path().join("team-a");
    fs::create_dir(&path)?;
    fs::write(path.join("webhook"), "the team's own")?;
    fs::set_permissions(path.join("webhook"), Permissions::from_mode(0o600))?;
    let folder = credentials.path().to_str().context("a path that is no text")?;
    let args = ["--hooks", "127.0.0.1:0", "--credentials-dir", folder];
    let world = World::start_with("  poll: 1d\n  credentials: team-a\n", &args)?;
    let commit = world.write("app/app.yaml", &config_map("app", "two"))?;
    let body = push(&world.team.dir().display().to_string(), "main");
    let send = |secret: &str, body: &str| {
        let mut stream = connect(address(&world.hub, "hooks")?)?;
        hook::post(&mut stream, "/hooks/github", &signed(secret, "push", body), body)
    };
    ensure!(send("a guess", &body)?.0 == 401);
    let of_root = push(&world.hub.fleet.repo.dir().display().to_string(), "main");
    ensure!(send("the team's own", &of_root)?.1["outcome"] == "unmatched", "it speaks for its own source alone");
    ensure!(send("the team's own", &body)?.1["sources"] == serde_json::json!(["team"]));
    world.runs(&commit).map(drop)
}

#[test]
fn a_bad_head_of_the_root_freezes_no_other_source_at_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let team = repository(&dir.path().join("team"), "one")?;
    let declared = self::team(&team.dir().display().to_string(), "");
    let files = [("fleet/drover.yaml", CLUSTERS), ("fleet/team.drover.yaml", &*declared)];
    let mut hub = Hub::start_with_args(&files, &["--path", "fleet"])?;
    hub.fleet.join("a", Where::Memory)?;
    let mut world = World { hub, team, dir };
    world.runs(&world.head()?)?;
    world.hub.fleet.repo.git(&["mv", "fleet", "elsewhere"])?;
    world.hub.fleet.repo.commit("the folder has another name")?;
    world.hub.restart()?;
    let commit = world.write("app/app.yaml", &config_map("app", "two"))?;
    world.runs(&commit)?;
    let status = world.hub.fleet.status()?;
    let root = status["sources"].as_array().into_iter().flatten().find(|one| one["source"] == "main");
    ensure!(root.is_some_and(|root| root["error"].as_str().is_some_and(|error| error.contains("fleet"))), "{status:#}");
    Ok(())
}

#[test]
fn a_source_that_there_is_no_room_for_waits_without_a_word_to_the_log() -> Result<()> {
    // As many as there may be. Without credentials nobody is asked for them.
    let others: String = (1..proto_model::limits::SOURCES_MAX)
        .map(|number| {
            let name = format!("metadata: {{name: other-{number}}}\nspec: {{url: \"https://git.example.com/x\", ");
            format!("---\napiVersion: drover.dev/v1alpha1\nkind: Source\n{name}credentials: none, poll: 1h}}\n")
        })
        .collect();
    let world = World::start_with("", &["--metrics", "127.0.0.1:0"])?;
    world.hub.commit("others.drover.yaml", &others)?;
    let count = |world: &World| -> Result<usize> {
        let all: Json = serde_json::from_str(&world.hub.fleet.drover(&["get", "sources", "-o", "json"])?)?;
        Ok(all["sources"].as_array().map_or(0, Vec::len))
    };
    tests_tools::fleet::wait_for("all are there", || Ok(count(&world)? == proto_model::limits::SOURCES_MAX + 1))?;

    // Another takes the place of one that the guard holds.
    let fresh = repository(&world.dir.path().join("fresh"), "of the fresh one")?;
    fresh.write(
        "drover.yaml",
        &APP.replace("{name: app}", "{name: fresh}").replace("namespace: team-a", "namespace: team-a-b"),
    )?;
    let fresh_head = fresh.commit("a bundle of its own")?;
    let declared = team(&fresh.dir().display().to_string(), "").replace("{name: team}", "{name: fresh}");
    world.hub.commit("team.drover.yaml", &declared)?;
    let mut told = Json::Null;
    tests_tools::fleet::wait_for("it is told that there is no room", || {
        let all: Json = serde_json::from_str(&world.hub.fleet.drover(&["get", "sources", "-o", "json"])?)?;
        told = all["sources"].as_array().into_iter().flatten().find(|one| one["source"] == "fresh").cloned().into();
        Ok(told["error"].as_str().is_some_and(|error| error.contains("at most")))
    })?;
    let before = hook::metric(&world.hub, "drover_hub_applied_index")?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let entries = hook::metric(&world.hub, "drover_hub_applied_index")? - before;
    ensure!(entries < 10, "{entries} entries in three seconds");
    world.hub.fleet.drover(&["rollout", "approve", "team/app", "--deletions", "--reason", "a test"])?;
    world.hub.fleet.wait("it has its place", |status| {
        bundle(status, "a", "fresh/fresh").is_some_and(|one| one["commit"] == fresh_head.as_str())
    })?;
    Ok(())
}

#[test]
fn signatures_that_were_asked_for_are_not_dropped_by_a_start_without_keys() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("key");
    tests_tools::gitea::ssh_key(&key)?;
    let keys = key.with_extension("pub").display().to_string();
    let mut hub = Hub::start_with_args(&[("drover.yaml", CLUSTERS)], &["--verify-with", &keys])?;
    hub.fleet.wait("the unsigned head is refused", |status| {
        status["sources"][0]["error"].as_str().is_some_and(|error| error.contains("signed"))
    })?;
    hub.fleet.kill_hub();
    hub.fleet.hub_args(&[]);
    let refused = hub.fleet.start_hub().map_or_else(|error| error.to_string(), |()| "it started".to_owned());
    ensure!(refused.contains("--unverified"), "{refused}");
    hub.fleet.hub_args(&["--unverified"]);
    hub.fleet.start_hub()?;
    let head = hub.head()?;
    hub.fleet.wait("the head is read", |status| status["sources"][0]["commit"] == head.as_str()).map(drop)
}
