//! The database of bodies.

use std::fmt;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use proto_model::{Digest, limits};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableDefinition};

use crate::error::StoreError;
use crate::key::SealingKey;
use crate::record::{self, Kind, VERSION};

/// Digest → record.
const BODIES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("bodies");
/// Name → bytes.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &str = "format";
/// Something sealed, by which a wrong key is noticed at the start and not at the first secret.
const PROBE: &str = "probe";
const PROBE_BYTES: &[u8] = b"drover";

const FILE: &str = "bodies.redb";

/// How the database is opened, at the start and again after a failure.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// Bodies by digest. Clones share one database.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    key: SealingKey,
    opener: Opener,
    /// `None` where opening it again after a failure has failed so far.
    database: RwLock<Option<Database>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, and makes it where there is none: a replica without bodies
    /// fetches what it misses.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] where it was made with another key; else the file cannot be used.
    pub fn open(dir: &Path, key: SealingKey) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let made = fs::create_dir_all(dir);
        made.map_err(|source| StoreError::Read { path: path.clone(), source: Box::new(redb::Error::Io(source)) })?;
        let at = path.clone();
        let opener = move || Builder::new().set_cache_size(limits::BODY_CACHE_BYTES).create(&at);
        Self::open_with(path, key, Box::new(opener))
    }

    fn open_with(path: PathBuf, key: SealingKey, opener: Opener) -> Result<Self, StoreError> {
        let shared = Shared { path, key, opener, database: RwLock::new(None) };
        shared.reopen()?;
        shared.found()?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Stores bodies in one transaction, which is on disk when this returns: all or none. What is
    /// there already is left, unless it is damaged or a secret that was not sealed.
    ///
    /// # Errors
    /// Nothing was stored: bytes that differ from their digest, a body above
    /// [`limits::BODY_BYTES_MAX`], or the disk refused. After the last the store goes on reading,
    /// and a later call may succeed.
    pub fn put(&self, bodies: &[(Digest, Kind, &[u8])]) -> Result<(), StoreError> {
        for (digest, _, body) in bodies {
            if body.len() > limits::BODY_BYTES_MAX {
                return Err(StoreError::TooLarge { digest: *digest, bytes: body.len(), max: limits::BODY_BYTES_MAX });
            }
            if Digest::of(body) != *digest {
                return Err(StoreError::Mismatch { digest: *digest });
            }
        }
        let mut records = Vec::new();
        for (digest, kind, body) in bodies {
            if self.holds(digest, *kind)? {
                continue;
            }
            let record = record::encode(digest, *kind, body, &self.shared.key);
            records.push((digest, record.map_err(|source| self.shared.unwritten(redb::Error::Io(source)))?));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.shared.write(|write| {
            let mut table = write.open_table(BODIES)?;
            for (digest, record) in &records {
                table.insert(&digest.0, record.as_slice())?;
            }
            Ok(())
        })
    }

    /// Whether a body lies here whole, and sealed if it has to be.
    fn holds(&self, digest: &Digest, wanted: Kind) -> Result<bool, StoreError> {
        let Some(record) = self.record(digest)? else { return Ok(false) };
        let sealed = |kind| kind == Kind::Secret;
        let fits = record::kind(&record).is_ok_and(|kind| sealed(kind) || !sealed(wanted));
        Ok(fits && record::decode(digest, &record, &self.shared.key).is_ok())
    }

    /// A body; `None` where it is not here.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the digest where what lies here is not the body.
    pub fn get(&self, digest: &Digest) -> Result<Option<Arc<[u8]>>, StoreError> {
        let Some(record) = self.record(digest)? else { return Ok(None) };
        let body = record::decode(digest, &record, &self.shared.key);
        body.map(|body| Some(body.into())).map_err(|why| self.damaged(digest, why))
    }

    /// What kind of body lies here; `None` where it is not here. Whoever answers people asks this
    /// first, and returns no [`Kind::Secret`].
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn kind(&self, digest: &Digest) -> Result<Option<Kind>, StoreError> {
        let Some(record) = self.record(digest)? else { return Ok(None) };
        record::kind(&record).map(Some).map_err(|why| self.damaged(digest, why))
    }

    /// Whether a body lies here (whole or not).
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.missing([*digest])?.is_empty())
    }

    /// Those of the digests whose bodies do not lie here, in their order.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn missing(&self, digests: impl IntoIterator<Item = Digest>) -> Result<Vec<Digest>, StoreError> {
        let digests: Vec<Digest> = digests.into_iter().collect();
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(BODIES)?;
            let mut missing = Vec::new();
            for digest in &digests {
                if table.get(&digest.0)?.is_none() {
                    missing.push(*digest);
                }
            }
            Ok(missing)
        })
    }

    /// The digests of at most `count` bodies after `after`, in order: the next page begins after
    /// the last of this one.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn list(&self, after: Option<&Digest>, count: usize) -> Result<Vec<Digest>, StoreError> {
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(BODIES)?;
            let start = after.map_or(Bound::Unbounded, |digest| Bound::Excluded(&digest.0));
            let page = table.range::<&[u8; 32]>((start, Bound::Unbounded))?.take(count);
            page.map(|item| Ok(Digest(*item?.0.value()))).collect()
        })
    }

    /// Removes bodies, durably; those that are not here are no error. How many there were.
    ///
    /// # Errors
    /// Nothing was removed: the disk refused.
    pub fn collect(&self, digests: &[Digest]) -> Result<usize, StoreError> {
        self.shared.write(|write| {
            let mut table = write.open_table(BODIES)?;
            let mut removed = 0;
            for digest in digests {
                removed += usize::from(table.remove(&digest.0)?.is_some());
            }
            Ok(removed)
        })
    }

    fn record(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.read(|database| {
            let table = database.begin_read()?.open_table(BODIES)?;
            Ok(table.get(&digest.0)?.map(|record| record.value().to_vec()))
        })
    }

    fn damaged(&self, digest: &Digest, why: &'static str) -> StoreError {
        StoreError::Damaged { digest: *digest, path: self.shared.path.clone(), why }
    }
}

impl Shared {
    /// Makes the tables of a new database, or checks those of an old one.
    fn found(&self) -> Result<(), StoreError> {
        let found = self.read(|database| {
            let read = database.begin_read()?;
            let meta = match read.open_table(META) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other?,
            };
            let value = |name| -> Result<Vec<u8>, redb::Error> {
                Ok(meta.get(name)?.map(|bytes| bytes.value().to_vec()).unwrap_or_default())
            };
            Ok(Some((value(FORMAT)?, value(PROBE)?)))
        })?;
        let Some((format, probe)) = found else {
            let probe = self.key.seal(PROBE.as_bytes(), PROBE_BYTES);
            let probe = probe.map_err(|e| self.unwritten(redb::Error::Io(std::io::Error::other(e))))?;
            return self.write(|write| {
                write.open_table(BODIES)?;
                let mut meta = write.open_table(META)?;
                meta.insert(FORMAT, [VERSION].as_slice())?;
                meta.insert(PROBE, probe.as_slice())?;
                Ok(())
            });
        };
        if format != [VERSION] {
            let found = format.first().copied().unwrap_or_default();
            return Err(StoreError::Version { path: self.path.clone(), found, known: VERSION });
        }
        match self.key.open(PROBE.as_bytes(), &probe) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::WrongKey { path: self.path.clone() }),
        }
    }

    /// Reads. Where the database refuses (it does so for ever after one failure of the disk), it
    /// is opened again and asked once more.
    fn read<T>(&self, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let first = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(&read);
        match first {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) if !latches(&error) => return Err(self.unread(error)),
            Some(Err(_)) | None => self.reopen()?,
        }
        let again = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = again.as_ref().ok_or_else(|| self.unread(redb::Error::DatabaseClosed))?;
        read(database).map_err(|error| self.unread(error))
    }

    /// Writes in one durable transaction. After a failure the database is opened again, so that
    /// reading goes on; the write is for the caller to repeat.
    fn write<T>(&self, change: impl Fn(&redb::WriteTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let result = {
            let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
            let database = guard.as_ref().ok_or_else(|| self.unread(redb::Error::DatabaseClosed))?;
            commit(database, change)
        };
        result.map_err(|error| {
            if let Err(error) = self.reopen() {
                tracing::error!(%error, "the store of bodies cannot be opened again yet");
            }
            self.unwritten(error)
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // The old one goes first: it holds the lock on the file.
        *database = None;
        let opened = (self.opener)().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: self.path.clone() },
            other => self.unread(other.into()),
        })?;
        *database = Some(opened);
        Ok(())
    }

    fn unread(&self, source: redb::Error) -> StoreError {
        StoreError::Read { path: self.path.clone(), source: Box::new(source) }
    }

    fn unwritten(&self, source: redb::Error) -> StoreError {
        StoreError::Write { path: self.path.clone(), source: Box::new(source) }
    }
}

fn commit<T>(
    database: &Database,
    change: impl Fn(&redb::WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut write = database.begin_write()?;
    // A store of gigabytes opens at once after a crash, for a second sync per commit.
    write.set_quick_repair(true);
    let value = change(&write)?;
    write.commit()?;
    Ok(value)
}

/// Whether the database answers nothing any more after this error.
fn latches(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
