//! Sources whose head must be signed: a hub goes on with what is, and keeps the last good state for what is not.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Fleet, Repo, Where, bundle};
use tests_tools::gitea::ssh_key;
use tests_wire::hub::config_map;

const CLUSTER: &str = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\n";
const WEB: &str = "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {name: web}\n\
                   spec: {path: web, targets: [{selector: {}}]}\n";

/// Two people with a key each.
struct People {
    dir: tempfile::TempDir,
}

impl People {
    fn new() -> Result<Self> {
        let people = Self { dir: tempfile::tempdir()? };
        ssh_key(&people.key("ada"))?;
        ssh_key(&people.key("eve"))?;
        Ok(people)
    }

    fn key(&self, who: &str) -> PathBuf {
        self.dir.path().join(who)
    }

    fn public(&self, who: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.key(who).with_extension("pub"))?.trim().to_owned())
    }
}

/// Commits a value for the bundle, signed with a key.
fn signed(repo: &Repo, key: &Path, value: &str) -> Result<String> {
    repo.write("web/web.yaml", &config_map("web", value))?;
    repo.git(&["add", "--all"])?;
    let key = format!("user.signingkey={}", key.display());
    repo.git(&["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "-m", value])?;
    Ok(repo.git(&["rev-parse", "HEAD"])?.trim().to_owned())
}

/// The head with other words and the signature of before.
fn tampered(repo: &Repo) -> Result<String> {
    let text = repo.git(&["cat-file", "commit", "HEAD"])?;
    let file = repo.dir().join(".git/tampered");
    std::fs::write(&file, text + "and more\n")?;
    let id = repo.git(&["hash-object", "-t", "commit", "-w", &file.to_string_lossy()])?.trim().to_owned();
    repo.git(&["update-ref", "HEAD", &id])?;
    Ok(id)
}

fn source(fleet: &Fleet, name: &str) -> Result<Json> {
    let all: Json = serde_json::from_str(&fleet.drover(&["get", "sources", "-o", "json"])?)?;
    let all = all["sources"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["source"] == name).with_context(|| format!("no source {name}"))
}

/// Waits until a source tells why a head is not accepted; what ran before runs on.
fn refused(fleet: &Fleet, name: &str, good: &str, head: &str, why: &str) -> Result<()> {
    let told = format!("commit {head} is not accepted: ");
    let status = fleet.wait(&format!("{name}: {told}"), |_| {
        source(fleet, name).is_ok_and(|one| one["error"].as_str().is_some_and(|error| error.contains(&told)))
    })?;
    let found = source(fleet, name)?;
    ensure!(found["error"].as_str().is_some_and(|error| error.contains(why)), "not {why:?}: {found}");
    ensure!(found["commit"] == good, "it was read: {found}");
    let web = bundle(&status, "a", &format!("{name}/web")).context("the bundle is gone")?;
    ensure!(web["commit"] == good && web["sync"] == "Applied" && web["hold"].is_null(), "{web}");
    Ok(())
}

/// Waits until cluster `a` runs a commit, and the source has nothing to complain of.
fn accepted(fleet: &Fleet, name: &str, head: &str) -> Result<()> {
    fleet.wait(&format!("{name} runs {head}"), |status| {
        let web = bundle(status, "a", &format!("{name}/web"));
        web.is_some_and(|web| web["commit"] == head && web["sync"] == "Applied")
            && source(fleet, name).is_ok_and(|one| one["error"].is_null() && one["commit"] == head)
    })?;
    Ok(())
}

#[test]
fn a_hub_that_verifies_follows_signed_heads_alone() -> Result<()> {
    let people = People::new()?;
    let signers = people.dir.path().join("signers");
    std::fs::write(&signers, people.public("ada")?)?;
    let mut fleet = Fleet::new()?;
    fleet.hub_args(&["--verify-with", &signers.to_string_lossy()]);
    fleet.repo.write("drover.yaml", &format!("{CLUSTER}---\n{WEB}"))?;
    let first = signed(&fleet.repo, &people.key("ada"), "one")?;
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    accepted(&fleet, "main", &first)?;

    fleet.repo.write("web/web.yaml", &config_map("web", "of nobody"))?;
    let unsigned = fleet.repo.commit("not signed")?;
    refused(&fleet, "main", &first, &unsigned, "it is not signed")?;
    let stranger = signed(&fleet.repo, &people.key("eve"), "of a stranger")?;
    refused(&fleet, "main", &first, &stranger, "which is none of the source's")?;
    // Whoever signs the head answers for what came before it.
    let good = signed(&fleet.repo, &people.key("ada"), "two")?;
    accepted(&fleet, "main", &good)
}

#[test]
fn a_further_source_that_must_be_signed_is_followed_so_alone() -> Result<()> {
    let people = People::new()?;
    let mut fleet = Fleet::new()?;
    let team = Repo::new(fleet.dir().join("team"))?;
    team.write("drover.yaml", WEB)?;
    let first = signed(&team, &people.key("ada"), "one")?;
    let declared = format!(
        "{CLUSTER}---\napiVersion: drover.dev/v1alpha1\nkind: Source\nmetadata: {{name: team}}\n\
         spec: {{url: {}, verify: required, keys: [\"{}\"]}}\n",
        team.dir().display(),
        people.public("ada")?
    );
    fleet.repo.write("drover.yaml", &declared)?;
    // The root itself need not be.
    fleet.repo.commit("the team must sign")?;
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    accepted(&fleet, "team", &first)?;

    team.write("web/web.yaml", &config_map("web", "of nobody"))?;
    let unsigned = team.commit("not signed")?;
    refused(&fleet, "team", &first, &unsigned, "it is not signed")?;
    signed(&team, &people.key("ada"), "two")?;
    let changed = tampered(&team)?;
    refused(&fleet, "team", &first, &changed, "its signature is not good")?;
    let good = signed(&team, &people.key("ada"), "three")?;
    accepted(&fleet, "team", &good)
}
