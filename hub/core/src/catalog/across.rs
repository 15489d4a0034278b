//! What holds across documents: paths, policies and dependencies that must exist.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::directory;
use super::{Catalog, Declared, Defect, full_name};
use crate::catalog::spec::BundleSpec;
use crate::yaml::unknown;

/// Holds the bundles that break a rule. `last` gives their last good form.
pub(super) fn check(catalog: &mut Catalog, last: &Catalog, source: &str, defects: &mut BTreeSet<Defect>) {
    let known: BTreeSet<&String> = catalog.bundles.keys().chain(catalog.held.keys()).collect();
    let cyclic = cycles(&catalog.bundles);
    let mut held = Vec::new();
    for (full, item) in &catalog.bundles {
        if catalog.held.contains_key(full) {
            continue;
        }
        let mut found = Vec::new();
        path(item, &mut found);
        policy(catalog, item, &mut found);
        dependencies(item, source, &known, &mut found);
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

fn dependencies(item: &Declared<BundleSpec>, source: &str, known: &BTreeSet<&String>, found: &mut Vec<Defect>) {
    for (at, dependency) in item.spec.depends_on.iter().enumerate() {
        let full = full_name(&item.source, &dependency.bundle);
        if known.contains(&full) {
            continue;
        }
        let field = format!("spec.dependsOn.{at}");
        let own: Vec<&str> = known.iter().filter_map(|name| name.strip_prefix(source)?.strip_prefix('/')).collect();
        found.push(if full.starts_with(&format!("{source}/")) {
            item.defect(&field, unknown("bundle", &dependency.bundle, &own))
        } else {
            // A bundle of another source may still come.
            let message = format!("bundle {full} is not known; clusters wait for it until it is there");
            item.defect(&field, message).as_note()
        });
    }
}

/// The bundles that lie on a circle of dependencies, each with the circle.
fn cycles(bundles: &BTreeMap<String, Declared<BundleSpec>>) -> BTreeMap<String, String> {
    let mut edges: BTreeMap<&str, BTreeSet<String>> = bundles
        .iter()
        .map(|(full, item)| {
            let on = item.spec.depends_on.iter();
            let on = on.map(|on| full_name(&item.source, &on.bundle));
            let on = on.filter(|on| bundles.contains_key(on));
            (full.as_str(), on.collect())
        })
        .collect();
    drop_ends(&mut edges);
    edges.keys().filter_map(|start| circle(start, &edges).map(|circle| ((*start).to_owned(), circle))).collect()
}

/// Takes away, again and again, what depends on nothing: what is left leads to a circle. In a
/// source without circles that is everything, in time that grows with its size alone.
fn drop_ends(edges: &mut BTreeMap<&str, BTreeSet<String>>) {
    let mut users: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (full, on) in edges.iter() {
        for on in on {
            users.entry(on.clone()).or_default().push(full);
        }
    }
    let mut ends: Vec<&str> = edges.iter().filter(|(_, on)| on.is_empty()).map(|(full, _)| *full).collect();
    while let Some(end) = ends.pop() {
        edges.remove(end);
        for user in users.remove(end).into_iter().flatten() {
            if let Some(on) = edges.get_mut(user) {
                on.remove(end);
                if on.is_empty() {
                    ends.push(user);
                }
            }
        }
    }
}

/// The shortest way from a bundle back to itself.
fn circle(start: &str, edges: &BTreeMap<&str, BTreeSet<String>>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![start]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| edges.get(last)).into_iter().flatten() {
                if next == start {
                    return Some(format!("{} → {start}", way.join(" → ")));
                }
                if seen.insert(next.as_str()) {
                    let mut way = way.clone();
                    way.push(next);
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}
