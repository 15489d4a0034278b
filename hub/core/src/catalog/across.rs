//! What holds across documents: paths, policies and dependencies that must exist, and former bundles that must not.

use std::collections::{BTreeMap, BTreeSet};

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
    let successors = successors(catalog, last);
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
        replaces(item, &known, &successors, &mut found);
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

/// Who takes over what former bundles own, by their full names: of several the one that did before.
fn successors(catalog: &Catalog, last: &Catalog) -> BTreeMap<String, String> {
    let olds = |item: &Declared<BundleSpec>| -> Vec<String> {
        item.spec.replaces.iter().map(|old| full_name(&item.source, old)).collect()
    };
    let mut found: BTreeMap<String, (bool, &String)> = BTreeMap::new();
    for (full, item) in &catalog.bundles {
        let before = last.bundles.get(full).map(olds).unwrap_or_default();
        for old in olds(item) {
            let claim = (!before.contains(&old), full);
            found.entry(old).and_modify(|first| *first = claim.min(*first)).or_insert(claim);
        }
    }
    found.into_iter().map(|(old, (_, full))| (old, full.clone())).collect()
}

/// A bundle takes over from those that its own source had, and has no more.
fn replaces(
    item: &Declared<BundleSpec>,
    known: &BTreeSet<&String>,
    successors: &BTreeMap<String, String>,
    found: &mut Vec<Defect>,
) {
    let (own, source) = (item.full_name(), format!("{}/", item.source));
    for (at, old) in item.spec.replaces.iter().enumerate() {
        let old = full_name(&item.source, old);
        let field = format!("spec.replaces.{at}");
        let message = if !old.starts_with(&source) {
            format!("{old} is a bundle of another source, whose objects are not this one's to take")
        } else if old == own {
            "a bundle cannot replace itself; name what it was called before".to_owned()
        } else if known.contains(&old) {
            format!("bundle {old} is still declared, and what it owns is its own: remove its declaration")
        } else if let Some(other) = successors.get(&old).filter(|other| **other != own) {
            format!("bundle {other} replaces {old} already, and only one of them can have its objects")
        } else {
            continue;
        };
        found.push(item.defect(&field, message));
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
