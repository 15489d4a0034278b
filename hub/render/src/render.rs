//! One rendering, whatever turns files into objects.

use std::sync::Arc;

use hub_core::release::{How, RenderInput};

use crate::document::Placed;
use crate::manifests::{self, Rendered, at_file};
use crate::program::{Failure, Programs, Runs, Tool};
use crate::unrendered::Unrendered;
use crate::{helm, kustomize, patches};

impl Programs {
    /// Renders one bundle; `read` gives the content of a file, and of a chart's archive under
    /// `charts/<digest>.tgz`. Blocks while programs run; one under way is ended where nobody wants it any more.
    ///
    /// # Errors
    /// All that is wrong with the bundle's files, or with the program that they need; the bundle is
    /// held.
    pub fn render(
        &self,
        input: &RenderInput,
        read: impl Fn(&str) -> Option<Arc<[u8]>>,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Rendered, Unrendered> {
        let runs = Runs { programs: self, is_wanted };
        let mut defects = Vec::new();
        let rendered = match &input.how {
            How::Manifests => Ok(manifests::placed(input, &read, &mut defects)),
            How::Kustomize { root } => kustomize::objects(runs, input, root, &read),
            How::Helm(helm) => helm::objects(runs, input, helm, &read),
        };
        let placed = rendered.and_then(|placed| {
            // What could not be read cannot be patched.
            if input.patches.is_empty() || !defects.is_empty() {
                return Ok(placed);
            }
            patches::apply(runs, input, placed)
        });
        match placed {
            Ok(placed) => Ok(manifests::finish(input, placed, defects)?),
            Err(found) => {
                // What is wrong for good is wrong whatever else is.
                let passes = found.passes && defects.is_empty();
                defects.extend(found.defects);
                Err(Unrendered { defects: manifests::held(input, defects), passes })
            }
        }
    }

    /// Says that a bundle needs a program that cannot be used; before anything is laid out for it.
    pub(crate) fn require(&self, tool: Tool, file: &str) -> Result<(), Unrendered> {
        let problem = self.problem(tool);
        problem.map_or(Ok(()), |problem| Err(Unrendered::passing(at_file(file, format!("needs {tool}: {problem}")))))
    }
}

/// What became of a run that says nothing of the bundle's own files.
pub(crate) fn failed(tool: Tool, file: &str, failure: &Failure) -> Unrendered {
    let defect = at_file(file, format!("{tool} {failure}"));
    if failure.passes() { Unrendered::passing(defect) } else { vec![defect].into() }
}

/// What cannot be written for a program to read.
pub(crate) fn not_laid_out(file: &str, tool: Tool, error: &std::io::Error) -> Unrendered {
    Unrendered::passing(at_file(file, format!("cannot be laid out for {tool}: {error}")))
}

/// Manifests that a program reads again, in their order.
pub(crate) fn printed(placed: &[Placed]) -> String {
    placed.iter().map(|one| format!("---\n{}\n", one.node.to_json())).collect()
}
