//! What is rendered of one snapshot: a recipe for each bundle.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::variant::{Binds, Dependency};
use proto_model::{Settings, limits};

use super::recipe::{Maker, Recipe};
use super::tree::below;
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
    let (mut wanted, mut room) = (Wanted::default(), Room::default());
    for (full, item) in &catalog.bundles {
        if catalog.held.contains_key(full) {
            continue;
        }
        if let Err(message) = room.looks(item, snapshot) {
            wanted.hold(full, item.defect("spec.path", message));
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
        } else if let Err(message) = room.reads(made.recipe.files().count()) {
            wanted.hold(full, item.defect("spec.path", message));
        } else {
            wanted.recipes.insert(full.clone(), made.recipe);
        }
    }
    wanted
}

impl Wanted {
    fn hold(&mut self, full: &str, defect: Defect) {
        self.held.insert(full.to_owned(), format!("{}: {}", defect.file, defect.message));
        self.defects.push(defect.holding(full));
    }
}

/// What bundles took so far of what a source may cost. Thousands of bundles that all take the
/// whole of a large repository would cost their product.
#[derive(Default)]
struct Room {
    looked: usize,
    read: usize,
}

impl Room {
    fn looks(&mut self, item: &Declared<BundleSpec>, snapshot: &Snapshot) -> Result<(), String> {
        const MAX: usize = limits::LOOKED_PATHS_PER_SOURCE_MAX;
        let Some(folder) = directory(&item.file, &item.spec.path) else { return Ok(()) };
        let left = MAX - self.looked;
        let paths = below(snapshot, &folder).take(left + 1).count();
        if paths > left {
            return Err(format!(
                "the folders of this source's bundles hold more than {MAX} paths, those of each counted; give the \
                 bundle a smaller folder of its own"
            ));
        }
        self.looked += paths;
        Ok(())
    }

    fn reads(&mut self, files: usize) -> Result<(), String> {
        const MAX: usize = limits::INPUT_FILES_PER_SOURCE_MAX;
        if self.read + files > MAX {
            return Err(format!(
                "with its {files} files this source's bundles read more than {MAX}, those of each counted; give the \
                 bundle a smaller folder of its own"
            ));
        }
        self.read += files;
        Ok(())
    }
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
