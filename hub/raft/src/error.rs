//! What can go wrong, for people: what, where, and what to do next.

use std::path::PathBuf;

use crate::machine::Stop;

/// A directory for a new replica could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A replica lives there already.
    #[error("{dir} already holds a hub: start it, or choose another directory", dir = .dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk refused.
    #[error("cannot make the hub's log: {0}")]
    Disk(#[from] DiskError),
}

/// A replica could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing was initialised there.
    #[error("{dir} holds no hub: run `drover hub init --dir` first", dir = .dir.display())]
    NotInitialised {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process has it.
    #[error("{path} is in use: another drover-hub runs on this directory", path = .path.display())]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The disk refused, or a file is damaged.
    #[error("cannot open the hub's log: {0}")]
    Disk(#[from] DiskError),
    /// The log begins after the snapshot ends.
    #[error(
        "{dir}: the log begins after entry {purged} but the newest snapshot ends at {snapshot}: \
         a snapshot file was removed; restore the directory from a backup",
        dir = .dir.display()
    )]
    Gap {
        /// The directory.
        dir: PathBuf,
        /// Index of the last entry that the log no longer has.
        purged: u64,
        /// Index of the last entry in the snapshot; 0 for none.
        snapshot: u64,
    },
    /// The value in the snapshot cannot be decoded.
    #[error("{path}: {stop}; start the version that wrote it, or a later one", path = .path.display())]
    Snapshot {
        /// The snapshot's file.
        path: PathBuf,
        /// What the machine said.
        stop: Stop,
    },
    /// The replica stopped while it recovered.
    #[error("the hub's log cannot be recovered: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// An entry was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written: the entry is larger than an entry may be.
    #[error("an entry of {bytes} bytes is larger than {max}: split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing is applied unless this replica led until a moment ago.
    #[error("this replica does not lead{}", leader_text(*.leader))]
    NotLeader {
        /// The replica that leads, where known.
        leader: Option<u64>,
    },
    /// The replica stopped. Whether the entry took effect shows after the next start.
    #[error("this replica has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A file could not be read or written, or holds what it should not.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// From the system.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// From the database.
    #[error("{path}: {source}", path = .path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// Bytes that are not what was written, or of a later version.
    #[error("{path}: {what}: restore the directory from a backup, or start a later version", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part, and how it is wrong.
        what: String,
    },
}

fn leader_text(leader: Option<u64>) -> String {
    leader.map_or_else(|| ": no leader is known, try again".to_owned(), |id| format!(": replica {id:016x} does"))
}
