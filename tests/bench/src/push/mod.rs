//! From `git push` to the last object applied in real clusters: a hub that a webhook tells, against a bare program
//! that fetches and applies the same objects as concurrently as it can.

mod bare;
mod watched;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use tests_tools::cluster::Options;
use tests_tools::fleet::{Fleet, Repo, Where};
use tests_tools::gitea::Gitea;

use crate::show;
use crate::stats::Times;
use watched::Watched;

/// Real clusters: etcd and kube-apiserver each.
const CLUSTERS: usize = 4;
/// ConfigMaps of a bundle, all of which a commit changes.
const COUNTS: [usize; 2] = [10, 200];
const SECRET: &str = "known to both";

/// A Git server, a hub that follows one of its repositories, and clusters.
struct Site {
    gitea: Gitea,
    fleet: Fleet,
    clusters: Vec<tests_tools::Cluster>,
}

/// Measures, and prints what it found.
///
/// # Errors
/// A part of it fails or takes too long.
pub(crate) async fn run(rounds: usize) -> Result<()> {
    let site = Site::start()?;
    let kubeconfigs: Vec<_> = site.clusters.iter().map(tests_tools::Cluster::kubeconfig).collect();
    let watched = Watched::start(&kubeconfigs).await?;
    let bare = bare::Bare::new(&site.gitea, &kubeconfigs).await?;
    show(&[("real clusters, commits", format!("{CLUSTERS}, {rounds}"))]);
    for count in COUNTS {
        let (mut drover, mut alone, mut pushes) = (Times::default(), Times::default(), Times::default());
        for round in 0..=rounds {
            // In turns, so that both meet the same machine.
            let value = format!("round-{count}-{round}");
            write(&site.fleet.repo, count, &value)?;
            site.fleet.repo.commit(&value)?;
            let start = Instant::now();
            site.push()?;
            let pushed = start.elapsed();
            let last = watched.until(&namespace("drover", count), count, &value).await?;
            let took = last.duration_since(start);

            write(bare.repo(), count, &value)?;
            bare.repo().commit(&value)?;
            let start = Instant::now();
            bare.push_and_apply(&namespace("bare", count), count).await?;
            let last = watched.until(&namespace("bare", count), count, &value).await?;
            // The first round warms up.
            if round > 0 {
                drover.push(took);
                pushes.push(pushed);
                alone.push(last.duration_since(start));
            }
        }
        show(&[
            ("ConfigMaps that change", count.to_string()),
            ("git push -> last applied in the last cluster", drover.to_string()),
            ("  of it: git push", pushes.to_string()),
            ("bare: push, fetch, apply concurrently", alone.to_string()),
            ("  ratio of the medians", format!("{:.2}", drover.median() / alone.median())),
        ]);
    }
    Ok(())
}

impl Site {
    fn start() -> Result<Self> {
        let options = (0..CLUSTERS).map(|number| Options::bare(&cluster(number))).collect();
        let clusters = tests_tools::Cluster::start_all(options)?;
        let gitea = Gitea::start()?;
        gitea.create("fleet")?;
        let mut fleet = Fleet::new()?;
        fleet.repo.write("drover.yaml", &declarations())?;
        for count in COUNTS {
            write(&fleet.repo, count, "first")?;
        }
        let head = fleet.repo.commit("the first")?;
        let credentials = fleet.dir().join("credentials");
        keep(&credentials.join("fleet"), &[("token", gitea.token()), ("ca.pem", gitea.ca()), ("webhook", SECRET)])?;
        fleet.follow(&gitea.https("fleet"));
        let folder = credentials.to_str().context("the temporary folder is not UTF-8")?;
        // Polled once a day, so that the webhook alone tells.
        let args = ["--credentials-dir", folder, "--credentials", "fleet", "--poll", "1d", "--hooks", "127.0.0.1:0"];
        fleet.hub_args(&args);
        let mut site = Self { gitea, fleet, clusters };
        site.push()?;
        site.fleet.start_hub()?;
        site.gitea.hook("fleet", &format!("{}/hooks/gitea", site.fleet.hooks()?), SECRET)?;
        for (number, cluster_of) in site.clusters.iter().enumerate() {
            site.fleet.join(&cluster(number), Where::Kube(cluster_of.kubeconfig()))?;
        }
        site.fleet.wait_settled(&head).with_context(|| site.fleet.hub_log())?;
        Ok(site)
    }

    fn push(&self) -> Result<()> {
        let url = self.gitea.https("fleet");
        self.gitea.git(self.fleet.repo.dir(), &["push", "--quiet", &url, "HEAD:main"]).map(drop)
    }
}

/// Files that only their owner reads.
fn keep(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn cluster(number: usize) -> String {
    format!("cluster-{number}")
}

fn namespace(who: &str, count: usize) -> String {
    format!("{who}-{count}")
}

fn declarations() -> String {
    let mut text = String::new();
    for number in 0..CLUSTERS {
        let name = cluster(number);
        text.push_str(&format!("---\napiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {name}}}\n"));
    }
    for count in COUNTS {
        text.push_str(&format!(
            "---\napiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: of-{count}}}\n\
             spec: {{path: of-{count}, namespace: {}, targets: [{{name: all, selector: {{}}}}]}}\n",
            namespace("drover", count)
        ));
    }
    text
}

/// Writes the ConfigMaps of a bundle, of half a kilobyte each.
fn write(repo: &Repo, count: usize, value: &str) -> Result<()> {
    for number in 0..count {
        let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: object-{number}\ndata:\n");
        text.push_str(&format!("  value: {value}\n"));
        for line in 0..8 {
            text.push_str(&format!("  setting-{line}: \"what object {number} has to say of it\"\n"));
        }
        repo.write(&format!("of-{count}/object-{number}.yaml"), &text)?;
    }
    Ok(())
}
