//! The in-memory cluster behind the port, kept in a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spoke_core::port::{
    Answer, Cluster, Depth, Failure, Kind, Live, Note, Observation, Op, Outcome, Reason, Sink, Write,
};
use tokio::sync::Notify;

use crate::journal::{Journal, JournalError, Record};
use crate::state::{Change, State, fail};

/// The one subscriber of a [`Memory`].
const SUBSCRIBER: u32 = 0;

/// A cluster in memory, one task beside it. It ends with its last handle.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    world: Mutex<World>,
    wake: Arc<Notify>,
    clock: Clock,
}

struct World {
    state: State,
    ledger: BTreeMap<String, Vec<u8>>,
    journal: Option<Journal>,
    sink: Option<Sink>,
    /// Whether the task that tells and advances runs.
    running: bool,
}

/// Time since 1970 that never goes back.
struct Clock {
    base_millis: u64,
    start: Instant,
}

impl Clock {
    fn now(&self) -> u64 {
        self.base_millis + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

impl Memory {
    /// A cluster that is lost with the process.
    #[must_use]
    pub fn volatile(name: &str) -> Self {
        Self::with(State::new(name), BTreeMap::new(), None)
    }

    /// The cluster that a directory keeps; a new one where it keeps none. `name` decides the uid
    /// of a new one.
    ///
    /// # Errors
    /// The directory can't be used, or another process uses it.
    pub fn open(dir: &Path, name: &str) -> Result<Self, JournalError> {
        let (mut journal, contents) = Journal::open(dir)?;
        let fresh = contents.objects.is_empty();
        let mut state = if fresh {
            State::new(name)
        } else {
            let changes = contents.objects.into_iter();
            let changes = changes.map(|(identity, (body, since))| Change::Put(identity, body, since));
            State::replay(name, contents.revision, changes.collect(), Clock::new().now())
        };
        if fresh {
            let all = state.all();
            let mut records: Vec<Record<'_>> = all.iter().map(Record::Change).collect();
            records.push(Record::Revision(state.revision()));
            let written = journal.append(&records).and_then(|()| journal.handle()?.sync_data());
            written.map_err(|source| JournalError::Io { path: dir.into(), source })?;
        }
        state.track_changes();
        Ok(Self::with(state, contents.ledger, Some(journal)))
    }

    fn with(state: State, ledger: BTreeMap<String, Vec<u8>>, journal: Option<Journal>) -> Self {
        let world = World { state, ledger, journal, sink: None, running: false };
        let shared = Shared { world: Mutex::new(world), wake: Arc::new(Notify::new()), clock: Clock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Looks at or changes the cluster itself, as tests do; the time is in milliseconds since
    /// 1970.
    pub fn with_state<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        self.shared.act(act)
    }

    fn run(&self, world: &mut World) {
        if !std::mem::replace(&mut world.running, true) {
            let shared = Arc::downgrade(&self.shared);
            let wake = self.shared.wake.clone();
            tokio::spawn(async move {
                loop {
                    let Some(wait) = shared.upgrade().map(|shared| shared.turn()) else {
                        return;
                    };
                    match wait {
                        None => wake.notified().await,
                        Some(wait) => {
                            // The timeout is what was waited for; being woken earlier is as good.
                            let _ = tokio::time::timeout(wait, wake.notified()).await;
                        }
                    }
                }
            });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base_millis: u64::try_from(since.as_millis()).unwrap_or(0), start: Instant::now() }
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut world = self.world();
        let now = self.clock.now();
        // What was due before this request is done before it.
        world.state.advance(now);
        let done = act(&mut world.state, now);
        world.note();
        drop(world);
        self.wake.notify_one();
        done
    }

    /// Advances, tells, and says how long to wait for what is next.
    fn turn(&self) -> Option<Duration> {
        let (told, sink, wait) = {
            let mut world = self.world();
            let now = self.clock.now();
            world.state.advance(now);
            world.note();
            let told: Vec<Observation> = match world.sink {
                Some(_) => world.state.drain_observations(SUBSCRIBER),
                None => Vec::new(),
            };
            let wait = world.state.next_due().map(|due| Duration::from_millis(due.saturating_sub(now).max(1)));
            (told, world.sink.clone(), wait)
        };
        if let Some(sink) = sink {
            told.into_iter().for_each(|seen| sink(seen));
        }
        wait
    }

    /// Writes ledger records, then waits for the disk.
    async fn store(&self, write: Write) -> Result<(), Failure> {
        let handle = {
            let mut world = self.world();
            let puts = write.puts.iter().map(|(key, value)| Record::Put(key, value));
            let deletes = write.deletes.iter().map(|key| Record::Delete(key));
            let records: Vec<Record<'_>> = puts.chain(deletes).collect();
            let handle = match &mut world.journal {
                Some(journal) => {
                    journal.append(&records).map_err(|error| broken(&error))?;
                    Some(journal.handle().map_err(|error| broken(&error))?)
                }
                None => None,
            };
            for (key, value) in write.puts {
                world.ledger.insert(key, value);
            }
            for key in write.deletes {
                world.ledger.remove(&key);
            }
            world.compact();
            handle
        };
        let Some(handle) = handle else { return Ok(()) };
        match tokio::task::spawn_blocking(move || handle.sync_data()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(broken(&error)),
            Err(error) => Err(fail(Reason::Server, format!("the journal was not synced: {error}"))),
        }
    }
}

impl World {
    /// Writes down what changed. A failure is logged: the objects of a cluster in memory are lost
    /// with the process then, and the spoke puts them back.
    fn note(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let changes = self.state.take_changes();
        if changes.is_empty() {
            return;
        }
        let mut records: Vec<Record<'_>> = changes.iter().map(Record::Change).collect();
        records.push(Record::Revision(self.state.revision()));
        if let Err(error) = journal.append(&records) {
            tracing::warn!(%error, "the journal of the in-memory cluster could not be written");
        }
        self.compact();
    }

    fn compact(&mut self) {
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.wants_compaction()) else {
            return;
        };
        let all = self.state.all();
        let mut records: Vec<Record<'_>> = all.iter().map(Record::Change).collect();
        records.extend(self.ledger.iter().map(|(key, value)| Record::Put(key, value)));
        records.push(Record::Revision(self.state.revision()));
        if let Err(error) = journal.rewrite(&records) {
            tracing::warn!(%error, "the journal of the in-memory cluster could not be rewritten");
        }
    }
}

fn broken(error: &std::io::Error) -> Failure {
    fail(Reason::Server, format!("the journal of the in-memory cluster: {error}"))
}

impl Cluster for Memory {
    fn uid(&self) -> Answer<'_, Result<String, Failure>> {
        Box::pin(async { Ok(self.shared.act(|state, _| state.uid())) })
    }

    fn execute(&self, op: Op) -> Answer<'_, Outcome> {
        Box::pin(async move {
            let outcome = self.shared.act(|state, now| state.execute(&op, now));
            self.run(&mut self.shared.world());
            outcome
        })
    }

    fn watch(&self, kinds: BTreeMap<Kind, Depth>, sink: Sink) {
        self.shared.act(|state, _| state.watch(SUBSCRIBER, kinds));
        let mut world = self.shared.world();
        world.sink = Some(sink);
        self.run(&mut world);
    }

    fn load(&self) -> Answer<'_, Result<BTreeMap<String, Vec<u8>>, Failure>> {
        Box::pin(async { Ok(self.shared.world().ledger.clone()) })
    }

    fn store(&self, write: Write) -> Answer<'_, Result<(), Failure>> {
        Box::pin(self.shared.store(write))
    }

    fn lease(&self, holder: String, secs: u32) -> Answer<'_, Result<bool, Failure>> {
        Box::pin(async move { Ok(self.shared.act(|state, now| state.lease(&holder, secs, now))) })
    }

    fn kinds(&self) -> Answer<'_, Result<BTreeSet<Kind>, Failure>> {
        Box::pin(async { Ok(self.shared.act(|state, _| state.kinds())) })
    }

    fn owned(&self, kind: Kind) -> Answer<'_, Result<Vec<Live>, Failure>> {
        Box::pin(async move { self.shared.act(|state, _| state.owned(&kind)) })
    }

    fn tell(&self, note: Note) -> Answer<'_, Result<(), Failure>> {
        Box::pin(async move { self.shared.act(|state, now| state.tell(&note, now)) })
    }

    fn publish(&self, data: BTreeMap<String, String>) -> Answer<'_, Result<(), Failure>> {
        Box::pin(async move { self.shared.act(|state, now| state.publish(&data, now)) })
    }
}
