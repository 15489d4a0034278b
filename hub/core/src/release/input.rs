//! What one rendering is made from.

use std::sync::Arc;

use proto_model::{Digest, Settings, Variables};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::combine::Tools;
use super::lock::Origin;
use super::patch::Patch;
use crate::catalog::spec::Lookup;

/// Rises whenever the same input would render to something else: then everything renders anew.
pub const RENDERER_VERSION: u32 = 5;

/// What is to be rendered for one bundle, or for one combination of its target, overrides and
/// early variables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderInput {
    /// Address: equal digests give equal renderings.
    pub digest: Digest,
    /// Full name of the bundle.
    pub bundle: String,
    /// Folder of the bundle, relative to the source's path; empty for its root.
    pub path: String,
    /// Every file that the rendering may read, by path; what is not listed is not there.
    pub files: Vec<InputFile>,
    /// What shapes the rendering and the variant.
    pub settings: Settings,
    /// What turns files into objects.
    pub how: How,
    /// Kustomize patches, run over the objects in their order.
    pub patches: Vec<Arc<Patch>>,
    /// Values of the variables that the rendering itself needs: bound in Helm's values and in what
    /// Kustomize's generators read, before any program sees them.
    pub early: Variables,
    /// The programs that its address speaks of.
    pub tools: Tools,
}

/// A file that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Path, relative to the source's path.
    pub path: String,
    /// Git's id of its content.
    pub id: String,
}

/// What turns files into objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum How {
    /// The files are the objects.
    #[default]
    Manifests,
    /// `kustomize build` of a folder.
    Kustomize {
        /// The folder with the kustomization, relative to the source's path; empty for its root.
        root: String,
    },
    /// `helm template` of a chart.
    Helm(Box<Helm>),
}

/// What `helm template` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Helm {
    /// The chart.
    pub chart: Chart,
    /// Name of the release.
    pub release: String,
    /// Files with values, relative to the source's path; later ones win.
    pub values_files: Vec<String>,
    /// Values over those of the files; later ones win, merged as Helm merges.
    pub values: Vec<Map<String, Json>>,
    /// What `lookup` in a template does.
    pub lookup: Lookup,
    /// The Kubernetes version that the chart finds, `1.33` or `1.33.1`.
    pub kube_version: String,
    /// API versions that the chart finds beside those of that Kubernetes version.
    pub api_versions: Vec<String>,
}

/// Where a chart lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Chart {
    /// A folder of the source, relative to its path; empty for its root.
    Folder(String),
    /// An archive from elsewhere.
    Archive {
        /// Where it is fetched.
        origin: Box<Origin>,
        /// Name of the credentials to fetch it with. They shape no byte of what is rendered.
        #[serde(skip)]
        credentials: Option<String>,
        /// SHA-256 of its bytes, as the source's `drover.lock` pins it.
        digest: Digest,
    },
}

impl Default for Chart {
    fn default() -> Self {
        Self::Folder(String::new())
    }
}
