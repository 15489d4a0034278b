//! What renders: the programs of this machine, and what charts are rendered for.

use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::{RenderInput, Tools};

use crate::manifests::{self, Rendered};

/// The Kubernetes version that charts are rendered for where nobody says one.
pub const KUBE_VERSION: &str = "1.33";

/// What renders.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The Kubernetes version that charts are rendered for where their bundle says none.
    pub kube_version: String,
}

impl Default for Renderer {
    fn default() -> Self {
        Self { kube_version: KUBE_VERSION.into() }
    }
}

impl Renderer {
    /// The versions of the programs, which are part of what addresses a rendering.
    #[must_use]
    pub fn tools(&self) -> Tools {
        Tools::default()
    }

    /// Renders one input; `read` gives the content of a file.
    ///
    /// # Errors
    /// All that is wrong with it; its bundle is held.
    pub fn render(
        &self,
        input: &RenderInput,
        read: impl Fn(&str) -> Option<Arc<[u8]>>,
    ) -> Result<Rendered, Vec<Defect>> {
        manifests::render(input, read)
    }
}
