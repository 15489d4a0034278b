//! The in-memory cluster behind the port, kept in a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spoke_core::ledger::ROOT_KEY;
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
    /// Which writing of each record of the ledger this client read or made.
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
}

struct Shared {
    world: Mutex<World>,
    wake: Arc<Notify>,
    clock: Clock,
}

struct World {
    state: State,
    ledger: BTreeMap<String, Written>,
    /// Writings of the ledger so far.
    writings: u64,
    journal: Option<Journal>,
    sink: Option<Sink>,
    /// Whether the task that tells and advances runs.
    running: bool,
}

/// A record of the ledger.
#[derive(Clone)]
struct Written {
    value: Vec<u8>,
    /// The number of its writing.
    number: u64,
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
        let ledger = ledger.into_iter().map(|(key, value)| (key, Written { value, number: 0 })).collect();
        let world = World { state, ledger, writings: 0, journal, sink: None, running: false };
        let shared = Shared { world: Mutex::new(world), wake: Arc::new(Notify::new()), clock: Clock::new() };
        Self { shared: Arc::new(shared), seen: Arc::default() }
    }

    /// Another client of the same cluster, which has read nothing yet.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { shared: self.shared.clone(), seen: Arc::default() }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_ledger(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.shared.world();
        *self.seen() = world.ledger.iter().map(|(key, one)| (key.clone(), one.number)).collect();
        world.ledger.iter().map(|(key, one)| (key.clone(), one.value.clone())).collect()
    }

    /// Writes ledger records up to the first that another client wrote meanwhile, then waits for the disk.
    async fn write_ledger(&self, mut write: Write) -> Result<(), Failure> {
        let (handle, refused) = {
            let mut world = self.shared.world();
            let mut seen = self.seen();
            let refused = world.refusal(&mut write, &seen);
            if refused.as_ref().is_some_and(|refused| refused.reason == Reason::Gone) {
                *seen = world.ledger.iter().map(|(key, one)| (key.clone(), one.number)).collect();
            }
            let handle = world.append(&write).map_err(|error| broken(&error))?;
            for (key, value) in write.puts {
                world.writings += 1;
                let number = world.writings;
                seen.insert(key.clone(), number);
                world.ledger.insert(key, Written { value, number });
            }
            for key in write.deletes {
                seen.remove(&key);
                world.ledger.remove(&key);
            }
            world.compact();
            (handle, refused)
        };
        if let Some(handle) = handle {
            match tokio::task::spawn_blocking(move || handle.sync_data()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(broken(&error)),
                Err(error) => return Err(fail(Reason::Server, format!("the journal was not synced: {error}"))),
            }
        }
        refused.map_or(Ok(()), Err)
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
}

impl World {
    /// Cuts a write off before the first record that is not as its writer saw it, and says which that is. The same
    /// value again is no harm.
    fn refusal(&self, write: &mut Write, seen: &BTreeMap<String, u64>) -> Option<Failure> {
        let is_as_seen = |key: &String| self.ledger.get(key).map(|one| one.number) == seen.get(key).copied();
        let is_same = |key: &String, value: &[u8]| self.ledger.get(key).is_some_and(|one| one.value == value);
        let put = write.puts.iter().position(|(key, value)| !is_as_seen(key) && !is_same(key, value));
        let delete = write.deletes.iter().position(|key| self.ledger.contains_key(key) && !is_as_seen(key));
        let key = match (put, delete) {
            (Some(at), _) => {
                write.deletes.clear();
                write.puts.drain(at..).next().map(|(key, _)| key)
            }
            (None, Some(at)) => write.deletes.drain(at..).next(),
            (None, None) => None,
        };
        // Another spoke never removes the root: where that is gone, it was somebody who knows nothing of it.
        let is_gone = seen.contains_key(ROOT_KEY) && !self.ledger.contains_key(ROOT_KEY);
        key.map(|key| match self.ledger.contains_key(&key) {
            false if is_gone => fail(Reason::Gone, format!("ledger record {key:?} was removed")),
            _ => {
                let message = format!("ledger record {key:?} was written by another spoke since it was read here");
                fail(Reason::Conflict, message)
            }
        })
    }

    /// Writes records down; the file to sync, where there is one.
    fn append(&mut self, write: &Write) -> std::io::Result<Option<std::fs::File>> {
        let puts = write.puts.iter().map(|(key, value)| Record::Put(key, value));
        let deletes = write.deletes.iter().map(|key| Record::Delete(key));
        let records: Vec<Record<'_>> = puts.chain(deletes).collect();
        let Some(journal) = &mut self.journal else { return Ok(None) };
        journal.append(&records)?;
        journal.handle().map(Some)
    }

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
        records.extend(self.ledger.iter().map(|(key, one)| Record::Put(key, &one.value)));
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
        Box::pin(async { Ok(self.read_ledger()) })
    }

    fn store(&self, write: Write) -> Answer<'_, Result<(), Failure>> {
        Box::pin(self.write_ledger(write))
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
