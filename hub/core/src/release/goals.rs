//! Clusters and renderings put together: who should run what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::bind::{BindError, Problem, check_value};
use proto_model::{Digest, Variables, Variant};
use roaring::RoaringBitmap;

use super::combine::{Clusters, Combination, Tools};
use super::health;
use super::input::RenderInput;
use super::meta::VariantMeta;
use super::recipe::Recipe;
use super::variables::{Common, Layers, layers, needed_variables};
use super::wanted::Wanted;
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Catalog, Declared, Defect, Guard, full_name};
use crate::select::Index;

/// Defects of one kind that are spelled out for one bundle; the rest are counted.
const SPELLED_OUT_MAX: usize = 5;

/// What is known of a cluster that anything may be assigned to. One that is not listed keeps what
/// it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Its number, for bitmaps.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its labels: those from Git over those of its token.
    pub labels: BTreeMap<String, String>,
}

/// The result of a rendering without defects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    /// Digest of the variant.
    pub variant: Digest,
    /// What of its objects can be told without their bodies.
    pub meta: Arc<VariantMeta>,
}

/// What a cluster should run of one bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PairContent {
    /// Digest of the variant.
    pub variant: Digest,
    /// The variables that its objects use.
    pub variables: Variables,
}

/// What all clusters should run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Goals {
    /// By full name.
    pub bundles: BTreeMap<String, BundleGoals>,
    /// Bundles that are declared and of which something is wrong, and what: their goal stays what
    /// it was.
    pub held: BTreeMap<String, String>,
    /// What is wrong.
    pub defects: Vec<Defect>,
    /// What is to be rendered before the bundles that it holds have goals.
    pub missing: Vec<RenderInput>,
    /// Bundles with the very goals of last time, which are in no other list.
    pub same: BTreeSet<String>,
    /// Former bundles that one in `held` replaces, and which: they keep what they have until it can take it over.
    pub awaited: BTreeMap<String, String>,
}

/// What goals were made from last time, where they took effect.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    /// The inputs.
    pub inputs: Inputs<'a>,
    /// The bundles that had goals.
    pub bundles: &'a BTreeSet<String>,
}

/// What all clusters should run of one bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleGoals {
    /// What, and in which clusters. No cluster is in two of them.
    pub pairs: Vec<(PairContent, RoaringBitmap)>,
    /// The hub's guard, tightened by the bundle's policy.
    pub guard: Guard,
    /// Folder of the bundle, relative to the source's path.
    pub path: String,
    /// Variants that carry health checks, by their digests: they are stored before they are named.
    pub checked: BTreeMap<Digest, Checked>,
}

/// A rendering with health checks: they join it afterwards, so that no change of a check renders
/// anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// Digest of the variant that was rendered.
    pub rendered: Digest,
    /// The same with its checks.
    pub variant: Variant,
}

/// What was rendered, by the digest of its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renderings {
    /// Without defects.
    pub done: BTreeMap<Digest, Rendering>,
    /// With defects, which are told elsewhere.
    pub failed: BTreeSet<Digest>,
}

/// What goals are made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the source declares.
    pub catalog: &'a Catalog,
    /// What all sources say of clusters.
    pub common: &'a Common<'a>,
    /// What the source's bundles are rendered from.
    pub wanted: &'a Wanted,
    /// All clusters that anything may be assigned to.
    pub clusters: &'a [ClusterFacts],
    /// What was rendered.
    pub renderings: &'a Renderings,
    /// The programs that render.
    pub tools: &'a Tools,
}

/// Puts clusters and renderings together. A bundle of which anything could not be rendered is
/// held; so is one of which something was not rendered yet, which is then in `missing`.
#[must_use]
pub fn goals(inputs: Inputs<'_>, hub: &Guard) -> Goals {
    goals_after(inputs, hub, None)
}

/// The same, where `last` was before: what follows from nothing that changed is not worked out
/// again, so that a commit that touches one bundle costs one.
#[must_use]
pub fn goals_after(inputs: Inputs<'_>, hub: &Guard, last: Option<Last<'_>>) -> Goals {
    let last = last.filter(|last| last.inputs.has_same_world(&inputs));
    let sees = |one: &&ClusterFacts| inputs.catalog.sees(&one.labels);
    let (seen, unseen): (Vec<&ClusterFacts>, Vec<_>) = inputs.clusters.iter().partition(sees);
    let index: Index = seen.iter().map(|one| (one.number, &one.labels)).collect();
    let by_number = seen.iter().map(|one| (one.number, *one)).collect();
    let unseen: Index = unseen.iter().map(|one| (one.number, &one.labels)).collect();
    let clusters = Clusters { index: &index, by_number: &by_number };
    let mut goals = Goals { held: inputs.catalog.held.clone(), ..Goals::default() };
    goals.held.extend(inputs.wanted.held.clone());
    for (full, recipe) in &inputs.wanted.recipes {
        let Some(item) = inputs.catalog.bundles.get(full) else {
            continue;
        };
        goals.defects.extend(unseen_targets(item, &index, &unseen));
        if last.is_some_and(|last| last.has_same(full, item, recipe)) {
            goals.same.insert(full.clone());
            continue;
        }
        let made = recipe.combinations(item, inputs.common, clusters, inputs.tools).and_then(|combinations| {
            let Some(rendered) = rendered(combinations, inputs.renderings, full, &mut goals) else {
                return Ok(None);
            };
            One { inputs, item, recipe, rendered, clusters }.goals(hub).map(Some)
        });
        match made {
            Ok(Some(bundle)) => {
                goals.bundles.insert(full.clone(), bundle);
            }
            Ok(None) => {}
            Err(defects) => {
                let why = defects.first().map_or("is defective", |defect| &defect.message);
                goals.held.insert(full.clone(), why.to_owned());
                goals.defects.extend(defects.into_iter().map(|defect| defect.holding(full)));
            }
        }
    }
    goals.await_successors(inputs.catalog);
    goals
}

impl Goals {
    /// Former bundles whose successor is held stay: nobody is there who could take over what they own.
    pub fn await_successors(&mut self, catalog: &Catalog) {
        let held = self.held.keys().filter_map(|full| Some((full, catalog.bundles.get(full)?)));
        for (full, item) in held {
            let olds = item.spec.replaces.iter().map(|old| full_name(&item.source, old));
            let gone = olds.filter(|old| !catalog.bundles.contains_key(old) && !catalog.held.contains_key(old));
            self.awaited.extend(gone.map(|old| (old, full.clone())));
        }
    }
}

impl Inputs<'_> {
    /// Whether all that counts for every bundle is what it is there.
    fn has_same_world(&self, other: &Inputs<'_>) -> bool {
        self.clusters == other.clusters
            && self.common == other.common
            && self.tools == other.tools
            && self.catalog.policies == other.catalog.policies
            && self.catalog.may == other.catalog.may
    }
}

impl Last<'_> {
    fn has_same(&self, full: &str, item: &Declared<BundleSpec>, recipe: &Recipe) -> bool {
        self.bundles.contains(full)
            && self.inputs.catalog.bundles.get(full) == Some(item)
            && self.inputs.wanted.recipes.get(full) == Some(recipe)
    }
}

/// Notes about targets of which every cluster is one that the source does not see.
fn unseen_targets(item: &Declared<BundleSpec>, seen: &Index, unseen: &Index) -> Vec<Defect> {
    if unseen.all().is_empty() {
        return Vec::new();
    }
    let targets = item.spec.targets.iter().enumerate();
    let vain = targets
        .filter(|(_, target)| seen.select(&target.selector).is_empty() && !unseen.select(&target.selector).is_empty());
    let note = |(at, _)| {
        let message = "matches clusters of other sources alone: may.clusters of this Source leaves them out";
        item.defect(&format!("spec.targets.{at}"), message).as_note()
    };
    vain.map(note).collect()
}

/// The renderings of all combinations; `None` where one is not there, which holds the bundle.
fn rendered<'a>(
    combinations: Vec<Combination>,
    renderings: &'a Renderings,
    full: &str,
    goals: &mut Goals,
) -> Option<Vec<(&'a Rendering, RoaringBitmap)>> {
    let (mut found, mut whole) = (Vec::new(), true);
    for Combination { input, clusters } in combinations {
        if let Some(rendering) = renderings.done.get(&input.digest) {
            found.push((rendering, clusters));
            continue;
        }
        whole = false;
        let has_failed = renderings.failed.contains(&input.digest);
        let why = if has_failed { "it could not be rendered" } else { "it is being rendered" };
        goals.held.insert(full.to_owned(), why.into());
        if !has_failed {
            goals.missing.push(input);
        }
    }
    whole.then_some(found)
}

/// One bundle and what its goals are made of.
struct One<'a> {
    inputs: Inputs<'a>,
    item: &'a Declared<BundleSpec>,
    recipe: &'a Recipe,
    rendered: Vec<(&'a Rendering, RoaringBitmap)>,
    clusters: Clusters<'a>,
}

impl One<'_> {
    fn goals(&self, hub: &Guard) -> Result<BundleGoals, Vec<Defect>> {
        let layers = layers(self.inputs.common, self.item, self.clusters.index);
        let mut pairs: BTreeMap<PairContent, RoaringBitmap> = BTreeMap::new();
        let (mut checked, mut found, mut forbidden) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (rendering, clusters) in &self.rendered {
            let variant = self.checked(rendering, &mut checked)?;
            let tables = self.tables(&rendering.meta, clusters, &layers);
            self.check(&rendering.meta, &tables, &mut found);
            self.confine(&rendering.meta, &tables, &mut forbidden);
            for (variables, on) in tables {
                *pairs.entry(PairContent { variant, variables }).or_default() |= on;
            }
        }
        if !found.is_empty() || !forbidden.is_empty() {
            let mut defects = self.shorten("spec.variables", found);
            defects.extend(self.shorten("spec.path", forbidden));
            return Err(defects);
        }
        let guard = match self.inputs.catalog.policy_of(self.item) {
            Some(policy) => hub.tightened(&policy.spec.guard),
            None => hub.clone(),
        };
        Ok(BundleGoals { pairs: pairs.into_iter().collect(), guard, path: self.recipe.path.clone(), checked })
    }

    /// The variant of a rendering, with the health checks that can be about its objects.
    fn checked(&self, rendering: &Rendering, checked: &mut BTreeMap<Digest, Checked>) -> Result<Digest, Vec<Defect>> {
        let checks = health::checks(self.item, self.inputs.common.health_checks(), &rendering.meta);
        let checks = checks.map_err(|defect| vec![defect])?;
        if checks.is_empty() {
            return Ok(rendering.variant);
        }
        let variant = rendering.meta.variant(&self.recipe.settings, checks);
        let digest = variant.digest();
        checked.insert(digest, Checked { rendered: rendering.variant, variant });
        Ok(digest)
    }

    /// Clusters by the variables that they give the objects.
    fn tables(
        &self,
        meta: &VariantMeta,
        clusters: &RoaringBitmap,
        layers: &Layers<'_>,
    ) -> BTreeMap<Variables, RoaringBitmap> {
        let used = meta.used();
        let mut tables: BTreeMap<Variables, RoaringBitmap> = BTreeMap::new();
        if clusters.is_empty() {
            return tables;
        }
        if used.is_empty() {
            tables.insert(Variables::default(), clusters.clone());
            return tables;
        }
        for cluster in clusters.iter().filter_map(|number| self.clusters.by_number.get(&number)) {
            let table = needed_variables(layers, used.iter().copied(), cluster);
            tables.entry(table).or_default().insert(cluster.number);
        }
        tables
    }

    /// Whether every table gives what the objects ask for, and names stay distinct.
    fn check(&self, meta: &VariantMeta, tables: &BTreeMap<Variables, RoaringBitmap>, found: &mut Vec<String>) {
        for (table, clusters) in tables {
            let cluster = clusters.min().and_then(|number| self.clusters.by_number.get(&number));
            let cluster = cluster.map_or("", |cluster| &cluster.name);
            let more = match clusters.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let problems = problems(meta, table);
            found.extend(problems.into_iter().map(|what| format!("cluster {cluster}{more}: {what}")));
        }
    }

    /// Whether the objects keep within what the source may do.
    fn confine(&self, meta: &VariantMeta, tables: &BTreeMap<Variables, RoaringBitmap>, found: &mut Vec<String>) {
        let Some(may) = &self.inputs.catalog.may else { return };
        // Where no name is bound, one look is enough for all tables.
        let tables = tables.keys().take(if meta.binds_identities() { usize::MAX } else { 1 });
        for table in tables {
            // What has no value is told already.
            found.extend(may.problems(meta, table).unwrap_or_default());
        }
        found.dedup();
    }

    fn shorten(&self, field: &str, mut found: Vec<String>) -> Vec<Defect> {
        let rest = found.len().saturating_sub(SPELLED_OUT_MAX);
        found.truncate(SPELLED_OUT_MAX);
        if rest > 0 {
            found.push(format!("{rest} more of this kind"));
        }
        found.into_iter().map(|what| self.item.defect(field, what)).collect()
    }
}

fn problems(meta: &VariantMeta, table: &Variables) -> Vec<String> {
    let mut found = Vec::new();
    for object in &meta.objects {
        for used in &object.uses {
            let name = used.name.clone();
            let problem = match table.0.get(&name) {
                None => Problem::Missing(name),
                Some(value) => match check_value(used.form, value) {
                    Ok(()) => continue,
                    Err(bad) => Problem::BadValue { name, bad },
                },
            };
            let (object, pointer) = (object.identity.to_string(), used.pointer.clone());
            found.push(BindError { object, pointer, problem }.to_string());
        }
    }
    if found.is_empty() && meta.binds_identities() {
        found.extend(names(meta, table));
    }
    found
}

/// What is wrong with the names that a table gives.
fn names(meta: &VariantMeta, table: &Variables) -> Vec<String> {
    let identities = match meta.identities(table) {
        Ok(identities) => identities,
        Err(error) => return vec![error.to_string()],
    };
    let mut seen = BTreeSet::new();
    identities
        .iter()
        .filter(|identity| !seen.insert(*identity))
        .map(|identity| format!("two objects become {identity} after binding"))
        .collect()
}
