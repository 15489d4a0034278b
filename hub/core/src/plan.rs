//! The planner: from one state of the fleet to the moves that bring clusters to their goals.
//!
//! A pure function of (Fleet, facts about bodies, time). Until rollout policies pace them, all
//! clusters of a bundle move at once; what the guard holds stays where it is.
//!
//! **Invariant:** what goes over from one bundle to another is never deleted and made anew: the bundle that loses it
//! moves with the one that takes it over, in one entry, or after it, and never before.

mod handover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Permit, limits};
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
    /// Moves and holds of bundles; those of one group go into one entry. Bundles without any are left out.
    pub groups: Vec<Vec<BundleMoves>>,
    /// Bundles that wait in some cluster for another one to take objects over, or for a body, which may be another one's:
    /// to be planned again with each change.
    pub waiting: BTreeSet<String>,
}

/// Plans the bundles in `dirty`. Planning all bundles gives the same moves for those that are
/// dirty, and none for the others.
pub fn plan<'a>(fleet: &Fleet, facts: &impl Facts, hub: &Guard, dirty: impl IntoIterator<Item = &'a String>) -> Moves {
    let (mut drafts, mut lost) = (Vec::new(), Losses::new(fleet, facts));
    let mut waiting = BTreeSet::new();
    for name in dirty {
        let Some(bundle) = fleet.bundles.get(name) else {
            continue;
        };
        let (losses, is_whole) = check::losses(name, bundle, &mut lost);
        if !is_whole {
            waiting.insert(name.clone());
        }
        if losses.is_empty() && bundle.held.is_empty() {
            continue;
        }
        let mut held = check::guarded(bundle, hub, &losses, fleet.at_unix_millis);
        held.extend(losses.keys().filter(|cluster| is_left_behind(fleet, bundle, **cluster)));
        drafts.push(Draft { name, bundle, losses, held, late: BTreeSet::new() });
    }
    handover::wait(&mut drafts);
    hold_fleet_wide(fleet, facts, hub, &mut drafts);
    handover::wait(&mut drafts);
    let groups = handover::groups(&mut drafts);
    let moves = groups.into_iter().map(|group| {
        let members: Vec<&Draft<'_>> = group.into_iter().filter_map(|at| drafts.get(at)).collect();
        let clusters = chunk(&members);
        let moves = members.iter().map(|draft| draft.moves(hub, &clusters)).filter(|moves| is_news(fleet, moves));
        moves.collect::<Vec<_>>()
    });
    waiting.extend(drafts.iter().filter(|draft| !draft.late.is_empty()).map(|draft| draft.name.to_owned()));
    Moves { parent: fleet.revision, groups: moves.filter(|group| !group.is_empty()).collect(), waiting }
}

/// What is known of the moves of one bundle.
struct Draft<'a> {
    name: &'a str,
    bundle: &'a Bundle,
    /// Of each cluster off its goal.
    losses: BTreeMap<u32, Arc<Loss>>,
    /// Clusters that the guard holds.
    held: BTreeSet<u32>,
    /// Clusters that wait for another bundle to take objects over.
    late: BTreeSet<u32>,
}

impl Draft<'_> {
    /// Whether the bundle moves in a cluster.
    fn is_free(&self, cluster: u32) -> bool {
        self.losses.contains_key(&cluster) && !self.held.contains(&cluster) && !self.late.contains(&cluster)
    }

    fn free(&self) -> impl Iterator<Item = (u32, &Loss)> {
        let free = self.losses.iter().filter(|(cluster, _)| self.is_free(**cluster));
        free.map(|(cluster, loss)| (*cluster, &**loss))
    }

    fn moves(&self, hub: &Guard, clusters: &RoaringBitmap) -> BundleMoves {
        let mut moves = BundleMoves { bundle: self.name.to_owned(), ..BundleMoves::default() };
        for (cluster, loss) in self.free().filter(|(cluster, _)| clusters.contains(*cluster)) {
            moves.clusters.0.insert(cluster);
            let mut permit = loss.permit(hub);
            permit.protected.extend(loss.permit(&self.bundle.guard).protected);
            if permit != Permit::default() {
                moves.permits.push((cluster, permit, loss.counted));
            }
            if !loss.handed.is_empty() {
                moves.hands.0.insert(cluster);
            }
            if loss.stay() > 0 && !self.bundle.goal.contains_key(&cluster) {
                moves.stays.0.insert(cluster);
            }
        }
        let objects = |cluster: &u32| Some((*cluster, self.losses.get(cluster)?.objects.len() as u64));
        moves.held = by_objects(self.held.iter().filter_map(objects));
        moves
    }
}

/// The clusters in which bundles of one group move with the next entry.
fn chunk(group: &[&Draft<'_>]) -> RoaringBitmap {
    let all: BTreeSet<u32> = group.iter().flat_map(|draft| draft.free().map(|(cluster, _)| cluster)).collect();
    all.into_iter().take((limits::MOVES_PER_ENTRY_MAX / group.len().max(1)).max(1)).collect()
}

/// Whether something moves, or the guard holds something else than before.
fn is_news(fleet: &Fleet, moves: &BundleMoves) -> bool {
    let bundle = fleet.bundles.get(&moves.bundle);
    let before = bundle.into_iter().flat_map(|bundle| &bundle.held);
    let before = by_objects(before.map(|(cluster, hold)| (*cluster, hold.objects)));
    !moves.clusters.0.is_empty() || before != moves.held
}

/// A bundle that left Git together with the declaration of a cluster (an emptied repository) goes
/// from it when an operator says so, and not before.
fn is_left_behind(fleet: &Fleet, bundle: &Bundle, cluster: u32) -> bool {
    let undeclared = fleet.by_number(cluster).is_some_and(|(_, known)| known.is_undeclared());
    undeclared && !check::is_approved(bundle, cluster)
}

/// The hub-wide guard: where all that would go now is more than the fleet may lose in a day, every
/// move that takes something away is held.
fn hold_fleet_wide(fleet: &Fleet, facts: &impl Facts, hub: &Guard, drafts: &mut [Draft<'_>]) {
    let open = |draft: &Draft<'_>| {
        let free = draft.free().filter(|(cluster, _)| !check::is_approved(draft.bundle, *cluster));
        free.map(|(cluster, loss)| (cluster, loss.counted)).collect::<Vec<_>>()
    };
    let counted: u64 = drafts.iter().flat_map(open).map(|(_, counted)| counted).sum();
    if counted == 0 {
        return;
    }
    let lately = check::fleet_deleted_lately(fleet, fleet.at_unix_millis);
    if lately + counted <= check::fleet_allowance(fleet, hub, facts) {
        return;
    }
    for draft in drafts {
        let more = open(draft).into_iter().filter(|(_, counted)| *counted > 0);
        draft.held.extend(more.map(|(cluster, _)| cluster));
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
