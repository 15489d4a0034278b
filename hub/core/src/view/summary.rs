//! A bundle over all its clusters, in numbers: what `clusters` shows pair by pair, counted.

use proto_model::{Digest, Health, Sync};
use roaring::RoaringBitmap;

use super::{Connection, Defect, Memory, Place, defects, hold};
use crate::check;
use crate::command::Bits;
use crate::fleet::{Bundle, Fleet};

/// A bundle over all its clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleSummary {
    /// Full name.
    pub bundle: String,
    /// Head of its source.
    pub commit: String,
    /// Folder that it is read from.
    pub path: String,
    /// Clusters that should run it.
    pub clusters: u64,
    /// Of those, clusters that are assigned their goal.
    pub current: u64,
    /// Applied, by what was said last.
    pub applied: u64,
    /// Healthy, and connected: silence is no health.
    pub healthy: u64,
    /// Clusters with a hold, of whatever kind.
    pub held: u64,
    /// Names what the guard holds; `None` where it holds nothing.
    pub held_digest: Option<Digest>,
    /// Failed, by what was said last.
    pub failed: u64,
}

/// All bundles: from bits where all is well, pair by pair where it is not.
#[must_use]
pub fn bundles(fleet: &Fleet, memory: &impl Memory) -> Vec<BundleSummary> {
    let connections = Connections::of(fleet, memory);
    let defects = defects(fleet, memory);
    let summary = |(name, bundle)| summary(fleet, memory, &connections, (name, bundle), defects.get(name));
    fleet.bundles.iter().map(|(name, bundle)| summary((name, &**bundle))).collect()
}

/// The connections of all clusters, by number.
struct Connections {
    all: Vec<(u32, Option<Connection>)>,
    connected: RoaringBitmap,
}

impl Connections {
    fn of(fleet: &Fleet, memory: &impl Memory) -> Self {
        let mut all: Vec<(u32, Option<Connection>)> =
            fleet.clusters.iter().map(|(name, known)| (known.number, memory.connection(name))).collect();
        all.sort_by_key(|(number, _)| *number);
        let is_connected = |one: &Option<Connection>| one.as_ref().is_some_and(|one| one.connected);
        let connected = all.iter().filter(|(_, one)| is_connected(one)).map(|(number, _)| *number).collect();
        Self { all, connected }
    }

    fn get(&self, number: u32) -> Option<&Connection> {
        let at = self.all.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.all.get(at)?.1.as_ref()
    }
}

fn summary(
    fleet: &Fleet,
    memory: &impl Memory,
    connections: &Connections,
    (name, bundle): (&String, &Bundle),
    defect: Option<&Defect>,
) -> BundleSummary {
    let source = fleet.sources.get(name.split('/').next().unwrap_or_default());
    let head = source.and_then(|source| source.head.as_ref());
    let current: RoaringBitmap =
        bundle.goal.iter().filter(|(at, pair)| bundle.assigned.get(*at) == Some(*pair)).map(|(at, _)| *at).collect();
    let bits = |sets: &[Bits], at: Option<usize>| {
        at.and_then(|at| sets.get(at)).map(|bits| bits.0.clone()).unwrap_or_default()
    };
    let sync = |word| bits(&bundle.sync, Sync::ALL.iter().position(|one| *one == word));
    let applied = sync(Sync::Applied);
    let healthy = bits(&bundle.health, Health::ALL.iter().position(|one| *one == Health::Healthy));
    let healthy = healthy & &connections.connected;
    let settled = (&current & &applied & &healthy) - &bundle.removing.0;
    let mut unsettled: RoaringBitmap = bundle.goal.keys().chain(bundle.assigned.keys()).copied().collect();
    unsettled |= &bundle.removing.0;
    unsettled -= &settled;
    let is_held = |number: &u32| {
        let Some((cluster, known)) = fleet.by_number(*number) else { return false };
        let connection = connections.get(*number);
        is_held(fleet, memory, &Place { cluster, known, full: name, bundle, connection, defect })
    };
    let held = unsettled.iter().filter(is_held).count() as u64;
    BundleSummary {
        bundle: name.clone(),
        commit: head.map(|head| head.commit.clone()).unwrap_or_default(),
        path: bundle.path.clone(),
        clusters: bundle.goal.len() as u64,
        current: current.len(),
        applied: applied.len(),
        healthy: healthy.len(),
        // A defect holds what is settled, too: nobody can tell what the head asks for.
        held: held + defect.map_or(0, |_| settled.len()),
        held_digest: (!bundle.held.is_empty()).then(|| check::held_digest(&check::held(fleet, bundle))),
        failed: sync(Sync::Failed).len(),
    }
}

/// Whether a cluster that is not settled has a hold.
fn is_held(fleet: &Fleet, memory: &impl Memory, place: &Place<'_>) -> bool {
    // What the guard would let go need not be worked out to be counted.
    if place.defect.is_some() || place.bundle.held.contains_key(&place.known.number) {
        return true;
    }
    place.without_hold(fleet, memory).is_some_and(|view| hold::of_state(place, &view).is_some())
}
