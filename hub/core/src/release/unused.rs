//! What a source declares without any effect: notes for whoever reads them before a merge. Bundles of other sources
//! and clusters that have their labels from a token may use it all the same, so nothing is held for it.

use std::collections::{BTreeMap, BTreeSet};

use super::health;
use super::meta::VariantMeta;
use crate::catalog::{Catalog, Defect};
use crate::yaml::unknown;

/// Variables that no bundle binds and health checks about no object. `metas`: all renderings of bundles, by full name.
#[must_use]
pub fn unused(catalog: &Catalog, metas: &BTreeMap<&str, Vec<&VariantMeta>>) -> Vec<Defect> {
    let mut notes = Vec::new();
    own_checks(catalog, metas, &mut notes);
    // What a defective bundle would use is not known.
    let is_known = |full: &String| catalog.bundles.contains_key(full);
    if catalog.held.keys().all(is_known) && !catalog.bundles.is_empty() {
        variables(catalog, &mut notes);
        if catalog.bundles.keys().all(|full| metas.contains_key(full.as_str())) {
            fleet_checks(catalog, metas, &mut notes);
        }
    }
    notes
}

fn variables(catalog: &Catalog, notes: &mut Vec<Defect>) {
    let bound: BTreeSet<&str> =
        catalog.bundles.values().flat_map(|item| item.spec.variables.keys()).map(String::as_str).collect();
    let known: Vec<&str> = bound.iter().copied().filter(|name| *name != "cluster").collect();
    let say = |name: &str| match known.is_empty() {
        true => format!("no bundle of this source binds variable {name:?}"),
        false => format!("no bundle of this source binds it: {}", unknown("variable", name, &known)),
    };
    for set in &catalog.variable_sets {
        for name in set.spec.variables.keys().filter(|name| !bound.contains(name.as_str())) {
            notes.push(set.defect(&format!("spec.variables.{name}"), say(name)).as_note());
        }
    }
    // One note for each name: fleets give the same ones to many clusters.
    let mut by_name: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for cluster in catalog.clusters.values() {
        for name in cluster.spec.variables.keys().filter(|name| !bound.contains(name.as_str())) {
            by_name.entry(name).or_default().push(cluster);
        }
    }
    for (name, clusters) in by_name {
        let Some(first) = clusters.first() else { continue };
        let more = match clusters.len() - 1 {
            0 => String::new(),
            more => format!(" (and in {more} more clusters)"),
        };
        notes.push(first.defect(&format!("spec.variables.{name}"), say(name) + &more).as_note());
    }
}

fn fleet_checks(catalog: &Catalog, metas: &BTreeMap<&str, Vec<&VariantMeta>>, notes: &mut Vec<Defect>) {
    for check in &catalog.health_checks {
        if !metas.values().flatten().any(|meta| health::is_used(&check.spec, meta)) {
            notes
                .push(check.defect("spec", "no object of any bundle of this source is one that it is about").as_note());
        }
    }
}

fn own_checks(catalog: &Catalog, metas: &BTreeMap<&str, Vec<&VariantMeta>>, notes: &mut Vec<Defect>) {
    for (full, item) in &catalog.bundles {
        let (Some(metas), Some(health)) = (metas.get(full.as_str()), &item.spec.health) else { continue };
        for (at, check) in health.checks.iter().enumerate() {
            if !metas.iter().any(|meta| health::is_used(check, meta)) {
                let path = format!("spec.health.checks.{at}");
                notes.push(
                    item.defect(&path, "no object of the bundle is one that the health check is about").as_note(),
                );
            }
        }
    }
}
