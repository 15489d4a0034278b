//! Snapshots as files: one each, whole or absent, checked before use.
//!
//! ```text
//! DRVSNAP  version  head length (u32)  head (CBOR)  body length (u64)  body  SHA-256 of all before
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use proto_model::Digest;
use serde::{Deserialize, Serialize};

use crate::disk::sync_dir;
use crate::error::DiskError;
use crate::format::{self, LogIdRecord, MembershipRecord};
use crate::types::{LogId, SnapshotMeta, StoredMembership};

const MAGIC: &[u8; 7] = b"DRVSNAP";
const VERSION: u8 = 1;
const SUFFIX: &str = "snapshot";
const UNFINISHED: &str = "unfinished";
const DIGEST_BYTES: usize = 32;

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub(crate) meta: SnapshotMeta,
    pub(crate) body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    last: LogIdRecord,
    membership: MembershipRecord,
}

/// The directory of snapshots, and which is the newest.
pub(crate) struct Snapshots {
    dir: PathBuf,
    newest: Mutex<Option<(SnapshotMeta, PathBuf)>>,
    /// Held while a file is written; true once the replica is shut down.
    closed: Mutex<bool>,
}

/// What openraft calls the snapshot that ends with `last` and has `membership`.
pub(crate) fn meta(last: LogId, membership: StoredMembership) -> SnapshotMeta {
    let snapshot_id = format!("{:020}-{}-{:016x}", last.index, last.leader_id.term, last.leader_id.node_id);
    SnapshotMeta { last_log_id: Some(last), last_membership: membership, snapshot_id }
}

impl Snapshots {
    /// Opens the directory, reads the newest snapshot and removes what a crash left. Blocking.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<(Contents, PathBuf)>), DiskError> {
        let io = |source| DiskError::io(dir, source);
        fs::create_dir_all(dir).map_err(io)?;
        let mut finished = Vec::new();
        for item in fs::read_dir(dir).map_err(io)? {
            let path = item.map_err(io)?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some(SUFFIX) => finished.push(path),
                Some(UNFINISHED) => fs::remove_file(&path).map_err(|source| DiskError::io(&path, source))?,
                _ => {}
            }
        }
        // Names begin with the index, in twenty digits.
        finished.sort();
        let Some(path) = finished.pop() else {
            return Ok((Self::new(dir, None), None));
        };
        let contents = read(&path)?;
        for old in finished {
            fs::remove_file(&old).map_err(|source| DiskError::io(&old, source))?;
        }
        let snapshots = Self::new(dir, Some((contents.meta.clone(), path.clone())));
        Ok((snapshots, Some((contents, path))))
    }

    fn new(dir: &Path, newest: Option<(SnapshotMeta, PathBuf)>) -> Self {
        Self { dir: dir.to_owned(), newest: Mutex::new(newest), closed: Mutex::new(false) }
    }

    /// Waits for a snapshot that is being written and lets no further one begin: openraft builds
    /// them in tasks of their own, which outlive its shutdown. Blocking.
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// A file to write a snapshot to that comes from elsewhere.
    pub(crate) fn unfinished(&self, number: u64) -> PathBuf {
        self.dir.join(format!("received-{number}.{UNFINISHED}"))
    }

    /// The newest snapshot and its file.
    pub(crate) fn newest(&self) -> Option<(SnapshotMeta, PathBuf)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a snapshot; once this returns it survives a power cut. Blocking.
    pub(crate) fn save(&self, contents: &Contents) -> Result<(), DiskError> {
        let path = self.dir.join(format!("{}.{UNFINISHED}", contents.meta.snapshot_id));
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(DiskError::io(&path, std::io::Error::other("the replica was shut down")));
        }
        let bytes = encode(contents).ok_or_else(|| DiskError::Damaged {
            path: path.clone(),
            what: "a snapshot without a last entry".to_owned(),
        })?;
        let written = File::create(&path).and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
        written.map_err(|source| DiskError::io(&path, source))?;
        self.adopt(&contents.meta, &path)
    }

    /// Makes a finished and synced file the newest snapshot. Blocking.
    pub(crate) fn adopt(&self, meta: &SnapshotMeta, file: &Path) -> Result<(), DiskError> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.as_ref().is_some_and(|(held, _)| held.last_log_id >= meta.last_log_id) {
            return fs::remove_file(file).map_err(|source| DiskError::io(file, source));
        }
        let path = self.dir.join(format!("{}.{SUFFIX}", meta.snapshot_id));
        fs::rename(file, &path).map_err(|source| DiskError::io(file, source))?;
        sync_dir(&self.dir)?;
        let old = newest.replace((meta.clone(), path));
        if let Some((_, old)) = old {
            // One that stays is removed at the next start.
            let _ = fs::remove_file(old);
        }
        Ok(())
    }
}

fn encode(contents: &Contents) -> Option<Vec<u8>> {
    let last = contents.meta.last_log_id?.into();
    let head = format::encode(&Head { last, membership: (&contents.meta.last_membership).into() });
    let mut out = Vec::with_capacity(64 + head.len() + contents.body.len());
    out.extend(MAGIC);
    out.push(VERSION);
    out.extend(u32::try_from(head.len()).ok()?.to_be_bytes());
    out.extend(head);
    out.extend((contents.body.len() as u64).to_be_bytes());
    out.extend(&contents.body);
    let digest = Digest::of(&out);
    out.extend(digest.0);
    Some(out)
}

/// Reads and checks a snapshot's file. Blocking.
pub(crate) fn read(path: &Path) -> Result<Contents, DiskError> {
    let bytes = fs::read(path).map_err(|source| DiskError::io(path, source))?;
    decode(&bytes).map_err(|what| DiskError::Damaged { path: path.to_owned(), what })
}

fn decode(bytes: &[u8]) -> Result<Contents, String> {
    let damaged = || "the snapshot is damaged".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (&version, _) = rest.split_first().ok_or_else(damaged)?;
    if version != VERSION {
        return Err(format!("the snapshot is of version {version}, and this program knows version {VERSION}"));
    }
    let split = bytes.len().checked_sub(DIGEST_BYTES).ok_or_else(damaged)?;
    let (checked, digest) = bytes.split_at(split);
    if Digest::of(checked).0 != digest {
        return Err(damaged());
    }
    let rest = checked.get(MAGIC.len() + 1..).ok_or_else(damaged)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (head, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(damaged)?;
    let (length, body) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    if u64::from_be_bytes(*length) != body.len() as u64 {
        return Err(damaged());
    }
    let head: Head = format::decode(head).map_err(|why| format!("the snapshot's head {why}"))?;
    Ok(Contents { meta: meta(head.last.into(), head.membership.into()), body: body.to_vec() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn contents(index: u64) -> Contents {
        let last = LogIdRecord { term: 2, node: 5, index }.into();
        Contents { meta: meta(last, StoredMembership::default()), body: vec![7; 1000] }
    }

    #[test]
    fn the_newest_is_kept_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (snapshots, none) = Snapshots::open(dir.path()).unwrap();
        assert!(none.is_none());
        snapshots.save(&contents(9)).unwrap();
        snapshots.save(&contents(11)).unwrap();
        snapshots.save(&contents(10)).unwrap();
        fs::write(snapshots.unfinished(1), b"half").unwrap();
        let (_, found) = Snapshots::open(dir.path()).unwrap();
        let (found, path) = found.unwrap();
        assert_eq!((found.meta, found.body), (contents(11).meta, contents(11).body));
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files, [path]);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (snapshots, _) = Snapshots::open(dir.path()).unwrap();
        snapshots.save(&contents(9)).unwrap();
        let (_, path) = snapshots.newest().unwrap();
        let good = fs::read(&path).unwrap();
        for at in [0, 7, 9, 20, 60, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let error = Snapshots::open(dir.path()).err().unwrap().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "length {length}");
        }
    }
}
