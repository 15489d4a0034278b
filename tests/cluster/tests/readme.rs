//! The README's section "By hand" against a real Git server and three real clusters, typed as it stands: only
//! the names of the server and of the port are put in.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_cluster::shell::{self, Shell, blocks};
use tests_tools::fleet::{bundle, program, wait_for};
use tests_tools::gitea::Gitea;
use tests_tools::{Cluster, Options, process};

const PAGE: &str = include_str!("../../../README.md");
/// What the page calls them.
const SERVER: &str = "https://git.example.com/acme/fleet.git";
const PORT: &str = "7443";
const CLUSTERS: [&str; 3] = ["dc-frankfurt", "store-berlin", "store-lisbon"];

fn drover(home: &Path, args: &[&str]) -> Result<Json> {
    let mut command = Command::new(program("drover")?);
    shell::environment(&mut command, home)?;
    command.args(args);
    let output = process::output(command)?;
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn wait_settled(home: &Path) -> Result<()> {
    let mut last = Json::Null;
    let settled = wait_for("all three clusters are settled", || {
        last = drover(home, &["status", "-o", "json"])?;
        Ok(CLUSTERS.iter().all(|cluster| {
            let all = last["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found = all.iter().find(|one| one["cluster"] == *cluster);
            let bundles = found.and_then(|one| one["bundles"].as_array()).map(Vec::as_slice).unwrap_or_default();
            let is_fine = |one: &Json| one["health"] == "Healthy" && one["sync"] == "Applied" && one["hold"].is_null();
            !bundles.is_empty() && bundles.iter().all(is_fine)
        }))
    });
    settled.with_context(|| format!("{last:#}"))
}

#[test]
fn by_hand_does_what_it_says() -> Result<()> {
    let (_, section) = PAGE.split_once("## By hand").context("no such section")?;
    let (section, _) = section.split_once("\n## ").context("the section does not end")?;
    let mut blocks = blocks(section);
    let gitea = Gitea::start()?;
    gitea.create("fleet")?;
    let home = tempfile::tempdir()?;
    let work = home.path().join("drover-by-hand");
    let mut clusters = Vec::new();
    for name in CLUSTERS {
        clusters.push(Cluster::start(Options::full(name))?);
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let ca = home.path().join("ca.pem");
    fs::write(&ca, gitea.ca())?;

    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc"]);
    shell::environment(&mut bash, home.path())?;
    bash.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).env("GIT_TOKEN", gitea.token());
    // What people have configured for their own git.
    let asks = format!("!f() {{ echo username=x-access-token; echo password={}; }}; f", gitea.token());
    bash.env("GIT_SSL_CAINFO", &ca).env("GIT_CONFIG_COUNT", "1");
    bash.env("GIT_CONFIG_KEY_0", "credential.helper").env("GIT_CONFIG_VALUE_0", asks);
    // Programs are found where they were built, and building is what this test runs after.
    bash.env("CARGO", "true").env("SSL_CERT_FILE", &ca);
    let mut shell = Shell::start(bash)?;
    let mut next = |what: &'static str| -> Result<String> {
        let block = blocks.pop_front().context("the section has fewer blocks than this test knows")?;
        let block = block.replace(SERVER, &gitea.https("fleet")).replace(PORT, &port);
        shell.run(&block).context(what)
    };

    next("the repository")?;
    for (name, cluster) in CLUSTERS.iter().zip(&clusters) {
        let target = work.join(format!("{name}.kubeconfig"));
        fs::copy(cluster.kubeconfig(), &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600))?;
    }
    next("the hub")?;
    next("the spokes")?;
    wait_settled(home.path())?;
    let shown = next("the status")?;
    ensure!(shown.contains("store-lisbon") && shown.contains("Healthy"), "{shown}");

    next("the change")?;
    wait_for("three replicas in the cluster", || {
        let get = ["-n", "shop", "get", "deployment", "storefront", "-o", "jsonpath={.status.availableReplicas}"];
        Ok(clusters[1].kubectl(get)?.stdout == b"3")
    })?;
    wait_settled(home.path())?;
    let shown = next("the end")?;
    ensure!(shown.contains("storefront") && shown.contains("3/3"), "{shown}");
    let status = drover(home.path(), &["status", "-o", "json"])?;
    ensure!(bundle(&status, "store-berlin", "main/storefront").is_some(), "{status:#}");
    ensure!(blocks.is_empty(), "the section has more blocks than this test knows: {blocks:?}");
    Ok(())
}
