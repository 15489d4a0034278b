//! The machine as openraft sees it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder, Snapshot};
use tokio::fs::File;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::machine::{Applied, Machine, Stop};
use crate::snapshot::{self, Contents, Snapshots};
use crate::types::{
    Answer, Entry, LogId, Payload, SnapshotMeta, StorageError, StorageIOError, StoredMembership, Types,
};

/// The value, how far it has come, and who watches it.
pub(crate) struct State<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
    applied: watch::Sender<Applied<M>>,
    snapshots: Arc<Snapshots>,
    receiving: Option<PathBuf>,
    received: u64,
}

/// Builds a snapshot from a clone, beside the entries that are applied meanwhile.
pub(crate) struct Builder<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<Snapshots>,
}

impl<M: Machine> State<M> {
    /// The state after `meta`'s last entry, or before the first entry.
    pub(crate) fn new(
        machine: M,
        meta: Option<SnapshotMeta>,
        snapshots: Arc<Snapshots>,
    ) -> (Self, watch::Receiver<Applied<M>>) {
        let meta = meta.unwrap_or_default();
        let (applied, watching) = watch::channel(published(&machine, meta.last_log_id));
        let state = Self {
            machine,
            last: meta.last_log_id,
            membership: meta.last_membership,
            applied,
            snapshots,
            receiving: None,
            received: 0,
        };
        (state, watching)
    }

    fn publish(&self) {
        self.applied.send_replace(published(&self.machine, self.last));
    }

    fn apply_one(&mut self, entry: Entry) -> Result<Answer, Stop> {
        let index = entry.log_id.index;
        let answer = match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                None
            }
            EntryPayload::Normal(Payload(bytes)) => Some(apply_or_stop(&mut self.machine, index, &bytes)?),
        };
        self.last = Some(entry.log_id);
        Ok(Answer(answer))
    }
}

fn published<M: Machine>(machine: &M, last: Option<LogId>) -> Applied<M> {
    Applied { index: last.map_or(0, |id| id.index), machine: Arc::new(machine.clone()) }
}

/// A panic of the machine is a stop like any other: the task that applies would end in silence,
/// and proposals would wait for ever. The machine is not used afterwards.
fn apply_or_stop<M: Machine>(machine: &mut M, index: u64, bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let outcome = catch_unwind(AssertUnwindSafe(|| machine.apply(index, bytes)));
    let outcome = outcome.unwrap_or_else(|_| Err(Stop("applying it panicked".to_owned())));
    outcome.map_err(|stop| {
        Stop(format!("entry {index} cannot be applied: {stop}; start the version that wrote it, or a later one"))
    })
}

impl<M: Machine> RaftStateMachine<Types> for State<M> {
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let id = entry.log_id;
            let answer = self.apply_one(entry);
            answers.push(answer.map_err(|stop| StorageIOError::apply(id, AnyError::error(stop)))?);
        }
        // Before the answers: whoever was answered finds the entry in the value.
        self.publish();
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        Builder {
            machine: self.machine.clone(),
            last: self.last,
            membership: self.membership.clone(),
            snapshots: Arc::clone(&self.snapshots),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<File>, StorageError> {
        self.received += 1;
        let path = self.snapshots.unfinished(self.received);
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path).await;
        self.receiving = Some(path);
        file.map(Box::new).map_err(|e| snapshot_failed(&e))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: Box<File>) -> Result<(), StorageError> {
        file.sync_all().await.map_err(|e| snapshot_failed(&e))?;
        let path = self.receiving.take().ok_or_else(|| snapshot_failed(&io::Error::other("none was begun")))?;
        let read = path.clone();
        let contents = blocking(move || snapshot::read(&read)).await?;
        if contents.meta.last_log_id != meta.last_log_id {
            return Err(snapshot_failed(&io::Error::other("it is not the one that was announced")));
        }
        self.machine = M::restore(&contents.body).map_err(|stop| snapshot_failed(&stop))?;
        self.last = contents.meta.last_log_id;
        self.membership = contents.meta.last_membership.clone();
        let snapshots = Arc::clone(&self.snapshots);
        blocking(move || snapshots.adopt(&contents.meta, &path)).await?;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some((meta, path)) = self.snapshots.newest() else { return Ok(None) };
        let file = File::open(&path).await.map_err(|e| snapshot_failed(&e))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(file) }))
    }
}

impl<M: Machine> RaftSnapshotBuilder<Types> for Builder<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let last = self.last.ok_or_else(|| snapshot_failed(&io::Error::other("nothing is applied yet")))?;
        let meta = snapshot::meta(last, self.membership.clone());
        let (machine, snapshots) = (self.machine.clone(), Arc::clone(&self.snapshots));
        let built = meta.clone();
        blocking(move || snapshots.save(&Contents { meta: built, body: machine.snapshot() })).await?;
        let newest = self.snapshots.newest();
        let (meta, path) = newest.ok_or_else(|| snapshot_failed(&io::Error::other("it is gone")))?;
        let file = File::open(&path).await.map_err(|e| snapshot_failed(&e))?;
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, StorageError>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
{
    let done = spawn_blocking(work).await.map_err(|e| snapshot_failed(&e))?;
    done.map_err(|e| snapshot_failed(&e))
}

fn snapshot_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}
