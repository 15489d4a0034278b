//! The planner: from one state of the fleet to the moves that bring clusters to their goals.
//!
//! A pure function of (Fleet, facts about bodies, time). Until rollout policies pace them, all
//! clusters of a bundle move at once; what the guard holds stays where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::limits;
use roaring::RoaringBitmap;

use crate::catalog::Guard;
use crate::check::{self, Facts, Loss, Losses};
use crate::command::{Bits, BundleMoves};
use crate::fleet::{Bundle, Fleet};

/// What the planner proposes, from one revision of Fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    /// The revision that they were made from; they take effect on no other.
    pub parent: u64,
    /// Moves and holds, by bundle; bundles without any are left out.
    pub bundles: Vec<BundleMoves>,
}

/// Plans the bundles in `dirty`. Planning all bundles gives the same moves for those that are
/// dirty, and none for the others.
pub fn plan<'a>(fleet: &Fleet, facts: &impl Facts, hub: &Guard, dirty: impl IntoIterator<Item = &'a String>) -> Moves {
    let mut drafts = Vec::new();
    for name in dirty {
        let Some(bundle) = fleet.bundles.get(name) else {
            continue;
        };
        let losses = losses(fleet, bundle, &mut Losses::new(fleet, facts));
        if losses.is_empty() && bundle.held.is_empty() {
            continue;
        }
        let mut held = check::guarded(bundle, hub, &losses, fleet.at_unix_millis);
        held.extend(losses.keys().filter(|cluster| is_left_behind(fleet, bundle, **cluster)));
        drafts.push((name, &**bundle, losses, held));
    }
    hold_fleet_wide(fleet, facts, hub, &mut drafts);
    let bundles = drafts
        .into_iter()
        .map(|(name, bundle, losses, held)| moves_of(name, bundle, hub, &losses, &held))
        .filter(|moves| {
            let bundle = fleet.bundles.get(&moves.bundle);
            let before = bundle.into_iter().flat_map(|bundle| &bundle.held);
            let before = by_objects(before.map(|(cluster, hold)| (*cluster, hold.objects)));
            !moves.clusters.0.is_empty() || before != moves.held
        })
        .collect();
    Moves { parent: fleet.revision, bundles }
}

type Draft<'a> = (&'a String, &'a Bundle, BTreeMap<u32, Arc<Loss>>, BTreeSet<u32>);

/// A bundle that left Git together with the declaration of a cluster (an emptied repository) goes
/// from it when an operator says so, and not before.
fn is_left_behind(fleet: &Fleet, bundle: &Bundle, cluster: u32) -> bool {
    let undeclared = fleet.by_number(cluster).is_some_and(|(_, known)| known.declaration_removed);
    undeclared && !check::is_approved(bundle, cluster)
}

/// What each cluster off its goal would lose. Clusters whose declaration is gone keep what they
/// have, and those of which a body is missing wait.
fn losses(fleet: &Fleet, bundle: &Bundle, losses: &mut Losses<'_, impl Facts>) -> BTreeMap<u32, Arc<Loss>> {
    let clusters: BTreeSet<u32> = bundle.goal.keys().chain(bundle.assigned.keys()).copied().collect();
    clusters
        .into_iter()
        .filter(|cluster| bundle.goal.get(cluster) != bundle.assigned.get(cluster))
        .filter(|cluster| fleet.by_number(*cluster).is_some_and(|(_, known)| !check::keeps(known, bundle)))
        .filter_map(|cluster| Some((cluster, losses.of(bundle, cluster)?)))
        .collect()
}

/// The hub-wide guard: where all that would go now is more than the fleet may lose in a day, every
/// move that takes something away is held.
fn hold_fleet_wide(fleet: &Fleet, facts: &impl Facts, hub: &Guard, drafts: &mut [Draft<'_>]) {
    let open = |bundle: &Bundle, held: &BTreeSet<u32>, cluster: &u32| {
        !held.contains(cluster) && !check::is_approved(bundle, *cluster)
    };
    let counted: u64 = drafts
        .iter()
        .flat_map(|(_, bundle, losses, held)| {
            losses.iter().filter(|(cluster, _)| open(bundle, held, cluster)).map(|(_, loss)| loss.counted)
        })
        .sum();
    if counted == 0 {
        return;
    }
    let lately = check::fleet_deleted_lately(fleet, fleet.at_unix_millis);
    if lately + counted <= check::fleet_allowance(fleet, hub, facts) {
        return;
    }
    for (_, bundle, losses, held) in drafts {
        let more: Vec<u32> = losses
            .iter()
            .filter(|(cluster, loss)| loss.counted > 0 && open(bundle, held, cluster))
            .map(|(cluster, _)| *cluster)
            .collect();
        held.extend(more);
    }
}

fn moves_of(
    name: &str,
    bundle: &Bundle,
    hub: &Guard,
    losses: &BTreeMap<u32, Arc<Loss>>,
    held: &BTreeSet<u32>,
) -> BundleMoves {
    let mut clusters = RoaringBitmap::new();
    let mut permits = Vec::new();
    let free = losses.iter().filter(|(cluster, _)| !held.contains(cluster));
    for (cluster, loss) in free.take(limits::MOVES_PER_ENTRY_MAX) {
        clusters.insert(*cluster);
        if !loss.objects.is_empty() {
            let mut permit = loss.permit(hub);
            permit.protected.extend(loss.permit(&bundle.guard).protected);
            permits.push((*cluster, permit, loss.counted));
        }
    }
    BundleMoves {
        bundle: name.to_owned(),
        clusters: Bits(clusters),
        permits,
        held: by_objects(held.iter().filter_map(|cluster| Some((*cluster, losses.get(cluster)?.objects.len() as u64)))),
    }
}

/// Clusters by how many objects would go: few numbers, however many clusters.
fn by_objects(held: impl Iterator<Item = (u32, u64)>) -> Vec<(u64, Bits)> {
    let mut sets: BTreeMap<u64, RoaringBitmap> = BTreeMap::new();
    for (cluster, objects) in held {
        sets.entry(objects).or_default().insert(cluster);
    }
    sets.into_iter().map(|(objects, clusters)| (objects, Bits(clusters))).collect()
}
