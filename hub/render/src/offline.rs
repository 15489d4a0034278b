//! The hub's own reading of a working tree, for `drover lint` and `drover render`: what is said
//! here is what the hub would say of a commit with these files.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hub_core::catalog::{Cache, Catalog, Defect, Guard, full_name, parse};
use hub_core::release::{ClusterFacts, Goals, Layers, RenderInput, Rendering, Resolved, Wanted, goals, layers, wanted};
use hub_core::select::Index;
use hub_core::snapshot::Snapshot;
use hub_core::yaml::unknown;
use proto_model::bind::{BindError, bind, stamp};
use serde_json::Value as Json;

use crate::manifests::{Rendered, render};
pub use tree::TreeError;

/// The name that a source has where no hub gives it one.
pub const SOURCE: &str = "main";

/// A working tree as the hub would read it. Its clusters are those that it declares, without the
/// labels that tokens would add.
#[derive(Debug)]
pub struct Offline {
    catalog: Catalog,
    wanted: Wanted,
    clusters: Vec<ClusterFacts>,
    rendered: BTreeMap<String, Rendered>,
    goals: Goals,
    defects: BTreeSet<Defect>,
}

/// Why a bundle cannot be shown for a cluster.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// There is no such cluster or bundle here.
    #[error("{0}")]
    Unknown(String),
    /// Something is wrong with the bundle.
    #[error("bundle {bundle} is held: {why}")]
    Held {
        /// Full name of the bundle.
        bundle: String,
        /// What is wrong.
        why: String,
        /// All that is wrong with it.
        defects: Vec<Defect>,
    },
    /// No target of the bundle matches the cluster.
    #[error("bundle {bundle} has no target that matches cluster {cluster}")]
    NotDeployed {
        /// Full name of the bundle.
        bundle: String,
        /// Name of the cluster.
        cluster: String,
    },
    /// A variable has no value that fits.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Offline {
    /// Reads the tree below a folder, and all that follows from it. Nothing is written.
    ///
    /// # Errors
    /// The folder cannot be read, or has more than `limits::TREE_PATHS_MAX` files.
    pub fn load(path: &Path) -> Result<Self, TreeError> {
        let mut snapshot = tree::paths(path)?;
        tree::read_declarations(path, &mut snapshot)?;
        let catalog = parse(&snapshot, SOURCE, None, &mut Cache::default()).catalog;
        let inputs = wanted(&catalog, &snapshot).inputs;
        let files = inputs.values().flat_map(|input| &input.files).map(|file| &file.path);
        tree::read(path, &mut snapshot, files)?;
        Ok(Self::of(&snapshot))
    }

    /// What follows from a snapshot of which all wanted files were read.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        Self::after(snapshot, None)
    }

    /// The same, where `last` was the catalog before.
    #[must_use]
    pub fn after(snapshot: &Snapshot, last: Option<&Catalog>) -> Self {
        let parsed = parse(snapshot, SOURCE, last, &mut Cache::default());
        let wanted = wanted(&parsed.catalog, snapshot);
        let mut defects: BTreeSet<Defect> = parsed.defects.into_iter().collect();
        defects.extend(wanted.defects.iter().cloned());
        let (mut rendered, mut renderings) = (BTreeMap::new(), BTreeMap::new());
        for (full, input) in &wanted.inputs {
            match render(input, |path| snapshot.read(path).cloned()) {
                Ok(one) => {
                    let (variant, meta) = (one.variant.digest(), one.meta.clone().into());
                    renderings.insert(input.digest, Rendering { variant, meta });
                    rendered.insert(full.clone(), one);
                }
                Err(found) => defects.extend(found),
            }
        }
        let clusters: Vec<ClusterFacts> = (0..)
            .zip(&parsed.catalog.clusters)
            .map(|(number, (name, item))| ClusterFacts { number, name: name.clone(), labels: item.labels.clone() })
            .collect();
        let goals = goals(&parsed.catalog, &wanted, &clusters, &renderings, &Guard::default());
        defects.extend(goals.defects.iter().cloned());
        Self { catalog: parsed.catalog, wanted, clusters, rendered, goals, defects }
    }

    /// All that is wrong with the tree, and what is worth knowing, by file and line.
    #[must_use]
    pub fn lint(&self) -> Vec<Defect> {
        let mut found = self.defects.clone();
        self.unused_clusters(&mut found);
        for (full, item) in &self.catalog.bundles {
            let note = |path: &str, message: &str| item.defect(path, message).as_note();
            if let Some(goal) = self.goals.bundles.get(full)
                && goal.pairs.is_empty()
                && !self.clusters.is_empty()
            {
                found.insert(note("spec.targets", "no declared cluster is matched by any target"));
            }
            if self.wanted.inputs.get(full).is_some_and(|input| input.files.is_empty()) {
                found.insert(note("spec.include", "no file of the bundle's path is a manifest"));
            }
            if let Some(rendered) = self.rendered.get(full) {
                let used = rendered.meta.used();
                let cluster = |name: &str| used.iter().any(|one| one.starts_with(&format!("{name}.")));
                for name in item.spec.variables.keys() {
                    if !(used.contains(&**name) || name == "cluster" && cluster(name)) {
                        let message = format!("variable {name} is bound and no object uses it");
                        found.insert(note(&format!("spec.variables.{name}"), &message));
                    }
                }
            }
        }
        found.into_iter().collect()
    }

    fn unused_clusters(&self, found: &mut BTreeSet<Defect>) {
        // A held bundle may be the one that matches.
        if !self.goals.held.is_empty() {
            return;
        }
        let goals = self.goals.bundles.values().flat_map(|goal| &goal.pairs);
        let used: BTreeSet<u32> = goals.flat_map(|(_, clusters)| clusters).collect();
        for cluster in self.clusters.iter().filter(|cluster| !used.contains(&cluster.number)) {
            if let Some(item) = self.catalog.clusters.get(&cluster.name) {
                found.insert(item.defect("", "no bundle has a target that matches it").as_note());
            }
        }
    }

    /// The objects that a cluster would get of a bundle, bound, in the order of the variant.
    ///
    /// # Errors
    /// There is no such bundle or cluster, the bundle is not deployed there, or something is wrong
    /// with it.
    pub fn render(&self, bundle: &str, cluster: &str) -> Result<Vec<Json>, OfflineError> {
        let full = full_name(SOURCE, bundle);
        let cluster = self.cluster(cluster)?;
        let rendered = self.good(&full)?;
        let not_deployed = || OfflineError::NotDeployed { bundle: full.clone(), cluster: cluster.name.clone() };
        let goal = self.goals.bundles.get(&full).ok_or_else(not_deployed)?;
        let (content, _) =
            goal.pairs.iter().find(|(_, clusters)| clusters.contains(cluster.number)).ok_or_else(not_deployed)?;
        let (mut objects, mut changed) = (Vec::new(), Vec::new());
        for object in &rendered.objects {
            let manifest = object.manifest();
            let bound = bind(&manifest, &content.variables, &rendered.variant.settings.binds)?;
            changed.push(bound != manifest);
            objects.push(bound);
        }
        stamp(&mut objects, &changed);
        Ok(objects)
    }

    /// Where the value of each variable of a bundle comes from in a cluster; `None` for a name
    /// that nothing gives a value.
    ///
    /// # Errors
    /// There is no such bundle or cluster.
    pub fn variables(&self, bundle: &str, cluster: &str) -> Result<BTreeMap<String, Option<Resolved>>, OfflineError> {
        let full = full_name(SOURCE, bundle);
        let cluster = self.cluster(cluster)?;
        let Some(item) = self.catalog.bundles.get(&full) else {
            return Err(self.no_bundle(&full));
        };
        let index: Index = self.clusters.iter().map(|one| (one.number, &one.labels)).collect();
        let layers: Layers<'_> = layers(&self.catalog, item, &index);
        let mut names: BTreeSet<&str> = item.spec.variables.keys().map(String::as_str).collect();
        if names.remove("cluster")
            && let Some(rendered) = self.rendered.get(&full)
        {
            names.extend(rendered.meta.used().into_iter().filter(|name| name.starts_with("cluster.")));
        }
        Ok(names.into_iter().map(|name| (name.to_owned(), layers.resolve(name, cluster))).collect())
    }

    /// The catalog.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The goals of the declared clusters.
    #[must_use]
    pub fn goals(&self) -> &Goals {
        &self.goals
    }

    /// The declared clusters, by number.
    #[must_use]
    pub fn clusters(&self) -> &[ClusterFacts] {
        &self.clusters
    }

    /// What is rendered, by full name of the bundle.
    #[must_use]
    pub fn inputs(&self) -> &BTreeMap<String, RenderInput> {
        &self.wanted.inputs
    }

    /// What a bundle, by full name, was rendered to; `None` where it could not be.
    #[must_use]
    pub fn rendered(&self, bundle: &str) -> Option<&Rendered> {
        self.rendered.get(bundle)
    }

    fn cluster(&self, name: &str) -> Result<&ClusterFacts, OfflineError> {
        self.clusters.iter().find(|cluster| cluster.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.clusters.iter().map(|cluster| &*cluster.name).collect();
            OfflineError::Unknown(unknown("cluster", name, &known))
        })
    }

    fn good(&self, full: &str) -> Result<&Rendered, OfflineError> {
        if let Some(why) = self.goals.held.get(full) {
            let of_it = |defect: &&Defect| defect.bundle.as_deref() == Some(full);
            let defects = self.defects.iter().filter(of_it).cloned().collect();
            return Err(OfflineError::Held { bundle: full.into(), why: why.clone(), defects });
        }
        self.rendered.get(full).ok_or_else(|| self.no_bundle(full))
    }

    fn no_bundle(&self, full: &str) -> OfflineError {
        let names = self.catalog.bundles.keys().chain(self.catalog.held.keys());
        let known: Vec<&str> = names.filter_map(|name| name.strip_prefix(SOURCE)?.strip_prefix('/')).collect();
        let own = full.strip_prefix(&format!("{SOURCE}/")).unwrap_or(full);
        OfflineError::Unknown(unknown("bundle", own, &known))
    }
}
