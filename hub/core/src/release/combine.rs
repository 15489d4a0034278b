//! From a recipe and the clusters to what is rendered: one input for each combination of target,
//! overrides and early variables that some cluster uses.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::bind::check_value;
use proto_model::{Digest, Variables, limits};
use roaring::RoaringBitmap;
use serde_json::json;

use super::early::Need;
use super::goals::ClusterFacts;
use super::input::{How, RENDERER_VERSION, RenderInput};
use super::recipe::{Recipe, defaults};
use super::variables::{Common, layers, needed_variables};
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Declared, Defect};
use crate::select::Index;

/// The programs that renderings use, as far as they shape what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// The version of Kustomize; `None` where there is none.
    pub kustomize: Option<String>,
    /// The version of Helm; `None` where there is none.
    pub helm: Option<String>,
}

/// One thing to render, and the clusters that use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Combination {
    /// What to render.
    pub input: RenderInput,
    /// In which clusters it is used; none where the bundle has no cluster yet.
    pub clusters: RoaringBitmap,
}

/// Clusters, for selectors and by number.
#[derive(Clone, Copy, Debug)]
pub struct Clusters<'a> {
    /// For selectors.
    pub index: &'a Index,
    /// By number.
    pub by_number: &'a BTreeMap<u32, &'a ClusterFacts>,
}

/// What shapes a rendering: the way, the overrides that match, and the early variables.
type Shape = (usize, Vec<usize>, Variables);

impl Recipe {
    /// What is rendered of the bundle for these clusters. Where it has none yet, it is rendered as
    /// it stands, so that its defects show.
    ///
    /// # Errors
    /// An early variable is missing or unfit, or there are too many combinations.
    pub fn combinations(
        &self,
        item: &Declared<BundleSpec>,
        common: &Common<'_>,
        clusters: Clusters<'_>,
        tools: &Tools,
    ) -> Result<Vec<Combination>, Vec<Defect>> {
        let mut shapes: BTreeMap<Shape, RoaringBitmap> = BTreeMap::new();
        let mut defects = Vec::new();
        let layers = layers(common, item, clusters.index);
        for ((way, extras), on) in self.groups(item, clusters.index) {
            let needs = self.needs(way, &extras);
            if needs.is_empty() {
                shapes.insert((way, extras, Variables::default()), on);
                continue;
            }
            for cluster in on.iter().filter_map(|number| clusters.by_number.get(&number)) {
                let names = needs.iter().map(|need| &*need.name);
                let table = needed_variables(&layers, names, cluster);
                if defects.len() < limits::DEFECTS_PER_BUNDLE_MAX {
                    defects.extend(unfit(&table, &needs).map(|what| {
                        let message = format!("cluster {}: {what}, which is needed to render", cluster.name);
                        item.defect("spec.variables", message)
                    }));
                }
                shapes.entry((way, extras.clone(), table)).or_default().insert(cluster.number);
            }
        }
        if shapes.len() > limits::RENDERINGS_PER_BUNDLE_MAX {
            let (found, max) = (shapes.len(), limits::RENDERINGS_PER_BUNDLE_MAX);
            let message = format!(
                "its clusters need {found} different renderings, more than {max}; use variables in \
                 templates only where something is computed from them, and bind the rest late"
            );
            defects.push(item.defect("spec.variables", message));
        }
        if !defects.is_empty() {
            return Err(defects);
        }
        if shapes.is_empty() {
            let way = self.targets.first().copied().unwrap_or_default();
            let needs = self.needs(way, &[]);
            shapes.extend(defaults(item, &needs).map(|table| ((way, Vec::new(), table), RoaringBitmap::new())));
        }
        Ok(shapes
            .into_iter()
            .map(|(shape, clusters)| Combination { input: self.input(shape, tools), clusters })
            .collect())
    }

    /// Clusters by the way and the overrides that shape their rendering.
    fn groups(&self, item: &Declared<BundleSpec>, index: &Index) -> BTreeMap<(usize, Vec<usize>), RoaringBitmap> {
        let mut groups: BTreeMap<(usize, Vec<usize>), RoaringBitmap> = BTreeMap::new();
        let mut left = index.all().clone();
        for (target, way) in item.spec.targets.iter().zip(&self.targets) {
            let on = index.select(&target.selector) & &left;
            left -= &on;
            if !on.is_empty() {
                *groups.entry((*way, Vec::new())).or_default() |= on;
            }
        }
        for (at, over) in item.spec.overrides.iter().enumerate() {
            if self.extras.get(at).is_none_or(|extra| extra.values.is_empty() && extra.patches.is_empty()) {
                continue;
            }
            let matched = index.select(&over.selector);
            let before = std::mem::take(&mut groups);
            for ((way, extras), on) in before {
                let (with, without) = (&on & &matched, &on - &matched);
                if !with.is_empty() {
                    let mut extras = extras.clone();
                    extras.push(at);
                    *groups.entry((way, extras)).or_default() |= with;
                }
                if !without.is_empty() {
                    *groups.entry((way, extras)).or_default() |= without;
                }
            }
        }
        groups
    }

    fn needs(&self, way: usize, extras: &[usize]) -> BTreeSet<Need> {
        let mut needs = self.ways.get(way).map(|way| way.needs.clone()).unwrap_or_default();
        needs.extend(extras.iter().filter_map(|at| self.extras.get(*at)).flat_map(|extra| extra.needs.clone()));
        needs
    }

    fn input(&self, (way, extras, early): Shape, tools: &Tools) -> RenderInput {
        let way = self.ways.get(way).cloned().unwrap_or_default();
        let extras: Vec<_> = extras.iter().filter_map(|at| self.extras.get(*at)).collect();
        let mut how = way.how;
        if let How::Helm(helm) = &mut how {
            helm.values.extend(extras.iter().map(|extra| extra.values.clone()).filter(|values| !values.is_empty()));
        }
        let mut patches = self.patches.clone();
        patches.extend(extras.iter().flat_map(|extra| extra.patches.clone()));
        let mut input = RenderInput {
            digest: Digest::default(),
            bundle: self.bundle.clone(),
            path: self.path.clone(),
            files: way.files,
            settings: self.settings.clone(),
            how,
            patches,
            early,
            tools: tools.clone(),
        };
        input.digest = address(&input);
        input
    }
}

/// What is missing or unfit of what a rendering needs.
fn unfit<'a>(table: &'a Variables, needs: &'a BTreeSet<Need>) -> impl Iterator<Item = String> + 'a {
    needs.iter().filter_map(|need| match table.0.get(&need.name) {
        None => Some(format!("variable {} has no value", need.name)),
        Some(value) => check_value(need.form, value).err().map(|bad| format!("variable {} {bad}", need.name)),
    })
}

fn address(input: &RenderInput) -> Digest {
    let RenderInput { digest: _, bundle: _, path, files, settings, how, patches, early, tools } = input;
    let how = match how {
        How::Manifests => json!("manifests"),
        How::Kustomize { root } => json!({"kustomize": root, "version": tools.kustomize}),
        How::Helm(helm) => json!({"helm": helm, "version": tools.helm}),
    };
    let patched = (!patches.is_empty()).then_some(&tools.kustomize);
    let patches: Vec<String> = patches.iter().map(|patch| patch.digest.to_string()).collect();
    let shape = json!([how, settings, path, patches, patched, early.0]);
    let head = [&b"rendering"[..], &RENDERER_VERSION.to_be_bytes()].map(<[u8]>::to_vec);
    let shape = shape.to_string().into_bytes();
    let files = files.iter().flat_map(|file| [file.path.as_bytes(), file.id.as_bytes()]);
    Digest::of_parts(head.iter().map(Vec::as_slice).chain([&*shape]).chain(files))
}
