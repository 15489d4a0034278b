//! What the hub answers, in our own words: absent things are `None` rather than empty or zero.

use std::collections::BTreeMap;

use proto_wire::control as wire;

/// The state of the fleet, at one applied index of the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The applied index.
    pub applied_index: u64,
    /// The sources, by name.
    pub sources: Vec<Source>,
    /// The clusters, by name.
    pub clusters: Vec<Cluster>,
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub source: String,
    /// The accepted head, a full commit id.
    pub commit: Option<String>,
    /// What is wrong in it.
    pub defects: Vec<Defect>,
    /// Defects beyond those listed.
    pub defects_more: u64,
    /// Where it is read from.
    pub url: String,
    /// The ref that is followed.
    pub reference: String,
    /// The folder inside it.
    pub path: String,
    /// Why the last fetch failed.
    pub error: Option<String>,
    /// A head that waits for approval, since it does not descend from the accepted one.
    pub rewind_commit: Option<String>,
    /// When it was last fetched, in milliseconds since 1970.
    pub fetched_unix_millis: Option<u64>,
}

/// Something wrong in a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defect {
    /// The file.
    pub file: String,
    /// The line, from 1; `None` for the file as a whole.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// The full name of the bundle that is held for it.
    pub bundle: Option<String>,
    /// Nothing is held for it.
    pub note: bool,
}

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub cluster: String,
    /// Whether its spoke is connected to the hub.
    pub connected: bool,
    /// The generation of its assignments.
    pub generation: u64,
    /// The newest generation that its spoke has stored; 0: none, or none told since the hub was started.
    pub acked_generation: u64,
    /// What it runs or should run.
    pub bundles: Vec<Bundle>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Why nothing at all moves there.
    pub hold: Option<String>,
    /// When its spoke was last heard, in milliseconds since 1970; `None`: not since the hub was started.
    pub seen_unix_millis: Option<u64>,
    /// The version of its spoke.
    pub version: Option<String>,
    /// Whether a source declares it.
    pub declared: bool,
    /// Whether its certificate was revoked.
    pub revoked: bool,
    /// How many spokes in a row had this name.
    pub incarnation: u64,
    /// What this session cost so far, in bytes of deltas sent.
    pub sent_delta_bytes: u64,
    /// Whether it is on its way out of the fleet.
    pub leaving: bool,
}

/// A bundle in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Full name, `source/bundle`.
    pub bundle: String,
    /// The newest commit whose content this is, in full.
    pub commit: Option<String>,
    /// What is assigned, in hexadecimal.
    pub variant: Option<String>,
    /// What the head of its source asks for, in hexadecimal; `None`: that it does not run here.
    pub goal_variant: Option<String>,
    /// `proto_model::Sync` as a word.
    pub sync: String,
    /// `proto_model::Health` as a word.
    pub health: String,
    /// Whether somebody changed an object and it was not put right yet.
    pub drifted: bool,
    /// Whether the spoke keeps its hands off, or shall as soon as it is told.
    pub suspended: bool,
    /// Who wants that it is left alone.
    pub suspensions: Vec<Suspension>,
    /// Why it is not at its goal.
    pub hold: Option<Hold>,
    /// Objects that it owns there.
    pub objects: u64,
    /// Since when sync and health are so, in milliseconds since 1970.
    pub since_unix_millis: Option<u64>,
    /// What is wrong, worst first.
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub problems_more: u64,
    /// What was noted while it was rendered; told by `explain` alone.
    pub notes: Vec<Defect>,
}

/// Somebody wants a bundle to be left alone for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspension {
    /// Whether it was made at the hub; else at the cluster, and the message alone is known.
    pub at_hub: bool,
    /// Whether it is of the cluster as a whole.
    pub whole_cluster: bool,
    /// When it ends, in milliseconds since 1970.
    pub until_unix_millis: Option<u64>,
    /// Who made it.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// All of it, for people.
    pub message: String,
}

/// Why a cluster is not at its goal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// One of a closed set, such as `guard`.
    pub kind: String,
    /// For people.
    pub message: String,
    /// In milliseconds since 1970.
    pub since_unix_millis: Option<u64>,
    /// Guard: what would go, at most 50.
    pub objects: Vec<String>,
    /// Guard: how many would go.
    pub objects_total: u64,
}

/// Something wrong with one object, or with the bundle as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The object; `None` for the bundle as a whole.
    pub object: Option<String>,
    /// Whether trying again cannot help.
    pub is_final: bool,
    /// What is wrong.
    pub message: String,
}

/// One bundle across the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleSummary {
    /// Full name, `source/bundle`.
    pub bundle: String,
    /// The newest commit that gave it its content.
    pub commit: Option<String>,
    /// Its folder in the source.
    pub path: String,
    /// Clusters that should run it.
    pub clusters: u32,
    /// Clusters that are assigned their goal.
    pub current: u32,
    /// Clusters where it is Applied, by what was said last.
    pub applied: u32,
    /// Clusters where it is Healthy, and that are connected.
    pub healthy: u32,
    /// Clusters with a hold, of whatever kind.
    pub held: u32,
    /// Clusters where it Failed, by what was said last.
    pub failed: u32,
}

/// Where a variable's value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Full name of the bundle that binds it.
    pub bundle: String,
    /// Its name.
    pub name: String,
    /// What is given to it, the highest first: that one counts. None where nothing gives it a value.
    pub values: Vec<Given>,
}

/// A value, and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The value, as text.
    pub value: String,
    /// What kind of place: `default`, `VariableSet edge`, `override 1`, `Cluster a`.
    pub origin: String,
    /// Its file, relative to the source's path; `None` for what the cluster itself is.
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: Option<u32>,
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn number(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

impl From<wire::StatusResponse> for Status {
    fn from(answer: wire::StatusResponse) -> Self {
        let mut sources: Vec<Source> = answer.sources.into_iter().map(Source::from).collect();
        let mut clusters: Vec<Cluster> = answer.clusters.into_iter().map(Cluster::from).collect();
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        Self { applied_index: answer.applied_index, sources, clusters }
    }
}

impl From<wire::Source> for Source {
    fn from(source: wire::Source) -> Self {
        Self {
            source: source.source,
            commit: text(source.commit),
            defects: source.defects.into_iter().map(Defect::from).collect(),
            defects_more: source.defects_more,
            url: source.url,
            reference: source.r#ref,
            path: source.path,
            error: text(source.error),
            rewind_commit: text(source.rewind_commit),
            fetched_unix_millis: number(source.fetched_unix_millis),
        }
    }
}

impl From<wire::Defect> for Defect {
    fn from(defect: wire::Defect) -> Self {
        Self {
            file: defect.file,
            line: (defect.line != 0).then_some(defect.line),
            message: defect.message,
            bundle: text(defect.bundle),
            note: defect.note,
        }
    }
}

impl From<wire::Cluster> for Cluster {
    fn from(cluster: wire::Cluster) -> Self {
        let mut bundles: Vec<Bundle> = cluster.bundles.into_iter().map(Bundle::from).collect();
        bundles.sort_by(|a, b| a.bundle.cmp(&b.bundle));
        Self {
            cluster: cluster.cluster,
            connected: cluster.connected,
            generation: cluster.generation,
            acked_generation: cluster.acked_generation,
            bundles,
            labels: cluster.labels.into_iter().collect(),
            hold: text(cluster.hold),
            seen_unix_millis: number(cluster.seen_unix_millis),
            version: text(cluster.version),
            declared: cluster.declared,
            revoked: cluster.revoked,
            incarnation: cluster.incarnation,
            sent_delta_bytes: cluster.sent_delta_bytes,
            leaving: cluster.leaving,
        }
    }
}

impl From<wire::Bundle> for Bundle {
    fn from(bundle: wire::Bundle) -> Self {
        Self {
            bundle: bundle.bundle,
            commit: text(bundle.commit),
            variant: text(bundle.variant),
            goal_variant: text(bundle.goal_variant),
            sync: bundle.sync,
            health: bundle.health,
            drifted: bundle.drifted,
            suspended: bundle.suspended,
            suspensions: bundle.suspensions.into_iter().map(Suspension::from).collect(),
            hold: bundle.hold.map(Hold::from),
            objects: bundle.objects,
            since_unix_millis: number(bundle.since_unix_millis),
            problems: bundle.problems.into_iter().map(Problem::from).collect(),
            problems_more: bundle.problems_more,
            notes: Vec::new(),
        }
    }
}

impl From<wire::Suspension> for Suspension {
    fn from(one: wire::Suspension) -> Self {
        Self {
            at_hub: one.at_hub,
            whole_cluster: one.whole_cluster,
            until_unix_millis: number(one.until_unix_millis),
            by: text(one.by),
            reason: text(one.reason),
            message: one.message,
        }
    }
}

impl From<wire::Hold> for Hold {
    fn from(hold: wire::Hold) -> Self {
        Self {
            kind: hold.kind,
            message: hold.message,
            since_unix_millis: number(hold.since_unix_millis),
            objects: hold.objects,
            objects_total: hold.objects_total,
        }
    }
}

impl From<wire::Problem> for Problem {
    fn from(problem: wire::Problem) -> Self {
        Self { object: text(problem.object), is_final: problem.r#final, message: problem.message }
    }
}

impl From<wire::BundleSummary> for BundleSummary {
    fn from(bundle: wire::BundleSummary) -> Self {
        Self {
            bundle: bundle.bundle,
            commit: text(bundle.commit),
            path: bundle.path,
            clusters: bundle.clusters,
            current: bundle.current,
            applied: bundle.applied,
            healthy: bundle.healthy,
            held: bundle.held,
            failed: bundle.failed,
        }
    }
}

impl From<wire::VariableOrigin> for Variable {
    fn from(variable: wire::VariableOrigin) -> Self {
        let first = wire::VariableValue {
            value: variable.value,
            origin: variable.origin,
            file: variable.file,
            line: variable.line,
        };
        let first = (!variable.missing).then_some(first);
        let values = first.into_iter().chain(variable.overridden).map(Given::from).collect();
        Self { bundle: variable.bundle, name: variable.name, values }
    }
}

impl From<wire::VariableValue> for Given {
    fn from(given: wire::VariableValue) -> Self {
        let line = (given.line != 0).then_some(given.line);
        Self { value: given.value, origin: given.origin, file: text(given.file), line }
    }
}
