//! A whole fleet of Drover's own programs for a test: a Git repository, a hub, and spokes, each a
//! real process, over loopback with ports that the system chooses.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;

use crate::process::{self, Process};
use crate::tools::{self, Program};

/// How long a test waits for something that must happen.
pub const WAIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Path of one of Drover's own programs, built beside the test.
///
/// # Errors
/// It was not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("cannot tell where this test lies")?;
    let own = test.parent().context("this test lies in no target folder")?;
    // Tests lie in a folder of their own, programs that test do not.
    let folder = if own.ends_with("deps") { own.parent().context("this test lies in no target folder")? } else { own };
    let program = folder.join(name);
    ensure!(program.is_file(), "{} is missing: run `make build` first", program.display());
    Ok(program)
}

/// Runs a program to its end; what it printed is the answer.
///
/// # Errors
/// It failed; the error carries what it said.
pub fn run(command: Command) -> Result<String> {
    let words = format!("{command:?}");
    let output = process::output(command)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words} ended with {}: {errors}{text}", output.status);
    Ok(text)
}

/// A Git repository that a hub reads.
#[derive(Debug)]
pub struct Repo {
    dir: PathBuf,
}

impl Repo {
    /// Makes an empty repository with the branch `main`.
    ///
    /// # Errors
    /// The folder can't be made, or git fails.
    pub fn new(dir: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let repo = Self { dir };
        repo.git(&["init", "--quiet", "--initial-branch=main"])?;
        Ok(repo)
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs git in it, with a neutral author and no configuration of this machine.
    ///
    /// # Errors
    /// Git fails.
    pub fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.current_dir(&self.dir).args(args);
        for (key, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_AUTHOR_NAME", "Test"),
            ("GIT_AUTHOR_EMAIL", "test@example.com"),
            ("GIT_COMMITTER_NAME", "Test"),
            ("GIT_COMMITTER_EMAIL", "test@example.com"),
        ] {
            command.env(key, value);
        }
        run(command)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).context("cannot make a folder of the repository")?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies a folder into it.
    ///
    /// # Errors
    /// The disk.
    pub fn copy(&self, from: &Path) -> Result<()> {
        let mut command = Command::new("cp");
        command.arg("-r").arg(from.join(".")).arg(&self.dir);
        run(command).map(drop)
    }

    /// Commits everything; the full id of the commit is the answer.
    ///
    /// # Errors
    /// Git fails.
    pub fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }
}

/// Where a spoke works.
#[derive(Clone, Debug)]
pub enum Where {
    /// In memory.
    Memory,
    /// On the API server of a kubeconfig.
    Kube(PathBuf),
}

/// A hub and its spokes; everything ends when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    // Before the folder, so that processes end while their files are there.
    spokes: BTreeMap<String, Process>,
    hub: Option<Process>,
    places: BTreeMap<String, Where>,
    /// The repository that the hub reads.
    pub repo: Repo,
    url: Option<String>,
    hub_args: Vec<String>,
    renderers: Vec<String>,
    starts: usize,
    dir: tempfile::TempDir,
}

impl Fleet {
    /// Makes a hub that reads a fresh repository, and starts nothing yet.
    ///
    /// # Errors
    /// A program is missing or fails.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
        let repo = Repo::new(dir.path().join("source"))?;
        let fleet = Self {
            spokes: BTreeMap::new(),
            hub: None,
            places: BTreeMap::new(),
            repo,
            url: None,
            hub_args: Vec::new(),
            renderers: Vec::new(),
            starts: 0,
            dir,
        };
        let mut init = Command::new(program("drover-hub")?);
        init.args(["init", "--advertise", "127.0.0.1:0", "--dir"]).arg(fleet.hub_dir());
        init.arg("--context").arg(fleet.context());
        run(init)?;
        Ok(fleet)
    }

    /// Has the hub read a repository on a server, from its next start on.
    pub fn follow(&mut self, url: &str) {
        self.url = Some(url.to_owned());
    }

    /// More arguments for `drover-hub run`.
    pub fn hub_args(&mut self, args: &[&str]) {
        self.hub_args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// Gives the hub the pinned Kustomize and Helm, from its next start on.
    ///
    /// # Errors
    /// They can't be built.
    pub fn use_renderers(&mut self) -> Result<()> {
        for (flag, program) in [("--kustomize", Program::Kustomize), ("--helm", Program::Helm)] {
            let path = tools::program(program)?.to_string_lossy().into_owned();
            self.renderers.extend([flag.to_owned(), path]);
        }
        Ok(())
    }

    /// Has the hub render charts with a file that may come later.
    pub fn use_helm(&mut self, file: &Path) {
        self.renderers.extend(["--helm".to_owned(), file.to_string_lossy().into_owned()]);
    }

    /// The folder of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The hub's folder.
    #[must_use]
    pub fn hub_dir(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    /// The first administrator's context file.
    #[must_use]
    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context.json")
    }

    /// Starts the hub and waits until it is ready.
    ///
    /// # Errors
    /// It ends or says nothing in time.
    pub fn start_hub(&mut self) -> Result<()> {
        self.starts += 1;
        let log = self.dir.path().join(format!("hub-{}.log", self.starts));
        let mut command = Command::new(program("drover-hub")?);
        command.args(["run", "--listen", "127.0.0.1:0", "--print-ready", "--dir"]);
        let here = self.repo.dir().as_os_str();
        let source = self.url.as_ref().map_or(here, OsStr::new);
        command.arg(self.hub_dir()).arg("--source").arg(source).args(["--ref", "main"]);
        command.args(&self.renderers).args(&self.hub_args);
        let mut hub = Process::start("drover-hub", command, &log)?;
        let deadline = Instant::now() + WAIT;
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("\"ready\":true") {
                break;
            }
            if let Some(status) = hub.ended()? {
                bail!("drover-hub ended with {status}: {text}");
            }
            ensure!(Instant::now() < deadline, "drover-hub is not ready: {text}");
            std::thread::sleep(POLL);
        }
        self.hub = Some(hub);
        Ok(())
    }

    /// Ends the hub with SIGKILL.
    pub fn kill_hub(&mut self) {
        self.hub = None;
    }

    /// The hub's process id, while it runs.
    #[must_use]
    pub fn hub_pid(&self) -> Option<u32> {
        self.hub.as_ref().map(Process::pid)
    }

    /// The hub's log so far, of its last start.
    #[must_use]
    pub fn hub_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("hub-{}.log", self.starts))).unwrap_or_default()
    }

    /// Where the hub takes webhooks, since `--hooks` was among its arguments: scheme, host and port.
    ///
    /// # Errors
    /// It takes none.
    pub fn hooks(&self) -> Result<String> {
        let log = self.hub_log();
        let line = log.lines().find(|line| line.contains("\"ready\":true")).context("the hub is not ready")?;
        let ready: Json = serde_json::from_str(line)?;
        Ok(format!("http://{}", ready["hooks"].as_str().context("the hub takes no webhooks")?))
    }

    /// Makes a token for a cluster and starts its spoke.
    ///
    /// # Errors
    /// The hub refuses, or a program fails.
    pub fn join(&mut self, cluster: &str, place: Where) -> Result<()> {
        let token = self.drover(&["cluster", "join-token", "--cluster", cluster])?;
        self.places.insert(cluster.to_owned(), place);
        self.start_spoke_with(cluster, Some(token.trim()))
    }

    /// Starts the spoke of a cluster that joined before.
    ///
    /// # Errors
    /// A program fails.
    pub fn start_spoke(&mut self, cluster: &str) -> Result<()> {
        self.start_spoke_with(cluster, None)
    }

    fn start_spoke_with(&mut self, cluster: &str, token: Option<&str>) -> Result<()> {
        let place = self.places.get(cluster).context("this cluster never joined")?;
        let mut command = Command::new(program("drover-spoke")?);
        command.args(["--cluster", cluster, "--dir"]).arg(self.spoke_dir(cluster));
        match place {
            Where::Memory => command.arg("--memory"),
            Where::Kube(kubeconfig) => command.arg("--kubeconfig").arg(kubeconfig),
        };
        if let Some(token) = token {
            command.env("DROVER_TOKEN", token);
        }
        let log = self.dir.path().join(format!("spoke-{cluster}.log"));
        let spoke = Process::start(cluster, command, &log)?;
        self.spokes.insert(cluster.to_owned(), spoke);
        Ok(())
    }

    /// A spoke's folder.
    #[must_use]
    pub fn spoke_dir(&self, cluster: &str) -> PathBuf {
        self.dir.path().join("spokes").join(cluster)
    }

    /// A spoke's log so far.
    #[must_use]
    pub fn spoke_log(&self, cluster: &str) -> String {
        let log = self.dir.path().join(format!("spoke-{cluster}.log"));
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// A spoke's process id, while it runs.
    #[must_use]
    pub fn spoke_pid(&self, cluster: &str) -> Option<u32> {
        self.spokes.get(cluster).map(Process::pid)
    }

    /// Ends a spoke with SIGKILL.
    pub fn kill_spoke(&mut self, cluster: &str) {
        self.spokes.remove(cluster);
    }

    /// Runs `drover` as the first administrator.
    ///
    /// # Errors
    /// It ends with another code than 0; the error carries what it said.
    pub fn drover(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(program("drover")?);
        command.args(args).env("DROVER_CONTEXT", self.context());
        run(command)
    }

    /// `drover status -o json`.
    ///
    /// # Errors
    /// The hub does not answer.
    pub fn status(&self) -> Result<Json> {
        serde_json::from_str(&self.drover(&["status", "-o", "json"])?).context("status is no JSON")
    }

    /// `drover get clusters -o json`, the entry of one cluster.
    ///
    /// # Errors
    /// The hub does not answer, or does not know the cluster.
    pub fn cluster(&self, cluster: &str) -> Result<Json> {
        let all: Json = serde_json::from_str(&self.drover(&["get", "clusters", "-o", "json"])?)?;
        let list = all.get("clusters").and_then(Json::as_array).cloned().unwrap_or_default();
        list.into_iter().find(|one| one["cluster"] == cluster).with_context(|| format!("no cluster {cluster} in {all}"))
    }

    /// Waits until the status is as `is_so` says.
    ///
    /// # Errors
    /// It is not in time; the error carries the last status.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Json) -> bool) -> Result<Json> {
        let deadline = Instant::now() + WAIT;
        loop {
            let status = self.status();
            if let Ok(status) = &status
                && is_so(status)
            {
                return Ok(status.clone());
            }
            if Instant::now() > deadline {
                let status = status.map_or_else(|error| error.to_string(), |one| format!("{one:#}"));
                bail!("waited in vain for: {what}\n{status}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until every cluster runs the commit, Applied and Healthy.
    ///
    /// # Errors
    /// They do not in time.
    pub fn wait_settled(&self, commit: &str) -> Result<Json> {
        self.wait(&format!("everything settled at {commit}"), |status| is_settled(status, commit))
    }
}

/// Whether a status says that every connected cluster runs the commit, Applied and Healthy.
#[must_use]
pub fn is_settled(status: &Json, commit: &str) -> bool {
    let clusters = status["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let connected: Vec<&Json> = clusters.iter().filter(|one| one["connected"] == true).collect();
    status["sources"].as_array().is_some_and(|all| all.iter().all(|one| one["commit"] == commit))
        && !connected.is_empty()
        && connected.iter().all(|cluster| {
            cluster["bundles"].as_array().is_some_and(|bundles| {
                bundles.iter().all(|bundle| {
                    bundle["commit"] == commit
                        && bundle["sync"] == "Applied"
                        && bundle["health"] == "Healthy"
                        && bundle["hold"].is_null()
                })
            })
        })
}

/// The state of one bundle in one cluster, out of a status.
#[must_use]
pub fn bundle<'a>(status: &'a Json, cluster: &str, bundle: &str) -> Option<&'a Json> {
    let clusters = status["clusters"].as_array()?;
    let cluster = clusters.iter().find(|one| one["cluster"] == cluster)?;
    cluster["bundles"].as_array()?.iter().find(|one| one["bundle"] == bundle)
}

/// Polls until `is_so`, for what no status shows.
///
/// # Errors
/// It is not so in time.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + WAIT;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}
