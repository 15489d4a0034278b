//! One real cluster with a hub of its own and a real spoke: what cases about a spoke's whole life
//! start from.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value as Json, json};
use tests_tools::fleet::{self, Fleet, Where};
use tests_tools::{Cluster, Options};

/// A fleet of one cluster.
#[derive(Debug)]
pub struct Site {
    /// Hub, spoke and repository.
    pub fleet: Fleet,
    /// The cluster.
    pub cluster: Cluster,
    name: String,
}

impl Site {
    /// Starts a cluster and a hub; no spoke yet.
    ///
    /// # Errors
    /// A program fails.
    pub fn start(options: Options) -> Result<Self> {
        let name = options.name.clone();
        let cluster = Cluster::start(options)?;
        let mut fleet = Fleet::new()?;
        let declared = format!("apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {name}}}\n");
        fleet.repo.write("drover.yaml", &declared)?;
        fleet.repo.commit("a cluster")?;
        fleet.start_hub()?;
        Ok(Self { fleet, cluster, name })
    }

    /// The same, with a spoke that may do everything.
    ///
    /// # Errors
    /// A program fails.
    pub fn joined(options: Options) -> Result<Self> {
        let mut site = Self::start(options)?;
        let kubeconfig = site.cluster.kubeconfig();
        site.join(kubeconfig)?;
        Ok(site)
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the spoke for the first time.
    ///
    /// # Errors
    /// The hub refuses, or a program fails.
    pub fn join(&mut self, kubeconfig: PathBuf) -> Result<()> {
        let name = self.name.clone();
        self.fleet.join(&name, Where::Kube(kubeconfig))?;
        self.fleet.wait("the spoke is there", |status| connected(status, &name)).map(drop)
    }

    /// Ends the spoke with SIGKILL, and waits until the hub knows.
    ///
    /// # Errors
    /// The hub does not notice.
    pub fn kill_spoke(&mut self) -> Result<()> {
        let name = self.name.clone();
        self.fleet.kill_spoke(&name);
        self.fleet.wait("the spoke is gone", |status| !connected(status, &name)).map(drop)
    }

    /// Starts the spoke again.
    ///
    /// # Errors
    /// A program fails.
    pub fn start_spoke(&mut self) -> Result<()> {
        let name = self.name.clone();
        self.fleet.start_spoke(&name)
    }

    /// Declares a bundle in a folder of its name; `spec` are further lines of its spec, with their indentation.
    ///
    /// # Errors
    /// The disk.
    pub fn bundle(&self, name: &str, spec: &str) -> Result<()> {
        let text = format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec:\n  targets: [{{selector: {{}}}}]\n{spec}"
        );
        self.fleet.repo.write(&format!("{name}/drover.yaml"), &text)
    }

    /// Writes a manifest of a bundle.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, path: &str, manifest: &str) -> Result<()> {
        self.fleet.repo.write(path, manifest)
    }

    /// Removes a file or folder of the repository.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.fleet.repo.git(&["rm", "-rq", path]).map(drop)
    }

    /// Commits, and waits until everything is Applied and Healthy.
    ///
    /// # Errors
    /// It is not in time; what is wrong is in the words.
    pub fn settle(&self, message: &str) -> Result<()> {
        let commit = self.fleet.repo.commit(message)?;
        let settled = self.fleet.wait_settled(&commit).map(drop);
        settled.with_context(|| format!("{message}\n{}", self.fleet.spoke_log(&self.name)))
    }

    /// Waits until `drover explain` of a bundle says all of these.
    ///
    /// # Errors
    /// It does not in time; what it says is in the words.
    pub fn wait_explained(&self, bundle: &str, parts: &[&str]) -> Result<String> {
        let mut said = String::new();
        let waited = fleet::wait_for(&format!("explain to say {parts:?}"), || {
            if let Ok(text) = self.fleet.drover(&["explain", &self.name, bundle]) {
                said = text;
            }
            Ok(parts.iter().all(|part| said.contains(part)))
        });
        waited.with_context(|| format!("{said}\n{}", self.fleet.spoke_log(&self.name)))?;
        Ok(said)
    }

    /// Waits until the hub says of a bundle that its sync is this.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_sync(&self, bundle: &str, sync: &str) -> Result<Json> {
        let status = self.fleet.wait(&format!("{bundle} is {sync}"), |status| {
            fleet::bundle(status, &self.name, bundle).is_some_and(|one| one["sync"] == sync)
        })?;
        fleet::bundle(&status, &self.name, bundle).cloned().context("no such bundle")
    }

    /// Runs kubectl; what it printed is the answer.
    ///
    /// # Errors
    /// It fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.cluster.kubectl_text(args, "")
    }

    /// An object, where there is one.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn get(&self, kind: &str, name: &str, namespace: &str) -> Result<Option<Json>> {
        let args = ["get", kind, name, "-n", namespace, "-o", "json", "--show-managed-fields", "--ignore-not-found"];
        let text = self.kubectl(&args)?;
        if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn object(&self, kind: &str, name: &str, namespace: &str) -> Result<Json> {
        self.get(kind, name, namespace)?.with_context(|| format!("{kind} {namespace}/{name} is not there"))
    }

    /// Waits until an object is as `is_so` says.
    ///
    /// # Errors
    /// It is not in time; what it was is in the words.
    pub fn wait_object(
        &self,
        what: &str,
        (kind, name, namespace): (&str, &str, &str),
        is_so: impl Fn(Option<&Json>) -> bool,
    ) -> Result<()> {
        let mut last = None;
        let waited = fleet::wait_for(what, || {
            last = self.get(kind, name, namespace)?;
            Ok(is_so(last.as_ref()))
        });
        waited.with_context(|| format!("{last:#?}\n{}", self.fleet.spoke_log(&self.name)))
    }

    /// `drover-spoke` beside the spoke that runs, as somebody in its pod.
    ///
    /// # Errors
    /// It can't be run.
    pub fn spoke(&self, args: &[&str]) -> Result<Output> {
        let mut command = std::process::Command::new(fleet::program("drover-spoke")?);
        command.args(args).arg("--dir").arg(self.fleet.spoke_dir(&self.name));
        tests_tools::process::output(command)
    }

    /// Waits until `drover-spoke status` says this.
    ///
    /// # Errors
    /// It does not in time; what it says is in the words.
    pub fn wait_spoke_says(&self, part: &str) -> Result<String> {
        let mut said = String::new();
        let waited = fleet::wait_for(&format!("the spoke to say {part:?}"), || {
            said = String::from_utf8_lossy(&self.spoke(&["status"])?.stdout).into_owned();
            Ok(said.contains(part))
        });
        waited.with_context(|| format!("{said}\n{}", self.fleet.spoke_log(&self.name)))?;
        Ok(said)
    }
}

/// Whether a status has the cluster connected.
#[must_use]
pub fn connected(status: &Json, name: &str) -> bool {
    let all = status["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().any(|one| one["cluster"] == name && one["connected"] == true)
}

/// Writes the kubeconfig of a service account of `drover-system`, made from that of the administrator.
///
/// # Errors
/// There is no such account.
pub fn kubeconfig_of(cluster: &Cluster, account: &str, to: &Path) -> Result<()> {
    let token = cluster.kubectl_text(["-n", "drover-system", "create", "token", account], "")?;
    let mut config = admin_config(cluster)?;
    for user in config["users"].as_array_mut().context("a kubeconfig without users")? {
        user["user"] = json!({"token": token.trim()});
    }
    std::fs::write(to, config.to_string()).context("write a kubeconfig")
}

/// The administrator's kubeconfig.
///
/// # Errors
/// kubectl fails.
pub fn admin_config(cluster: &Cluster) -> Result<Json> {
    let text = cluster.kubectl_text(["config", "view", "--raw", "-o", "json"], "")?;
    serde_json::from_str(&text).context("a kubeconfig that is no JSON")
}

/// A ConfigMap with one value.
#[must_use]
pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: \"{value}\"}}\n---\n")
}

/// What a field manager's entry tells: fails where it still has one.
///
/// # Errors
/// The manager still owns fields of the object.
pub fn ensure_no_manager(object: &Json, manager: &str) -> Result<()> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = entries.iter().filter_map(|entry| entry["manager"].as_str()).collect();
    ensure!(!names.is_empty(), "no managed fields were asked for");
    if names.contains(&manager) {
        bail!("{manager} still has fields: {names:?}");
    }
    Ok(())
}
