//! The files in the work directory of a cluster.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// Everybody who has a token, each under a name of their own so that the audit log tells them apart.
const USERS: [&str; 4] = ["admin", "controller-manager", "scheduler", "kwok"];

/// Every request once, without bodies.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// The one node of a cluster with workloads: kwok plays its kubelet.
pub(super) const NODE: &str = r#"{
  "apiVersion": "v1", "kind": "Node",
  "metadata": {
    "name": "node-1",
    "annotations": {"kwok.x-k8s.io/node": "fake"},
    "labels": {"kubernetes.io/hostname": "node-1", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
  },
  "status": {
    "capacity": {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000"},
    "allocatable": {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "1000"}
  }
}"#;

/// A work directory: removed at the end, or the caller's own and kept.
#[derive(Debug)]
pub(super) enum Files {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Files {
    /// Makes the directory and the files that the programs read; the kubeconfigs come later.
    pub(super) fn create(name: &str, dir: Option<&Path>) -> Result<Self> {
        let files = match dir {
            None => Self::Temporary(
                TempDir::with_prefix(format!("drover-{name}-"))
                    .context("cannot create a work directory for a cluster")?,
            ),
            Some(dir) => Self::Kept(new_dir(dir)?),
        };
        let key = rcgen::KeyPair::generate().context("cannot make a key for service account tokens")?;
        files.write("sa.key", &key.serialize_pem())?;
        files.write("sa.pub", &key.public_key_pem())?;
        files.write("audit-policy.yaml", AUDIT_POLICY)?;
        let mut tokens = String::new();
        for user in USERS {
            let token = random_token()?;
            files.write(&format!("{user}.token"), &token)?;
            tokens.push_str(&format!("{token},{user},{user},\"system:masters\"\n"));
        }
        files.write("tokens.csv", &tokens)?;
        Ok(files)
    }

    pub(super) fn dir(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.path(&format!("{program}.log"))
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.path("audit.log")
    }

    /// The certificate that kube-apiserver signs itself, and its authority.
    pub(super) fn ca(&self) -> PathBuf {
        self.path("apiserver.crt")
    }

    /// The kubeconfig of a user; the file of `admin` is what everybody gets to see.
    pub(super) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.path(&if user == "admin" { "kubeconfig".into() } else { format!("{user}.kubeconfig") })
    }

    /// Writes the kubeconfig of every user, once kube-apiserver has made its certificate.
    pub(super) fn write_kubeconfigs(&self, cluster: &str, port: u16) -> Result<()> {
        let ca = fs::read(self.ca()).context("kube-apiserver has made no certificate")?;
        let ca = STANDARD.encode(ca);
        for user in USERS {
            let token = fs::read_to_string(self.path(&format!("{user}.token"))).context("cannot read a token")?;
            let text = format!(
                "apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: https://127.0.0.1:{port}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    token: {token}
contexts:
- name: {cluster}
  context:
    cluster: {cluster}
    user: {user}
current-context: {cluster}
"
            );
            self.write_path(&self.kubeconfig(user), &text)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        self.write_path(&self.path(name), text)
    }

    /// Nobody else on the machine may read keys and tokens.
    fn write_path(&self, path: &Path, text: &str) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A directory of the caller's choice must be new or empty: the data of an earlier cluster would come back to life.
fn new_dir(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| format!("cannot resolve {}", dir.display()))?;
    if fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?.next().is_some() {
        bail!("{} is not empty: remove it, or choose another directory for the cluster", dir.display());
    }
    Ok(dir)
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(hex::encode(bytes))
}
