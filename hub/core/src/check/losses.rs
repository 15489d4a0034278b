//! What many clusters would lose, with what goes over from one bundle to another.
//!
//! An object that another bundle's goal names in the same cluster is handed over rather than lost. Only bundles whose
//! goals name something that would go are looked at for each cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::Identity;

use super::loss::{Identities, Loss};
use super::{Facts, keeps};
use crate::fleet::{Bundle, Cluster, Fleet};

/// Works out losses of many clusters: most bundles name their objects alike everywhere, so that
/// what one cluster would lose is what its neighbours would.
pub struct Losses<'a, F> {
    fleet: &'a Fleet,
    facts: &'a F,
    by_pairs: BTreeMap<Way, Known>,
    by_sets: BTreeMap<(usize, usize), Between>,
    /// The pairs that are goals of bundles, worked out once something goes.
    goals: Option<Vec<(&'a str, &'a Bundle, BTreeSet<u32>)>>,
}

/// What is assigned, and what shall be.
type Way = (Option<u32>, Option<u32>);
/// A loss; `None` while a body is missing.
type Known = Option<Arc<Loss>>;
/// Two sets, and what goes on the way from one to the other.
type Between = (Arc<Identities>, Arc<Identities>, Arc<Loss>);
/// What another bundle takes over where it has this goal; `None` while that can't be told.
type Taken = Option<BTreeSet<Identity>>;

/// A taker, by its number, its goal in a cluster and what is assigned there.
type Take = (usize, u32, Option<u32>);

/// Bundles whose goals name some of what would go of one.
struct Takers<'a>(Vec<(&'a str, &'a Bundle, BTreeMap<u32, Taken>)>);

impl<'a, F: Facts> Losses<'a, F> {
    /// The state of the fleet that it is over.
    pub(super) fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    /// Over one state of the fleet.
    pub fn new(fleet: &'a Fleet, facts: &'a F) -> Self {
        Self { fleet, facts, by_pairs: BTreeMap::new(), by_sets: BTreeMap::new(), goals: None }
    }

    /// What clusters would lose of a bundle, by its full name, by taking its goal. Those of which a body is missing are
    /// left out.
    pub fn of(
        &mut self,
        name: &str,
        bundle: &Bundle,
        clusters: impl IntoIterator<Item = u32>,
    ) -> BTreeMap<u32, Arc<Loss>> {
        let way = |cluster: &u32| (bundle.assigned.get(cluster).copied(), bundle.goal.get(cluster).copied());
        let clusters = clusters.into_iter();
        let alone: BTreeMap<u32, Arc<Loss>> =
            clusters.filter_map(|cluster| Some((cluster, self.alone(way(&cluster))?))).collect();
        // One loss mostly is that of many clusters.
        let distinct: BTreeMap<usize, &Loss> =
            alone.values().map(|loss| (Arc::as_ptr(loss) as usize, &**loss)).collect();
        // What stays of a bundle that goes may be taken over, too.
        let going: BTreeSet<&Identity> =
            distinct.values().flat_map(|loss| loss.objects.iter().chain(&loss.kept)).collect();
        if going.is_empty() {
            return alone;
        }
        let only = alone.keys().next().filter(|_| alone.len() == 1);
        let takers = self.takers(name, &going, only.copied());
        if takers.0.is_empty() {
            return alone;
        }
        let mut shared: BTreeMap<(Way, Vec<Take>), Known> = BTreeMap::new();
        let handed = alone.iter().filter_map(|(cluster, loss)| {
            let takes = takers.of(*cluster);
            if takes.is_empty() || loss.objects.is_empty() && loss.kept.is_empty() {
                return Some((*cluster, Arc::clone(loss)));
            }
            let key = (way(cluster), takes);
            let known = shared.entry(key).or_insert_with_key(|(way, takes)| self.handing(*way, takes, &takers, loss));
            Some((*cluster, known.clone()?))
        });
        handed.collect()
    }

    /// What goes, whoever else names it.
    fn alone(&mut self, way: Way) -> Known {
        if let Some(known) = self.by_pairs.get(&way) {
            return known.clone();
        }
        let found = self.between(way);
        self.by_pairs.insert(way, found.clone());
        found
    }

    fn between(&mut self, (assigned, goal): Way) -> Known {
        let (before, after) = (self.identities(assigned)?, self.identities(goal)?);
        // The sets are kept with the loss, so that an address means one set for as long. A goal of nothing is another
        // thing than no goal.
        let address = |set: &Arc<Identities>| Arc::as_ptr(set) as usize;
        let key = (address(&before), goal.map_or(0, |_| address(&after)));
        let made = || {
            let loss = Arc::new(Loss::between(&before, goal.map(|_| &*after)));
            (Arc::clone(&before), Arc::clone(&after), loss)
        };
        Some(Arc::clone(&self.by_sets.entry(key).or_insert_with(made).2))
    }

    fn identities(&self, number: Option<u32>) -> Option<Arc<Identities>> {
        match number {
            Some(_) => self.facts.identities(&self.fleet.pair_of(number)?),
            None => Some(Arc::default()),
        }
    }

    /// The bundles whose goals, in one cluster or anywhere, name any of what would go of another one.
    fn takers(&mut self, name: &str, going: &BTreeSet<&Identity>, only: Option<u32>) -> Takers<'a> {
        let bundles = self.fleet.bundles.iter().map(|(name, one)| (name.as_str(), &**one));
        let in_one: Vec<_>;
        let goals = match only {
            Some(cluster) => {
                let goal = |one: &Bundle| one.goal.get(&cluster).copied().into_iter().collect();
                in_one = bundles.map(|(name, one)| (name, one, goal(one))).collect();
                &in_one
            }
            None => &*self.goals.get_or_insert_with(|| {
                bundles.map(|(name, one)| (name, one, one.goal.values().copied().collect())).collect()
            }),
        };
        let fleet = self.fleet;
        let others = goals.iter().filter(|(other, ..)| *other != name);
        let takers = others.filter_map(|(other, bundle, pairs)| {
            let taken = pairs.iter().filter_map(|pair| {
                let named = fleet.pair_of(Some(*pair)).and_then(|pair| self.facts.identities(&pair));
                let taken = named.map(|named| common(&named, going));
                taken.as_ref().is_none_or(|taken| !taken.is_empty()).then_some((*pair, taken))
            });
            let taken: BTreeMap<u32, Taken> = taken.collect();
            (!taken.is_empty()).then_some((*other, *bundle, taken))
        });
        Takers(takers.collect())
    }

    /// A loss where others may take objects over; `None` where that can't be told.
    fn handing(&self, way: Way, takes: &[Take], takers: &Takers<'_>, alone: &Arc<Loss>) -> Known {
        let mut left: BTreeSet<&Identity> = alone.objects.iter().chain(&alone.kept).collect();
        let (mut handed, mut waits) = (BTreeMap::new(), BTreeSet::new());
        for (at, goal, assigned) in takes {
            let Some((name, _, all)) = takers.0.get(*at) else { continue };
            // Where a body is missing it may name anything.
            let taken = all.get(goal)?.as_ref()?;
            // Of several that name an object the first has it.
            let over: Vec<Identity> = taken.iter().filter(|id| left.remove(id)).cloned().collect();
            if over.is_empty() {
                continue;
            }
            if *assigned != Some(*goal) {
                let named = self.identities(*assigned)?;
                if !over.iter().all(|id| named.objects.contains_key(id)) {
                    waits.insert((*name).to_owned());
                }
            }
            handed.insert((*name).to_owned(), over);
        }
        if handed.is_empty() {
            return Some(Arc::clone(alone));
        }
        let (before, after) = (self.identities(way.0)?, self.identities(way.1)?);
        Some(Arc::new(Loss::handing(&before, way.1.map(|_| &*after), handed, waits)))
    }
}

impl Takers<'_> {
    /// Those whose goal in a cluster names something that would go somewhere.
    fn of(&self, cluster: u32) -> Vec<Take> {
        let all = self.0.iter().enumerate();
        let takes = all.filter_map(|(at, (_, bundle, taken))| {
            let goal = bundle.goal.get(&cluster).filter(|goal| taken.contains_key(goal))?;
            Some((at, *goal, bundle.assigned.get(&cluster).copied()))
        });
        takes.collect()
    }
}

/// What is in both, in time that grows with the smaller one.
fn common(named: &Identities, going: &BTreeSet<&Identity>) -> BTreeSet<Identity> {
    if named.objects.len() < going.len() {
        named.objects.keys().filter(|id| going.contains(id)).cloned().collect()
    } else {
        going.iter().filter(|id| named.objects.contains_key(**id)).map(|id| (*id).clone()).collect()
    }
}

/// What each cluster off its goal would lose of a bundle, and whether all are there. Clusters whose declaration is gone
/// keep what they have, those that are suspended stay as they are, and those of which a body is missing wait.
#[must_use]
pub fn losses(name: &str, bundle: &Bundle, losses: &mut Losses<'_, impl Facts>) -> (BTreeMap<u32, Arc<Loss>>, bool) {
    let fleet = losses.fleet();
    let may_move = |place: &str, known: &Cluster| !keeps(known, bundle) && fleet.suspension(place, name).is_none();
    let clusters: BTreeSet<u32> = bundle.goal.keys().chain(bundle.assigned.keys()).copied().collect();
    let off_goal: Vec<u32> = clusters
        .into_iter()
        .filter(|cluster| bundle.goal.get(cluster) != bundle.assigned.get(cluster))
        .filter(|cluster| fleet.by_number(*cluster).is_some_and(|(place, known)| may_move(place, known)))
        .collect();
    let all = off_goal.len();
    let found = losses.of(name, bundle, off_goal);
    let is_whole = found.len() == all;
    (found, is_whole)
}
