//! Kustomize patches over what was rendered, whatever rendered it, with Kustomize's own semantics.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::{Patch, RenderInput};
use proto_model::Identity;
use proto_model::object::identity;
use serde_json::{Value as Json, json};

use crate::discreet::discreet;
use crate::document::Placed;
use crate::manifests::at_file;
use crate::output;
use crate::program::{Failure, Runs, Tool};
use crate::render::{failed, printed};
use crate::unrendered::Unrendered;

const OBJECTS: &str = "objects.yaml";

/// Runs an input's patches over its objects.
///
/// # Errors
/// What Kustomize finds wrong with them: which patch, and nothing of its text, since it may be that of a
/// Secret.
pub(crate) fn apply(runs: Runs<'_>, input: &RenderInput, placed: Vec<Placed>) -> Result<Vec<Placed>, Unrendered> {
    let file = &input.path;
    runs.programs.require(Tool::Kustomize, file)?;
    let objects = printed(&placed);
    let out = match patched(runs, input, &input.patches, &objects) {
        Ok(out) => out,
        Err(Failure::Complaint(text)) => return Err(vec![defect(runs, input, &objects, &text)].into()),
        Err(failure) => return Err(failed(Tool::Kustomize, file, &failure)),
    };
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

/// What Kustomize prints for some of an input's patches over its objects.
fn patched(runs: Runs<'_>, input: &RenderInput, patches: &[Arc<Patch>], objects: &str) -> Result<Vec<u8>, Failure> {
    let contents: Vec<&Json> = patches.iter().map(|patch| &patch.content).collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [OBJECTS],
        "sortOptions": {"order": "fifo"},
        "patches": contents,
    });
    let work = runs.programs.work()?;
    for (path, text) in [("kustomization.yaml", &*kustomization.to_string()), (OBJECTS, objects)] {
        let laid = work.lay_out(path, text.as_bytes());
        laid.map_err(|error| Failure::Start(format!("the objects cannot be laid out for patches: {error}")))?;
    }
    let version = input.tools.kustomize.as_deref();
    let args = vec!["build".into(), ".".into()];
    runs.run(Tool::Kustomize, version, &work, args).map_err(|failure| match failure {
        Failure::Complaint(text) => Failure::Complaint(work.strip(&text)),
        other => other,
    })
}

/// The first patch that does not apply, where it is declared. Each goes over what those before it left, so
/// that it is the last of the shortest list that fails.
fn defect(runs: Runs<'_>, input: &RenderInput, objects: &str, text: &str) -> Defect {
    let (mut good, mut bad, mut text) = (0, input.patches.len(), text.to_owned());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match patched(runs, input, &input.patches[..middle], objects) {
            Ok(_) => good = middle,
            Err(Failure::Complaint(other)) => (bad, text) = (middle, other),
            // The machine does not let us look: what is known is said of all of them.
            Err(_) => break,
        }
    }
    let why = reason(&text);
    match input.patches.get(good).filter(|_| bad - good == 1) {
        Some(patch) => {
            let message = format!("{} cannot be applied: {why}", patch.name);
            Defect { line: patch.line, ..at_file(&patch.file, message) }
        }
        None => at_file(&input.path, format!("the bundle's patches cannot be applied: {why}")),
    }
}

fn reason(text: &str) -> String {
    if text.contains("unable to parse SM or JSON patch") {
        return "it is neither a strategic merge patch nor a JSON patch; look at its YAML".into();
    }
    output::shown(discreet(text).trim_start_matches("Error: "))
}
