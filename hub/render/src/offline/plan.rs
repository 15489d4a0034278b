//! What a change would do to the fleet: the goals of one tree against those of another, with the
//! hub's own code. Pure: both trees were read.

mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hub_core::catalog::{Defect, Guard};
use hub_core::check::{self, Identities, Loss};
use hub_core::fleet::Bundle;
use hub_core::release::{BundleGoals, PairContent};
use proto_model::difference::{self, Field};
use proto_model::object::identity;
use proto_model::wishes::Prune;
use proto_model::{GroupKind, Identity};
use serde_json::Value as Json;

use super::Offline;
use owners::Owners;

/// What a change would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// By bundle; clusters with the same differences stand together.
    pub changes: Vec<Change>,
    /// What the deletion guard would hold.
    pub holds: Vec<GuardHold>,
    /// Bundles that stay as they are because something is wrong with them, and what.
    pub held: BTreeMap<String, String>,
    /// What is wrong and was not wrong before.
    pub defects: Vec<Defect>,
    /// Clusters that are declared now and were not before.
    pub clusters_added: Vec<String>,
    /// Clusters that were declared before and are not now: they keep what they have.
    pub clusters_removed: Vec<String>,
}

/// The same differences of one bundle in some clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Full name of the bundle.
    pub bundle: String,
    /// Names of the clusters.
    pub clusters: Vec<String>,
    /// What differs, by identity.
    pub objects: Vec<ObjectChange>,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is new.
    Added,
    /// Fields of it differ.
    Changed,
    /// It goes.
    Removed,
    /// It stays, owned by nobody.
    Kept,
    /// Another bundle takes it over.
    HandedOver,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectChange {
    /// What becomes of it.
    pub what: What,
    /// Which.
    pub object: Identity,
    /// The bundle that it goes over to, or, of an added one, comes from, by its full name.
    pub other: Option<String>,
    /// Whether it goes once somebody says so, and not before.
    pub confirm: bool,
    /// What differs, where it is changed; values of Secrets are masked.
    pub fields: Vec<Field>,
}

/// A removal that would wait for an operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardHold {
    /// Full name of the bundle.
    pub bundle: String,
    /// Names of the clusters.
    pub clusters: Vec<String>,
    /// The most objects that would go from one of them.
    pub objects: usize,
    /// Whether nothing would remain there.
    pub empties: bool,
}

/// What `after` would do to a fleet that has settled on `before`.
#[must_use]
pub fn plan(before: &Offline, after: &Offline) -> Plan {
    let old: BTreeSet<&Defect> = before.defects.iter().collect();
    let names = |tree: &Offline| tree.clusters.iter().map(|one| one.name.clone()).collect::<BTreeSet<_>>();
    let (was, is) = (names(before), names(after));
    let mut plan = Plan {
        defects: after.defects.iter().filter(|one| !one.note && !old.contains(one)).cloned().collect(),
        held: after.goals.held.clone(),
        clusters_added: is.difference(&was).cloned().collect(),
        clusters_removed: was.difference(&is).cloned().collect(),
        ..Plan::default()
    };
    let (was_of, is_of) = (Owners::of(before), Owners::of(after));
    let bundles: BTreeSet<&String> = before.goals.bundles.keys().chain(after.goals.bundles.keys()).collect();
    for bundle in bundles {
        // What is held stays as it is.
        if !after.goals.held.contains_key(bundle) && !after.goals.awaited.contains_key(bundle) {
            let kept = &plan.clusters_removed;
            let compare = Compare { before, after, bundle, kept, was_of: &was_of, is_of: &is_of };
            compare.run(&mut plan.changes, &mut plan.holds);
        }
    }
    plan
}

/// What a cluster should run, before and after.
type Way<'a> = (Option<&'a PairContent>, Option<&'a PairContent>);

/// The comparison of one bundle.
struct Compare<'a> {
    before: &'a Offline,
    after: &'a Offline,
    bundle: &'a str,
    /// Clusters that are no longer declared.
    kept: &'a [String],
    was_of: &'a Owners<'a>,
    is_of: &'a Owners<'a>,
}

impl<'a> Compare<'a> {
    fn run(&self, changes: &mut Vec<Change>, holds: &mut Vec<GuardHold>) {
        let mut ways: BTreeMap<Way<'a>, Vec<&'a str>> = BTreeMap::new();
        for (cluster, way) in self.ways() {
            if way.0 != way.1 {
                ways.entry(way).or_default().push(cluster);
            }
        }
        let mut found: Vec<Change> = Vec::new();
        let mut losses: BTreeMap<&str, Arc<Loss>> = BTreeMap::new();
        for ((old, new), clusters) in ways {
            let (were, are) =
                (self.identities(self.before, old), new.map(|new| self.identities(self.after, Some(new))));
            let (old, new) = (self.objects(self.before, old), self.objects(self.after, new));
            let all = differences(&old, &new);
            // Clusters with the same objects may differ in who else names them.
            let mut alike: Vec<(Arc<Loss>, Vec<ObjectChange>, Vec<String>)> = Vec::new();
            for cluster in clusters {
                let loss = self.is_of.loss(self.bundle, cluster, &were, are.as_ref());
                let objects = self.told(&all, cluster, &loss, &were);
                let same = alike.iter_mut().find(|(known, told, _)| **known == loss && *told == objects);
                let loss = match same {
                    Some((known, _, names)) => {
                        names.push(cluster.to_owned());
                        Arc::clone(known)
                    }
                    None => {
                        let loss = Arc::new(loss);
                        alike.push((Arc::clone(&loss), objects, vec![cluster.to_owned()]));
                        loss
                    }
                };
                losses.insert(cluster, loss);
            }
            for (_, objects, names) in alike.into_iter().filter(|(_, objects, _)| !objects.is_empty()) {
                match found.iter_mut().find(|change| change.objects == objects) {
                    Some(change) => change.clusters.extend(names),
                    None => found.push(Change { bundle: self.bundle.to_owned(), clusters: names, objects }),
                }
            }
        }
        for change in &mut found {
            change.clusters.sort();
        }
        found.sort_by(|a, b| (b.clusters.len(), &a.clusters).cmp(&(a.clusters.len(), &b.clusters)));
        changes.extend(found);
        holds.extend(self.guarded(&losses));
    }

    /// What each cluster should run, before and after. One that is no longer declared keeps what it
    /// has.
    fn ways(&self) -> BTreeMap<&'a str, Way<'a>> {
        let mut ways: BTreeMap<&'a str, Way<'a>> = BTreeMap::new();
        for (cluster, content) in contents(self.before, self.bundle) {
            let new = self.kept.iter().any(|kept| kept == cluster).then_some(content);
            ways.insert(cluster, (Some(content), new));
        }
        for (cluster, content) in contents(self.after, self.bundle) {
            ways.entry(cluster).or_default().1 = Some(content);
        }
        ways
    }

    /// Differences as one cluster has them: what goes there, stays, or goes over from one bundle to another.
    fn told(&self, all: &[ObjectChange], cluster: &str, loss: &Loss, were: &Identities) -> Vec<ObjectChange> {
        let mut told = all.to_vec();
        for one in &mut told {
            match one.what {
                What::Added => one.other = self.was_of.other(&one.object, cluster, self.bundle).map(str::to_owned),
                What::Removed => {
                    let to = loss.handed.iter().find(|(_, objects)| objects.contains(&one.object));
                    if let Some((to, _)) = to {
                        (one.what, one.other) = (What::HandedOver, Some(to.clone()));
                    } else if loss.kept.contains(&one.object) {
                        one.what = What::Kept;
                    } else {
                        one.confirm = were.objects.get(&one.object) == Some(&Prune::Confirm);
                    }
                }
                What::Changed | What::Kept | What::HandedOver => {}
            }
        }
        told
    }

    /// The identities of what a cluster should run, and what becomes of each.
    fn identities(&self, tree: &Offline, content: Option<&PairContent>) -> Identities {
        let known = content.and_then(|content| {
            let rendered = tree.rendered(self.bundle, &content.variant)?;
            rendered.meta.removals(&content.variables).ok()
        });
        known.unwrap_or_default()
    }

    fn objects(&self, tree: &Offline, content: Option<&PairContent>) -> BTreeMap<Identity, Json> {
        let bound = content.and_then(|content| tree.bound(self.bundle, content).ok()).unwrap_or_default();
        let namespace = content
            .and_then(|content| tree.rendered(self.bundle, &content.variant))
            .and_then(|rendered| rendered.variant.settings.namespace.clone());
        bound.into_iter().filter_map(|object| Some((placed(&object, namespace.as_deref())?, object))).collect()
    }

    /// What the guard would hold, under the guard of before, as the hub judges it.
    fn guarded(&self, losses: &BTreeMap<&'a str, Arc<Loss>>) -> Vec<GuardHold> {
        let Some(goal) = self.before.goals.bundles.get(self.bundle) else { return Vec::new() };
        let numbers: BTreeMap<&str, u32> = self.before.clusters.iter().map(|one| (&*one.name, one.number)).collect();
        let assigned = goal.pairs.iter().flat_map(|(_, clusters)| clusters).map(|cluster| (cluster, 0_u32));
        let bundle = Bundle { assigned: assigned.collect(), guard: goal.guard.clone(), ..Bundle::default() };
        let by_number: BTreeMap<u32, (&str, &Arc<Loss>)> =
            losses.iter().filter_map(|(name, loss)| Some((*numbers.get(name)?, (*name, loss)))).collect();
        let only = by_number.iter().map(|(number, (_, loss))| (*number, Arc::clone(loss))).collect();
        let held = check::guarded(&bundle, &Guard::default(), &only, 0);
        let held = held.iter().filter_map(|number| by_number.get(number));
        let mut by_kind: BTreeMap<bool, GuardHold> = BTreeMap::new();
        for (name, loss) in held {
            let bundle = self.bundle.to_owned();
            let hold = by_kind.entry(loss.empties).or_insert_with(|| GuardHold {
                bundle,
                clusters: Vec::new(),
                objects: 0,
                empties: loss.empties,
            });
            hold.clusters.push((*name).to_owned());
            hold.objects = hold.objects.max(loss.objects.len());
        }
        by_kind.into_values().collect()
    }
}

/// The clusters of a bundle and what each should run.
fn contents<'a>(tree: &'a Offline, bundle: &str) -> impl Iterator<Item = (&'a str, &'a PairContent)> {
    let goal: Option<&BundleGoals> = tree.goals.bundles.get(bundle);
    let pairs = goal.into_iter().flat_map(|goal| &goal.pairs);
    pairs.flat_map(|(content, numbers)| {
        let of_pair = tree.clusters.iter().filter(|one| numbers.contains(one.number));
        of_pair.map(move |one| (&*one.name, content))
    })
}

/// The identity as the cluster will have it, as far as that can be told here.
fn placed(object: &Json, namespace: Option<&str>) -> Option<Identity> {
    let mut id = identity(object).ok()?;
    let is_open = hub_core::release::scope::scope(&id.kind) != Some(hub_core::release::scope::Scope::Cluster);
    if id.namespace.is_empty() && is_open {
        id.namespace = namespace.unwrap_or_default().to_owned();
    }
    Some(id)
}

fn differences(old: &BTreeMap<Identity, Json>, new: &BTreeMap<Identity, Json>) -> Vec<ObjectChange> {
    let ids: BTreeSet<&Identity> = old.keys().chain(new.keys()).collect();
    let mut found = Vec::new();
    for id in ids {
        let (what, fields) = match (old.get(id), new.get(id)) {
            (Some(before), Some(after)) if before == after => continue,
            (Some(before), Some(after)) => {
                let fields = difference::fields(before, after);
                (What::Changed, if is_secret(&id.kind) { difference::masked(fields) } else { fields })
            }
            (None, _) => (What::Added, Vec::new()),
            (_, None) => (What::Removed, Vec::new()),
        };
        found.push(ObjectChange { what, object: id.clone(), other: None, confirm: false, fields });
    }
    found
}

fn is_secret(kind: &GroupKind) -> bool {
    kind.is("", "Secret")
}
