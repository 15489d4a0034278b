//! The documents of `-o json` and `-o yaml`. Their shapes are fixed: docs/schemas/cli is made from these types, and
//! a field is only ever added. Absent things are `null`, times are RFC 3339 in UTC, words are those of the table.

use schemars::JsonSchema;
use serde::Serialize;

use super::detail::{Suspension, Variable};
use super::time::rfc3339;
use crate::view;

/// `drover status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// Sources, by name.
    pub sources: Vec<StatusSource>,
    /// Clusters, by name.
    pub clusters: Vec<StatusCluster>,
}

/// A source, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StatusSource {
    /// Its name.
    pub source: String,
    /// The accepted head, in full; null: none yet.
    pub commit: Option<String>,
    /// What is wrong in it and holds something.
    pub defects: Vec<Defect>,
    /// Defects beyond those that the hub lists.
    pub defects_more: u64,
    /// Why the last fetch failed; null: it went well.
    pub error: Option<String>,
    /// A head that waits for `drover source approve`; null: none.
    pub rewind_commit: Option<String>,
}

/// Something wrong in a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Defect {
    /// The file.
    pub file: String,
    /// The line, from 1; null: the file as a whole.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
}

/// A cluster, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StatusCluster {
    /// Its name.
    pub cluster: String,
    /// Whether its spoke is connected.
    pub connected: bool,
    /// A number that rises by one per change of its assignments.
    pub generation: u64,
    /// What runs there or should, by name.
    pub bundles: Vec<StatusBundle>,
    /// Why nothing moves there; null: nothing keeps it.
    pub hold: Option<String>,
}

/// A bundle in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StatusBundle {
    /// Full name, source/bundle.
    pub bundle: String,
    /// The newest commit whose content is assigned, in full; null: nothing is.
    pub commit: Option<String>,
    /// SHA-256 of what is assigned, in hexadecimal; null: nothing is.
    pub variant: Option<String>,
    /// Pending, Applying, Applied, Waiting, Failed or Removing.
    pub sync: String,
    /// Progressing, Healthy, Degraded or Unknown.
    pub health: String,
    /// Somebody changed an object and it was not put right yet.
    pub drifted: bool,
    /// The spoke keeps its hands off, or shall as soon as it is told.
    pub suspended: bool,
    /// Who wants that; empty: nobody.
    pub suspensions: Vec<Suspension>,
    /// Why it is not at its goal; null: it is, or nothing keeps it.
    pub hold: Option<Hold>,
    /// Objects that it owns there; 0 as well while nothing is known, and since is null.
    pub objects: u64,
    /// Since when sync and health are so; null: unknown.
    pub since: Option<String>,
}

/// Why a cluster is not at its goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hold {
    /// One of a closed set, such as guard, dependency or offline.
    pub kind: String,
    /// Since when; null: unknown.
    pub since: Option<String>,
    /// For people, with what to do next.
    pub message: String,
    /// Guard: what would go, at most 50.
    pub objects: Vec<String>,
    /// Guard: how many objects would go.
    pub objects_total: u64,
}

/// `drover get clusters` and `drover cluster list`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Clusters {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// Clusters, by name.
    pub clusters: Vec<Cluster>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cluster {
    /// Its name.
    pub cluster: String,
    /// Whether its spoke is connected.
    pub connected: bool,
    /// When its spoke was last heard; null: not since the hub was started.
    pub seen: Option<String>,
    /// The version of its spoke; null: unknown.
    pub version: Option<String>,
    /// Whether a source declares it.
    pub declared: bool,
    /// Whether its certificate was revoked.
    pub revoked: bool,
    /// Its labels, those of Git before those of its token.
    pub labels: std::collections::BTreeMap<String, String>,
    /// A number that rises by one per change of its assignments.
    pub generation: u64,
    /// The newest generation that its spoke has stored; 0: none, or none told since the hub was started.
    pub acked_generation: u64,
    /// A number that rises when another spoke takes the name.
    pub incarnation: u64,
    /// Bytes of deltas sent in its present session.
    pub sent_delta_bytes: u64,
    /// Why nothing moves there; null: nothing keeps it.
    pub hold: Option<String>,
    /// It is on its way out of the fleet.
    pub leaving: bool,
}

/// `drover get bundles`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bundles {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// Bundles, by name.
    pub bundles: Vec<BundleSummary>,
}

/// A bundle across the fleet. All numbers count clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BundleSummary {
    /// Full name, source/bundle.
    pub bundle: String,
    /// The commit that asks for it, in full; null: none.
    pub commit: Option<String>,
    /// Its folder in the source.
    pub path: String,
    /// Should run it.
    pub clusters: u32,
    /// Of those, are assigned what they should run.
    pub current: u32,
    /// Applied, by what was said last.
    pub applied: u32,
    /// Healthy, and connected.
    pub healthy: u32,
    /// Have a hold in `drover status`, of whatever kind.
    pub held: u32,
    /// Failed, by what was said last.
    pub failed: u32,
}

/// `drover get sources` and `drover source list`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sources {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// Sources, by name.
    pub sources: Vec<Source>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Source {
    /// Its name.
    pub source: String,
    /// Where it is read from.
    pub url: String,
    /// The ref that is followed.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The folder inside it.
    pub path: String,
    /// The accepted head, in full; null: none yet.
    pub commit: Option<String>,
    /// When it was last fetched; null: never.
    pub fetched: Option<String>,
    /// Why the last fetch failed; null: it went well.
    pub error: Option<String>,
    /// A head that waits for `drover source approve`; null: none.
    pub rewind_commit: Option<String>,
    /// What is wrong in it, and what is merely noted.
    pub defects: Vec<SourceDefect>,
    /// Defects beyond those listed.
    pub defects_more: u64,
}

/// Something wrong in a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SourceDefect {
    /// The file.
    pub file: String,
    /// The line, from 1; null: the file as a whole.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// The bundle that is held for it; null: not of one bundle.
    pub bundle: Option<String>,
    /// Nothing is held for it.
    pub note: bool,
}

/// `drover explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explain {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// Its bundles, by name.
    pub bundles: Vec<ExplainBundle>,
    /// Where each bound value comes from; null unless `--variables` asked for it.
    pub variables: Option<Vec<Variable>>,
}

/// A bundle in a cluster, with everything known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExplainBundle {
    /// As in `drover status`.
    #[serde(flatten)]
    pub status: StatusBundle,
    /// SHA-256 of what should be assigned; null: it should not run here.
    pub goal_variant: Option<String>,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub problems_more: u64,
    /// What was noted while it was rendered, such as tests that were left out.
    pub notes: Vec<SourceDefect>,
}

/// Something wrong with one object, or with the bundle as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The object; null: the bundle as a whole.
    pub object: Option<String>,
    /// Trying again cannot help.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// What is wrong.
    pub message: String,
}

/// Every command that changes something
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Done {
    /// The entry of the hub's log that did it.
    pub applied_index: u64,
    /// What was done, for people.
    pub message: String,
}

/// `drover cluster join-token`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct JoinToken {
    /// The entry of the hub's log that made it.
    pub applied_index: u64,
    /// The token, shown this once.
    pub token: String,
}

/// `drover hub init`
#[derive(Debug, Serialize, JsonSchema)]
pub struct HubMade {
    /// The hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// The first administrator's context file.
    pub context: String,
}

/// `drover lint`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lint {
    /// Bundles found.
    pub bundles: usize,
    /// Clusters declared.
    pub clusters: usize,
    /// What is wrong, and what is merely noted.
    pub defects: Vec<SourceDefect>,
}

impl From<&view::Status> for Status {
    fn from(status: &view::Status) -> Self {
        Self {
            applied_index: status.applied_index,
            sources: status.sources.iter().map(StatusSource::from).collect(),
            clusters: status.clusters.iter().map(StatusCluster::from).collect(),
        }
    }
}

impl From<&view::Source> for StatusSource {
    fn from(source: &view::Source) -> Self {
        let defect = |defect: &view::Defect| Defect {
            file: defect.file.clone(),
            line: defect.line,
            message: defect.message.clone(),
        };
        Self {
            source: source.source.clone(),
            commit: source.commit.clone(),
            defects: source.defects.iter().filter(|defect| !defect.note).map(defect).collect(),
            defects_more: source.defects_more,
            error: source.error.clone(),
            rewind_commit: source.rewind_commit.clone(),
        }
    }
}

impl From<&view::Cluster> for StatusCluster {
    fn from(cluster: &view::Cluster) -> Self {
        Self {
            cluster: cluster.cluster.clone(),
            connected: cluster.connected,
            generation: cluster.generation,
            bundles: cluster.bundles.iter().map(StatusBundle::from).collect(),
            hold: cluster.hold.clone(),
        }
    }
}

impl From<&view::Bundle> for StatusBundle {
    fn from(bundle: &view::Bundle) -> Self {
        Self {
            bundle: bundle.bundle.clone(),
            commit: bundle.commit.clone(),
            variant: bundle.variant.clone(),
            sync: bundle.sync.clone(),
            health: bundle.health.clone(),
            drifted: bundle.drifted,
            suspended: bundle.suspended,
            suspensions: bundle.suspensions.iter().map(Suspension::from).collect(),
            hold: bundle.hold.as_ref().map(Hold::from),
            objects: bundle.objects,
            since: bundle.since_unix_millis.and_then(rfc3339),
        }
    }
}

impl From<&view::Hold> for Hold {
    fn from(hold: &view::Hold) -> Self {
        Self {
            kind: hold.kind.clone(),
            since: hold.since_unix_millis.and_then(rfc3339),
            message: hold.message.clone(),
            objects: hold.objects.clone(),
            objects_total: hold.objects_total,
        }
    }
}

impl From<&view::Cluster> for Cluster {
    fn from(cluster: &view::Cluster) -> Self {
        Self {
            cluster: cluster.cluster.clone(),
            connected: cluster.connected,
            seen: cluster.seen_unix_millis.and_then(rfc3339),
            version: cluster.version.clone(),
            declared: cluster.declared,
            revoked: cluster.revoked,
            labels: cluster.labels.clone(),
            generation: cluster.generation,
            acked_generation: cluster.acked_generation,
            incarnation: cluster.incarnation,
            sent_delta_bytes: cluster.sent_delta_bytes,
            hold: cluster.hold.clone(),
            leaving: cluster.leaving,
        }
    }
}

impl From<&view::BundleSummary> for BundleSummary {
    fn from(bundle: &view::BundleSummary) -> Self {
        Self {
            bundle: bundle.bundle.clone(),
            commit: bundle.commit.clone(),
            path: bundle.path.clone(),
            clusters: bundle.clusters,
            current: bundle.current,
            applied: bundle.applied,
            healthy: bundle.healthy,
            held: bundle.held,
            failed: bundle.failed,
        }
    }
}

impl From<&view::Source> for Source {
    fn from(source: &view::Source) -> Self {
        Self {
            source: source.source.clone(),
            url: source.url.clone(),
            reference: source.reference.clone(),
            path: source.path.clone(),
            commit: source.commit.clone(),
            fetched: source.fetched_unix_millis.and_then(rfc3339),
            error: source.error.clone(),
            rewind_commit: source.rewind_commit.clone(),
            defects: source.defects.iter().map(SourceDefect::from).collect(),
            defects_more: source.defects_more,
        }
    }
}

impl From<&view::Defect> for SourceDefect {
    fn from(defect: &view::Defect) -> Self {
        Self {
            file: defect.file.clone(),
            line: defect.line,
            message: defect.message.clone(),
            bundle: defect.bundle.clone(),
            note: defect.note,
        }
    }
}

impl From<&view::Bundle> for ExplainBundle {
    fn from(bundle: &view::Bundle) -> Self {
        Self {
            status: bundle.into(),
            goal_variant: bundle.goal_variant.clone(),
            problems: bundle.problems.iter().map(Problem::from).collect(),
            problems_more: bundle.problems_more,
            notes: bundle.notes.iter().map(SourceDefect::from).collect(),
        }
    }
}

impl From<&view::Problem> for Problem {
    fn from(problem: &view::Problem) -> Self {
        Self { object: problem.object.clone(), is_final: problem.is_final, message: problem.message.clone() }
    }
}
