//! What renders: the programs of this machine, and what charts are rendered for.

use std::sync::Arc;

use hub_core::release::lock::LOCK_FILE;
use hub_core::release::{Chart, How, RenderInput, Tools};

use crate::charts::Charts;
use crate::manifests::{Rendered, at_file};
use crate::program::Programs;
use crate::unrendered::Unrendered;

/// The Kubernetes version that charts are rendered for where nobody says one.
pub const KUBE_VERSION: &str = "1.33";

/// What renders.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The Kubernetes version that charts are rendered for where their bundle says none.
    pub kube_version: String,
    /// Helm and Kustomize.
    pub programs: Arc<Programs>,
    /// Charts from elsewhere.
    pub charts: Charts,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { kube_version: KUBE_VERSION.into(), programs: Arc::default(), charts: Charts::default() }
    }
}

impl Renderer {
    /// The versions of the programs, which are part of what addresses a rendering. Blocks where one is new.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools { kustomize: self.programs.kustomize_version(), helm: self.programs.helm_version() }
    }

    /// Whether nothing need be fetched for an input. Blocks.
    #[must_use]
    pub fn is_here(&self, input: &RenderInput) -> bool {
        let How::Helm(helm) = &input.how else { return true };
        let Chart::Archive { digest, .. } = &helm.chart else { return true };
        self.charts.keeps(digest)
    }

    /// Fetches the chart of an input that has one from elsewhere, unless it is kept. Blocks.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what was pinned.
    pub fn fetch(&self, input: &RenderInput) -> Result<(), String> {
        self.chart(input).map(|result| result.map(drop)).unwrap_or(Ok(()))
    }

    /// Renders one input; `read` gives the content of a file. Blocks while programs run; one under way is ended where
    /// nobody wants it any more.
    ///
    /// # Errors
    /// All that is wrong with it; its bundle is held.
    pub fn render(
        &self,
        input: &RenderInput,
        read: impl Fn(&str) -> Option<Arc<[u8]>>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Rendered, Unrendered> {
        let archive = match self.chart(input) {
            None => None,
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(message)) => {
                return Err(Unrendered::passing(at_file(LOCK_FILE, message).shown().holding(&input.bundle)));
            }
        };
        let read = |path: &str| match &archive {
            Some(bytes) if path.starts_with("charts/") && path.ends_with(".tgz") => Some(Arc::clone(bytes)),
            _ => read(path),
        };
        self.programs.render(input, read, is_wanted)
    }

    /// The archive of the chart, where it comes from elsewhere.
    fn chart(&self, input: &RenderInput) -> Option<Result<Arc<[u8]>, String>> {
        let How::Helm(helm) = &input.how else { return None };
        let Chart::Archive { origin, credentials, digest } = &helm.chart else { return None };
        Some(self.charts.get(&self.programs, origin, credentials.as_deref(), digest))
    }
}
