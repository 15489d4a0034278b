//! Where the value of a variable comes from. Lowest first: the bundle's default, the variable sets
//! in the order of their files, the bundle's overrides in their order, the cluster.

use std::collections::BTreeMap;

use proto_model::bind::CLUSTER;
use proto_model::{Value, Variables};
use roaring::RoaringBitmap;

use super::goals::ClusterFacts;
use crate::catalog::spec::{BundleSpec, ClusterSpec, VariableSetSpec};
use crate::catalog::{Catalog, Declared, Scalar};
use crate::select::Index;

/// What one place gives to some clusters.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// What kind of place: `default`, `VariableSet edge`, `override 1`.
    pub place: String,
    /// Its file, relative to the source's path.
    pub file: &'a str,
    /// Its line.
    pub line: u32,
    /// To which clusters.
    clusters: RoaringBitmap,
    /// What it gives.
    values: BTreeMap<&'a str, &'a Scalar>,
}

/// What the clusters of a fleet are given, whichever source says it: the first that declares a
/// cluster counts, and sets of variables of later sources win.
#[derive(Clone, Debug, Default)]
pub struct Common<'a> {
    clusters: BTreeMap<&'a str, &'a Declared<ClusterSpec>>,
    variable_sets: Vec<&'a Declared<VariableSetSpec>>,
}

impl<'a> Common<'a> {
    /// From the catalogs of all sources, the root's first.
    #[must_use]
    pub fn of(catalogs: impl IntoIterator<Item = &'a Catalog>) -> Self {
        let mut common = Self::default();
        for catalog in catalogs {
            for (name, cluster) in &catalog.clusters {
                common.clusters.entry(name).or_insert(cluster);
            }
            common.variable_sets.extend(&catalog.variable_sets);
        }
        common
    }
}

/// The layers of one bundle, the highest first, below the clusters' own values.
#[derive(Clone, Debug)]
pub struct Layers<'a> {
    common: &'a Common<'a>,
    layers: Vec<Layer<'a>>,
}

/// A value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The value.
    pub value: Value,
    /// What kind of place it stands in.
    pub place: String,
    /// The file of that place, relative to the source's path; empty for the cluster itself.
    pub file: String,
    /// Its line.
    pub line: u32,
}

/// The layers of one bundle, over the clusters of an index.
#[must_use]
pub fn layers<'a>(common: &'a Common<'a>, bundle: &'a Declared<BundleSpec>, index: &Index) -> Layers<'a> {
    let names = &bundle.spec.variables;
    let mut layers = Vec::new();
    for (at, over) in bundle.spec.overrides.iter().enumerate().rev() {
        layers.push(Layer {
            place: format!("override {}", at + 1),
            file: &bundle.file,
            line: bundle.line_of(&format!("spec.overrides.{at}")),
            clusters: index.select(&over.selector),
            values: over.variables.iter().map(|(name, value)| (&**name, value)).collect(),
        });
    }
    for set in common.variable_sets.iter().rev() {
        let bound = set.spec.variables.iter().filter(|(name, _)| names.contains_key(*name));
        let values: BTreeMap<_, _> = bound.map(|(name, value)| (&**name, value)).collect();
        if !values.is_empty() {
            layers.push(Layer {
                place: format!("VariableSet {}", set.name),
                file: &set.file,
                line: set.line,
                clusters: index.select(&set.spec.selector),
                values,
            });
        }
    }
    let defaults = names.iter().filter_map(|(name, one)| Some((&**name, one.default.as_ref()?)));
    layers.push(Layer {
        place: "default".into(),
        file: &bundle.file,
        line: bundle.line_of("spec.variables"),
        clusters: index.all().clone(),
        values: defaults.collect(),
    });
    layers.retain(|layer| !layer.values.is_empty() && !layer.clusters.is_empty());
    Layers { common, layers }
}

impl Layers<'_> {
    /// The value of a name in a cluster; `None` where nothing gives one.
    #[must_use]
    pub fn value(&self, name: &str, cluster: &ClusterFacts) -> Option<Value> {
        if let Some(own) = own_fact(name, cluster) {
            return own;
        }
        if let Some(declared) = self.common.clusters.get(&*cluster.name)
            && let Some(value) = declared.spec.variables.get(name)
        {
            return Some(value.0.clone());
        }
        self.layer(name, cluster.number).map(|(_, value)| value.0.clone())
    }

    /// The value of a name in a cluster, with where it comes from.
    #[must_use]
    pub fn resolve(&self, name: &str, cluster: &ClusterFacts) -> Option<Resolved> {
        let value = self.value(name, cluster)?;
        let declared = self.common.clusters.get(&*cluster.name);
        let (place, file, line) = if own_fact(name, cluster).is_some() {
            ("the cluster itself".to_owned(), String::new(), 0)
        } else if let Some(item) = declared.filter(|item| item.spec.variables.contains_key(name)) {
            let line = item.line_of(&format!("spec.variables.{name}"));
            (format!("Cluster {}", item.name), item.file.clone(), line)
        } else {
            let (layer, _) = self.layer(name, cluster.number)?;
            (layer.place.clone(), layer.file.to_owned(), layer.line)
        };
        Some(Resolved { value, place, file, line })
    }

    fn layer(&self, name: &str, cluster: u32) -> Option<(&Layer<'_>, &Scalar)> {
        self.layers
            .iter()
            .filter(|layer| layer.clusters.contains(cluster))
            .find_map(|layer| Some((layer, *layer.values.get(name)?)))
    }
}

/// `cluster.name` and `cluster.labels.x`; the outer `None` for every other name.
fn own_fact(name: &str, cluster: &ClusterFacts) -> Option<Option<Value>> {
    let fact = name.strip_prefix(CLUSTER)?.strip_prefix('.')?;
    Some(match fact.strip_prefix("labels.") {
        Some(label) => cluster.labels.get(label).map(|value| Value::Text(value.clone())),
        None if fact == "name" => Some(Value::Text(cluster.name.clone())),
        None => None,
    })
}

/// The variables of one cluster, for the names that the objects use; those without a value are
/// left out.
#[must_use]
pub fn needed_variables<'n>(
    layers: &Layers<'_>,
    names: impl IntoIterator<Item = &'n str>,
    cluster: &ClusterFacts,
) -> Variables {
    names.into_iter().filter_map(|name| Some((name.to_owned(), layers.value(name, cluster)?))).collect()
}
