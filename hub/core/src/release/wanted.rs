//! What is rendered of one snapshot: a recipe for each bundle.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::limits;

use super::recipe::{Made, Maker, Recipe};
use super::settings::settings;
use super::tree::below;
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Catalog, Declared, Defect, directory};
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

/// What the hub says of all bundles of a source.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The Kubernetes version that charts are rendered for where their bundle says none.
    pub kube_version: &'a str,
    /// Whether whoever writes to the sources has this machine anyway: the root source is a path of it.
    pub is_local: bool,
}

impl<'a> From<&'a str> for Rules<'a> {
    /// For a Kubernetes version, and of sources that lie elsewhere.
    fn from(kube_version: &'a str) -> Self {
        Self { kube_version, is_local: false }
    }
}

/// What is to be rendered of a snapshot: one recipe for each bundle that is not held.
#[must_use]
pub fn wanted(catalog: &Catalog, snapshot: &Snapshot, rules: Rules<'_>) -> Wanted {
    Turns::default().next(catalog, snapshot, rules)
}

/// The same, where files are read between one turn and the next: a bundle that asked for nothing is
/// not looked at again, so that a long chain of files in one costs the others nothing.
#[derive(Debug, Default)]
pub struct Turns {
    /// By full name of the bundle.
    known: BTreeMap<String, Known>,
}

/// What was found out about one bundle.
#[derive(Debug)]
struct Known {
    /// Paths below its folder, as far as there was room for them.
    paths: usize,
    /// Why it is not looked at.
    over: Option<String>,
    made: Option<Made>,
}

impl Turns {
    /// What is wanted as far as it can be told, of the same catalog each time. While it asks for
    /// files, it has nothing else.
    pub fn next(&mut self, catalog: &Catalog, snapshot: &Snapshot, rules: Rules<'_>) -> Wanted {
        let mut borders: BTreeSet<String> = catalog.boundaries.clone();
        borders.extend(catalog.bundles.values().filter_map(|item| directory(&item.file, &item.spec.path)));
        let (mut wanted, mut room) = (Wanted::default(), Room::default());
        let bundles = || catalog.bundles.iter().filter(|(full, _)| !catalog.held.contains_key(*full));
        for (full, item) in bundles() {
            let known = self.known.entry(full.clone()).or_insert_with(|| {
                let (over, made) = (None, None);
                Known { paths: room.paths(item, snapshot), over, made }
            });
            known.over = room.looks(known.paths).err();
            if known.over.is_none() {
                let maker = Maker { item, snapshot, borders: &borders, rules };
                let whole = known.made.take().filter(|made| made.asks.is_empty());
                let made = known.made.insert(whole.unwrap_or_else(|| maker.make(settings(item))));
                room.looked = room.looked.saturating_add(made.looked);
                wanted.asks.extend(made.asks.iter().cloned());
            }
        }
        if wanted.asks.is_empty() {
            for (full, item) in bundles() {
                if let Some(known) = self.known.remove(full) {
                    wanted.take(full, item, known, &mut room);
                }
            }
        }
        wanted
    }
}

impl Wanted {
    fn take(&mut self, full: &str, item: &Declared<BundleSpec>, known: Known, room: &mut Room) {
        if let Some(message) = known.over {
            return self.hold(full, item.defect("spec.path", message));
        }
        let Some(made) = known.made else { return };
        self.defects.extend(made.notes.into_iter().map(Defect::shown));
        if let Some(first) = made.defects.first().cloned() {
            self.hold(full, first);
            self.defects.extend(made.defects.into_iter().skip(1).map(|defect| defect.shown().holding(full)));
        } else if let Err(message) = room.reads(made.recipe.files().count()) {
            self.hold(full, item.defect("spec.path", message));
        } else {
            self.recipes.insert(full.to_owned(), made.recipe);
        }
    }

    fn hold(&mut self, full: &str, defect: Defect) {
        let defect = defect.shown();
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
    /// Paths below the folder of a bundle, counted no further than to one too many.
    fn paths(&self, item: &Declared<BundleSpec>, snapshot: &Snapshot) -> usize {
        let Some(folder) = directory(&item.file, &item.spec.path) else { return 0 };
        below(snapshot, &folder).take(self.left().saturating_add(1)).count()
    }

    fn looks(&mut self, paths: usize) -> Result<(), String> {
        const MAX: usize = limits::LOOKED_PATHS_PER_SOURCE_MAX;
        if paths > self.left() {
            return Err(format!(
                "the folders of this source's bundles hold more than {MAX} paths, those of each counted; give the \
                 bundle a smaller folder of its own"
            ));
        }
        self.looked += paths;
        Ok(())
    }

    fn left(&self) -> usize {
        limits::LOOKED_PATHS_PER_SOURCE_MAX.saturating_sub(self.looked)
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
