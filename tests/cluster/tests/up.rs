//! `drover up`: a fleet in one go, with clusters in memory; how it ends, and that nothing of it stays.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{self, Repo, program};
use tests_tools::{process, sys};

/// Signals by their numbers on Linux.
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;

/// A run that goes on until it is ended.
struct Up {
    child: Child,
    lines: Receiver<String>,
}

fn up(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("drover")?);
    command.arg("up").args(["-o", "json"]).args(arguments);
    Ok(command)
}

impl Up {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = up(arguments)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = process::spawn(command)?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let (sender, lines) = channel();
        let read = move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(read)?;
        Ok(Self { child, lines })
    }

    /// Takes events up to the first of a kind.
    fn until(&mut self, kind: &str) -> Result<Vec<Json>> {
        let mut events: Vec<Json> = Vec::new();
        while events.last().is_none_or(|event| event["kind"] != kind) {
            let line = self.lines.recv_timeout(fleet::WAIT);
            let line = line.with_context(|| format!("no `{kind}` came: {events:#?}"))?;
            events.push(serde_json::from_str(&line).with_context(|| line.clone())?);
        }
        Ok(events)
    }

    fn programs(&self) -> Result<Vec<u32>> {
        Ok(sys::children(self.child.id())?)
    }

    fn end(&mut self, signal: i32) -> Result<Option<i32>> {
        sys::send_signal(self.child.id(), signal)?;
        Ok(self.child.wait()?.code())
    }
}

/// A process that ended and was reaped, or has only its entry left.
fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The state follows the name, which is in parentheses.
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) => true,
    }
}

fn wait_gone(pids: &[u32]) -> Result<()> {
    fleet::wait_for("the programs of the run to end", || Ok(pids.iter().all(|pid| is_gone(*pid))))
}

fn drover(dir: &Path, arguments: &[&str]) -> Result<Json> {
    let mut command = Command::new(program("drover")?);
    command.arg("--context").arg(dir.join("context.json")).args(arguments).args(["-o", "json"]);
    Ok(serde_json::from_str(&fleet::run(command)?)?)
}

fn clusters(list: &Json) -> Vec<Json> {
    list["clusters"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_fleet_settles_and_ends_and_goes_on_where_it_ended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("fleet");
    let arguments = ["--dir", dir.to_str().context("a temporary folder is UTF-8")?];

    // The first run, ended by Ctrl-C.
    let mut run = Up::start(&arguments)?;
    let events = run.until("settled")?;
    let changed = |event: &&Json| event["kind"] == "bundle_changed";
    ensure!(
        events.iter().filter(changed).all(|event| event["commit"].as_str().is_some_and(|commit| commit.len() == 40))
    );
    let connected = events.iter().filter(|event| event["kind"] == "cluster_connected").count();
    ensure!(connected == 6, "{connected} clusters connected");
    let programs = run.programs()?;
    ensure!(programs.len() == 7, "a hub and six spokes: {programs:?}");
    let second = fleet::run(up(&arguments)?);
    ensure!(second.is_err_and(|error| error.to_string().contains("another `drover up`")), "two runs share a folder");
    ensure!(run.end(SIGINT)? == Some(0));
    ensure!(programs.iter().all(|pid| is_gone(*pid)), "something outlived the run");

    // The second sends nothing again; killed, it takes all along.
    let mut run = Up::start(&arguments)?;
    run.until("settled")?;
    for cluster in clusters(&drover(&dir, &["get", "clusters"])?) {
        ensure!(cluster["connected"] == true && cluster["sent_delta_bytes"] == 0, "{cluster}");
    }
    let programs = run.programs()?;
    run.end(SIGKILL)?;
    wait_gone(&programs)?;

    // The third brings a commit that was made meanwhile, and ends by itself.
    let source = dir.join("source");
    let file = source.join("storefront/config.yaml");
    std::fs::write(&file, std::fs::read_to_string(&file)?.replace("Welcome", "Hello"))?;
    let mut git = Command::new("git");
    git.current_dir(&source).args(["commit", "-qam", "storefront: a new banner"]);
    fleet::run(git)?;
    let mut head = Command::new("git");
    head.current_dir(&source).args(["rev-parse", "HEAD"]);
    let head = fleet::run(head)?.trim().to_owned();
    let mut command = up(&arguments)?;
    let lines = fleet::run({
        command.args(["--until-settled", "60s"]);
        command
    })?;
    let events: Vec<Json> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let arrived = |event: &&Json| {
        event["commit"] == *head && event["bundle"] == "main/storefront" && event["health"] == "Healthy"
    };
    ensure!(events.iter().any(|event| arrived(&event)), "the commit did not arrive: {lines}");
    ensure!(events.last().is_some_and(|event| event["kind"] == "ended"));
    Ok(())
}

const LOCAL: &str = "apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: hello}
spec:
  namespace: default
  targets:
  - {name: local, selector: {matchLabels: {drover.dev/local: \"true\"}}}
";
const HELLO: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: hello}
data: {text: hello}
";

#[test]
fn a_source_without_clusters_gets_local_ones_and_a_defect_is_a_reason() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let repo = Repo::new(folder.path().join("repo"))?;
    repo.write("drover.yaml", LOCAL)?;
    repo.write("hello.yaml", HELLO)?;
    repo.commit("hello")?;
    let source = repo.dir().to_str().context("a temporary folder is UTF-8")?.to_owned();
    let dir = folder.path().join("fleet");
    let mut run = Up::start(&["--source", &source, "--clusters", "2", "--dir", dir.to_str().context("UTF-8")?])?;
    run.until("settled")?;
    let status = drover(&dir, &["status"])?;
    let names: Vec<_> = clusters(&status).iter().map(|cluster| cluster["cluster"].clone()).collect();
    ensure!(names == ["local-1", "local-2"], "{names:?}");
    ensure!(clusters(&status).iter().all(|cluster| cluster["bundles"][0]["bundle"] == "main/hello"), "{status}");

    repo.write("hello.yaml", "kind: ConfigMap\n")?;
    repo.commit("broken")?;
    let events = run.until("defect")?;
    let defect = events.last().context("there is one")?;
    ensure!(defect["message"].as_str().is_some_and(|message| message.starts_with("hello.yaml:1: ")), "{defect}");
    ensure!(run.end(SIGINT)? == Some(0));

    let output = process::output({
        let mut command = up(&["--source", &source, "--clusters", "2", "--until-settled", "4s"])?;
        command.args(["--dir", dir.to_str().context("UTF-8")?]);
        command
    })?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && errors.contains("source main: hello.yaml:1: "), "{errors}");
    Ok(())
}
