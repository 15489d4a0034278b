//! The hub's own reading of a working tree, for `drover lint` and `drover render`: what is said
//! here is what the hub would say of a commit with these files.

pub mod plan;
mod role;
mod tree;
mod twice;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hub_core::catalog::{Cache, Catalog, Defect, Guard, full_name, parse_within};
use hub_core::release::{
    ClusterFacts, Common, Goals, Inputs, Layers, PairContent, Recipe, RenderInput, Rendering, Renderings, Resolved,
    Rules, VariantMeta, Wanted, forbidden, goals, layers, unused, wanted,
};
use hub_core::select::Index;
use hub_core::snapshot::{Snapshot, is_declaration};
use hub_core::yaml::unknown;
use proto_model::Digest;
use proto_model::bind::{BindError, bind, stamp};
use serde_json::Value as Json;

use crate::manifests::Rendered;
use crate::renderer::Renderer;
use crate::side_by_side::side_by_side;
pub use role::{Role, RoleError, SOURCE};
pub use tree::TreeError;

/// What counts for a working tree: it lies on this machine.
fn rules(renderer: &Renderer) -> Rules<'_> {
    Rules { kube_version: &renderer.kube_version, is_local: true }
}

/// A working tree as the hub would read it. Its clusters are those that it declares, or the root
/// whose source it is, without the labels that tokens would add.
#[derive(Debug)]
pub struct Offline {
    role: Role,
    catalog: Catalog,
    wanted: Wanted,
    clusters: Vec<ClusterFacts>,
    /// By full name of the bundle and digest of the variant.
    rendered: BTreeMap<String, BTreeMap<Digest, Rendered>>,
    goals: Goals,
    defects: BTreeSet<Defect>,
    /// Whether every declaration could be read.
    is_whole: bool,
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
    pub fn load(path: &Path, role: &Role, renderer: &Renderer) -> Result<Self, TreeError> {
        Self::load_after(path, role, None, renderer)
    }

    /// The same with nothing rendered but one bundle, for whoever asks for no other.
    ///
    /// # Errors
    /// Those of [`Offline::load`].
    pub fn load_one(path: &Path, role: &Role, bundle: &str, renderer: &Renderer) -> Result<Self, TreeError> {
        let snapshot = Self::read(path, role, None, renderer)?;
        Ok(Self::of(&snapshot, role, None, Some(&full_name(&role.source, bundle)), renderer))
    }

    /// The same where a hub has read another state before: of what is defective now it keeps the last good form.
    ///
    /// # Errors
    /// Those of [`Offline::load`].
    pub fn load_after(
        path: &Path,
        role: &Role,
        last: Option<&Catalog>,
        renderer: &Renderer,
    ) -> Result<Self, TreeError> {
        let snapshot = Self::read(path, role, last, renderer)?;
        Ok(Self::after(&snapshot, role, last, renderer))
    }

    /// The tree, with the content of all files that are asked for.
    fn read(path: &Path, role: &Role, last: Option<&Catalog>, renderer: &Renderer) -> Result<Snapshot, TreeError> {
        let mut snapshot = tree::paths(path)?;
        let declarations: BTreeSet<String> =
            snapshot.files.keys().filter(|path| is_declaration(path)).cloned().collect();
        tree::read(path, &mut snapshot, declarations)?;
        loop {
            let asks = Self::asks(&snapshot, role, last, renderer);
            if asks.is_empty() {
                return Ok(snapshot);
            }
            tree::read(path, &mut snapshot, asks)?;
        }
    }

    /// The files of which the content is needed and was not asked for yet. Once there are none,
    /// [`Offline::after`] sees everything.
    #[must_use]
    pub fn asks(snapshot: &Snapshot, role: &Role, last: Option<&Catalog>, renderer: &Renderer) -> BTreeSet<String> {
        let parsed = parse_within(snapshot, &role.source, role.may.as_ref(), last, &mut Cache::default());
        let catalog = parsed.catalog;
        let wanted = wanted(&catalog, snapshot, rules(renderer));
        if !wanted.asks.is_empty() {
            return wanted.asks;
        }
        let files = wanted.recipes.values().flat_map(Recipe::files).map(|file| &file.path);
        files.filter(|path| !snapshot.asked.contains(*path)).cloned().collect()
    }

    /// What follows from a snapshot of which all files were read that are asked for, where `last`
    /// was the catalog before.
    #[must_use]
    pub fn after(snapshot: &Snapshot, role: &Role, last: Option<&Catalog>, renderer: &Renderer) -> Self {
        Self::of(snapshot, role, last, None, renderer)
    }

    fn of(snapshot: &Snapshot, role: &Role, last: Option<&Catalog>, only: Option<&str>, renderer: &Renderer) -> Self {
        let parsed = parse_within(snapshot, &role.source, role.may.as_ref(), last, &mut Cache::default());
        let wanted = wanted(&parsed.catalog, snapshot, rules(renderer));
        let is_whole = parsed.defects.iter().all(|defect| defect.note);
        let mut defects: BTreeSet<Defect> = parsed.defects.into_iter().collect();
        defects.extend(wanted.defects.iter().cloned());
        let clusters: Vec<ClusterFacts> = (0..)
            .zip(&role.fleet(&parsed.catalog).clusters)
            .map(|(number, (name, item))| ClusterFacts { number, name: name.clone(), labels: item.labels.clone() })
            .collect();
        let mut offline = Self {
            role: role.clone(),
            catalog: parsed.catalog,
            wanted,
            clusters,
            rendered: BTreeMap::new(),
            goals: Goals::default(),
            defects,
            is_whole,
        };
        offline.render_all(snapshot, only, renderer);
        if offline.clusters.is_empty() {
            let forbidden = forbidden(&offline.catalog, &offline.metas());
            offline.defects.extend(forbidden);
        }
        offline
    }

    /// Renders whatever the goals miss, or of one bundle alone, until they miss nothing of it.
    fn render_all(&mut self, snapshot: &Snapshot, only: Option<&str>, renderer: &Renderer) {
        let mut renderings = Renderings::default();
        let tools = renderer.tools();
        loop {
            let common = self.common();
            let (catalog, wanted, clusters) = (&self.catalog, &self.wanted, &*self.clusters);
            let inputs = Inputs { catalog, common: &common, wanted, clusters, renderings: &renderings, tools: &tools };
            let goals = goals(inputs, &Guard::default());
            let is_asked = |input: &&RenderInput| only.is_none_or(|only| input.bundle == only);
            let missing: Vec<&RenderInput> = goals.missing.iter().filter(is_asked).collect();
            if missing.is_empty() {
                self.defects.extend(goals.defects.iter().cloned());
                self.goals = goals;
                return;
            }
            let render = |at: usize| {
                missing.get(at).map(|one| renderer.render(one, |path| snapshot.read(path).cloned(), &|| true))
            };
            let mut results = side_by_side(missing.len(), render);
            results.sort_by_key(|(at, _)| *at);
            for (input, (_, result)) in missing.into_iter().zip(results) {
                match result {
                    None => {}
                    Some(Ok(one)) => {
                        self.defects.extend(one.notes.iter().cloned());
                        let (variant, meta) = (one.variant.digest(), one.meta.clone().into());
                        renderings.done.insert(input.digest, Rendering { variant, meta });
                        self.rendered.entry(input.bundle.clone()).or_default().insert(variant, one);
                    }
                    Some(Err(found)) => {
                        renderings.failed.insert(input.digest);
                        self.defects.extend(found.defects);
                    }
                }
            }
        }
    }

    /// What the clusters are given: by the root first.
    fn common(&self) -> Common<'_> {
        Common::of(self.role.root.as_deref().into_iter().chain([&self.catalog]))
    }

    /// All that is wrong with the tree, and what is worth knowing, by file and line.
    #[must_use]
    pub fn lint(&self) -> Vec<Defect> {
        let mut found = self.defects.clone();
        self.unused_clusters(&mut found);
        found.extend(unused(&self.catalog, &self.metas()));
        self.owned_twice(&mut found);
        for (full, item) in &self.catalog.bundles {
            let note = |path: &str, message: &str| item.defect(path, message).as_note();
            if let Some(goal) = self.goals.bundles.get(full)
                && goal.pairs.is_empty()
                && !self.clusters.is_empty()
            {
                found.insert(note("spec.targets", "no declared cluster is matched by any target"));
            }
            if self.wanted.recipes.get(full).is_some_and(Recipe::is_without_files) {
                found.insert(note("spec.include", "no file of the bundle's path is a manifest"));
            }
            if self.rendered.contains_key(full) {
                let used = self.used(full);
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

    /// What can be told of all renderings, by full name of the bundle.
    fn metas(&self) -> BTreeMap<&str, Vec<&VariantMeta>> {
        let metas = self.rendered.iter();
        metas.map(|(full, all)| (full.as_str(), all.values().map(|one| &one.meta).collect())).collect()
    }

    /// The objects that a cluster would get of a bundle, bound, in the order of the variant.
    ///
    /// # Errors
    /// There is no such bundle or cluster, the bundle is not deployed there, or something is wrong
    /// with it.
    pub fn render(&self, bundle: &str, cluster: &str) -> Result<Vec<Json>, OfflineError> {
        let full = full_name(&self.role.source, bundle);
        let cluster = self.cluster(cluster)?;
        self.check_good(&full)?;
        let not_deployed = || OfflineError::NotDeployed { bundle: full.clone(), cluster: cluster.name.clone() };
        let goal = self.goals.bundles.get(&full).ok_or_else(not_deployed)?;
        let (content, _) =
            goal.pairs.iter().find(|(_, clusters)| clusters.contains(cluster.number)).ok_or_else(not_deployed)?;
        self.bound(&full, content)
    }

    /// The objects of what a cluster should run of a bundle, bound.
    fn bound(&self, full: &str, content: &PairContent) -> Result<Vec<Json>, OfflineError> {
        let unknown = || OfflineError::Unknown(format!("bundle {full} is not rendered"));
        let rendered = self.rendered(full, &content.variant).ok_or_else(unknown)?;
        let (mut objects, mut changed) = (Vec::new(), Vec::new());
        for object in &rendered.objects {
            let manifest = object.manifest();
            let bound = bind(&manifest, &content.variables, &rendered.variant.settings.binds)?;
            changed.push(bound != manifest);
            objects.push(bound);
        }
        if !rendered.variant.settings.keeps_pods {
            stamp(&mut objects, &changed);
        }
        Ok(objects)
    }

    /// Where the value of each variable of a bundle comes from in a cluster; `None` for a name
    /// that nothing gives a value.
    ///
    /// # Errors
    /// There is no such bundle or cluster.
    pub fn variables(&self, bundle: &str, cluster: &str) -> Result<BTreeMap<String, Option<Resolved>>, OfflineError> {
        let full = full_name(&self.role.source, bundle);
        let cluster = self.cluster(cluster)?;
        let Some(item) = self.catalog.bundles.get(&full) else {
            return Err(self.no_bundle(&full));
        };
        let index: Index = self.clusters.iter().map(|one| (one.number, &one.labels)).collect();
        let common = self.common();
        let layers: Layers<'_> = layers(&common, item, &index);
        let mut names: BTreeSet<&str> = item.spec.variables.keys().map(String::as_str).collect();
        if names.remove("cluster") {
            names.extend(self.used(&full).into_iter().filter(|name| name.starts_with("cluster.")));
        }
        Ok(names.into_iter().map(|name| (name.to_owned(), layers.resolve(name, cluster))).collect())
    }

    /// Whether every declaration could be read, so that what none names is named by none.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
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

    /// What a bundle, by full name, is rendered from; `None` where that cannot be told.
    #[must_use]
    pub fn recipe(&self, bundle: &str) -> Option<&Recipe> {
        self.wanted.recipes.get(bundle)
    }

    /// One of the variants of a bundle, by its full name.
    #[must_use]
    pub fn rendered(&self, bundle: &str, variant: &Digest) -> Option<&Rendered> {
        let checked = self.goals.bundles.get(bundle).and_then(|goal| goal.checked.get(variant));
        self.rendered.get(bundle)?.get(checked.map_or(variant, |checked| &checked.rendered))
    }

    /// The variables that a bundle uses, in its renderings and before them.
    fn used(&self, full: &str) -> BTreeSet<&str> {
        let late = self.rendered.get(full).into_iter().flat_map(BTreeMap::values);
        let early = self.wanted.recipes.get(full).into_iter().flat_map(Recipe::early_names);
        late.flat_map(|one| one.meta.used()).chain(early).collect()
    }

    fn cluster(&self, name: &str) -> Result<&ClusterFacts, OfflineError> {
        self.clusters.iter().find(|cluster| cluster.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.clusters.iter().map(|cluster| &*cluster.name).collect();
            OfflineError::Unknown(unknown("cluster", name, &known))
        })
    }

    fn check_good(&self, full: &str) -> Result<(), OfflineError> {
        if let Some(why) = self.goals.held.get(full) {
            let of_it = |defect: &&Defect| defect.bundle.as_deref() == Some(full);
            let defects = self.defects.iter().filter(of_it).cloned().collect();
            return Err(OfflineError::Held { bundle: full.into(), why: why.clone(), defects });
        }
        if self.wanted.recipes.contains_key(full) { Ok(()) } else { Err(self.no_bundle(full)) }
    }

    fn no_bundle(&self, full: &str) -> OfflineError {
        let names = self.catalog.bundles.keys().chain(self.catalog.held.keys());
        let known: Vec<&str> =
            names.filter_map(|name| name.strip_prefix(&*self.role.source)?.strip_prefix('/')).collect();
        let own = full.strip_prefix(&format!("{}/", self.role.source)).unwrap_or(full);
        OfflineError::Unknown(unknown("bundle", own, &known))
    }
}
