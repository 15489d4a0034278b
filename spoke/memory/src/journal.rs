//! The one file in which a cluster is kept: a journal of what changed, read to its first torn
//! record, and rewritten when most of it is outdated.
//!
//! Objects and the ledger share it, so that after a crash no ledger record is there without the
//! objects that were written before it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_model::{Digest, Identity};

use crate::state::Change;

const FILE: &str = "cluster.journal";
const LOCK: &str = "lock";
/// First bytes of the file: what it is, and the version of its format.
const MAGIC: &[u8] = b"drover-memory 1\n";
/// Below this size a journal is not rewritten, in bytes.
const COMPACT_BYTES_MIN: u64 = 4 * 1024 * 1024;
const HEAD: usize = 4 + 8;

/// Why a cluster's directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("{0} is in use by another process: stop it, or choose another directory")]
    InUse(PathBuf),
    /// The file is of another program or version.
    #[error(
        "{0} is no journal of an in-memory cluster that this version reads: choose another directory, or remove it"
    )]
    Foreign(PathBuf),
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Objects, as they last were.
    pub(crate) objects: BTreeMap<Identity, (Arc<[u8]>, u64)>,
    /// Records of the ledger.
    pub(crate) ledger: BTreeMap<String, Vec<u8>>,
    /// The last resourceVersion.
    pub(crate) revision: u64,
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Size after the last rewrite, in bytes.
    base: u64,
    /// Held for as long as the journal is open.
    _lock: File,
}

/// One record.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    Change(&'a Change),
    Revision(u64),
    Put(&'a str, &'a [u8]),
    Delete(&'a str),
}

impl Journal {
    /// Opens the journal of a directory, making both where they are missing.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Contents), JournalError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        let lock_path = dir.join(LOCK);
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse(dir.into())),
            Err(TryLockError::Error(source)) => return Err(at(&lock_path)(source)),
        }
        let path = dir.join(FILE);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut text).map_err(at(&path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&path)(error)),
        }
        if text.is_empty() {
            replace(&path, &[MAGIC]).map_err(at(&path))?;
            text.extend_from_slice(MAGIC);
        }
        let Some(records) = text.strip_prefix(MAGIC) else {
            return Err(JournalError::Foreign(path));
        };
        let (contents, whole) = read(records);
        let bytes = (MAGIC.len() + whole) as u64;
        let file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        // A record that was being written when the process ended is cut off.
        file.set_len(bytes).map_err(at(&path))?;
        Ok((Self { path, file, bytes, base: bytes, _lock: lock }, contents))
    }

    /// Appends records; they survive the end of the process, and of the machine once
    /// [`Journal::handle`] is synced.
    pub(crate) fn append(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let mut out = Vec::new();
        records.iter().for_each(|record| encode(record, &mut out));
        if let Err(error) = self.file.write_all(&out) {
            // Half a record would hide everything after it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += out.len() as u64;
        Ok(())
    }

    /// A handle to sync, so that it need not be done under a lock.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether most of the journal is outdated.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.bytes > COMPACT_BYTES_MIN && self.bytes > 4 * self.base
    }

    /// Replaces all records.
    pub(crate) fn rewrite(&mut self, records: &[Record<'_>]) -> io::Result<()> {
        let mut out = Vec::new();
        records.iter().for_each(|record| encode(record, &mut out));
        replace(&self.path, &[MAGIC, &out])?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.bytes = (MAGIC.len() + out.len()) as u64;
        self.base = self.bytes;
        Ok(())
    }
}

/// Writes a file whole or not at all, durably.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Length, the first bytes of the digest, then tag, length of the key, key and value.
fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let mut put = |tag: u8, key: &[u8], value: &[&[u8]]| {
        body.push(tag);
        body.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(key);
        value.iter().for_each(|part| body.extend_from_slice(part));
    };
    match record {
        Record::Change(Change::Put(identity, object, since)) => {
            put(b'O', &name(identity), &[&since.to_be_bytes(), object]);
        }
        Record::Change(Change::Removed(identity)) => put(b'X', &name(identity), &[]),
        Record::Revision(revision) => put(b'N', b"", &[&revision.to_be_bytes()]),
        Record::Put(key, value) => put(b'L', key.as_bytes(), &[value]),
        Record::Delete(key) => put(b'D', key.as_bytes(), &[]),
    }
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&Digest::of(&body).0[..8]);
    out.extend_from_slice(&body);
}

fn name(identity: &Identity) -> Vec<u8> {
    [&identity.kind.group, &identity.kind.kind, &identity.namespace, &identity.name]
        .map(String::as_str)
        .join("\n")
        .into_bytes()
}

/// Reads records up to the first that is torn, and how many bytes are good.
fn read(mut rest: &[u8]) -> (Contents, usize) {
    let mut contents = Contents::default();
    let all = rest.len();
    while let Some((body, after)) = next(rest) {
        if take(&mut contents, body).is_none() {
            break;
        }
        rest = after;
    }
    (contents, all - rest.len())
}

fn next(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, after) = rest.split_at_checked(HEAD)?;
    let len = u32::from_be_bytes(head[..4].try_into().ok()?);
    let (body, after) = after.split_at_checked(usize::try_from(len).ok()?)?;
    (Digest::of(body).0[..8] == head[4..]).then_some((body, after))
}

fn take(contents: &mut Contents, body: &[u8]) -> Option<()> {
    let (tag, rest) = body.split_first()?;
    let (len, rest) = rest.split_at_checked(4)?;
    let len = usize::try_from(u32::from_be_bytes(len.try_into().ok()?)).ok()?;
    let (key, value) = rest.split_at_checked(len)?;
    let key = std::str::from_utf8(key).ok()?;
    match tag {
        b'O' => {
            let (since, object) = value.split_at_checked(8)?;
            let since = u64::from_be_bytes(since.try_into().ok()?);
            contents.objects.insert(identity(key)?, (object.into(), since));
        }
        b'X' => {
            contents.objects.remove(&identity(key)?);
        }
        b'N' => contents.revision = u64::from_be_bytes(value.try_into().ok()?),
        b'L' => {
            contents.ledger.insert(key.into(), value.into());
        }
        b'D' => {
            contents.ledger.remove(key);
        }
        _ => return None,
    }
    Some(())
}

fn identity(key: &str) -> Option<Identity> {
    let mut parts = key.split('\n').map(str::to_owned);
    let kind = proto_model::GroupKind { group: parts.next()?, kind: parts.next()? };
    Some(Identity { kind, namespace: parts.next()?, name: parts.next()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_cut_off_and_all_before_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let (mut journal, _) = Journal::open(dir.path()).unwrap();
        journal.append(&[Record::Put("a", b"1"), Record::Put("b", b"2")]).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (mut journal, contents) = Journal::open(dir.path()).unwrap();
        assert_eq!(contents.ledger.keys().collect::<Vec<_>>(), ["a"]);
        journal.append(&[Record::Put("c", b"3")]).unwrap();
        drop(journal);
        let (_, contents) = Journal::open(dir.path()).unwrap();
        assert_eq!(contents.ledger.keys().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_directory_is_one_process_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        let held = Journal::open(dir.path()).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(JournalError::InUse(_))));
        drop(held);
        assert!(Journal::open(dir.path()).is_ok());
    }
}
