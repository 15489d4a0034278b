//! What the log drives: a value that changes by entries.

use std::fmt;
use std::sync::Arc;

/// A value that every replica computes alike from the same entries.
///
/// `Clone` must be cheap (persistent maps): a clone is taken for every change that is published
/// and for every snapshot.
pub trait Machine: Clone + Send + Sync + 'static {
    /// Takes the entry at `index` and gives the answer for whoever proposed it. It must depend on
    /// nothing but the value and its arguments. A refusal of an entry that was understood is an
    /// answer, not a [`Stop`].
    ///
    /// # Errors
    /// [`Stop`] where the entry cannot be decoded: this replica then stops and applies nothing more.
    fn apply(&mut self, index: u64, entry: &[u8]) -> Result<Vec<u8>, Stop>;

    /// The whole value as bytes, from which [`Machine::restore`] makes an equal one.
    fn snapshot(&self) -> Vec<u8>;

    /// The value that [`Machine::snapshot`] wrote, now or in an earlier version.
    ///
    /// # Errors
    /// [`Stop`] where the bytes cannot be decoded.
    fn restore(bytes: &[u8]) -> Result<Self, Stop>;
}

/// Why a replica cannot go on. The text is shown to people and must hold no content of entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Stop(pub String);

/// The value after the entry at `index`.
pub struct Applied<M> {
    /// Index of the last entry that the value contains; 0 before the first.
    pub index: u64,
    /// The value. It never changes: a later state is another `Arc`.
    pub machine: Arc<M>,
}

impl<M> Clone for Applied<M> {
    fn clone(&self) -> Self {
        Self { index: self.index, machine: Arc::clone(&self.machine) }
    }
}

impl<M> fmt::Debug for Applied<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied").field("index", &self.index).finish_non_exhaustive()
    }
}
