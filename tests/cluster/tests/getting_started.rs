//! What the documents tell people to type, typed: docs/getting-started.md from the first block to
//! the last, and the manifests of deploy/ with the rights that they give.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use tests_cluster::shell::{self, Shell, blocks};
use tests_cluster::site;
use tests_tools::fleet::{self, Fleet, Where, program, wait_for};
use tests_tools::{Cluster, Options, process};

const PAGE: &str = include_str!("../../../docs/getting-started.md");
const MANIFESTS: &str = include_str!("../../../deploy/spoke/admin.yaml");
/// The port of the page.
const PORT: &str = "7443";

/// The page as it is typed: a kubeconfig where `FILE` stands, and a free port for the one that it
/// names, since tests run side by side.
struct Reader {
    blocks: VecDeque<String>,
    shell: Shell,
    cluster: Cluster,
    home: tempfile::TempDir,
    port: String,
}

impl Reader {
    fn start() -> Result<Self> {
        let cluster = Cluster::start(Options::bare("kitchen"))?;
        let home = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc"]);
        shell::environment(&mut bash, home.path())?;
        let (blocks, shell) = (blocks(PAGE), Shell::start(bash)?);
        Ok(Self { blocks, shell, cluster, home, port })
    }

    /// Types the next block.
    fn next(&mut self) -> Result<String> {
        let block = self.blocks.pop_front().context("the page has fewer blocks than this test knows")?;
        let kubeconfig = self.cluster.kubeconfig();
        let kubeconfig = kubeconfig.to_str().context("a path that is not UTF-8")?;
        self.shell.run(&block.replace("FILE", kubeconfig).replace(PORT, &self.port))
    }

    /// `drover` beside the shell; `None` where it fails.
    fn drover(&self, args: &[&str]) -> Result<Option<String>> {
        let mut command = Command::new(program("drover")?);
        shell::environment(&mut command, self.home.path())?;
        let output = process::output(command_with(command, args))?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Waits until the status is as it should be.
    fn wait_status(&self, what: &str, is_so: impl Fn(&Json) -> bool) -> Result<()> {
        let mut last = Json::Null;
        let found = wait_for(what, || {
            if let Some(text) = self.drover(&["status", "-o", "json"])? {
                last = serde_json::from_str(&text)?;
            }
            Ok(is_so(&last))
        });
        found.with_context(|| format!("{last:#}"))
    }

    fn wait_settled(&self) -> Result<()> {
        self.wait_status("hello is settled", |status| {
            fleet::bundle(status, "kitchen", "main/hello").is_some_and(|hello| {
                hello["sync"] == "Applied" && hello["health"] == "Healthy" && hello["hold"].is_null()
            })
        })
    }

    /// The text in the cluster; `None` where the ConfigMap is not there.
    fn text(&self) -> Result<Option<String>> {
        let get = ["-n", "hello", "get", "configmap", "hello", "-o", "jsonpath={.data.text}"];
        let output = self.cluster.kubectl(get)?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn wait_text(&self, expected: Option<&str>) -> Result<()> {
        wait_for(&format!("the text {expected:?}"), || Ok(self.text()?.as_deref() == expected))
    }
}

fn command_with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

fn ensure_all(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    Ok(())
}

#[test]
fn getting_started_does_what_it_says() -> Result<()> {
    let mut page = Reader::start()?;
    page.next().context("the files")?;
    ensure_all(&page.next()?, &["1 bundle, 1 cluster: 0 defects, 0 notes", "text: Hello, world"])?;
    page.next().context("the first commit")?;
    ensure_all(&page.next()?, &["made hub", "first administrator", "context.json"])?;
    page.next().context("the hub")?;
    page.wait_status("the hub has read the source", |status| status["sources"][0]["commit"].is_string())?;
    page.next().context("the spoke")?;
    page.wait_settled()?;
    ensure_all(&page.next()?, &["main/hello", "Applied", "Healthy", "Cluster kitchen", "text: Hello, world"])?;

    page.next().context("the change")?;
    page.wait_text(Some("Hello, wide world"))?;
    page.next().context("the deletion by hand")?;
    page.wait_text(Some("Hello, wide world"))?;
    page.next().context("the deletion without a hub")?;
    page.wait_text(Some("Hello, wide world"))?;
    page.next().context("the hub once more")?;
    page.wait_settled()?;
    let clusters: Json = serde_json::from_str(&page.drover(&["get", "clusters", "-o", "json"])?.context("no answer")?)?;
    ensure!(clusters["clusters"][0]["sent_delta_bytes"] == 0, "{clusters:#}");

    page.next().context("the bundle leaves Git")?;
    page.wait_status("the guard holds hello", |status| {
        fleet::bundle(status, "kitchen", "main/hello").is_some_and(|hello| hello["hold"]["kind"] == "guard")
    })?;
    ensure_all(&page.next()?, &["drover rollout approve main/hello --deletions", "ConfigMap hello/hello"])?;
    ensure!(page.text()?.is_some(), "nothing goes before somebody says so");
    ensure_all(&page.next()?, &["ConfigMap hello/hello", "approved"])?;
    page.wait_text(None)?;
    page.next().context("the end")?;
    ensure!(page.blocks.is_empty(), "the page has more blocks than this test knows: {:?}", page.blocks);
    Ok(())
}

#[test]
fn the_manifests_of_deploy_are_accepted_and_give_what_a_spoke_needs() -> Result<()> {
    const NAME: &str = "store-berlin";
    const USER: &str = "system:serviceaccount:drover-system:drover-spoke";
    let cluster = Cluster::start(Options::full(NAME))?;
    ensure!(MANIFESTS.contains("EDIT"), "the file says where to put names");
    cluster.kubectl_text(["create", "namespace", "drover-system"], "")?;
    let secret = ["-n", "drover-system", "create", "secret", "generic", "drover-join", "--from-literal=token=x"];
    cluster.kubectl_text(secret, "")?;
    // Strict: a field that the API server does not know is an error.
    cluster.kubectl_text(["apply", "--validate=strict", "-f", "-"], &MANIFESTS.replace("EDIT", NAME))?;

    let mut fleet = Fleet::new()?;
    let kubeconfig = fleet.dir().join("kubeconfig.json");
    site::kubeconfig_of(&cluster, "drover-spoke", &kubeconfig)?;
    fleet.repo.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail"))?;
    let commit = fleet.repo.commit("the retail example")?;
    fleet.start_hub()?;
    fleet.join(NAME, Where::Kube(kubeconfig))?;
    fleet.wait("the spoke is there", |status| {
        let all = status["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|one| one["cluster"] == NAME && one["connected"] == true)
    })?;
    fleet.wait_settled(&commit)?;

    let audit = cluster.audit()?;
    let ours = || audit.iter().filter(|entry| entry.user == USER);
    ensure!(ours().any(|entry| entry.verb == "patch" && entry.resource == "deployments"), "it was not this account");
    let refused: Vec<_> = ours().filter(|entry| entry.code == 403).collect();
    ensure!(refused.is_empty(), "{refused:#?}\n{}", fleet.spoke_log(NAME));
    Ok(())
}
