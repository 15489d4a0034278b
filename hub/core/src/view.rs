//! What people see: Fleet and the memory of a replica, put together. Nothing here is stored.

mod hold;
mod summary;
mod suspended;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{Digest, Health, Report, Sync};

pub use hold::{Hold, HoldKind, OBJECTS_SHOWN};
pub use summary::{BundleSummary, bundles};
pub use suspended::Suspended;

use crate::check::Facts;
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
    /// Since when a bundle is reported to be in its present sync and health, milliseconds since
    /// 1970. A report that says the same once more, after a restart of the spoke, changes nothing.
    fn since_unix_millis(&self, cluster: &str, bundle: &str) -> Option<u64>;
    /// The first defect of each bundle that one holds, by full name, from the body with a head's
    /// defects.
    fn defects(&self, body: &Digest) -> BTreeMap<String, Defect>;
}

/// What holds a bundle in Git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// File, line and what is wrong.
    pub message: String,
    /// When a head first had the bundle defective, milliseconds since 1970, where it is known.
    pub since_unix_millis: Option<u64>,
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
    /// Whether the spoke is too old to heed what is suspended at the hub.
    pub ignores_suspensions: bool,
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
    /// Whether the cluster is on its way out of the fleet.
    pub leaving: bool,
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
    /// Whether the spoke keeps its hands off, or shall as soon as it is told.
    pub suspended: bool,
    /// Who wants that, until when and why.
    pub suspensions: Vec<Suspended>,
    /// Why it is not at its goal.
    pub hold: Option<Hold>,
    /// Objects that the bundle owns there.
    pub objects: u64,
    /// Since when sync and health are so, milliseconds since 1970, where it is known.
    pub since_unix_millis: Option<u64>,
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
    let defects = defects(fleet, memory);
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
                    let (connection, defect) = (connection.as_ref(), defects.get(full));
                    Place { cluster: name, known, full, bundle, connection, defect }.view(fleet, memory)
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
                hold: hold::of_cluster(known, connection.as_ref())
                    .or_else(|| suspended::of_cluster(fleet, name, connection.as_ref())),
                leaving: known.leaving.is_some(),
                connection,
                bundles,
            }
        })
        .collect()
}

/// What holds bundles at the heads of their sources.
fn defects(fleet: &Fleet, memory: &impl Memory) -> BTreeMap<String, Defect> {
    let heads = fleet.sources.values().filter_map(|source| source.head.as_ref());
    heads.flat_map(|head| memory.defects(&head.defects)).collect()
}

/// A bundle in a cluster, with what is known of either.
struct Place<'a> {
    cluster: &'a str,
    known: &'a Cluster,
    full: &'a str,
    bundle: &'a Bundle,
    connection: Option<&'a Connection>,
    /// What holds the bundle in Git.
    defect: Option<&'a Defect>,
}

impl Place<'_> {
    /// `None` where the bundle neither runs nor should.
    fn view(&self, fleet: &Fleet, memory: &impl Memory) -> Option<BundleView> {
        let view = self.without_hold(fleet, memory)?;
        let hold = hold::of_bundle(fleet, memory, self, &view);
        Some(BundleView { hold, ..view })
    }

    fn without_hold(&self, fleet: &Fleet, memory: &impl Memory) -> Option<BundleView> {
        let Self { cluster, known, full, bundle, connection, defect } = *self;
        let number = known.number;
        let assigned = fleet.assigned(bundle, number);
        let goal = fleet.goal(bundle, number);
        let removing = bundle.removing.contains(number);
        if assigned.is_none() && goal.is_none() && !removing {
            return None;
        }
        // What was said before this assignment, or by the spoke that had the name before, says nothing
        // about it.
        let is_late = |report: &Report| bundle.unseen.get(&number).is_some_and(|at| report.generation < *at);
        let report = memory.report(cluster, full).filter(|report| match assigned {
            Some(pair) => report.is_about(pair.variant, pair.variables) && !is_late(report),
            None => removing,
        });
        let seen = bundle.seen(number);
        let sync = match seen.0 {
            Sync::Pending if removing => Sync::Removing,
            other => other,
        };
        let connected = connection.is_some_and(|one| one.connected);
        let says_suspended = seen.2 & 2 != 0;
        let suspensions = suspended::of_bundle(fleet, (cluster, full), connection, says_suspended, report.as_deref());
        // What a spoke says is of Unknown health from when it was heard last.
        let silent = connection.filter(|one| !one.connected).map_or(0, |one| one.seen_unix_millis);
        let since = report.as_ref().and_then(|_| memory.since_unix_millis(cluster, full)).map(|at| at.max(silent));
        Some(BundleView {
            bundle: full.to_owned(),
            commit: assigned.and_then(|pair| commit(fleet, (full, bundle), number, &pair.variant, defect.is_some())),
            variant: assigned.map(|pair| pair.variant),
            goal_variant: goal.map(|pair| pair.variant),
            is_at_goal: assigned == goal && !removing,
            sync,
            // Silence is no health.
            health: if connected { seen.1 } else { Health::Unknown },
            drifted: seen.2 & 1 != 0,
            suspended: says_suspended || suspensions.iter().any(|one| one.at_hub && !one.is_ignored),
            suspensions,
            hold: None,
            objects: report.as_ref().map_or(0, |report| report.objects),
            since_unix_millis: since,
            report,
        })
    }
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

#[cfg(test)]
mod tests;
