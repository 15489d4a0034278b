//! The example that newcomers start from has no defects, and every bundle of it reaches a cluster.

use std::path::Path;

use anyhow::{Result, ensure};
use hub_render::Renderer;
use hub_render::offline::{Offline, Role};

#[test]
fn the_example_has_no_defects() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/retail");
    let tree = Offline::load(&folder, &Role::default(), &Renderer::default())?;
    let found = tree.lint();
    let defects: Vec<String> = found.iter().filter(|found| !found.note).map(ToString::to_string).collect();
    ensure!(defects.is_empty(), "{}", defects.join("\n"));
    ensure!(tree.goals().bundles.len() >= 5, "five bundles or more");
    for (name, goal) in &tree.goals().bundles {
        ensure!(!goal.pairs.is_empty(), "{name} reaches no cluster");
        for cluster in tree.clusters() {
            if goal.pairs.iter().any(|(_, numbers)| numbers.contains(cluster.number)) {
                ensure!(!tree.render(name, &cluster.name)?.is_empty(), "{name} is empty");
            }
        }
    }
    Ok(())
}
