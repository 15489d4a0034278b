//! One rendering, whatever turns files into objects.

use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::{How, RenderInput};

use crate::document::Placed;
use crate::manifests::{self, Rendered, at_file};
use crate::program::{Failure, Programs, Tool};
use crate::{helm, kustomize, patches};

impl Programs {
    /// Renders one bundle; `read` gives the content of a file, and of a chart's archive under
    /// `charts/<digest>.tgz`. Blocks while programs run.
    ///
    /// # Errors
    /// All that is wrong with the bundle's files, or with the program that they need; the bundle is
    /// held.
    pub fn render(
        &self,
        input: &RenderInput,
        read: impl Fn(&str) -> Option<Arc<[u8]>>,
    ) -> Result<Rendered, Vec<Defect>> {
        let mut defects = Vec::new();
        let rendered = match &input.how {
            How::Manifests => Ok(manifests::placed(input, &read, &mut defects)),
            How::Kustomize { root } => kustomize::objects(self, input, root, &read),
            How::Helm(helm) => helm::objects(self, input, helm, &read),
        };
        let placed = rendered.and_then(|placed| {
            // What could not be read cannot be patched.
            if input.patches.is_empty() || !defects.is_empty() {
                return Ok(placed);
            }
            patches::apply(self, input, placed)
        });
        match placed {
            Ok(placed) => manifests::finish(input, placed, defects),
            Err(found) => {
                defects.extend(found);
                Err(manifests::held(input, defects))
            }
        }
    }

    /// Says that a bundle needs a program that cannot be used; before anything is laid out for it.
    pub(crate) fn require(&self, tool: Tool, file: &str) -> Result<(), Vec<Defect>> {
        self.problem(tool).map_or(Ok(()), |problem| Err(vec![at_file(file, format!("needs {tool}: {problem}"))]))
    }
}

/// What became of a run that says nothing of the bundle's own files.
pub(crate) fn failed(tool: Tool, file: &str, failure: &Failure) -> Vec<Defect> {
    vec![at_file(file, format!("{tool} {failure}"))]
}

/// Manifests that a program reads again, in their order.
pub(crate) fn printed(placed: &[Placed]) -> String {
    placed.iter().map(|one| format!("---\n{}\n", one.node.to_json())).collect()
}
