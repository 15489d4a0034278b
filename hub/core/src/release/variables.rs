//! Where the value of a variable comes from. Lowest first: the bundle's default, the variable sets
//! in the order of their files, the bundle's overrides in their order, the cluster.

use std::collections::BTreeMap;

use proto_model::bind::CLUSTER;
use proto_model::{Value, Variables};
use roaring::RoaringBitmap;

use super::goals::ClusterFacts;
use crate::catalog::spec::{BundleSpec, ClusterSpec, HealthCheckSpec, VariableSetSpec};
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
    /// Lines of single values, where they are known.
    lines: BTreeMap<&'a str, u32>,
    /// To which clusters.
    clusters: RoaringBitmap,
    /// What it gives.
    values: BTreeMap<&'a str, &'a Scalar>,
}

/// What the clusters of a fleet are given, whichever source says it: the first that declares a
/// cluster counts, and variable sets and health checks of later sources win.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Common<'a> {
    clusters: BTreeMap<&'a str, &'a Declared<ClusterSpec>>,
    variable_sets: Vec<&'a Declared<VariableSetSpec>>,
    health_checks: Vec<&'a Declared<HealthCheckSpec>>,
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
            common.health_checks.extend(&catalog.health_checks);
        }
        common
    }

    /// The fleet's health checks, of which later ones win.
    #[must_use]
    pub fn health_checks(&self) -> &[&'a Declared<HealthCheckSpec>] {
        &self.health_checks
    }
}

/// The layers of one bundle, the highest first, below the clusters' own values.
#[derive(Clone, Debug)]
pub struct Layers<'a> {
    common: &'a Common<'a>,
    layers: Vec<Layer<'a>>,
}

/// A value, and where it comes from. Values of variables are no secrets: they are shown to whoever may read, and never
/// logged.
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
            lines: BTreeMap::new(),
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
                lines: values.keys().map(|name| (*name, set.line_of(&format!("spec.variables.{name}")))).collect(),
                clusters: index.select(&set.spec.selector),
                values,
            });
        }
    }
    let defaults = names.iter().filter_map(|(name, one)| Some((&**name, one.default.as_ref()?)));
    let line_of = |name: &str| bundle.line_of(&format!("spec.variables.{name}"));
    layers.push(Layer {
        place: "default".into(),
        file: &bundle.file,
        line: bundle.line_of("spec.variables"),
        lines: names.keys().map(|name| (&**name, line_of(name))).collect(),
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
        self.resolve_all(name, cluster).into_iter().next()
    }

    /// All values that are given to a name in a cluster, with where each comes from: the first counts, and stands over
    /// the others.
    #[must_use]
    pub fn resolve_all(&self, name: &str, cluster: &ClusterFacts) -> Vec<Resolved> {
        if let Some(own) = own_fact(name, cluster) {
            let place = || "the cluster itself".to_owned();
            return own
                .map(|value| Resolved { value, place: place(), file: String::new(), line: 0 })
                .into_iter()
                .collect();
        }
        let declared = self.common.clusters.get(&*cluster.name).and_then(|item| {
            let value = item.spec.variables.get(name)?.0.clone();
            let line = item.line_of(&format!("spec.variables.{name}"));
            Some(Resolved { value, place: format!("Cluster {}", item.name), file: item.file.clone(), line })
        });
        let layers = self.layers_of(name, cluster.number).map(|(layer, value)| Resolved {
            value: value.0.clone(),
            place: layer.place.clone(),
            file: layer.file.to_owned(),
            line: layer.lines.get(name).copied().unwrap_or(layer.line),
        });
        declared.into_iter().chain(layers).collect()
    }

    fn layer<'b>(&'b self, name: &'b str, cluster: u32) -> Option<(&'b Layer<'b>, &'b Scalar)> {
        self.layers_of(name, cluster).next()
    }

    fn layers_of<'b>(&'b self, name: &'b str, cluster: u32) -> impl Iterator<Item = (&'b Layer<'b>, &'b Scalar)> {
        self.layers
            .iter()
            .filter(move |layer| layer.clusters.contains(cluster))
            .filter_map(move |layer| Some((layer, *layer.values.get(name)?)))
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
