//! What people see: Fleet and the memory of a replica, put together. Nothing here is stored.

mod hold;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{Digest, Health, Report, Sync};

pub use hold::{Hold, HoldKind, OBJECTS_SHOWN};

use crate::check::{self, Facts};
use crate::fleet::{Bundle, Cluster, Fleet, Source};

/// What a replica knows beside Fleet.
pub trait Memory: Facts {
    /// The connection of a cluster; `None` where it was never attached to this replica.
    fn connection(&self, cluster: &str) -> Option<Connection>;
    /// The last report of a cluster and bundle.
    fn report(&self, cluster: &str, bundle: &str) -> Option<Arc<Report>>;
    /// What went wrong with the last fetch of a source; `None` where it went well.
    fn source_error(&self, source: &str) -> Option<String>;
    /// When a source was last fetched with success, milliseconds since 1970.
    fn fetched_unix_millis(&self, source: &str) -> Option<u64>;
    /// The first defect of each bundle that one holds, by full name, from the body with a head's
    /// defects.
    fn defects(&self, body: &Digest) -> BTreeMap<String, String>;
}

/// One spoke's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether its stream stands.
    pub connected: bool,
    /// When something was last heard, milliseconds since 1970.
    pub seen_unix_millis: u64,
    /// The spoke's version.
    pub version: String,
    /// The generation that it holds durably.
    pub acked_generation: u64,
    /// Bytes of deltas, variants and bodies sent in this session.
    pub sent_delta_bytes: u64,
    /// Why it refused what it was sent last; `None` where it did not.
    pub nack: Option<String>,
}

/// A cluster and its bundles.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// Name.
    pub cluster: String,
    /// Its labels, as selectors see them.
    pub labels: BTreeMap<String, String>,
    /// Whether its stream stands.
    pub connected: bool,
    /// The generation of its assignments.
    pub generation: u64,
    /// Incarnation.
    pub incarnation: u64,
    /// Whether Git declares it.
    pub declared: bool,
    /// Whether its certificates are worth nothing any more.
    pub revoked: bool,
    /// A hold of the cluster as a whole.
    pub hold: Option<Hold>,
    /// Its connection, where one was seen.
    pub connection: Option<Connection>,
    /// Its bundles by full name.
    pub bundles: Vec<BundleView>,
}

/// One bundle in one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleView {
    /// Full name.
    pub bundle: String,
    /// The commit whose content is assigned; `None` where nothing is.
    pub commit: Option<String>,
    /// The variant that is assigned.
    pub variant: Option<Digest>,
    /// The variant that should be.
    pub goal_variant: Option<Digest>,
    /// Whether what is assigned is the goal.
    pub is_at_goal: bool,
    /// Sync.
    pub sync: Sync,
    /// Health.
    pub health: Health,
    /// Whether somebody changed an object.
    pub drifted: bool,
    /// Whether the spoke keeps its hands off.
    pub suspended: bool,
    /// Why it is not at its goal.
    pub hold: Option<Hold>,
    /// Objects that the bundle owns there.
    pub objects: u64,
    /// The last report about what is assigned now.
    pub report: Option<Arc<Report>>,
}

impl BundleView {
    /// Whether the bundle is as the head of its source wants it: assigned, Applied and Healthy.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_at_goal && self.sync == Sync::Applied && self.health == Health::Healthy
    }
}

/// All clusters, or those named, with all bundles, or those named.
#[must_use]
pub fn clusters(
    fleet: &Fleet,
    memory: &impl Memory,
    only_clusters: &[String],
    only_bundles: &[String],
) -> Vec<ClusterView> {
    let wanted = |only: &[String], name: &String| only.is_empty() || only.contains(name);
    let heads = fleet.sources.values().filter_map(|source| source.head.as_ref());
    let defects: BTreeMap<String, String> = heads.flat_map(|head| memory.defects(&head.defects)).collect();
    fleet
        .clusters
        .iter()
        .filter(|(name, _)| wanted(only_clusters, name))
        .map(|(name, known)| {
            let connection = memory.connection(name);
            let bundles = fleet
                .bundles
                .iter()
                .filter(|(bundle, _)| wanted(only_bundles, bundle))
                .filter_map(|(full, bundle)| {
                    let defect = defects.get(full).map(String::as_str);
                    bundle_view(fleet, memory, (name, known), (full, bundle), connection.as_ref(), defect)
                })
                .collect();
            ClusterView {
                cluster: name.clone(),
                labels: known.labels(),
                connected: connection.as_ref().is_some_and(|one| one.connected),
                generation: known.generation,
                incarnation: known.incarnation,
                declared: known.declared.is_some() && !known.declaration_removed,
                revoked: known.revoked,
                hold: hold::of_cluster(known, connection.as_ref()),
                connection,
                bundles,
            }
        })
        .collect()
}

fn bundle_view(
    fleet: &Fleet,
    memory: &impl Memory,
    (cluster, known): (&str, &Cluster),
    (full, bundle): (&str, &Bundle),
    connection: Option<&Connection>,
    defect: Option<&str>,
) -> Option<BundleView> {
    let number = known.number;
    let assigned = fleet.assigned(bundle, number);
    let goal = fleet.goal(bundle, number);
    let removing = bundle.removing.contains(number);
    if assigned.is_none() && goal.is_none() && !removing {
        return None;
    }
    let report = memory.report(cluster, full).filter(|report| match assigned {
        Some(pair) => report.is_about(pair.variant, pair.variables),
        None => removing,
    });
    let seen = bundle.seen(number);
    let is_at_goal = assigned == goal && !removing;
    let sync = match seen.0 {
        Sync::Pending if removing => Sync::Removing,
        other => other,
    };
    let view = BundleView {
        bundle: full.to_owned(),
        commit: assigned.and_then(|pair| commit(fleet, (full, bundle), number, &pair.variant, defect.is_some())),
        variant: assigned.map(|pair| pair.variant),
        goal_variant: goal.map(|pair| pair.variant),
        is_at_goal,
        sync,
        // Silence is no health.
        health: if connection.is_some_and(|one| one.connected) { seen.1 } else { Health::Unknown },
        drifted: seen.2 & 1 != 0,
        suspended: seen.2 & 2 != 0,
        hold: None,
        objects: report.as_ref().map_or(0, |report| report.objects),
        report,
    };
    let hold = hold::of_bundle(fleet, memory, (known, bundle), &view, connection, defect);
    Some(BundleView { hold, ..view })
}

/// The commit that a cluster runs of a bundle: the head where what is assigned is what it asks
/// for, else the newest one whose content it was. What a defective head asks for nobody can tell:
/// then it is the one that brought the content.
fn commit(
    fleet: &Fleet,
    (full, bundle): (&str, &Bundle),
    number: u32,
    variant: &Digest,
    is_defective: bool,
) -> Option<String> {
    let source = fleet.sources.get(full.split('/').next()?)?;
    if bundle.goal.get(&number) == bundle.assigned.get(&number) && !is_defective {
        return source.head.as_ref().map(|head| head.commit.clone());
    }
    let at = bundle.releases.iter().rposition(|release| release.variants.contains(variant))?;
    let first = &bundle.releases.get(at)?.commit;
    if is_defective {
        return Some(first.clone());
    }
    let superseded = bundle.releases.get(at + 1).map(|release| &release.commit);
    Some(last_before(source, superseded).unwrap_or(first).clone())
}

/// The head before a given one.
fn last_before<'a>(source: &'a Source, commit: Option<&String>) -> Option<&'a String> {
    match commit {
        Some(commit) => {
            let at = source.heads.iter().rposition(|head| head == commit)?;
            source.heads.get(at.checked_sub(1)?)
        }
        // The release is the newest, and the bundle is on its way out or back.
        None => source.heads.back().filter(|_| source.heads.len() == 1),
    }
}

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
    /// Applied.
    pub applied: u64,
    /// Healthy.
    pub healthy: u64,
    /// Held by the guard.
    pub held: u64,
    /// Names what the guard holds; `None` where it holds nothing.
    pub held_digest: Option<Digest>,
    /// Failed.
    pub failed: u64,
}

/// All bundles, from bits alone.
#[must_use]
pub fn bundles(fleet: &Fleet) -> Vec<BundleSummary> {
    let count = |sets: &[crate::command::Bits], at: usize| sets.get(at).map_or(0, |bits| bits.0.len());
    let place = |sync| Sync::ALL.iter().position(|one| *one == sync).unwrap_or_default();
    let healthy = Health::ALL.iter().position(|one| *one == Health::Healthy).unwrap_or_default();
    fleet
        .bundles
        .iter()
        .map(|(name, bundle)| {
            let source = fleet.sources.get(name.split('/').next().unwrap_or_default());
            let head = source.and_then(|source| source.head.as_ref());
            let current = bundle.goal.iter().filter(|(at, pair)| bundle.assigned.get(*at) == Some(*pair));
            BundleSummary {
                bundle: name.clone(),
                commit: head.map(|head| head.commit.clone()).unwrap_or_default(),
                path: bundle.path.clone(),
                clusters: bundle.goal.len() as u64,
                current: current.count() as u64,
                applied: count(&bundle.sync, place(Sync::Applied)),
                healthy: count(&bundle.health, healthy),
                held: bundle.held.len() as u64,
                held_digest: (!bundle.held.is_empty()).then(|| check::held_digest(&check::held(fleet, bundle))),
                failed: count(&bundle.sync, place(Sync::Failed)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
