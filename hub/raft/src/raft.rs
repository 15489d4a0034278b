//! One replica: open it, propose to it, watch it, shut it down.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use openraft::error::{ClientWriteError, Fatal, RaftError};
use openraft::{BasicNode, RaftMetrics, ServerState};
use proto_model::limits;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::disk::Disk;
use crate::error::{DiskError, OpenError, ProposeError};
use crate::log::Log;
use crate::machine::{Applied, Machine};
use crate::network::Alone;
use crate::options::Options;
use crate::snapshot::Snapshots;
use crate::state::State;
use crate::types::{Payload, Types};
use crate::writer::Writer;

const SNAPSHOTS: &str = "snapshots";
const SHUT_DOWN: &str = "it was shut down";

type Metrics = RaftMetrics<u64, BasicNode>;

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// Nobody that this replica knows of.
    Unknown,
    /// Another replica, by its id.
    Other(u64),
    /// This replica, in this term. Everything that was acknowledged before is applied here.
    This {
        /// The Raft term.
        term: u64,
    },
}

/// An entry that is durable and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Where in the log it is.
    pub index: u64,
    /// What [`Machine::apply`] answered.
    pub answer: Vec<u8>,
}

/// A replica. Clones are handles to the same one; it stops when [`Raft::shutdown`] is called or
/// the last handle is dropped.
pub struct Raft<M: Machine> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Machine> {
    id: u64,
    raft: openraft::Raft<Types>,
    applied: watch::Receiver<Applied<M>>,
    leader: watch::Receiver<Leader>,
    stopped: watch::Receiver<Option<Arc<str>>>,
    proposals: Semaphore,
    snapshots: Arc<Snapshots>,
    /// Resolves when the writer has let go of the files.
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

impl<M: Machine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// What [`Raft::open`] found on disk.
struct Recovered<M: Machine> {
    disk: Arc<Disk>,
    snapshots: Arc<Snapshots>,
    state: State<M>,
    applied: watch::Receiver<Applied<M>>,
}

impl<M: Machine> Raft<M> {
    /// Opens the replica in a directory that [`crate::init`] made; `initial` is the value before
    /// the first entry. Where it is the only voter this returns once it leads and has applied
    /// everything that was ever acknowledged.
    ///
    /// # Errors
    /// Each names the file and what to do.
    pub async fn open(dir: &Path, initial: M, options: Options) -> Result<Self, OpenError> {
        let at = dir.to_owned();
        let recovered = spawn_blocking(move || recover(&at, initial)).await;
        let recovered = recovered.map_err(|e| OpenError::Stopped { reason: e.to_string() })??;
        let Recovered { disk, snapshots, state, applied } = recovered;

        let (id, founder) = (disk.replica, disk.founder);
        let started = Writer::start(Arc::clone(&disk));
        let (writer, closed) = started.map_err(|source| DiskError::io(&disk.path, source))?;
        let config = Arc::new(options.config());
        let raft = openraft::Raft::new(id, config, Alone, Log::new(disk, writer), state).await;
        let raft = raft.map_err(|fatal| OpenError::Stopped { reason: reason(&fatal) })?;

        let (leader, stopped) = observe(raft.metrics());
        let inner = Inner {
            id,
            raft,
            applied,
            leader,
            stopped,
            proposals: Semaphore::new(limits::PROPOSALS_MAX),
            snapshots,
            closed: Mutex::new(Some(closed)),
        };
        let replica = Self { inner: Arc::new(inner) };
        replica.found_or_elect(founder).await?;
        Ok(replica)
    }

    /// This replica's id: random, made with its directory.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// Writes an entry and waits until it is durable and applied. If the future is dropped before,
    /// the entry may still take effect.
    ///
    /// # Errors
    /// [`ProposeError::TooLarge`] above [`limits::ENTRY_BYTES_MAX`]; else the replica does not
    /// lead, or has stopped.
    pub async fn propose(&self, entry: Vec<u8>) -> Result<Proposed, ProposeError> {
        if entry.len() > limits::ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: entry.len(), max: limits::ENTRY_BYTES_MAX });
        }
        let turn = self.inner.proposals.acquire().await;
        let _turn = turn.map_err(|_| ProposeError::Stopped { reason: SHUT_DOWN.to_owned() })?;
        match self.inner.raft.client_write(Payload(entry)).await {
            Ok(written) => Ok(Proposed { index: written.log_id.index, answer: written.data.0.unwrap_or_default() }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(ProposeError::Stopped { reason: error.to_string() })
            }
            Err(RaftError::Fatal(fatal)) => Err(ProposeError::Stopped { reason: reason(&fatal) }),
        }
    }

    /// The value as far as it has been applied here. Only the newest is kept: a watcher that is
    /// slow skips states, and never holds up the log.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Applied<M>> {
        self.inner.applied.clone()
    }

    /// Who leads, as this replica sees it.
    #[must_use]
    pub fn leader(&self) -> watch::Receiver<Leader> {
        self.inner.leader.clone()
    }

    /// Why this replica has stopped; `None` while it runs. A replica that stopped by itself (the
    /// disk failed, an entry could not be decoded) still shows its last value, and needs a restart.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.inner.stopped.clone()
    }

    /// Stops the replica and closes its files; proposals under way are answered with an error.
    /// Calling it again does nothing.
    pub async fn shutdown(&self) {
        self.inner.proposals.close();
        // The error is that the task panicked, which `stopped` tells.
        let _ = self.inner.raft.shutdown().await;
        let snapshots = Arc::clone(&self.inner.snapshots);
        let _ = spawn_blocking(move || snapshots.close()).await;
        let mut closed = self.inner.closed.lock().await;
        if let Some(closed) = closed.take() {
            let _ = closed.await;
        }
    }

    async fn found_or_elect(&self, founder: bool) -> Result<(), OpenError> {
        let raft = &self.inner.raft;
        let stopped = |fatal: &Fatal<u64>| OpenError::Stopped { reason: reason(fatal) };
        let found = founder && !raft.is_initialized().await.map_err(|fatal| stopped(&fatal))?;
        if found {
            let me = BTreeMap::from([(self.inner.id, BasicNode::default())]);
            raft.initialize(me).await.map_err(|e| OpenError::Stopped { reason: e.to_string() })?;
        }
        let id = self.inner.id;
        let alone = raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([id]));
        if !alone.await.map_err(|fatal| stopped(&fatal))? {
            return Ok(());
        }
        if !found {
            // Nobody else could be elected: no need to wait for a leader that might be there.
            raft.trigger().elect().await.map_err(|fatal| stopped(&fatal))?;
        }
        self.lead().await
    }

    /// Waits until this replica leads, or has stopped.
    async fn lead(&self) -> Result<(), OpenError> {
        let (mut leader, mut stopped) = (self.leader(), self.stopped());
        tokio::select! {
            led = leader.wait_for(|leader| matches!(leader, Leader::This { .. })) => {
                if led.is_ok() {
                    return Ok(());
                }
            }
            _ = stopped.wait_for(Option::is_some) => {}
        }
        let reason = stopped.borrow().clone().unwrap_or_else(|| SHUT_DOWN.into());
        Err(OpenError::Stopped { reason: reason.to_string() })
    }
}

/// Reads everything that lies on disk but the log's entries.
fn recover<M: Machine>(dir: &Path, initial: M) -> Result<Recovered<M>, OpenError> {
    let disk = Disk::open(dir)?;
    let (snapshots, newest) = Snapshots::open(&dir.join(SNAPSHOTS))?;
    let purged = disk.bounds()?.purged.map_or(0, |id| id.index);
    let (machine, meta) = match newest {
        None => (initial, None),
        Some((contents, path)) => {
            let machine = M::restore(&contents.body);
            (machine.map_err(|stop| OpenError::Snapshot { path, stop })?, Some(contents.meta))
        }
    };
    let snapshot = meta.as_ref().and_then(|meta| meta.last_log_id).map_or(0, |id| id.index);
    if snapshot < purged {
        return Err(OpenError::Gap { dir: dir.to_owned(), purged, snapshot });
    }
    let snapshots = Arc::new(snapshots);
    let (state, applied) = State::new(machine, meta, Arc::clone(&snapshots));
    Ok(Recovered { disk, snapshots, state, applied })
}

/// Translates openraft's metrics into our two words, until the replica is gone.
fn observe(mut metrics: watch::Receiver<Metrics>) -> (watch::Receiver<Leader>, watch::Receiver<Option<Arc<str>>>) {
    let (leader, leading) = watch::channel(Leader::Unknown);
    let (stopped, stopping) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let (now, failed) = {
                let metrics = metrics.borrow_and_update();
                (leader_of(&metrics), metrics.running_state.as_ref().err().map(reason))
            };
            let now = if failed.is_some() { Leader::Unknown } else { now };
            leader.send_if_modified(|was| std::mem::replace(was, now) != now);
            if let Some(reason) = failed {
                stopped.send_replace(Some(reason.into()));
                return;
            }
            if metrics.changed().await.is_err() {
                stopped.send_replace(Some(SHUT_DOWN.into()));
                return;
            }
        }
    });
    (leading, stopping)
}

fn leader_of(metrics: &Metrics) -> Leader {
    match metrics.current_leader {
        // The first entry of its term is applied only after all that came before it.
        Some(id) if id == metrics.id => match metrics.last_applied {
            Some(last) if metrics.state == ServerState::Leader && last.leader_id.term == metrics.current_term => {
                Leader::This { term: metrics.current_term }
            }
            _ => Leader::Unknown,
        },
        Some(id) => Leader::Other(id),
        None => Leader::Unknown,
    }
}

/// openraft's reason in words for people.
fn reason(fatal: &Fatal<u64>) -> String {
    match fatal {
        Fatal::Stopped => SHUT_DOWN.to_owned(),
        Fatal::Panicked => "a task of it panicked".to_owned(),
        Fatal::StorageError(error) => error.to_string(),
    }
}
