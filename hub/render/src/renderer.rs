//! What renders: the programs of this machine, and what charts are rendered for.

use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::{RenderInput, Tools};

use crate::manifests::Rendered;
use crate::program::Programs;

/// The Kubernetes version that charts are rendered for where nobody says one.
pub const KUBE_VERSION: &str = "1.33";

/// What renders.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The Kubernetes version that charts are rendered for where their bundle says none.
    pub kube_version: String,
    /// Helm and Kustomize.
    pub programs: Arc<Programs>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { kube_version: KUBE_VERSION.into(), programs: Arc::default() }
    }
}

impl Renderer {
    /// The versions of the programs, which are part of what addresses a rendering.
    #[must_use]
    pub fn tools(&self) -> Tools {
        let version = |version: Option<&str>| version.map(ToOwned::to_owned);
        Tools { kustomize: version(self.programs.kustomize_version()), helm: version(self.programs.helm_version()) }
    }

    /// Renders one input; `read` gives the content of a file, and of a chart from elsewhere under
    /// `charts/<digest>.tgz`. Blocks while programs run.
    ///
    /// # Errors
    /// All that is wrong with it; its bundle is held.
    pub fn render(
        &self,
        input: &RenderInput,
        read: impl Fn(&str) -> Option<Arc<[u8]>>,
    ) -> Result<Rendered, Vec<Defect>> {
        self.programs.render(input, read)
    }
}
