//! The deletion guard, and a checker of what the planner made.
//!
//! Deleting is the one thing that can't be undone, so what moves would delete is worked out here
//! once, and both the planner and the checker of its moves use it. The checker runs in tests, in
//! the simulation and before each proposal.

mod loss;
mod losses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Digest, Permit, limits};

pub use loss::{Identities, Loss};
pub use losses::{Losses, losses};

use crate::catalog::Guard;
use crate::command::{BundleMoves, Pair};
use crate::fleet::{Bundle, Cluster, Fleet};

/// What the planner needs to know of bodies.
pub trait Facts {
    /// The identities that a pair gives a cluster, after binding; `None` while a body is missing,
    /// and then nothing moves: partial input never deletes.
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>>;
}

/// What a cluster would lose of a bundle, by its full name, by taking its goal; `None` while a body is missing.
#[must_use]
pub fn loss(fleet: &Fleet, (name, bundle): (&str, &Bundle), cluster: u32, facts: &impl Facts) -> Option<Arc<Loss>> {
    Losses::new(fleet, facts).of(name, bundle, [cluster]).remove(&cluster)
}

/// Whether a cluster that Git no longer declares keeps what it has of a bundle, whatever the goal.
#[must_use]
pub fn keeps(known: &Cluster, bundle: &Bundle) -> bool {
    known.is_undeclared() && bundle.declared
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
            total += count * objects.map_or(0, |one| one.objects.len() as u64);
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
    /// The permit says something else than the move needs of objects that stay, or that ask for a word.
    #[error("{bundle}: the permit of cluster {cluster} has other terms than its objects ask for")]
    Terms {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
    /// Another bundle takes objects over, and does not come first or with it.
    #[error("{bundle}: the move of cluster {cluster} comes before that of {to}, which takes objects over")]
    Early {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
        /// Full name of the other.
        to: String,
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
    /// Somebody wants it to be left alone.
    #[error("{bundle}: it is suspended in cluster {cluster}")]
    Suspended {
        /// Full name of the bundle.
        bundle: String,
        /// Number of the cluster.
        cluster: u32,
    },
}

/// Looks over moves that belong together before they are proposed.
#[must_use]
pub fn lint(hub: &Guard, lost: &mut Losses<'_, impl Facts>, together: &[BundleMoves]) -> Vec<Complaint> {
    together.iter().flat_map(|moves| lint_one(hub, lost, moves, together)).collect()
}

fn lint_one(
    hub: &Guard,
    lost: &mut Losses<'_, impl Facts>,
    moves: &BundleMoves,
    together: &[BundleMoves],
) -> Vec<Complaint> {
    let fleet = lost.fleet();
    let name = || moves.bundle.clone();
    let Some(bundle) = fleet.bundles.get(&moves.bundle) else {
        return vec![Complaint::NoBundle(name())];
    };
    let mut complaints = Vec::new();
    let known = moves.clusters.0.iter().filter(|cluster| fleet.by_number(*cluster).is_some());
    let losses = lost.of(&moves.bundle, bundle, known);
    let permits: BTreeMap<u32, &Permit> = moves.permits.iter().map(|(one, permit, _)| (*one, permit)).collect();
    let nothing = Permit::default();
    for cluster in &moves.clusters.0 {
        let Some((place, known)) = fleet.by_number(cluster) else {
            complaints.push(Complaint::NoCluster { bundle: name(), cluster });
            continue;
        };
        if known.is_undeclared() && (keeps(known, bundle) || !is_approved(bundle, cluster)) {
            complaints.push(Complaint::Undeclared { bundle: name(), cluster });
        }
        if fleet.suspension(place, &moves.bundle).is_some() {
            complaints.push(Complaint::Suspended { bundle: name(), cluster });
        }
        if bundle.goal.get(&cluster) == bundle.assigned.get(&cluster) {
            complaints.push(Complaint::Idle { bundle: name(), cluster });
        }
        let Some(loss) = losses.get(&cluster) else {
            complaints.push(Complaint::Blind { bundle: name(), cluster });
            continue;
        };
        let permit = permits.get(&cluster).copied().unwrap_or(&nothing);
        let (permitted, needed) = (permit.deletions, loss.objects.len() as u64);
        if permitted != needed {
            complaints.push(Complaint::Permit { bundle: name(), cluster, permitted, needed });
        }
        if permit.orphan != loss.orphans || permit.confirmed != (loss.confirms > 0) {
            complaints.push(Complaint::Terms { bundle: name(), cluster });
        }
        let comes = |to: &String| together.iter().any(|one| one.bundle == *to && one.clusters.contains(cluster));
        let early = loss.waits.iter().find(|to| !comes(to));
        complaints.extend(early.map(|to| Complaint::Early { bundle: name(), cluster, to: to.clone() }));
    }
    let held = guarded(bundle, hub, &losses, fleet.at_unix_millis);
    complaints.extend(held.into_iter().map(|cluster| Complaint::Guarded { bundle: name(), cluster }));
    complaints
}
