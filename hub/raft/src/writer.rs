//! One thread writes the log. What waits while the disk is busy goes into one transaction, and
//! nothing is acknowledged before the transaction that holds it is on disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use proto_model::limits;
use tokio::sync::{mpsc, oneshot};

use crate::disk::{COMMITTED, Disk, LOG, META, PURGED, VOTE};
use crate::format::{self, LogIdRecord, VoteRecord};
use crate::types::{LogId, Vote};

/// One change of the log.
pub(crate) enum Op {
    /// Rows to add, by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// The vote that was given.
    Vote(Vote),
    /// Removes the entries from this index on.
    Truncate(u64),
    /// Removes the entries up to and with this one.
    Purge(LogId),
}

/// Called once the change is on disk, or cannot be.
type Done = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// Why nothing more can be written. The text names the file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}; free some space or repair the disk, then restart the hub")]
pub(crate) struct Failure(pub(crate) Arc<str>);

struct Job {
    op: Op,
    done: Done,
}

/// The sending side. The thread ends, and the file closes, when the last clone is gone.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    /// The newest committed log id: written with whatever is written next. It may be lost, since
    /// an election finds it again; it only spares a restarted replica the wait for one.
    committed: Arc<Mutex<Option<LogId>>>,
}

impl Writer {
    /// Starts the thread. The receiver resolves when it has ended and let go of the disk.
    pub(crate) fn start(disk: Arc<Disk>) -> Result<(Self, oneshot::Receiver<()>), std::io::Error> {
        let (jobs, queue) = mpsc::channel(limits::LOG_WRITES_QUEUED_MAX);
        let (ended, end) = oneshot::channel();
        let committed = Arc::default();
        let mut thread = Thread { disk, committed: Arc::clone(&committed), written: None };
        thread::Builder::new().name("hub-raft-log".to_owned()).spawn(move || {
            thread.run(queue);
            drop(thread);
            let _ = ended.send(());
        })?;
        Ok((Self { jobs, committed }, end))
    }

    /// Queues a change; `done` is called from the writer's thread.
    pub(crate) async fn submit(&self, op: Op, done: Done) {
        if let Err(mpsc::error::SendError(job)) = self.jobs.send(Job { op, done }).await {
            (job.done)(Err(Failure("the log's writer has ended".into())));
        }
    }

    /// Makes a change and waits until it is on disk.
    pub(crate) async fn write(&self, op: Op) -> Result<(), Failure> {
        let (tx, rx) = oneshot::channel();
        self.submit(op, Box::new(move |result| drop(tx.send(result)))).await;
        rx.await.unwrap_or_else(|_| Err(Failure("the log's writer has ended".into())))
    }

    pub(crate) fn committed(&self, id: Option<LogId>) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }
}

struct Thread {
    disk: Arc<Disk>,
    committed: Arc<Mutex<Option<LogId>>>,
    written: Option<LogId>,
}

impl Thread {
    fn run(&mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = vec![first];
            while let Ok(job) = queue.try_recv() {
                jobs.push(job);
            }
            let result = self.commit(&jobs);
            for job in jobs {
                (job.done)(result.clone());
            }
        }
        // A clean end, so the next start need not wait for an election. Its loss costs nothing.
        let _ = self.commit(&[]);
    }

    fn commit(&mut self, jobs: &[Job]) -> Result<(), Failure> {
        let committed = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = committed.filter(|_| committed != self.written);
        if jobs.is_empty() && newer.is_none() {
            return Ok(());
        }
        write(&self.disk, jobs, newer)
            .map_err(|source| Failure(format!("{}: {source}", self.disk.path.display()).into()))?;
        self.written = committed;
        Ok(())
    }
}

fn write(disk: &Disk, jobs: &[Job], committed: Option<LogId>) -> Result<(), redb::Error> {
    let write = disk.database.begin_write()?;
    {
        let mut log = write.open_table(LOG)?;
        let mut meta = write.open_table(META)?;
        for job in jobs {
            match &job.op {
                Op::Append(rows) => {
                    for (index, row) in rows {
                        log.insert(index, row.as_slice())?;
                    }
                }
                Op::Vote(vote) => {
                    meta.insert(VOTE, format::encode(&VoteRecord::from(*vote)).as_slice())?;
                }
                Op::Truncate(from) => log.retain_in::<u64, _>(from.., |_, _| false)?,
                Op::Purge(upto) => {
                    meta.insert(PURGED, format::encode(&LogIdRecord::from(*upto)).as_slice())?;
                    log.retain_in::<u64, _>(..=upto.index, |_, _| false)?;
                }
            }
        }
        if let Some(id) = committed {
            meta.insert(COMMITTED, format::encode(&LogIdRecord::from(id)).as_slice())?;
        }
    }
    // Durable by default: it returns after the fsync.
    write.commit()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;

    use super::*;
    use crate::disk::write_founding;
    use crate::types::{Entry, Payload};

    /// A disk in memory that forgets what was not synced, and can be full.
    #[derive(Debug, Clone, Default)]
    struct Memory {
        now: Arc<Mutex<Vec<u8>>>,
        synced: Arc<Mutex<Vec<u8>>>,
        full: Arc<AtomicBool>,
    }

    impl StorageBackend for Memory {
        fn len(&self) -> Result<u64, std::io::Error> {
            Ok(self.now.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            let start = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.now.lock().unwrap()[start..start + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.now.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            *self.synced.lock().unwrap() = self.now.lock().unwrap().clone();
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            if self.full.load(Ordering::SeqCst) {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
            }
            let start = usize::try_from(offset).unwrap();
            self.now.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    impl Memory {
        fn disk(&self) -> Arc<Disk> {
            let database = redb::Builder::new().create_with_backend(self.clone()).unwrap();
            write_founding(&database).unwrap();
            Arc::new(Disk::with("memory".into(), database).unwrap())
        }

        /// What is there after the power comes back.
        fn after_power_cut(&self) -> Disk {
            let synced = self.synced.lock().unwrap().clone();
            let memory = Self { now: Arc::new(Mutex::new(synced)), ..Self::default() };
            let database = redb::Builder::new().create_with_backend(memory).unwrap();
            Disk::with("memory".into(), database).unwrap()
        }
    }

    fn id(index: u64) -> LogId {
        LogIdRecord { term: 1, node: 1, index }.into()
    }

    fn append(index: u64) -> Op {
        let entry = Entry { log_id: id(index), payload: openraft::EntryPayload::Normal(Payload(vec![1; 100])) };
        Op::Append(vec![(index, format::encode_entry(&entry))])
    }

    fn indices(disk: &Disk) -> Vec<u64> {
        disk.entries(0, u64::MAX, usize::MAX).unwrap().iter().map(|entry| entry.log_id.index).collect()
    }

    #[tokio::test]
    async fn whatever_was_acknowledged_survives_a_power_cut() {
        let memory = Memory::default();
        let (writer, _end) = Writer::start(memory.disk()).unwrap();
        for index in 1..=5 {
            writer.write(append(index)).await.unwrap();
            assert_eq!(indices(&memory.after_power_cut()), (1..=index).collect::<Vec<_>>());
        }
        let vote = Vote::new(7, 1);
        writer.write(Op::Vote(vote)).await.unwrap();
        assert_eq!(memory.after_power_cut().vote().unwrap(), Some(vote));
        writer.write(Op::Truncate(5)).await.unwrap();
        assert_eq!(indices(&memory.after_power_cut()), [1, 2, 3, 4]);
        writer.committed(Some(id(3)));
        writer.write(Op::Purge(id(2))).await.unwrap();
        let disk = memory.after_power_cut();
        assert_eq!(indices(&disk), [3, 4]);
        assert_eq!((disk.bounds().unwrap().purged, disk.bounds().unwrap().last), (Some(id(2)), Some(id(4))));
        assert_eq!(disk.committed().unwrap(), Some(id(3)));
    }

    #[tokio::test]
    async fn what_waits_goes_into_one_transaction_in_order() {
        let memory = Memory::default();
        let (jobs, queue) = mpsc::channel(8);
        let (seen, done) = std::sync::mpsc::channel();
        for (n, op) in [append(1), append(2), Op::Truncate(2), append(2)].into_iter().enumerate() {
            let (seen, memory) = (seen.clone(), memory.clone());
            let done = move |result: Result<(), Failure>| {
                result.unwrap();
                seen.send((n, indices(&memory.after_power_cut()))).unwrap();
            };
            jobs.try_send(Job { op, done: Box::new(done) }).ok().unwrap();
        }
        drop((jobs, seen));
        let mut thread = Thread { disk: memory.disk(), committed: Arc::default(), written: None };
        thread::spawn(move || thread.run(queue)).join().unwrap();
        let expected: Vec<_> = (0..4).map(|n| (n, vec![1, 2])).collect();
        assert_eq!(done.iter().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_that_names_the_file() {
        let memory = Memory::default();
        let (writer, _end) = Writer::start(memory.disk()).unwrap();
        writer.write(append(1)).await.unwrap();
        memory.full.store(true, Ordering::SeqCst);
        let error = writer.write(append(2)).await.unwrap_err().to_string();
        assert!(error.starts_with("memory: ") && error.contains("restart"), "{error}");
        assert_eq!(indices(&memory.after_power_cut()), [1]);
    }
}
