//! The log's database: what lies in it, how it is made and how it is read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_model::limits;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::error::{DiskError, InitError, OpenError};
use crate::format::{self, LogIdRecord, VoteRecord};
use crate::types::{Entry, LogId, Vote};

/// Index → row (`format::encode_entry`).
pub(crate) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Name → record (`format::encode`).
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// This replica's random id, made with the directory.
const REPLICA: &str = "replica";
/// Whether this replica founded its hub (and so is its first voter).
const FOUNDER: &str = "founder";
pub(crate) const VOTE: &str = "vote";
pub(crate) const COMMITTED: &str = "committed";
pub(crate) const PURGED: &str = "purged";

const FILE: &str = "log.redb";

/// The database of one replica, open.
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) database: Database,
    pub(crate) replica: u64,
    pub(crate) founder: bool,
}

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bounds {
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
}

/// Makes the directory of a new replica that founds a hub, with a random id. Blocking.
///
/// # Errors
/// Where a replica lives there already, or the disk refuses. After a crash in the middle it can be
/// called again.
pub fn init(dir: &Path) -> Result<(), InitError> {
    let path = dir.join(FILE);
    if path.exists() {
        return Err(InitError::Exists { dir: dir.to_owned() });
    }
    let io = |source| DiskError::Io { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(io)?;
    let fresh = dir.join("log.redb.new");
    match fs::remove_file(&fresh) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(io(source).into());
        }
        _ => {}
    }
    let made = builder().create(&fresh).map_err(redb::Error::from).and_then(|database| write_founding(&database));
    made.map_err(|source| DiskError::database(&fresh, source))?;
    // The name appears with everything in it, or not at all.
    fs::rename(&fresh, &path).map_err(io)?;
    sync_dir(dir)?;
    Ok(())
}

/// What a new directory says about its replica.
pub(crate) fn write_founding(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        write.open_table(LOG)?;
        let mut meta = write.open_table(META)?;
        meta.insert(REPLICA, format::encode(&rand::random_range(1..=u64::MAX)).as_slice())?;
        meta.insert(FOUNDER, format::encode(&true).as_slice())?;
    }
    write.commit()?;
    Ok(())
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(limits::LOG_CACHE_BYTES);
    builder
}

/// Makes a rename in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|source| DiskError::Io { path: dir.to_owned(), source })
}

impl DiskError {
    pub(crate) fn database(path: &Path, source: impl Into<redb::Error>) -> Self {
        Self::Database { path: path.to_owned(), source: Box::new(source.into()) }
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl Disk {
    /// Opens what [`init`] made. Blocking.
    pub(crate) fn open(dir: &Path) -> Result<Arc<Self>, OpenError> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Err(OpenError::NotInitialised { dir: dir.to_owned() });
        }
        let database = builder().open(&path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.clone() },
            other => DiskError::database(&path, other).into(),
        })?;
        Ok(Arc::new(Self::with(path, database)?))
    }

    pub(crate) fn with(path: PathBuf, database: Database) -> Result<Self, DiskError> {
        let mut disk = Self { path, database, replica: 0, founder: false };
        disk.replica = disk.record(REPLICA)?.ok_or_else(|| disk.damaged("the replica's id is missing"))?;
        disk.founder = disk.record(FOUNDER)?.unwrap_or(false);
        Ok(disk)
    }

    /// An error that names the file and the part.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> DiskError {
        DiskError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn failed(&self, source: impl Into<redb::Error>) -> DiskError {
        DiskError::database(&self.path, source)
    }

    fn record<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskError> {
        let read = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = read.open_table(META).map_err(|e| self.failed(e))?;
        let Some(bytes) = table.get(name).map_err(|e| self.failed(e))? else { return Ok(None) };
        let record = format::decode(bytes.value());
        record.map(Some).map_err(|why| self.damaged(format!("the record {name:?} {why}")))
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, DiskError> {
        Ok(self.record::<VoteRecord>(VOTE)?.map(Into::into))
    }

    pub(crate) fn committed(&self) -> Result<Option<LogId>, DiskError> {
        Ok(self.record::<LogIdRecord>(COMMITTED)?.map(Into::into))
    }

    pub(crate) fn bounds(&self) -> Result<Bounds, DiskError> {
        let purged = self.record::<LogIdRecord>(PURGED)?.map(Into::into);
        let read = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = read.open_table(LOG).map_err(|e| self.failed(e))?;
        let last = match table.last().map_err(|e| self.failed(e))? {
            Some((index, row)) => Some(self.entry(index.value(), row.value())?.log_id),
            None => purged,
        };
        Ok(Bounds { purged, last })
    }

    /// Entries with `start ≤ index ≤ last`, in order, and no more of them (but one) than
    /// `bytes_max` bytes.
    pub(crate) fn entries(&self, start: u64, last: u64, bytes_max: usize) -> Result<Vec<Entry>, DiskError> {
        let read = self.database.begin_read().map_err(|e| self.failed(e))?;
        let table = read.open_table(LOG).map_err(|e| self.failed(e))?;
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        for item in table.range(start..=last).map_err(|e| self.failed(e))? {
            let (index, row) = item.map_err(|e| self.failed(e))?;
            bytes = bytes.saturating_add(row.value().len());
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(self.entry(index.value(), row.value())?);
        }
        Ok(entries)
    }

    fn entry(&self, index: u64, row: &[u8]) -> Result<Entry, DiskError> {
        format::decode_entry(index, row).map_err(|why| self.damaged(format!("entry {index} {why}")))
    }
}
