//! What is rendered of one snapshot: a recipe for each bundle.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::Settings;
use proto_model::variant::{Binds, Dependency};

use super::recipe::{Maker, Recipe};
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Catalog, Declared, Defect, directory, full_name};
use crate::snapshot::Snapshot;

/// What is to be rendered of one snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// By full name of the bundle.
    pub recipes: BTreeMap<String, Recipe>,
    /// Bundles that cannot be rendered, and why.
    pub held: BTreeMap<String, String>,
    /// What is wrong with their files.
    pub defects: Vec<Defect>,
    /// Files to read before this is whole: they are to be read, and the question asked again.
    pub asks: BTreeSet<String>,
}

/// What is to be rendered of a snapshot: one recipe for each bundle that is not held. Charts are
/// rendered for `kube_version` where their bundle says none.
#[must_use]
pub fn wanted(catalog: &Catalog, snapshot: &Snapshot, kube_version: &str) -> Wanted {
    let mut borders: BTreeSet<String> = catalog.boundaries.clone();
    borders.extend(catalog.bundles.values().filter_map(|item| directory(&item.file, &item.spec.path)));
    let mut wanted = Wanted::default();
    for (full, item) in &catalog.bundles {
        if catalog.held.contains_key(full) {
            continue;
        }
        let maker = Maker { item, snapshot, borders: &borders, kube_version };
        let made = maker.make(settings(item));
        wanted.asks.extend(made.asks);
        wanted.defects.extend(made.notes);
        if let Some(first) = made.defects.first() {
            let why = format!("{}: {}", first.file, first.message);
            wanted.held.insert(full.clone(), why);
            wanted.defects.extend(made.defects.into_iter().map(|defect| defect.holding(full)));
        } else {
            wanted.recipes.insert(full.clone(), made.recipe);
        }
    }
    wanted
}

/// What of a bundle's declaration shapes what a spoke does.
fn settings(item: &Declared<BundleSpec>) -> Settings {
    let spec = &item.spec;
    let binds = spec.variables.iter();
    let depends_on =
        spec.depends_on.iter().map(|on| Dependency { bundle: full_name(&item.source, &on.bundle), until: on.until });
    Settings {
        namespace: spec.namespace.clone(),
        binds: binds.map(|(name, one)| (name.clone(), Binds { identity: one.identity })).collect(),
        depends_on: depends_on.collect(),
        drift: spec.drift,
        // Health checks join once it is known what they can be about.
        health: Vec::new(),
    }
}
