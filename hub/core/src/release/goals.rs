//! Clusters and renderings put together: who should run what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::bind::{BindError, Problem, check_value};
use proto_model::{Digest, Variables};
use roaring::RoaringBitmap;

use super::input::RenderInput;
use super::meta::VariantMeta;
use super::variables::{layers, needed_variables};
use super::wanted::Wanted;
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Catalog, Declared, Defect, Guard};
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
    /// Address of the release.
    pub release: Digest,
}

/// Puts clusters and renderings together. `renderings` holds what was rendered without defects, by
/// the digest of the input; a bundle whose rendering is not there is held.
#[must_use]
pub fn goals(
    catalog: &Catalog,
    wanted: &Wanted,
    clusters: &[ClusterFacts],
    renderings: &BTreeMap<Digest, Rendering>,
    hub: &Guard,
) -> Goals {
    let index: Index = clusters.iter().map(|one| (one.number, &one.labels)).collect();
    let by_number = clusters.iter().map(|one| (one.number, one)).collect();
    let mut goals = Goals { held: catalog.held.clone(), ..Goals::default() };
    goals.held.extend(wanted.held.clone());
    for (full, input) in &wanted.inputs {
        let Some(item) = catalog.bundles.get(full) else {
            continue;
        };
        let Some(rendering) = renderings.get(&input.digest) else {
            goals.held.insert(full.clone(), "it could not be rendered".into());
            continue;
        };
        let one = One { catalog, item, input, rendering, index: &index, by_number: &by_number };
        match one.goals(hub) {
            Ok(bundle) => {
                goals.bundles.insert(full.clone(), bundle);
            }
            Err(defects) => {
                let why = defects.first().map_or("is defective", |defect| &defect.message);
                goals.held.insert(full.clone(), why.to_owned());
                goals.defects.extend(defects.into_iter().map(|defect| defect.holding(full)));
            }
        }
    }
    goals
}

/// One bundle and what its goals are made of.
struct One<'a> {
    catalog: &'a Catalog,
    item: &'a Declared<BundleSpec>,
    input: &'a RenderInput,
    rendering: &'a Rendering,
    index: &'a Index,
    by_number: &'a BTreeMap<u32, &'a ClusterFacts>,
}

impl One<'_> {
    fn goals(&self, hub: &Guard) -> Result<BundleGoals, Vec<Defect>> {
        let tables = self.tables();
        self.check(&tables)?;
        let variant = self.rendering.variant;
        let pair = |variables| PairContent { variant, variables };
        let guard = match self.catalog.policy_of(self.item) {
            Some(policy) => hub.tightened(&policy.spec.guard),
            None => hub.clone(),
        };
        Ok(BundleGoals {
            pairs: tables.into_iter().map(|(table, on)| (pair(table), on)).collect(),
            guard,
            path: self.input.path.clone(),
            release: Digest::of_parts([&b"release"[..], &variant.0]),
        })
    }

    /// The clusters that get the bundle: those that some target matches.
    fn targeted(&self) -> RoaringBitmap {
        self.item
            .spec
            .targets
            .iter()
            .fold(RoaringBitmap::new(), |all, target| all | self.index.select(&target.selector))
    }

    /// Clusters by the variables that they give the objects.
    fn tables(&self) -> BTreeMap<Variables, RoaringBitmap> {
        let targeted = self.targeted();
        let used = self.rendering.meta.used();
        let mut tables: BTreeMap<Variables, RoaringBitmap> = BTreeMap::new();
        if targeted.is_empty() {
            return tables;
        }
        if used.is_empty() {
            tables.insert(Variables::default(), targeted);
            return tables;
        }
        let layers = layers(self.catalog, self.item, self.index);
        for cluster in targeted.iter().filter_map(|number| self.by_number.get(&number)) {
            let table = needed_variables(&layers, used.iter().copied(), cluster);
            tables.entry(table).or_default().insert(cluster.number);
        }
        tables
    }

    /// Whether every table gives what the objects ask for, and names stay distinct.
    fn check(&self, tables: &BTreeMap<Variables, RoaringBitmap>) -> Result<(), Vec<Defect>> {
        let mut found: Vec<String> = Vec::new();
        for (table, clusters) in tables {
            let cluster = clusters.min().and_then(|number| self.by_number.get(&number));
            let cluster = cluster.map_or("", |cluster| &cluster.name);
            let more = match clusters.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let problems = self.problems(table);
            found.extend(problems.into_iter().map(|what| format!("cluster {cluster}{more}: {what}")));
        }
        if found.is_empty() {
            return Ok(());
        }
        let rest = found.len().saturating_sub(SPELLED_OUT_MAX);
        found.truncate(SPELLED_OUT_MAX);
        if rest > 0 {
            found.push(format!("{rest} more of this kind"));
        }
        Err(found.into_iter().map(|what| self.item.defect("spec.variables", what)).collect())
    }

    fn problems(&self, table: &Variables) -> Vec<String> {
        let meta = &self.rendering.meta;
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
