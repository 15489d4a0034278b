//! What happens in a fleet, as a line each; and what happened between two states of it. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use crate::fleet::short;
use crate::fleet::status::defect_line;
use crate::output::{ranking, time};
use crate::view::{Bundle, Cluster, Source, Status};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The work folder is ready and the programs are being started.
    Started,
    /// The hub serves.
    Ready,
    /// A source has another head.
    SourceChanged,
    /// A source cannot be fetched.
    SourceFailed,
    /// Something is wrong in a source.
    Defect,
    /// A spoke was started.
    ClusterStarted,
    /// A spoke reached the hub.
    ClusterConnected,
    /// A spoke lost the hub.
    ClusterDisconnected,
    /// A bundle changed in a cluster.
    BundleChanged,
    /// A bundle is gone from a cluster.
    BundleRemoved,
    /// Everything is as the heads ask for.
    Settled,
    /// It no longer is.
    Unsettled,
    /// A program ended that should run.
    Died,
    /// The run is over, and all it started is ended.
    Ended,
}

impl Kind {
    /// The word in JSON and in lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ready => "ready",
            Self::SourceChanged => "source_changed",
            Self::SourceFailed => "source_failed",
            Self::Defect => "defect",
            Self::ClusterStarted => "cluster_started",
            Self::ClusterConnected => "cluster_connected",
            Self::ClusterDisconnected => "cluster_disconnected",
            Self::BundleChanged => "bundle_changed",
            Self::BundleRemoved => "bundle_removed",
            Self::Settled => "settled",
            Self::Unsettled => "unsettled",
            Self::Died => "died",
            Self::Ended => "ended",
        }
    }
}

/// `drover up -o json`: one line each
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// What kind of thing happened.
    pub kind: Kind,
    /// When, by the clock of this machine.
    pub at: Option<String>,
    /// The cluster; null: of none.
    pub cluster: Option<String>,
    /// Full name of the bundle; null: of none.
    pub bundle: Option<String>,
    /// The commit, in full; null: of none.
    pub commit: Option<String>,
    /// SHA-256 of what the bundle is assigned, in hexadecimal; null: nothing.
    pub variant: Option<String>,
    /// Sync of the bundle; null: of none.
    pub sync: Option<String>,
    /// Health of the bundle; null: of none.
    pub health: Option<String>,
    /// More about it, for people; null: there is no more.
    pub message: Option<String>,
    /// Whether people may do without it: the content is as it was, or the whole cluster is away.
    #[serde(skip)]
    pub is_minor: bool,
}

impl Event {
    /// An event of nothing in particular.
    #[must_use]
    pub fn new(kind: Kind, now_unix_millis: u64) -> Self {
        Self {
            kind,
            at: time::rfc3339(now_unix_millis),
            cluster: None,
            bundle: None,
            commit: None,
            variant: None,
            sync: None,
            health: None,
            message: None,
            is_minor: false,
        }
    }

    /// The same of a cluster.
    #[must_use]
    pub fn of_cluster(self, cluster: &str) -> Self {
        Self { cluster: Some(cluster.to_owned()), ..self }
    }

    /// The same with more about it.
    #[must_use]
    pub fn saying(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// The event as a line for people.
    #[must_use]
    pub fn line(&self) -> String {
        // The time of day, in UTC, is enough beside a table.
        let time = self.at.as_deref().and_then(|at| at.get(11..19)).unwrap_or("--:--:--");
        let words = [
            self.cluster.as_deref(),
            self.bundle.as_deref(),
            self.commit.as_deref().map(short),
            self.sync.as_deref(),
            self.health.as_deref(),
            self.message.as_deref(),
        ];
        let mut line = format!("{time} {}", self.kind.as_str());
        for word in words.into_iter().flatten() {
            line.push(' ');
            line.push_str(word);
        }
        line
    }
}

/// What happened between two states, the sources first. Before the first state there was nothing.
#[must_use]
pub fn changes(before: &Status, after: &Status, now_unix_millis: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for source in &after.sources {
        let old = before.sources.iter().find(|old| old.source == source.source);
        source_changes(old, source, now_unix_millis, &mut events);
    }
    for cluster in &after.clusters {
        let old = before.clusters.iter().find(|old| old.cluster == cluster.cluster);
        cluster_changes(old, cluster, now_unix_millis, &mut events);
    }
    events
}

fn source_changes(old: Option<&Source>, new: &Source, now: u64, events: &mut Vec<Event>) {
    if new.commit.is_some() && new.commit != old.and_then(|old| old.commit.clone()) {
        let event = Event::new(Kind::SourceChanged, now).saying(format!("source {}", new.source));
        events.push(Event { commit: new.commit.clone(), ..event });
    }
    if let Some(error) = &new.error
        && old.and_then(|old| old.error.as_ref()) != Some(error)
    {
        events.push(Event::new(Kind::SourceFailed, now).saying(format!("source {}: {error}", new.source)));
    }
    for defect in new.defects.iter().filter(|defect| !defect.note) {
        if old.is_some_and(|old| old.defects.contains(defect)) {
            continue;
        }
        let line = defect_line(&defect.file, defect.line, &defect.message);
        events.push(Event { bundle: defect.bundle.clone(), ..Event::new(Kind::Defect, now).saying(line) });
    }
}

fn cluster_changes(old: Option<&Cluster>, new: &Cluster, now: u64, events: &mut Vec<Event>) {
    let was_connected = old.is_some_and(|old| old.connected);
    if new.connected != was_connected {
        let kind = if new.connected { Kind::ClusterConnected } else { Kind::ClusterDisconnected };
        events.push(Event::new(kind, now).of_cluster(&new.cluster));
    }
    let old_bundles = old.map_or(&[][..], |old| &old.bundles);
    for bundle in &new.bundles {
        let old = old_bundles.iter().find(|old| old.bundle == bundle.bundle);
        events.extend(bundle_change(old, bundle, &new.cluster, now));
    }
    for bundle in old_bundles {
        if !new.bundles.iter().any(|new| new.bundle == bundle.bundle) {
            let event = Event::new(Kind::BundleRemoved, now).of_cluster(&new.cluster);
            events.push(Event { bundle: Some(bundle.bundle.clone()), ..event });
        }
    }
}

fn bundle_change(old: Option<&Bundle>, new: &Bundle, cluster: &str, now: u64) -> Option<Event> {
    let content = |bundle: &Bundle| {
        let hold = bundle.hold.as_ref().map(|hold| hold.kind.clone());
        let flags = (bundle.drifted, bundle.suspended);
        (bundle.variant.clone(), bundle.sync.clone(), bundle.health.clone(), flags, hold)
    };
    let is_same_content = old.is_some_and(|old| content(old) == content(new));
    if is_same_content && old.is_some_and(|old| old.commit == new.commit) {
        return None;
    }
    let why = ranking::why(new);
    Some(Event {
        bundle: Some(new.bundle.clone()),
        commit: new.commit.clone(),
        variant: new.variant.clone(),
        sync: Some(new.sync.clone()),
        health: Some(new.health.clone()),
        message: (!why.is_empty()).then_some(why),
        // That a cluster is away is told once, not for each of its bundles.
        is_minor: is_same_content || new.hold.as_ref().is_some_and(|hold| hold.kind == "offline"),
        ..Event::new(Kind::BundleChanged, now).of_cluster(cluster)
    })
}
