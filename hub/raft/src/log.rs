//! The log as openraft sees it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, RaftLogReader};
use proto_model::limits;
use tokio::task::spawn_blocking;

use crate::disk::Disk;
use crate::error::DiskError;
use crate::format;
use crate::types::{Entry, LogId, StorageError, StorageIOError, Types, Vote};
use crate::writer::{Op, Writer};

/// Writes the log.
pub(crate) struct Log {
    reader: Reader,
    writer: Writer,
}

/// Reads the log; every follower will have one.
#[derive(Clone)]
pub(crate) struct Reader {
    disk: Arc<Disk>,
}

impl Log {
    pub(crate) fn new(disk: Arc<Disk>, writer: Writer) -> Self {
        Self { reader: Reader { disk }, writer }
    }
}

impl Reader {
    /// Runs a read on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Disk) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let disk = Arc::clone(&self.disk);
        let result = spawn_blocking(move || read(&disk)).await;
        result
            .map_err(|e| StorageIOError::read_logs(AnyError::new(&e)))?
            .map_err(|e| StorageIOError::read_logs(AnyError::new(&e)).into())
    }
}

impl RaftLogReader<Types> for Reader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(&index) => Some(index),
            Bound::Excluded(&index) => index.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        match last {
            Some(last) if start <= last => self.read(move |disk| disk.entries(start, last, usize::MAX)).await,
            _ => Ok(Vec::new()),
        }
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        match end.checked_sub(1) {
            Some(last) if start <= last => {
                self.read(move |disk| disk.entries(start, last, limits::APPEND_BYTES_MAX)).await
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Reader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let bounds = self.reader.read(Disk::bounds).await?;
        Ok(LogState { last_purged_log_id: bounds.purged, last_log_id: bounds.last })
    }

    async fn get_log_reader(&mut self) -> Reader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let written = self.writer.write(Op::Vote(*vote)).await;
        written.map_err(|e| StorageIOError::write_vote(AnyError::new(&e)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        // Asked once, at the start. A replica that led before it stopped comes back as a follower
        // of itself: it leads again by an election, whose first entry commits all before it.
        let vote = self.reader.read(Disk::vote).await?;
        Ok(vote.map(|vote| Vote { committed: false, ..vote }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.writer.committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.reader.read(Disk::committed).await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let rows = entries.into_iter().map(|entry| (entry.log_id.index, format::encode_entry(&entry))).collect();
        let done = move |result: Result<(), _>| callback.log_io_completed(result.map_err(io::Error::other));
        self.writer.submit(Op::Append(rows), Box::new(done)).await;
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let written = self.writer.write(Op::Truncate(log_id.index)).await;
        written.map_err(|e| StorageIOError::write_logs(AnyError::new(&e)).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let written = self.writer.write(Op::Purge(log_id)).await;
        written.map_err(|e| StorageIOError::write_logs(AnyError::new(&e)).into())
    }
}
