//! What holds across documents: paths, policies and dependencies that must exist.

use std::collections::BTreeSet;

use super::circles::circles;
use super::parse::directory;
use super::{Catalog, Declared, Defect, full_name};
use crate::catalog::spec::BundleSpec;
use crate::yaml::unknown;

/// Looks at names, over all defects of a source, up to which the nearest name is told: each defect
/// costs a look at every bundle.
const NEAREST_LOOKS_MAX: usize = 1_000_000;

/// Holds the bundles that break a rule. `last` gives their last good form.
pub(super) fn check(catalog: &mut Catalog, last: &Catalog, source: &str, defects: &mut BTreeSet<Defect>) {
    let known: BTreeSet<&String> = catalog.bundles.keys().chain(catalog.held.keys()).collect();
    let cyclic = circles(&catalog.bundles);
    let mut held = Vec::new();
    for (full, item) in &catalog.bundles {
        if catalog.held.contains_key(full) {
            continue;
        }
        let mut found = Vec::new();
        path(item, &mut found);
        found.extend(catalog.may.iter().flat_map(|may| may.check(item)));
        policy(catalog, item, &mut found);
        dependencies(item, source, &known, defects.len(), &mut found);
        if let Some(circle) = cyclic.get(full) {
            found.push(item.defect("spec.dependsOn", format!("dependencies go in a circle: {circle}")));
        }
        if let Some(first) = found.iter().find(|defect| !defect.note) {
            held.push((full.clone(), format!("{}:{}: {}", first.file, first.line, first.message)));
        }
        defects.extend(found.into_iter().map(|defect| match defect.note {
            true => defect,
            false => defect.holding(full),
        }));
    }
    for (full, why) in held {
        let dropped = match last.bundles.get(&full) {
            Some(good) => catalog.bundles.insert(full.clone(), good.clone()),
            None => catalog.bundles.remove(&full),
        };
        if let Some(dropped) = dropped
            && let Some(directory) = directory(&dropped.file, &dropped.spec.path)
        {
            catalog.boundaries.insert(directory);
        }
        catalog.held.insert(full, why);
    }
}

fn path(item: &Declared<BundleSpec>, found: &mut Vec<Defect>) {
    if directory(&item.file, &item.spec.path).is_none() {
        let message = format!("path {:?} leads out of the source", item.spec.path);
        found.push(item.defect("spec.path", message));
    }
}

fn policy(catalog: &Catalog, item: &Declared<BundleSpec>, found: &mut Vec<Defect>) {
    let Some(name) = &item.spec.rollout else {
        return;
    };
    match catalog.policy_of(item) {
        None => {
            let known: Vec<&str> = catalog.policies.values().map(|item| &*item.name).collect();
            found.push(item.defect("spec.rollout", unknown("rollout policy", name, &known)));
        }
        Some(policy) if catalog.held_policies.contains(&policy.full_name()) => {
            let message = format!("rollout policy {name} asks for what is not carried out yet, see {}", policy.file);
            found.push(item.defect("spec.rollout", message));
        }
        Some(_) => {}
    }
}

fn dependencies(
    item: &Declared<BundleSpec>,
    source: &str,
    known: &BTreeSet<&String>,
    defects: usize,
    found: &mut Vec<Defect>,
) {
    for (at, dependency) in item.spec.depends_on.iter().enumerate() {
        let full = full_name(&item.source, &dependency.bundle);
        if known.contains(&full) {
            continue;
        }
        let field = format!("spec.dependsOn.{at}");
        found.push(if full.starts_with(&format!("{source}/")) {
            let own = known.iter().filter_map(|name| name.strip_prefix(source)?.strip_prefix('/'));
            let message = match defects.saturating_mul(known.len()) < NEAREST_LOOKS_MAX {
                true => unknown("bundle", &dependency.bundle, &own.collect::<Vec<_>>()),
                false => format!("unknown bundle {:?}", dependency.bundle),
            };
            item.defect(&field, message)
        } else {
            // A bundle of another source may still come.
            let message = format!("bundle {full} is not known; clusters wait for it until it is there");
            item.defect(&field, message).as_note()
        });
    }
}
