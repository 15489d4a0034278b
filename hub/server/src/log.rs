//! Fleet behind the replicated log: entries in, answers out.

use std::sync::Arc;

use hub_core::command::Entry;
use hub_core::fleet::{Answer, Fleet, Refused};
use hub_raft::{InitError, Machine, Stop};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::dir::Dir;

/// The replicated log of a hub.
pub type Raft = hub_raft::Raft<Replicated>;
/// A state of Fleet and the index of the entry that made it.
pub type Applied = hub_raft::Applied<Replicated>;

/// Fleet, as the log drives it.
#[derive(Clone)]
pub struct Replicated(pub Fleet);

/// What an entry answers to the leader that proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect; what was done for operators, by request id.
    Done(Vec<(String, String)>),
    /// Nothing of it took effect: it was made from another state.
    Stale,
    /// Nothing of it took effect, and why.
    Refused(String),
}

impl Outcome {
    fn of(result: Result<Vec<Answer>, Refused>) -> Self {
        match result {
            Ok(answers) => Self::Done(
                answers
                    .into_iter()
                    .filter_map(|answer| match answer {
                        Answer::Done => None,
                        Answer::Operator { request, message } => Some((request, message)),
                    })
                    .collect(),
            ),
            Err(Refused::Parent { .. }) => Self::Stale,
            Err(refused) => Self::Refused(refused.to_string()),
        }
    }

    /// Reads what the log answered.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Machine for Replicated {
    fn apply(&mut self, _: u64, entry: &[u8]) -> Result<Vec<u8>, Stop> {
        let entry = Entry::decode(entry).map_err(|error| Stop(error.to_string()))?;
        let outcome = Outcome::of(self.0.apply(&entry));
        serde_json::to_vec(&outcome).map_err(|error| Stop(error.to_string()))
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.encode()
    }

    fn restore(bytes: &[u8]) -> Result<Self, Stop> {
        Fleet::decode(bytes).map(Self).map_err(|error| Stop(error.to_string()))
    }
}

/// The Fleet of a state.
#[must_use]
pub fn fleet(applied: &Applied) -> &Fleet {
    &applied.machine.0
}

/// A state of the fleet that may be kept.
#[derive(Clone)]
pub struct State {
    /// Index of the last entry that it contains.
    pub index: u64,
    machine: Arc<Replicated>,
}

impl State {
    /// The state that a watch shows now.
    #[must_use]
    pub fn of(applied: &Applied) -> Self {
        Self { index: applied.index, machine: Arc::clone(&applied.machine) }
    }

    /// Fleet.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.machine.0
    }
}

/// Makes the log of a new hub.
///
/// # Errors
/// There is one already, or the disk refuses.
pub async fn init(dir: &Dir) -> Result<(), InitError> {
    let path = dir.raft();
    match spawn_blocking(move || hub_raft::init(&path)).await {
        Ok(made) => made,
        // The task is never aborted; it ended by a panic, which was told on stderr.
        Err(_) => Err(InitError::Exists { dir: dir.raft() }),
    }
}
