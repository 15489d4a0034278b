//! What lives in the memory of this replica: who is attached, what spokes reported in detail, how
//! sources fare. Nothing here survives the process, and nothing here decides what runs where.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hub_core::check::{Facts, Identities};
use hub_core::command::Pair;
use hub_core::view::{Connection, Defect, Memory};
use proto_model::delta::{Hello, level};
use proto_model::{Digest, Health, Report, Sync, limits, suspend};
use tokio::sync::{Notify, watch};

use crate::bodies::Bodies;
use crate::leader::Defects;
use crate::sync::Asks;

/// The memory of this replica.
pub struct Node {
    bodies: Arc<Bodies>,
    clusters: Mutex<BTreeMap<String, Live>>,
    sources: Mutex<BTreeMap<String, SourceState>>,
    changes: watch::Sender<u64>,
}

/// What is known of one cluster beside Fleet.
#[derive(Default)]
struct Live {
    connection: Connection,
    reports: BTreeMap<String, Arc<Report>>,
    /// By bundle: what is said of which content, and since when. Beside the reports, of which a
    /// spoke tells the digest, and which it tells anew after a restart, with times of its own.
    since: BTreeMap<String, (State, u64)>,
    stream: Option<Arc<Stream>>,
    /// Incarnation and counter of the last session in which the spoke spoke after its Welcome, so
    /// that it has the token.
    confirmed: (u64, u64),
}

/// What a report says of which content: variant, variables, sync and health.
type State = (Option<Digest>, Digest, Sync, Health);

/// The handle of a stream that stands.
#[derive(Debug)]
pub struct Stream {
    /// The session's counter.
    pub session: u64,
    /// Tells the stream to look at Fleet again.
    pub changed: Notify,
    /// Tells the stream that a newer one took its place.
    pub displaced: Notify,
    /// What operators ask its spoke.
    pub asks: Asks,
    /// Version of the asks that the spoke answers.
    pub answers: u32,
    /// Version of the suspensions that the spoke heeds.
    pub heeds: u32,
}

/// How a source fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// What went wrong with the last fetch; `None` where it went well.
    pub error: Option<String>,
    /// Why its head is not in the log; `None` where it is, or none was read.
    pub unpublished: Option<String>,
    /// When it was last fetched with success, milliseconds since 1970.
    pub fetched_unix_millis: Option<u64>,
}

impl Node {
    /// An empty memory.
    #[must_use]
    pub fn new(bodies: Arc<Bodies>) -> Self {
        Self { bodies, clusters: Mutex::default(), sources: Mutex::default(), changes: watch::channel(0).0 }
    }

    /// Changes with everything that is shown; the value itself means nothing.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A stream stands from now on; one that stood before is displaced. `None`: a newer one
    /// stands already.
    pub fn attach(&self, cluster: &str, session: u64, hello: &Hello) -> Option<Arc<Stream>> {
        let (changed, displaced, asks) = (Notify::new(), Notify::new(), Asks::default());
        let stream = Arc::new(Stream { session, changed, displaced, asks, answers: hello.asks, heeds: hello.suspends });
        let mut is_newest = true;
        self.with(cluster, |live| {
            if live.stream.as_ref().is_some_and(|one| one.session > session) {
                is_newest = false;
                return;
            }
            if let Some(old) = live.stream.replace(Arc::clone(&stream)) {
                old.displaced.notify_one();
            }
            live.connection = Connection {
                connected: true,
                seen_unix_millis: unix_millis(),
                version: hello.version.clone(),
                ignores_suspensions: hello.suspends < suspend::VERSION,
                ..Connection::default()
            };
        });
        is_newest.then_some(stream)
    }

    /// A stream has ended.
    pub fn detach(&self, cluster: &str, stream: &Arc<Stream>) {
        self.with(cluster, |live| {
            if live.stream.as_ref().is_some_and(|one| Arc::ptr_eq(one, stream)) {
                live.stream = None;
                live.connection.connected = false;
                live.connection.seen_unix_millis = unix_millis();
            }
        });
    }

    /// The stream of a cluster, where one stands.
    #[must_use]
    pub fn stream(&self, cluster: &str) -> Option<Arc<Stream>> {
        self.lock().get(cluster)?.stream.clone()
    }

    /// The streams that stand.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.lock().values().filter(|live| live.stream.is_some()).count()
    }

    /// Tells the stream of a cluster, where one stands, to look at Fleet again.
    pub fn nudge(&self, cluster: &str) {
        if let Some(stream) = self.lock().get(cluster).and_then(|live| live.stream.as_ref()) {
            stream.changed.notify_one();
        }
    }

    /// Forgets clusters that are no longer in the fleet and not attached.
    pub fn forget(&self, cluster: &str) {
        let mut clusters = self.lock();
        if clusters.get(cluster).is_some_and(|live| live.stream.is_none()) {
            clusters.remove(cluster);
        }
    }

    /// The digest over the reports of a cluster, where any are remembered.
    #[must_use]
    pub fn level(&self, cluster: &str) -> Option<Digest> {
        let clusters = self.lock();
        let live = clusters.get(cluster)?;
        Some(level(live.reports.values().map(|report| &**report)))
    }

    /// Forgets the reports of a cluster: it will tell them all.
    pub fn forget_reports(&self, cluster: &str) {
        self.with(cluster, |live| live.reports.clear());
    }

    /// The bundles of a cluster, or of them the one that is named, that were suspended there, as far as its spoke said.
    #[must_use]
    pub fn suspended_there(&self, cluster: &str, bundle: Option<&str>) -> Vec<String> {
        let clusters = self.lock();
        let reports = clusters.get(cluster).into_iter().flat_map(|live| live.reports.values());
        let is_meant = |report: &&Arc<Report>| bundle.is_none_or(|name| report.bundle == name);
        let is_here = |report: &&Arc<Report>| {
            let mut problems = report.problems.iter();
            report.suspended && problems.any(|one| one.message.starts_with(suspend::WORDS_HERE))
        };
        reports.filter(is_meant).filter(is_here).map(|report| report.bundle.clone()).collect()
    }

    /// All reports that are remembered, by cluster.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, Arc<Report>)> {
        let clusters = self.lock();
        let of = |(name, live): (&String, &Live)| {
            live.reports.values().map(|report| (name.clone(), Arc::clone(report))).collect::<Vec<_>>()
        };
        clusters.iter().flat_map(of).collect()
    }

    /// Remembers a report. `false`: the cluster has more bundles than one can have.
    pub fn report(&self, cluster: &str, report: &Report) -> bool {
        let mut taken = true;
        self.with(cluster, |live| {
            let known = live.reports.contains_key(&report.bundle);
            if !known && live.reports.len() >= limits::BUNDLES_PER_CLUSTER_MAX {
                taken = false;
                return;
            }
            live.note_since(report, unix_millis());
            live.reports.insert(report.bundle.clone(), Arc::new(report.clone()));
        });
        taken
    }

    /// The last session of an incarnation of which the spoke has shown that it knows it; 0 where
    /// none is remembered.
    #[must_use]
    pub fn confirmed(&self, cluster: &str, incarnation: u64) -> u64 {
        match self.lock().get(cluster).map(|live| live.confirmed) {
            Some((of, session)) if of == incarnation => session,
            _ => 0,
        }
    }

    /// The spoke spoke in a session of an incarnation.
    pub fn heard(&self, cluster: &str, incarnation: u64, session: u64) {
        let mut clusters = self.lock();
        if let Some(live) = clusters.get_mut(cluster) {
            live.confirmed = live.confirmed.max((incarnation, session));
            live.connection.seen_unix_millis = unix_millis();
        }
    }

    /// Changes what is shown of a connection.
    pub fn update(&self, cluster: &str, change: impl FnOnce(&mut Connection)) {
        self.with(cluster, |live| change(&mut live.connection));
    }

    /// Counts bytes that a stream was given.
    pub fn sent(&self, cluster: &str, bytes: u64) {
        if let Some(live) = self.lock().get_mut(cluster) {
            live.connection.sent_delta_bytes += bytes;
        }
    }

    /// Changes what is shown of a source.
    pub fn source(&self, source: &str, change: impl FnOnce(&mut SourceState)) {
        {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            change(sources.entry(source.to_owned()).or_default());
        }
        self.changed();
    }

    /// Forgets a source of which nothing is left.
    pub fn forget_source(&self, source: &str) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    /// Forgets all sources but some.
    pub fn keep_sources(&self, is_kept: impl Fn(&str) -> bool) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_kept(name));
    }

    /// Names of all sources of which something is known.
    #[must_use]
    pub fn source_names(&self) -> Vec<String> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether the head of a source is known not to be in the log.
    #[must_use]
    pub fn is_unpublished(&self, source: &str) -> bool {
        self.source_state(source).is_some_and(|state| state.unpublished.is_some())
    }

    fn with(&self, cluster: &str, change: impl FnOnce(&mut Live)) {
        change(self.lock().entry(cluster.to_owned()).or_default());
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Live>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source_state(&self, source: &str) -> Option<SourceState> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned()
    }
}

impl Live {
    /// Since when it is as a report says: since it was first said, however often a spoke that was
    /// started again says it anew. A spoke's clock may be wrong, but nothing began later than now.
    fn note_since(&mut self, report: &Report, now_unix_millis: u64) {
        let state = (report.variant, report.variables, report.sync, report.health);
        if self.since.get(&report.bundle).is_some_and(|(known, _)| *known == state) {
            return;
        }
        if self.since.len() >= limits::BUNDLES_PER_CLUSTER_MAX {
            let reports = &self.reports;
            self.since.retain(|bundle, _| reports.contains_key(bundle));
        }
        self.since.insert(report.bundle.clone(), (state, report.since_unix_millis.min(now_unix_millis)));
    }
}

impl Facts for Node {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        self.bodies.identities(pair)
    }
}

impl Memory for Node {
    fn connection(&self, cluster: &str) -> Option<Connection> {
        let mut connection = self.lock().get(cluster)?.connection.clone();
        if connection.connected {
            // Liveness is the connection: its pings are the transport's, and it stands.
            connection.seen_unix_millis = unix_millis();
        }
        (connection != Connection::default()).then_some(connection)
    }

    fn report(&self, cluster: &str, bundle: &str) -> Option<Arc<Report>> {
        self.lock().get(cluster)?.reports.get(bundle).cloned()
    }

    fn since_unix_millis(&self, cluster: &str, bundle: &str) -> Option<u64> {
        self.lock().get(cluster)?.since.get(bundle).map(|(_, since)| *since).filter(|at| *at > 0)
    }

    fn source_error(&self, source: &str) -> Option<String> {
        let state = self.source_state(source)?;
        state.error.or(state.unpublished)
    }

    fn fetched_unix_millis(&self, source: &str) -> Option<u64> {
        self.source_state(source)?.fetched_unix_millis
    }

    fn defects(&self, body: &Digest) -> BTreeMap<String, Defect> {
        let body = self.bodies.get(body);
        let found = body.and_then(|body| serde_json::from_slice::<Defects>(&body).ok()).unwrap_or_default();
        let mut first = BTreeMap::new();
        for defect in found.defects.into_iter().filter(|defect| !defect.note) {
            if let Some(bundle) = defect.bundle {
                let at = if defect.line == 0 { defect.file } else { format!("{}:{}", defect.file, defect.line) };
                let since_unix_millis = found.since.get(&bundle).copied();
                let message = format!("{at}: {}", defect.message);
                first.entry(bundle).or_insert(Defect { message, since_unix_millis });
            }
        }
        first
    }
}

/// The wall clock, in milliseconds since 1970.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(health: Health, since_unix_millis: u64) -> Report {
        Report {
            bundle: "main/web".into(),
            generation: 1,
            variant: Some(Digest::of(b"v")),
            variables: Digest::of(b""),
            sync: Sync::Applied,
            health,
            drifted: false,
            suspended: false,
            installed: true,
            objects: 1,
            problems: Vec::new(),
            problems_more: 0,
            since_unix_millis,
        }
    }

    #[test]
    fn what_a_spoke_says_anew_after_a_restart_is_so_since_it_was_first_said() {
        let mut live = Live::default();
        let mut since = |health, at, now| {
            live.reports.clear();
            live.note_since(&report(health, at), now);
            live.since["main/web"].1
        };
        assert_eq!(since(Health::Healthy, 1000, 5000), 1000);
        assert_eq!(since(Health::Healthy, 6000, 6000), 1000);
        assert_eq!(since(Health::Degraded, 7000, 7000), 7000);
        assert_eq!(since(Health::Healthy, 8000, 8000), 8000);
        assert_eq!(since(Health::Degraded, 99_000, 9000), 9000, "a clock that is ahead");
    }
}
