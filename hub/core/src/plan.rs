//! The planner: from one state of the fleet to the moves that bring clusters to their goals.
//!
//! A pure function of (Fleet, facts about bodies, time). Until rollout policies pace them, all
//! clusters of a bundle move at once; what the guard holds stays where it is.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::limits;
use roaring::RoaringBitmap;

use crate::catalog::Guard;
use crate::check::{self, Facts, Loss};
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
        let losses = losses(fleet, bundle, facts);
        if losses.is_empty() && bundle.held.is_empty() {
            continue;
        }
        let held = check::guarded(bundle, hub, &losses, fleet.at_unix_millis);
        drafts.push((name, &**bundle, losses, held));
    }
    hold_fleet_wide(fleet, facts, hub, &mut drafts);
    let bundles = drafts
        .into_iter()
        .map(|(name, bundle, losses, held)| moves_of(name, bundle, hub, &losses, &held))
        .filter(|moves| {
            let before = fleet
                .bundles
                .get(&moves.bundle)
                .map(|bundle| bundle.held.iter().map(|(cluster, hold)| (*cluster, hold.objects)).collect());
            !moves.clusters.0.is_empty() || before.as_ref() != Some(&moves.held)
        })
        .collect();
    Moves { parent: fleet.revision, bundles }
}

type Draft<'a> = (&'a String, &'a Bundle, BTreeMap<u32, Loss>, BTreeSet<u32>);

/// What each cluster off its goal would lose. Clusters whose declaration is gone keep what they
/// have, and those of which a body is missing wait.
fn losses(fleet: &Fleet, bundle: &Bundle, facts: &impl Facts) -> BTreeMap<u32, Loss> {
    let clusters: BTreeSet<u32> = bundle.goal.keys().chain(bundle.assigned.keys()).copied().collect();
    clusters
        .into_iter()
        .filter(|cluster| bundle.goal.get(cluster) != bundle.assigned.get(cluster))
        .filter(|cluster| fleet.by_number(*cluster).is_some_and(|(_, known)| !known.declaration_removed))
        .filter_map(|cluster| Some((cluster, check::loss(fleet, bundle, cluster, facts)?)))
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
    losses: &BTreeMap<u32, Loss>,
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
        held: held.iter().filter_map(|cluster| Some((*cluster, losses.get(cluster)?.objects.len() as u64))).collect(),
    }
}
