//! `kustomize build`, as a rendering, within Kustomize's own rules of what may be read from where.

mod complaint;
mod generators;
mod graph;

use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::RenderInput;

use crate::content;
use crate::document::Placed;
use crate::early::Early;
use crate::manifests::at_file;
use crate::output;
use crate::program::{Failure, Runs, Tool};
use crate::render::{failed, not_laid_out};
use crate::unrendered::Unrendered;

/// The objects of a kustomization.
///
/// # Errors
/// All that is wrong with it, or with Kustomize.
pub(crate) fn objects(
    runs: Runs<'_>,
    input: &RenderInput,
    root: &str,
    read: &impl Fn(&str) -> Option<Arc<[u8]>>,
) -> Result<Vec<Placed>, Unrendered> {
    let mut files = content::collect(input, read, |_| true)?;
    let Some(file) = graph::file_of(&files, root) else {
        return Err(vec![at_file(root, "has no kustomization.yaml; add one, or name another folder")].into());
    };
    runs.programs.require(Tool::Kustomize, &file)?;
    let all = graph::kustomizations(&files, root);
    if !input.early.0.is_empty() {
        generators::bind(&all, &mut files, &Early::of(&input.early))?;
    }
    let work = runs.programs.work().map_err(|failure| failed(Tool::Kustomize, &file, &failure))?;
    for (path, bytes) in &files {
        work.lay_out(path, bytes).map_err(|error| not_laid_out(path, Tool::Kustomize, &error))?;
    }
    let folder = if root.is_empty() { "." } else { root };
    let args = vec!["build".into(), "--".into(), folder.into()];
    let printed = runs.run(Tool::Kustomize, input.tools.kustomize.as_deref(), &work, args);
    let printed = printed.map_err(|failure| {
        let Failure::Complaint(text) = &failure else { return failed(Tool::Kustomize, &file, &failure) };
        let text = work.strip(text);
        let place = complaint::names(&text).into_iter().rev().find_map(|name| graph::find(&all, &files, name));
        let (file, line) = place.unwrap_or_else(|| (file.clone(), complaint::yaml_line(&text)));
        vec![Defect { line, ..at_file(&file, complaint::words(&text)) }].into()
    })?;
    Ok(output::read("kustomize", &printed, |_| file.clone())?)
}
