//! From what a source wants to the commands that say so: only what differs from Fleet.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::{Digest, limits};
use roaring::RoaringBitmap;

use crate::catalog::Guard;
use crate::command::{BundleHead, Command, GoalPart, HeadsPart, Pair, Publish};
use crate::fleet::Fleet;
use crate::release::Goals;

/// What a source wants of one bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Folder that it is read from.
    pub path: String,
    /// The guard that it brings.
    pub guard: Guard,
    /// What clusters should run, by cluster number.
    pub goal: Vec<(Pair, RoaringBitmap)>,
}

/// What a source wants at one commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Name of the source.
    pub source: String,
    /// The commit.
    pub commit: String,
    /// Digest of the catalog's body.
    pub catalog: Digest,
    /// Digest of the body with the defects.
    pub defects: Digest,
    /// Its bundles, by full name.
    pub bundles: BTreeMap<String, Wanted>,
    /// Bundles whose goal stays what it is: a defect holds them, or nothing of them changed.
    pub held: BTreeSet<String>,
}

impl Wanted {
    /// Address of the release: same variants, same release.
    #[must_use]
    pub fn release(&self) -> Digest {
        let variants: BTreeSet<Digest> = self.goal.iter().map(|(pair, _)| pair.variant).collect();
        Digest::of_parts(variants.iter().map(|digest| &digest.0[..]))
    }
}

/// What a source declares of clusters, as far as it differs from Fleet and fits an entry; the rest
/// comes when this has taken effect. `None` where nothing differs.
#[must_use]
pub fn declare(fleet: &Fleet, source: &str, clusters: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Command> {
    let is_new = |name: &String, labels: &BTreeMap<String, String>| {
        fleet
            .clusters
            .get(name)
            .is_none_or(|known| known.declared.as_ref() != Some(labels) || known.declaration_removed)
    };
    let mut room = Room::default();
    let declared: BTreeMap<_, _> = clusters
        .iter()
        .filter(|(name, labels)| is_new(name, labels))
        .take_while(|(name, labels)| {
            let labels: usize = labels.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
            room.takes(name.len() + labels + 16)
        })
        .map(|(name, labels)| (name.clone(), labels.clone()))
        .collect();
    let undeclared: BTreeSet<String> = fleet
        .clusters
        .iter()
        .filter(|(name, known)| {
            known.declared_by.as_deref() == Some(source) && !known.declaration_removed && !clusters.contains_key(*name)
        })
        .take_while(|(name, _)| room.takes(name.len() + 8))
        .map(|(name, _)| name.clone())
        .collect();
    let changes = !declared.is_empty() || !undeclared.is_empty();
    changes.then(|| Command::Declare { source: source.into(), declared, undeclared })
}

/// The commands of a publish, in order; empty where Fleet says the same already. Bodies that they
/// name must be durable before the first is proposed.
#[must_use]
pub fn publish(fleet: &Fleet, head: &Head) -> Vec<Command> {
    let mut bundles = Vec::new();
    let mut parts = Vec::new();
    let id = publish_id(fleet, head);
    for (name, wanted) in head.bundles.iter().filter(|(name, _)| !head.held.contains(*name)) {
        if is_same(fleet, name, wanted) {
            continue;
        }
        bundles.push(BundleHead {
            bundle: name.clone(),
            release: wanted.release(),
            path: wanted.path.clone(),
            guard: wanted.guard.clone(),
        });
        parts.extend(goal_parts(id, name, wanted).into_iter().map(Command::Goal));
    }
    let prefix = format!("{}/", head.source);
    let gone: Vec<String> = fleet
        .bundles
        .iter()
        .filter(|(name, bundle)| {
            name.starts_with(&prefix)
                && bundle.declared
                && !head.bundles.contains_key(*name)
                && !head.held.contains(*name)
        })
        .map(|(name, _)| name.clone())
        .collect();
    let known = fleet.sources.get(&head.source).and_then(|source| source.head.as_ref());
    let same_head = known.is_some_and(|known| {
        known.commit == head.commit && known.catalog == head.catalog && known.defects == head.defects
    });
    if same_head && bundles.is_empty() && gone.is_empty() {
        return Vec::new();
    }
    let (bundles, gone, heads) = heads(id, bundles, gone);
    parts.extend(heads.into_iter().map(Command::Heads));
    parts.push(Command::Publish(Publish {
        publish: id,
        source: head.source.clone(),
        commit: head.commit.clone(),
        catalog: head.catalog,
        defects: head.defects,
        bundles,
        gone,
        parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
    }));
    parts
}

/// What the end of a publish says of bundles, and the parts that come before it for want of room.
fn heads(
    publish: Digest,
    bundles: Vec<BundleHead>,
    gone: Vec<String>,
) -> (Vec<BundleHead>, Vec<String>, Vec<HeadsPart>) {
    let (mut room, mut full) = (Room::default(), Vec::new());
    let mut part = HeadsPart { publish, bundles: Vec::new(), gone: Vec::new() };
    let mut make_room = |part: &mut HeadsPart, bytes| {
        if !room.takes(bytes) {
            let next = HeadsPart { publish, bundles: Vec::new(), gone: Vec::new() };
            full.push(std::mem::replace(part, next));
            room = Room::default();
            room.takes(bytes);
        }
    };
    for head in bundles {
        let kinds: usize = head.guard.protected_kinds.iter().map(|kind| kind.len() + 4).sum();
        make_room(&mut part, head.bundle.len() + head.path.len() + kinds + 256);
        part.bundles.push(head);
    }
    for name in gone {
        make_room(&mut part, name.len() + 8);
        part.gone.push(name);
    }
    (part.bundles, part.gone, full)
}

/// Half an entry: what is counted is an estimate, and the rest of a command needs room, too.
#[derive(Default)]
struct Room {
    bytes: usize,
}

impl Room {
    /// Whether there is room for so many bytes more; the first thing always fits.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= limits::ENTRY_BYTES_MAX / 2;
        self.bytes += bytes;
        fits
    }
}

/// Bundles for which some cluster has no room: newcomers first, those that run already stay.
#[must_use]
pub fn crowded(fleet: &Fleet, goals: &Goals) -> Vec<String> {
    if fleet.bundles.len() + goals.bundles.len() <= limits::BUNDLES_PER_CLUSTER_MAX {
        return Vec::new();
    }
    let runs = |name: &str| fleet.bundles.get(name).is_some_and(|bundle| !bundle.goal.is_empty());
    let (old, new): (Vec<_>, Vec<_>) = goals.bundles.iter().partition(|(name, _)| runs(name));
    let (mut load, mut out): (BTreeMap<u32, usize>, _) = (BTreeMap::new(), Vec::new());
    // What other sources want of a cluster takes room, too.
    let source = |name: &str| name.split('/').next().map(str::to_owned);
    let own = goals.bundles.keys().next().and_then(|name| source(name));
    for (_, bundle) in fleet.bundles.iter().filter(|(name, _)| source(name) != own) {
        bundle.goal.keys().for_each(|cluster| *load.entry(*cluster).or_default() += 1);
    }
    for (name, bundle) in old.into_iter().chain(new) {
        let clusters = || bundle.pairs.iter().flat_map(|(_, clusters)| clusters);
        let is_full = |cluster| load.get(&cluster).is_some_and(|load| *load >= limits::BUNDLES_PER_CLUSTER_MAX);
        if clusters().any(is_full) {
            out.push(name.clone());
            continue;
        }
        clusters().for_each(|cluster| *load.entry(cluster).or_default() += 1);
    }
    out
}

fn publish_id(fleet: &Fleet, head: &Head) -> Digest {
    Digest::of_parts([head.source.as_bytes(), head.commit.as_bytes(), &head.catalog.0, &fleet.revision.to_be_bytes()])
}

fn is_same(fleet: &Fleet, name: &str, wanted: &Wanted) -> bool {
    let Some(bundle) = fleet.bundles.get(name) else {
        return false;
    };
    if !bundle.declared
        || bundle.path != wanted.path
        || bundle.goal_guard != wanted.guard
        || bundle.release != wanted.release()
    {
        return false;
    }
    let count: u64 = wanted.goal.iter().map(|(_, clusters)| clusters.len()).sum();
    count == bundle.goal.len() as u64
        && wanted
            .goal
            .iter()
            .all(|(pair, clusters)| clusters.iter().all(|cluster| fleet.goal(bundle, cluster) == Some(*pair)))
}

/// Clusters of one part: with as many distinct pairs, a part stays below the limit of an entry.
const PART_CLUSTERS: usize = 400;

fn goal_parts(publish: Digest, bundle: &str, wanted: &Wanted) -> Vec<GoalPart> {
    let all: Vec<(Pair, u32)> =
        wanted.goal.iter().flat_map(|(pair, clusters)| clusters.iter().map(|cluster| (*pair, cluster))).collect();
    all.chunks(PART_CLUSTERS)
        .map(|chunk| {
            let mut pairs: Vec<Pair> = chunk.iter().map(|(pair, _)| *pair).collect();
            pairs.dedup();
            let mut index = 0;
            let clusters = chunk
                .iter()
                .map(|(pair, cluster)| {
                    // Pairs come in runs, so the index only moves forward.
                    while pairs.get(index).is_some_and(|one| one != pair) {
                        index += 1;
                    }
                    (*cluster, u32::try_from(index).unwrap_or(u32::MAX))
                })
                .collect();
            GoalPart { publish, bundle: bundle.to_owned(), pairs, clusters }
        })
        .collect()
}

const _: () = assert!(PART_CLUSTERS * 128 < limits::ENTRY_BYTES_MAX);
