//! Kustomize patches over what was rendered, whatever rendered it, with Kustomize's own semantics.

use std::collections::BTreeMap;

use hub_core::catalog::Defect;
use hub_core::release::RenderInput;
use proto_model::Identity;
use proto_model::object::identity;
use serde_json::json;

use crate::document::Placed;
use crate::manifests::at_file;
use crate::output;
use crate::program::{Failure, Programs, Tool};
use crate::render::{failed, printed};

const OBJECTS: &str = "objects.yaml";

/// Runs an input's patches over its objects.
///
/// # Errors
/// What Kustomize finds wrong with them.
pub(crate) fn apply(programs: &Programs, input: &RenderInput, placed: Vec<Placed>) -> Result<Vec<Placed>, Vec<Defect>> {
    let file = &input.path;
    programs.require(Tool::Kustomize, file)?;
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [OBJECTS],
        "sortOptions": {"order": "fifo"},
        "patches": input.patches,
    });
    let work = programs.work().map_err(|failure| failed(Tool::Kustomize, file, &failure))?;
    for (path, text) in [("kustomization.yaml", kustomization.to_string()), (OBJECTS, printed(&placed))] {
        work.lay_out(path, text.as_bytes())
            .map_err(|error| vec![at_file(file, format!("cannot be laid out for patches: {error}"))])?;
    }
    let out = programs.run(Tool::Kustomize, &work, vec!["build".into(), ".".into()]).map_err(|failure| {
        let Failure::Complaint(text) = &failure else { return failed(Tool::Kustomize, file, &failure) };
        let text = output::shown(work.strip(text).trim_start_matches("Error: "));
        vec![at_file(file, format!("the bundle's patches cannot be applied: {text}"))]
    })?;
    let mut files: BTreeMap<Identity, (String, u32)> = BTreeMap::new();
    for one in placed {
        if let Ok(identity) = identity(&one.node.to_json()) {
            files.insert(identity, (one.file, one.line));
        }
    }
    let mut patched = output::read("kustomize", &out, |_| file.clone())?;
    for one in &mut patched {
        // What a patch renames belongs to the bundle as a whole.
        if let Some((file, line)) = identity(&one.node.to_json()).ok().and_then(|identity| files.get(&identity)) {
            (one.file, one.line) = (file.clone(), *line);
        }
    }
    Ok(patched)
}
