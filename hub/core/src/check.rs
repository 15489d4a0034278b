//! The deletion guard, and a checker of what the planner made.
//!
//! Deleting is the one thing that can't be undone, so what moves would delete is worked out here
//! once, and both the planner and the checker of its moves use it. The checker runs in tests, in
//! the simulation and before each proposal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Digest, GroupKind, Identity, Permit, assign, limits};

use crate::catalog::Guard;
use crate::command::{BundleMoves, Pair};
use crate::fleet::{Bundle, Cluster, Fleet};

/// What the planner needs to know of bodies.
pub trait Facts {
    /// The identities that a pair gives a cluster, after binding; `None` while a body is missing,
    /// and then nothing moves: partial input never deletes.
    fn identities(&self, pair: &Pair) -> Option<Arc<BTreeSet<Identity>>>;
}

/// What a move takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Objects that go, in order.
    pub objects: Vec<Identity>,
    /// How many of them the guard counts: generated ConfigMaps and Secrets whose successor
    /// arrives with the same move don't.
    pub counted: u64,
    /// Whether nothing remains where there was something.
    pub empties: bool,
    /// Objects that were there before.
    pub before: u64,
}

impl Loss {
    /// What goes on the way from one set of identities to another.
    #[must_use]
    pub fn between(before: &BTreeSet<Identity>, after: &BTreeSet<Identity>) -> Self {
        let objects: Vec<Identity> = before.difference(after).cloned().collect();
        let stems: BTreeSet<(&GroupKind, &str, &str)> =
            after.iter().filter_map(|id| Some((&id.kind, &*id.namespace, stem(id)?))).collect();
        let counted =
            objects.iter().filter(|id| !stem(id).is_some_and(|stem| stems.contains(&(&id.kind, &*id.namespace, stem))));
        Self {
            counted: counted.count() as u64,
            empties: after.is_empty() && !before.is_empty(),
            before: before.len() as u64,
            objects,
        }
    }

    /// The permit that lets exactly this go.
    #[must_use]
    pub fn permit(&self, guard: &Guard) -> Permit {
        let protected = self.objects.iter().map(|id| &id.kind);
        Permit {
            deletions: self.objects.len() as u64,
            protected: protected.filter(|kind| assign::is_protected(kind) || guard.protects(kind)).cloned().collect(),
            ..Permit::default()
        }
    }

    /// Whether a protected kind goes.
    #[must_use]
    pub fn is_protected(&self, guard: &Guard) -> bool {
        self.objects.iter().any(|id| guard.protects(&id.kind))
    }
}

/// The name of a generated ConfigMap or Secret without its suffix, as Kustomize makes them: a dash
/// and ten letters or digits.
fn stem(identity: &Identity) -> Option<&str> {
    let generated = identity.kind.is("", "ConfigMap") || identity.kind.is("", "Secret");
    let (stem, hash) = identity.name.rsplit_once('-')?;
    let is_hash = hash.len() == 10
        && hash.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_digit());
    (generated && is_hash).then_some(stem)
}

/// What a cluster would lose of a bundle by taking its goal; `None` while a body is missing.
#[must_use]
pub fn loss(fleet: &Fleet, bundle: &Bundle, cluster: u32, facts: &impl Facts) -> Option<Loss> {
    let of = |pair: Option<Pair>| match pair {
        Some(pair) => facts.identities(&pair),
        None => Some(Arc::default()),
    };
    let before = of(fleet.assigned(bundle, cluster))?;
    let after = of(fleet.goal(bundle, cluster))?;
    Some(Loss::between(&before, &after))
}

/// Works out losses of many clusters: most bundles name their objects alike everywhere, so that
/// what one cluster would lose is what its neighbours would.
pub struct Losses<'a, F> {
    fleet: &'a Fleet,
    facts: &'a F,
    by_pairs: BTreeMap<(Option<u32>, Option<u32>), Known>,
    by_sets: BTreeMap<(usize, usize), (Identities, Identities, Arc<Loss>)>,
}

type Identities = Arc<BTreeSet<Identity>>;
/// A loss; `None` while a body is missing.
type Known = Option<Arc<Loss>>;

impl<'a, F: Facts> Losses<'a, F> {
    /// Over one state of the fleet.
    pub fn new(fleet: &'a Fleet, facts: &'a F) -> Self {
        Self { fleet, facts, by_pairs: BTreeMap::new(), by_sets: BTreeMap::new() }
    }

    /// As [`loss`].
    pub fn of(&mut self, bundle: &Bundle, cluster: u32) -> Option<Arc<Loss>> {
        let key = (bundle.assigned.get(&cluster).copied(), bundle.goal.get(&cluster).copied());
        if let Some(known) = self.by_pairs.get(&key) {
            return known.clone();
        }
        let found = self.between(key);
        self.by_pairs.insert(key, found.clone());
        found
    }

    fn between(&mut self, (assigned, goal): (Option<u32>, Option<u32>)) -> Option<Arc<Loss>> {
        let of = |number: Option<u32>| match number {
            Some(_) => self.facts.identities(&self.fleet.pair_of(number)?),
            None => Some(Arc::default()),
        };
        let (before, after) = (of(assigned)?, of(goal)?);
        // The sets are kept with the loss, so that an address means one set for as long.
        let key = (Arc::as_ptr(&before) as usize, Arc::as_ptr(&after) as usize);
        let made = || {
            let loss = Arc::new(Loss::between(&before, &after));
            (Arc::clone(&before), Arc::clone(&after), loss)
        };
        Some(Arc::clone(&self.by_sets.entry(key).or_insert_with(made).2))
    }
}

/// Whether a cluster that Git no longer declares keeps what it has of a bundle, whatever the goal.
#[must_use]
pub fn keeps(known: &Cluster, bundle: &Bundle) -> bool {
    known.declaration_removed && bundle.declared
}

/// Whether an operator let exactly this move go.
#[must_use]
pub fn is_approved(bundle: &Bundle, cluster: u32) -> bool {
    bundle.approved.get(&cluster).is_some_and(|goal| *goal == bundle.goal.get(&cluster).copied())
}

/// What the guard holds of a bundle: clusters, and the goal of each; `None` is a removal.
#[must_use]
pub fn held(fleet: &Fleet, bundle: &Bundle) -> Vec<(u32, Option<Pair>)> {
    bundle.held.keys().map(|cluster| (*cluster, fleet.goal(bundle, *cluster))).collect()
}

/// Names what the guard holds, so that an operator approves what was looked at and nothing else.
#[must_use]
pub fn held_digest(held: &[(u32, Option<Pair>)]) -> Digest {
    // Writing a plain list to memory has no way to fail.
    Digest::of(&serde_json::to_vec(held).unwrap_or_default())
}

/// Which of the moves of one bundle the guard holds, under the guard in force before them and the
/// hub's own.
#[must_use]
pub fn guarded(bundle: &Bundle, hub: &Guard, losses: &BTreeMap<u32, Arc<Loss>>, now_unix_millis: u64) -> BTreeSet<u32> {
    let mut held = BTreeSet::new();
    let present = bundle.assigned.len() as u64;
    let open = || losses.iter().filter(|(cluster, _)| !is_approved(bundle, **cluster));
    let emptied = open().filter(|(_, loss)| loss.empties).count() as u64;
    let emptied = emptied + bundle.emptied_lately(now_unix_millis);
    let allowed = bundle.guard.emptied_allowed(present).min(hub.emptied_allowed(present));
    for (cluster, loss) in open() {
        let lately = bundle.deleted_lately(*cluster, now_unix_millis);
        let objects = bundle.guard.deletions_allowed(loss.before).min(hub.deletions_allowed(loss.before));
        let too_many = loss.counted > 0 && lately + loss.counted > objects;
        let too_empty = loss.empties && emptied > allowed;
        if too_many || too_empty || loss.is_protected(&bundle.guard) || loss.is_protected(hub) {
            held.insert(*cluster);
        }
    }
    held
}

/// How many objects may go from the whole fleet within the guard's span: the hub's share of all
/// objects, with a floor for each cluster.
#[must_use]
pub fn fleet_allowance(fleet: &Fleet, hub: &Guard, facts: &impl Facts) -> u64 {
    let mut total = 0;
    let mut clusters = BTreeSet::new();
    for bundle in fleet.bundles.values() {
        let mut by_pair: BTreeMap<u32, u64> = BTreeMap::new();
        for (cluster, pair) in &bundle.assigned {
            clusters.insert(*cluster);
            *by_pair.entry(*pair).or_default() += 1;
        }
        for (pair, count) in by_pair {
            let objects = fleet.pair_of(Some(pair)).and_then(|pair| facts.identities(&pair));
            total += count * objects.map_or(0, |objects| objects.len() as u64);
        }
    }
    hub.deletions_allowed(total).max(limits::GUARD_FLOOR_OBJECTS * clusters.len() as u64)
}

/// Objects that went from the whole fleet within the guard's span, without an operator's word.
#[must_use]
pub fn fleet_deleted_lately(fleet: &Fleet, now_unix_millis: u64) -> u64 {
    let bundles = fleet.bundles.values();
    bundles
        .flat_map(|bundle| bundle.deleted.keys().map(|cluster| bundle.deleted_lately(*cluster, now_unix_millis)))
        .sum()
}

/// Something wrong with moves. A planner that works makes none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// The bundle is unknown.
    #[error("{0}: no such bundle")]
    NoBundle(String),
    /// The cluster is unknown.
    #[error("{bundle}: no cluster {cluster}")]
    NoCluster {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
    /// Nothing would change.
    #[error("{bundle}: the move of cluster {cluster} changes nothing")]
    Idle {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
    /// What would go can't be told.
    #[error("{bundle}: bodies for cluster {cluster} are missing")]
    Blind {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
    /// The permit is not what the move needs.
    #[error("{bundle}: the permit of cluster {cluster} lets {permitted} objects go, not {needed}")]
    Permit {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
        /// What the permit says.
        permitted: u64,
        /// What the move takes away.
        needed: u64,
    },
    /// The guard holds it.
    #[error("{bundle}: the guard holds the move of cluster {cluster}")]
    Guarded {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
    /// The cluster's declaration is gone: it keeps what it has.
    #[error("{bundle}: cluster {cluster} is no longer declared and keeps what it has")]
    Undeclared {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
}

/// Looks over the moves of one bundle before they are proposed.
#[must_use]
pub fn lint(fleet: &Fleet, hub: &Guard, facts: &impl Facts, moves: &BundleMoves) -> Vec<Complaint> {
    let name = || moves.bundle.clone();
    let Some(bundle) = fleet.bundles.get(&moves.bundle) else {
        return vec![Complaint::NoBundle(name())];
    };
    let mut complaints = Vec::new();
    let (mut losses, mut lost) = (BTreeMap::new(), Losses::new(fleet, facts));
    let permits: BTreeMap<u32, u64> = moves.permits.iter().map(|(one, permit, _)| (*one, permit.deletions)).collect();
    for cluster in &moves.clusters.0 {
        let Some((_, known)) = fleet.by_number(cluster) else {
            complaints.push(Complaint::NoCluster { bundle: name(), cluster });
            continue;
        };
        if known.declaration_removed && (keeps(known, bundle) || !is_approved(bundle, cluster)) {
            complaints.push(Complaint::Undeclared { bundle: name(), cluster });
        }
        if bundle.goal.get(&cluster) == bundle.assigned.get(&cluster) {
            complaints.push(Complaint::Idle { bundle: name(), cluster });
        }
        let Some(loss) = lost.of(bundle, cluster) else {
            complaints.push(Complaint::Blind { bundle: name(), cluster });
            continue;
        };
        let permitted = permits.get(&cluster).copied().unwrap_or_default();
        let needed = loss.objects.len() as u64;
        if permitted != needed {
            complaints.push(Complaint::Permit { bundle: name(), cluster, permitted, needed });
        }
        losses.insert(cluster, loss);
    }
    let held = guarded(bundle, hub, &losses, fleet.at_unix_millis);
    complaints.extend(held.into_iter().map(|cluster| Complaint::Guarded { bundle: name(), cluster }));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_maps(names: &[&str]) -> BTreeSet<Identity> {
        names
            .iter()
            .map(|name| Identity {
                kind: GroupKind::of("v1", "ConfigMap"),
                namespace: "shop".into(),
                name: (*name).into(),
            })
            .collect()
    }

    #[test]
    fn generated_names_with_a_successor_do_not_count() {
        let loss = Loss::between(&config_maps(&["web-5h2k9d8fct", "plain-name"]), &config_maps(&["web-7k4m2h9t6b"]));
        assert_eq!((loss.objects.len(), loss.counted, loss.empties), (2, 1, false));
    }

    #[test]
    fn nothing_left_is_emptied() {
        let loss = Loss::between(&config_maps(&["a"]), &BTreeSet::new());
        assert!(loss.empties);
        assert!(!Loss::between(&BTreeSet::new(), &BTreeSet::new()).empties);
    }
}
