//! What can be said of a folder before a hub reads it, with the hub's own code and without a hub.

pub mod commit;
pub mod lint;
pub mod lock;
pub mod plan;
pub mod plan_text;
pub mod render;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use hub_render::offline::{Offline, Role, RoleError};
use hub_render::{Charts, KUBE_VERSION, Options, Programs, Renderer};

use crate::output;

/// What renders here; with the same arguments, a hub renders the same.
#[derive(clap::Args)]
pub struct Renders {
    /// The Kubernetes version to render charts for where their bundle says none
    #[arg(long, value_name = "VERSION", default_value = KUBE_VERSION)]
    kube_version: String,
    /// The Helm to render charts with; left out: the one in PATH
    #[arg(long, value_name = "FILE")]
    helm: Option<PathBuf>,
    /// The Kustomize to render kustomizations and patches with; left out: the one in PATH
    #[arg(long, value_name = "FILE")]
    kustomize: Option<PathBuf>,
    /// A directory with a folder for each name of credentials that charts are fetched with
    #[arg(long, value_name = "DIR")]
    credentials_dir: Option<PathBuf>,
}

impl Renders {
    /// The same for a hub that is started from here.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec!["--kube-version".into(), self.kube_version.clone().into()];
        let (helm, kustomize) = (("--helm", &self.helm), ("--kustomize", &self.kustomize));
        for (flag, file) in [helm, kustomize, ("--credentials-dir", &self.credentials_dir)] {
            all.extend(file.iter().flat_map(|file| [flag.into(), file.clone().into_os_string()]));
        }
        all
    }

    /// Looks for nothing yet.
    #[must_use]
    pub fn renderer(&self) -> Renderer {
        let (helm, kustomize) = (self.helm.clone(), self.kustomize.clone());
        let programs = Programs::new(Options { helm, kustomize, ..Options::default() });
        let mut charts = cache().map(Charts::in_folder).unwrap_or_default();
        if let Some(folder) = self.credentials_dir.clone() {
            charts =
                charts.with_credentials(move |name| hub_git::access(&folder, name).map_err(|error| error.to_string()));
        }
        Renderer { kube_version: self.kube_version.clone(), programs: Arc::new(programs), charts }
    }
}

/// As which source a folder is read.
#[derive(clap::Args)]
pub struct Seen {
    /// A folder with the declarations of the root source; the Source of --as alone is enough, and with its clusters
    /// more is seen
    #[arg(long, value_name = "DIR", requires = "name")]
    root: Option<PathBuf>,
    /// Read the files as this source, within what its Source in --root lets it do; left out: as the root source
    #[arg(long = "as", value_name = "NAME", requires = "root")]
    name: Option<String>,
}

impl Seen {
    /// Reads what the root declares, where it is given.
    ///
    /// # Errors
    /// It cannot be read, or declares no such source.
    pub fn role(&self) -> Result<Role, RoleError> {
        match (&self.root, &self.name) {
            (Some(root), Some(name)) => Role::of(root, name),
            _ => Ok(Role::default()),
        }
    }
}

/// Files without clusters are likely those of a further source, which may do less.
fn hint(role: &Role, read: &Offline) {
    if *role == Role::default() && read.clusters().is_empty() && !read.catalog().bundles.is_empty() {
        output::tell(
            "no cluster is declared here: a further source is read with --root DIR --as NAME, where DIR declares it, \
             and may do what its Source says",
        );
    }
}

/// Where charts are kept from one use to the next, as other programs keep such things.
fn cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("drover/charts"))
}
